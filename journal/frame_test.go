package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

// What decodes as a frame encodes to the same bytes; nothing else happens to
// any input.
func FuzzFrame(f *testing.F) {
	one := appendFrame(nil, 42, []byte("payload"))
	two := appendFrame(one, 43, []byte("p"))
	seal(two, 7, 1)
	f.Add(two, uint32(7))
	f.Add(two[:20], uint32(7))
	f.Add(two, uint32(8))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint32(0))
	f.Add(make([]byte, 100), uint32(0))
	f.Fuzz(func(t *testing.T, p []byte, seed uint32) {
		fr, n, ok := decodeFrame(p, seed)
		if !ok {
			return
		}
		if n > len(p) || n != frameBytes+len(fr.payload) || len(fr.payload) == 0 {
			t.Fatalf("frame of %d bytes in %d", n, len(p))
		}
		again := appendFrame(nil, fr.at, fr.payload)
		seal(again, seed, fr.seq)
		if fr.back == 0 && !bytes.Equal(again, p[:n]) {
			t.Fatalf("encoded again: %x, was %x", again, p[:n])
		}
	})
}

// Any bytes behind a valid header are frames, a tail to be cut, or a Damage.
func FuzzSegment(f *testing.F) {
	h := header{stream: 7, first: 1, size: 32 << 10, salt: 1}
	p, seed := appendHeader(nil, h)
	group := func(first uint64, payloads ...string) []byte {
		var g []byte
		for _, p := range payloads {
			g = appendFrame(g, 5, []byte(p))
		}
		seal(g, seed, first)
		return g
	}
	ab := group(1, "a", "bb")
	f.Add(ab, []byte{})
	f.Add(append(ab, group(3, "ccc")...), appendMark(nil, mark{seq: 2, end: dataStart + int64(len(ab))}, seed))
	f.Add(append(append(ab, 0, 0, 0), group(3, "ccc")...), appendMark(nil, mark{seq: 9, end: 1 << 40}, seed))
	f.Add(group(9, "x"), []byte("mark"))
	f.Fuzz(func(t *testing.T, frames, m []byte) {
		mem := memFS{FS: crashable()}
		file, err := mem.OpenFile("/s", 0x242)
		must(t, err)
		defer file.Close()
		page := make([]byte, h.size)
		copy(page, p)
		copy(page[pageBytes:2*pageBytes], m)
		copy(page[dataStart:], frames)
		must(t, writeFull(file, page, 0))
		seg, err := readHeader(file, "/s")
		must(t, err)
		tl, err := judgeTail(newScanner(file, &seg, seg.size))
		var d *Damage
		if err != nil && !errors.As(err, &d) {
			t.Fatal(err)
		}
		if err == nil && (tl.end < dataStart || tl.end+tl.loose > h.size || tl.end < tl.mark.end) {
			t.Fatalf("%+v", tl)
		}
	})
}

func TestHeaderMark(t *testing.T) {
	h := header{stream: 1, first: 2, previous: 3, floor: -4, size: 5, salt: 6}
	p, seed := appendHeader(nil, h)
	if len(p) != headerBytes {
		t.Fatalf("%d bytes, want %d", len(p), headerBytes)
	}
	got, s, err := decodeHeader(p)
	if err != nil || got != h || s != seed {
		t.Fatalf("read %+v, %v", got, err)
	}
	m := mark{seq: 1, end: 2, next: 3}
	q := appendMark(nil, m, seed)
	if got, ok := decodeMark(q, seed); !ok || got != m || len(q) != markBytes {
		t.Fatalf("read %+v, %v", got, ok)
	}
	if _, ok := decodeMark(q, seed+1); ok {
		t.Fatal("the mark of another segment passes")
	}
	if _, ok := decodeMark(make([]byte, markBytes), seed); ok {
		t.Fatal("zeros pass for a mark")
	}
	for i := range p {
		p[i] ^= 1
		if _, _, err := decodeHeader(p); err == nil {
			t.Fatalf("header passes with byte %d changed", i)
		}
		p[i] ^= 1
	}
	p[8] = 2 // a later version, rightly summed
	_, _, err = decodeHeader(resum(p))
	if err == nil || err.Error() != "the segment has format version 2, this build reads 1; use the build that wrote it" {
		t.Fatal(err)
	}
}

// resum puts the right checksum under a changed header.
func resum(p []byte) []byte {
	return binary.LittleEndian.AppendUint32(p[:headerBytes-4:headerBytes-4], crc32.Checksum(p[:headerBytes-4], castagnoli))
}
