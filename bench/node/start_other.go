//go:build !linux

package node

import "os/exec"

// startTied starts cmd and calls ended when it has ended.
func startTied(cmd *exec.Cmd, ended func(error)) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { ended(cmd.Wait()) }()
	return nil
}

// awaitStop leaves it to the kernel when the process stands.
func awaitStop(int) error { return nil }
