//go:build !linux

package wasm

import "github.com/tetratelabs/wazero/experimental"

// reservation is the memory of one instance, from Go's heap: growing copies it.
type reservation struct{ space []byte }

// Allocate is called once, when the instance is made.
func (r *reservation) Allocate(_, _ uint64) experimental.LinearMemory { return r }

// Reallocate gives size bytes that begin with what there was.
func (r *reservation) Reallocate(size uint64) []byte {
	more := make([]byte, size)
	copy(more, r.space)
	r.space = more
	return more
}

// Free gives it back. It may be called twice.
func (r *reservation) Free() { r.space = nil }

func (r *reservation) bytes() int { return len(r.space) }
