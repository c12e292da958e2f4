package wasm

import (
	"golang.org/x/sys/unix"

	"github.com/tetratelabs/wazero/experimental"
)

// reservation is the memory of one instance: addresses for all that it may ever
// have, committed page by page as it grows. So growing moves and copies nothing,
// Go's heap has no part in it, and what was never committed cannot be touched.
type reservation struct {
	space     []byte // PROT_NONE beyond committed; nil when there is none
	committed int
}

// Allocate is called once, when the instance is made.
func (r *reservation) Allocate(_, most uint64) experimental.LinearMemory {
	if most == 0 {
		return r
	}
	space, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return &heap{owner: r} // no addresses left, or a limit on them: it may still fit
	}
	r.space = space
	return r
}

// Reallocate gives the first size bytes, nil when they cannot be had.
func (r *reservation) Reallocate(size uint64) []byte {
	n := int(size)
	if n > len(r.space) {
		return nil
	}
	if n > r.committed {
		if unix.Mprotect(r.space[r.committed:n], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		r.committed = n
	}
	return r.space[:n:n]
}

// Free unmaps it; every view of it is then a bad address. It may be called twice.
func (r *reservation) Free() {
	if r.space != nil && unix.Munmap(r.space) != nil {
		// The kernel has to split a mapping and may not have another one. The
		// addresses stay taken; the memory goes back.
		_ = unix.Madvise(r.space, unix.MADV_DONTNEED)
	}
	r.space, r.committed = nil, 0
}

func (r *reservation) bytes() int { return r.committed }

// heap is memory from Go's heap, for when there is nothing to map.
type heap struct {
	owner *reservation
	bytes []byte
}

func (h *heap) Reallocate(size uint64) []byte {
	more := make([]byte, size)
	copy(more, h.bytes)
	h.bytes, h.owner.committed = more, len(more)
	return more
}

func (h *heap) Free() { h.bytes, h.owner.committed = nil, 0 }
