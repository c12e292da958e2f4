package server

import "syscall"

// command is what to start, as whom, and how it ends.
type command struct {
	argv     []string
	end      syscall.Signal // ends it at once, also when its parent dies
	identity *identity      // nil: ours
}

// identity is the user that a process runs as.
type identity struct{ uid, gid uint32 }
