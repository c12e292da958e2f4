package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	firstSegmentBytes = 1 << 20 // of a new journal: ready in a few milliseconds
	fillBytes         = 1 << 20 // how much of a segment is filled between two syncs
)

// segment is what is known of one segment file.
type segment struct {
	header
	name string
	seed uint32
	end  int64 // offset after the last synced frame, 0 when not known
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.seg", first))
}

// listSegments gives the first sequences of the segments in dir, ascending.
func listSegments(fs FS, dir string) ([]uint64, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, ".seg")
		if !ok || len(digits) != 20 {
			continue
		}
		if first, err := strconv.ParseUint(digits, 10, 64); err == nil && first > 0 {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// loadSegments reads the headers of all segments in dir, oldest first, and
// checks that they form one unbroken chain of stream. There is one at least.
func loadSegments(fs FS, dir string, stream uint32) ([]segment, error) {
	firsts, err := listSegments(fs, dir)
	if err != nil {
		return nil, err
	}
	if len(firsts) == 0 {
		return nil, fmt.Errorf("journal folder %s has lost all its segments; restore them, or move the folder away to start a new journal", dir)
	}
	segs := make([]segment, 0, len(firsts))
	for _, first := range firsts {
		seg, err := loadSegment(fs, segmentPath(dir, first))
		if err != nil {
			return nil, err
		}
		why := ""
		switch {
		case seg.first != first:
			why = fmt.Sprintf("its first sequence is %d, which is not its name", seg.first)
		case seg.stream != stream:
			why = fmt.Sprintf("it belongs to stream %d, the journal to stream %d", seg.stream, stream)
		case len(segs) > 0 && segs[len(segs)-1].first != seg.previous:
			why = fmt.Sprintf("the segment before it, %s, is missing", filepath.Base(segmentPath(dir, seg.previous)))
		}
		if why != "" {
			return nil, &Damage{File: seg.name, Why: why}
		}
		segs = append(segs, seg)
	}
	return segs, nil
}

func loadSegment(fs FS, name string) (segment, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return segment{}, err
	}
	seg, err := readHeader(f, name)
	return seg, errors.Join(err, f.Close())
}

// readHeader reads a segment's header and checks it against the file's size.
func readHeader(f File, name string) (segment, error) {
	size, err := f.Size()
	if err != nil {
		return segment{}, err
	}
	var p [headerBytes]byte
	if size < dataStart {
		return segment{}, &Damage{File: name, Offset: size, Why: "the file ends before its first frame"}
	}
	if err := readFull(f, name, p[:], 0); err != nil {
		return segment{}, err
	}
	h, seed, err := decodeHeader(p[:])
	if err != nil {
		return segment{}, &Damage{File: name, Why: err.Error()}
	}
	if h.size != size {
		return segment{}, &Damage{File: name, Offset: min(size, h.size), Why: fmt.Sprintf("the file has %d bytes, it was made with %d", size, h.size)}
	}
	return segment{header: h, name: name, seed: seed}, nil
}

// place turns f, the spare file full of synced zeros, into the segment that h
// describes: header first, then the name, then the folder, each synced, so
// that a file of that name always has a whole header. An empty segment of the
// same first sequence is replaced.
func place(fs FS, dir string, f File, h header) (segment, error) {
	var salt [8]byte
	rand.Read(salt[:]) // never fails
	h.salt = binary.LittleEndian.Uint64(salt[:])
	p, seed := appendHeader(nil, h)
	if err := writeFull(f, p, 0); err != nil {
		return segment{}, err
	}
	if err := f.Sync(); err != nil {
		return segment{}, err
	}
	name := segmentPath(dir, h.first)
	if err := fs.Rename(filepath.Join(dir, spareName), name); err != nil {
		return segment{}, err
	}
	return segment{header: h, name: name, seed: seed, end: dataStart}, fs.SyncDir(dir)
}

var zeros [64 << 10]byte

// errStopped is zero's answer when it was told to stop.
var errStopped = errors.New("stopped")

// zero overwrites n bytes from off on and syncs them, in steps, so that the
// disk has time for others. A non-nil stop ends it early.
func zero(f File, off, n int64, stop <-chan struct{}) error {
	for end := off + n; off < end; {
		for step := min(off+fillBytes, end); off < step; {
			k := min(int64(len(zeros)), step-off)
			if err := writeFull(f, zeros[:k], off); err != nil {
				return err
			}
			off += k
		}
		if err := f.Sync(); err != nil {
			return err
		}
		select {
		case <-stop:
			return errStopped
		default:
		}
	}
	return nil
}

// writeFull writes all of p; less than that is an error too.
func writeFull(f File, p []byte, off int64) error {
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = fmt.Errorf("%w: %d of %d bytes", io.ErrShortWrite, n, len(p))
	}
	return err
}

// readFull fills p. A file that ends before is a Damage.
func readFull(f File, name string, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return &Damage{File: name, Offset: off + int64(n), Why: "the file ends too early"}
	}
	return fmt.Errorf("read %s at offset %d: %w", name, off, err)
}
