package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// scanner walks over the frames of one segment and checks each.
type scanner struct {
	file File
	seg  *segment
	off  int64  // of the next frame
	end  int64  // nothing is read from here on
	want uint64 // sequence of the next frame
	at   int64  // received_at of the one before

	buf    []byte // buf[lo:hi] is the file from off on
	lo, hi int
}

const scanBytes = 256 << 10

// errEnd is the scanner's answer where no frame fits before its end.
var errEnd = errors.New("end of segment")

func newScanner(f File, seg *segment, end int64) *scanner {
	return &scanner{file: f, seg: seg, off: dataStart, end: end, want: seg.first, at: seg.floor}
}

// next gives the next frame, whose payload is valid until the call after, or
// errEnd, or a *Damage, or what reading failed with. After an error the
// scanner stands where it stood.
func (s *scanner) next() (frame, error) {
	if s.end-s.off < frameBytes {
		return frame{}, errEnd
	}
	p, err := s.peek(frameBytes)
	if err != nil {
		return frame{}, err
	}
	n := frameLen(p, s.end-s.off)
	if n == 0 {
		return frame{}, s.damage("no frame begins here")
	}
	if p, err = s.peek(n); err != nil {
		return frame{}, err
	}
	f, n, ok := decodeFrame(p, s.seg.seed)
	switch {
	case !ok:
		return frame{}, s.damage(fmt.Sprintf("the checksum of record %d is wrong", s.want))
	case f.seq != s.want:
		return frame{}, s.damage(fmt.Sprintf("record %d stands where record %d belongs", f.seq, s.want))
	case f.at < s.at:
		return frame{}, s.damage(fmt.Sprintf("record %d is older than the one before it", f.seq))
	}
	s.lo, s.off = s.lo+n, s.off+int64(n)
	s.want, s.at = s.want+1, f.at
	return f, nil
}

func (s *scanner) damage(why string) error {
	return &Damage{File: s.seg.name, Offset: s.off, Why: why}
}

// peek gives n bytes from off on; n does not reach beyond end.
func (s *scanner) peek(n int) ([]byte, error) {
	if s.hi-s.lo < n {
		s.hi = copy(s.buf, s.buf[s.lo:s.hi])
		s.lo = 0
		if len(s.buf) < n {
			s.buf = append(make([]byte, 0, max(n, int(min(scanBytes, s.seg.size)))), s.buf[:s.hi]...)
			s.buf = s.buf[:cap(s.buf)]
		}
		at := s.off + int64(s.hi)
		k := int(min(int64(len(s.buf)-s.hi), s.end-at))
		if err := readFull(s.file, s.seg.name, s.buf[s.hi:s.hi+k], at); err != nil {
			return nil, err
		}
		s.hi += k
	}
	return s.buf[s.lo : s.lo+n], nil
}

// tail is where the frames of the newest segment end.
type tail struct {
	last  uint64 // sequence of the last whole frame; one less than first when there is none
	at    int64  // its received_at
	end   int64  // offset after it
	loose int64  // bytes from there to the last one that is not zero
	mark  mark
	marks int // how many mark pages are in use; the next mark goes to page marks%2
}

// judgeTail walks to the last whole frame of the newest segment and judges
// what follows: zeros, and what a power cut left of the last group, are loose,
// anything else is a *Damage.
func judgeTail(s *scanner) (t tail, err error) {
	// The marks come first: beside a node that writes, later ones would speak of
	// frames that were not there yet.
	if err := t.readMarks(s.file, s.seg); err != nil {
		return t, err
	}
	for err == nil {
		_, err = s.next()
	}
	t.last, t.at, t.end = s.want-1, s.at, s.off
	var d *Damage
	if err == errEnd {
		d = &Damage{File: s.seg.name, Offset: t.end, Why: "no frame fits behind the last one"}
	} else if !errors.As(err, &d) {
		return t, err
	}
	if t.end < t.mark.end {
		d.Why += fmt.Sprintf(", and everything before offset %d was synced", t.mark.end)
		return t, d
	}
	if t.loose, err = looseBytes(s.file, s.seg, t.end); err != nil || t.loose == 0 {
		return t, err
	}
	later, err := findLater(s.file, s.seg, t)
	if err == nil && later > 0 {
		d.Why += fmt.Sprintf(", and a later group at offset %d is whole", later)
		err = d
	}
	return t, err
}

// readMarks finds the newest mark and which page it has.
func (t *tail) readMarks(f File, seg *segment) error {
	var p [markBytes]byte
	for page := range 2 {
		if err := readFull(f, seg.name, p[:], int64(1+page)*pageBytes); err != nil {
			return err
		}
		m, ok := decodeMark(p[:], seg.seed)
		if ok && (m.end > t.mark.end || m.end == t.mark.end && m.next > t.mark.next) {
			t.mark, t.marks = m, page+1
		}
	}
	return nil
}

// followed checks that the segment which a closed one names is there.
func (t *tail) followed(fs FS, dir string, seg *segment) error {
	if t.mark.next == 0 {
		return nil
	}
	name := segmentPath(dir, t.mark.next)
	f, err := fs.OpenFile(name, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return &Damage{File: name, Why: fmt.Sprintf("the file is missing; %s says that it was there", seg.name)}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// looseBytes counts the bytes from off to the last one in the file that is not zero.
func looseBytes(f File, seg *segment, off int64) (n int64, err error) {
	buf := make([]byte, min(scanBytes, seg.size-off))
	for at := off; at < seg.size; {
		p := buf[:min(int64(len(buf)), seg.size-at)]
		if err := readFull(f, seg.name, p, at); err != nil {
			return 0, err
		}
		for i := len(p) - 1; i >= 0; i-- {
			if p[i] != 0 {
				n = at + int64(i) + 1 - off
				break
			}
		}
		at += int64(len(p))
	}
	return n, nil
}

// findLater looks behind the last whole frame for one whose group began there
// too, and gives its offset, 0 for none. Such a group was written after
// everything before it had been synced. A whole frame right at the end counts
// as well: a torn write does not make one with the wrong sequence.
func findLater(f File, seg *segment, t tail) (int64, error) {
	p := make([]byte, seg.size-t.end)
	if err := readFull(f, seg.name, p, t.end); err != nil {
		return 0, err
	}
	most := t.last + uint64(len(p)/frameBytes) + 1
	for i := 0; int64(i) < t.loose && i+frameBytes <= len(p); i++ {
		q := p[i:]
		if seq := binary.LittleEndian.Uint64(q[8:]); seq <= t.last || seq > most {
			continue
		}
		if back := int64(binary.LittleEndian.Uint32(q[24:])); i > 0 && back >= int64(i) {
			continue
		}
		if _, _, ok := decodeFrame(q, seg.seed); ok {
			return t.end + int64(i), nil
		}
	}
	return 0, nil
}
