package store

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// giveUpDeadPeer makes the kernel give a connection up when its peer is gone.
// Keep-alive alone does not: it rests while sent bytes wait for an answer.
func giveUpDeadPeer(network, _ string, conn syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	if ctlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeerTimeout.Milliseconds()))
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}
