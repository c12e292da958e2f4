package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	demoReadyMax = 20 * time.Second
	demoStopMax  = 30 * time.Second
)

// demoNode is this very binary, serving on a folder of the demo and ports that
// were free: the demo shows the real thing.
type demoNode struct {
	data          string
	listen, admin string
	log           string // file with what it says
	cmd           *exec.Cmd
	exited        chan struct{}
	err           error // valid once exited is closed
	stopping      sync.Once
}

// startDemoNode starts a node below folder and waits until it is ready.
func startDemoNode(ctx context.Context, folder string) (*demoNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n := &demoNode{data: filepath.Join(folder, "data"), log: filepath.Join(folder, "node.log"), exited: make(chan struct{})}
	ready := filepath.Join(folder, "addresses.json")
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	n.cmd = exec.CommandContext(context.WithoutCancel(ctx), self, "serve", "--data", n.data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--addresses-file", ready)
	n.cmd.Args[0] = "tallyhook" // whatever the file is called
	// Neither the settings file nor the variables of who runs the demo are the
	// demo's business.
	n.cmd.Dir, n.cmd.Env = folder, environWithout(os.Environ(), envPrefix)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.exited)
	}()
	if err := n.waitReady(ctx, ready); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

func environWithout(environ []string, prefix string) (kept []string) {
	for _, kv := range environ {
		if !strings.HasPrefix(kv, prefix) {
			kept = append(kept, kv)
		}
	}
	return kept
}

// waitReady waits for the file with the node's addresses.
func (n *demoNode) waitReady(ctx context.Context, file string) error {
	late := time.After(demoReadyMax)
	for {
		text, err := os.ReadFile(file)
		if err == nil {
			var at addresses
			if err := json.Unmarshal(text, &at); err != nil {
				return fmt.Errorf("addresses of the node: %w", err)
			}
			n.listen, n.admin = at.Listen, at.Admin
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.exited:
			return n.unexpected()
		case <-late:
			return fmt.Errorf("the node is not ready after %s; it said:\n%s", demoReadyMax, n.said())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// unexpected is the error for a node that has ended by itself.
func (n *demoNode) unexpected() error {
	return fmt.Errorf("the node ended by itself (%v); it said:\n%s", n.cmd.ProcessState, n.said())
}

// said gives the last lines of what the node wrote.
func (n *demoNode) said() string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(len(lines)-10, 0):], []byte("\n")))
}

// stop ends the node as an operator would, and waits for it. An unclean end is
// an error, told to the first caller.
func (n *demoNode) stop() (err error) {
	n.stopping.Do(func() {
		select {
		case <-n.exited:
			err = n.unexpected()
			return
		default:
		}
		if serr := n.cmd.Process.Signal(syscall.SIGTERM); serr != nil {
			n.cmd.Process.Kill() // where there are no such signals
		}
		select {
		case <-n.exited:
			if n.err != nil {
				err = fmt.Errorf("the node did not stop cleanly: %w; it said:\n%s", n.err, n.said())
			}
		case <-time.After(demoStopMax):
			n.cmd.Process.Kill()
			<-n.exited
			err = fmt.Errorf("the node did not stop within %s and was killed", demoStopMax)
		}
	})
	return err
}
