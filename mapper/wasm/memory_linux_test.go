package wasm

import (
	"testing"
	"unsafe"
)

func TestReservation(t *testing.T) {
	r := new(reservation)
	m := r.Allocate(pageBytes, 4*pageBytes)
	one := m.Reallocate(pageBytes)
	if len(one) != pageBytes || cap(one) != pageBytes || r.bytes() != pageBytes {
		t.Fatalf("%d bytes, room for %d, %d committed", len(one), cap(one), r.bytes())
	}
	one[pageBytes-1] = 7
	all := m.Reallocate(4 * pageBytes)
	if len(all) != 4*pageBytes || r.bytes() != 4*pageBytes || unsafe.SliceData(all) != unsafe.SliceData(one) || all[pageBytes-1] != 7 {
		t.Errorf("%d bytes, %d committed, moved or lost", len(all), r.bytes())
	}
	all[4*pageBytes-1] = 1
	if m.Reallocate(4*pageBytes+1) != nil {
		t.Error("more than was reserved")
	}
	for range 2 {
		if m.Free(); r.bytes() != 0 {
			t.Errorf("%d bytes after Free", r.bytes())
		}
	}
	if none := new(reservation).Allocate(0, 0); len(none.Reallocate(0)) != 0 || none.Reallocate(1) != nil {
		t.Error("bytes for a module that may have none")
	}
}

// Where no addresses are left, memory comes from Go's heap.
func TestReservationFallsBack(t *testing.T) {
	r := new(reservation)
	m := r.Allocate(0, 1<<60)
	one := m.Reallocate(pageBytes)
	one[5] = 7
	two := m.Reallocate(2 * pageBytes)
	if len(two) != 2*pageBytes || two[5] != 7 || r.bytes() != 2*pageBytes {
		t.Errorf("%d bytes, %d counted, byte 5 is %d", len(two), r.bytes(), two[5])
	}
	m.Free()
	if r.bytes() != 0 {
		t.Errorf("%d bytes after Free", r.bytes())
	}
}
