package journal

import (
	"errors"
	"fmt"
	"os"
)

// SegmentInfo describes one segment file.
type SegmentInfo struct {
	Name    string
	Stream  uint32
	First   uint64
	Last    uint64 // First-1 when the segment holds no record
	FirstAt int64  // received_at of the first record in microseconds, 0 for none
	LastAt  int64  // of the last one
	Bytes   int64  // size of the file
	Live    bool   // the newest one
}

// Report is the outcome of Verify.
type Report struct {
	Stream   uint32
	Store    string
	Segments int
	First    uint64 // oldest record that was read, or the one to come
	Last     uint64 // newest whole record, 0 for none
	Records  uint64 // found whole
	Bytes    int64  // of the files that were read
	Loose    int64  // bytes behind the newest record: not acknowledged, the next start cuts them
}

// List describes the segments in dir, oldest first. It reads only, and works
// beside a node that writes there.
func List(dir string) ([]SegmentInfo, error) { return list(OSFS{}, dir) }

func list(fs FS, dir string) ([]SegmentInfo, error) {
	_, segs, err := survey(fs, dir)
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	infos := make([]SegmentInfo, 0, len(segs))
	for i := range segs {
		seg := &segs[i]
		info := SegmentInfo{Name: seg.name, Stream: seg.stream, First: seg.first, Last: seg.first - 1, Bytes: seg.size, Live: i == len(segs)-1}
		err := look(fs, dir, seg, func(s *scanner) error {
			f, err := s.next()
			info.FirstAt = f.at
			if info.Live {
				var t tail
				t, err = settle(fs, dir, s)
				info.Last, info.LastAt = t.last, t.at
			}
			return err
		})
		if err == ErrTrimmed {
			continue // meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list journal: %w", err)
		}
		if !info.Live {
			info.Last, info.LastAt = segs[i+1].first-1, segs[i+1].floor
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Verify reads every frame in dir and checks all that can be checked. It
// reads only, and works beside a node that writes there. The first damage
// found is the error, a *Damage, and the report tells what was whole before
// it. progress, if not nil, is called now and then with the bytes read and the
// bytes there are.
func Verify(dir string, progress func(done, total int64)) (Report, error) {
	return verify(OSFS{}, dir, progress)
}

func verify(fs FS, dir string, progress func(done, total int64)) (r Report, err error) {
	m, segs, err := survey(fs, dir)
	if err != nil {
		return r, fmt.Errorf("verify journal: %w", err)
	}
	r = Report{Stream: m.stream, Store: m.store, First: segs[0].first}
	var total int64
	for i := range segs {
		total += segs[i].size
	}
	for i := range segs {
		err := look(fs, dir, &segs[i], func(s *scanner) error {
			if i == len(segs)-1 {
				return r.live(fs, dir, s)
			}
			return r.closed(s, segs[i+1].first, segs[i+1].floor)
		})
		if err == ErrTrimmed {
			continue // meanwhile
		}
		if err != nil {
			return r, fmt.Errorf("verify journal: %w", err)
		}
		if r.Segments == 0 {
			r.First = segs[i].first
		}
		r.Segments++
		r.Bytes += segs[i].size
		if progress != nil {
			progress(r.Bytes, total)
		}
	}
	return r, nil
}

// closed checks a segment that is followed by one which begins with next and
// knows when the record before it was received.
func (r *Report) closed(s *scanner, next uint64, floor int64) error {
	for s.want < next {
		f, err := s.next()
		if err == errEnd {
			return s.damage(fmt.Sprintf("record %d is missing", s.want))
		}
		if err != nil {
			return err
		}
		r.Records, r.Last = r.Records+1, f.seq
	}
	if s.at != floor {
		return s.damage("the segment after it was made when another record was the last one here")
	}
	return nil
}

// live checks the newest segment.
func (r *Report) live(fs FS, dir string, s *scanner) error {
	before := s.want
	t, err := settle(fs, dir, s)
	r.Records += s.want - before
	r.Last, r.Loose = s.want-1, t.loose
	return err
}

// settle is judgeTail beside a node that may be writing. A frame is seen half
// written then, or the frames behind it are read later than it was: damage is
// what is still there when it is looked at again.
func settle(fs FS, dir string, s *scanner) (tail, error) {
	for {
		t, err := judgeTail(s)
		if err == nil {
			return t, t.followed(fs, dir, s.seg)
		}
		s.lo, s.hi = 0, 0
		if _, again := s.next(); again != nil {
			return t, err
		}
	}
}

// survey reads meta and the segment headers. Segments may be trimmed between
// the listing and the reading; then it starts again.
func survey(fs FS, dir string) (m meta, segs []segment, err error) {
	if m, err = readMeta(fs, dir); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("there is no journal in %s; name the folder that holds its file %q", dir, metaName)
		}
		return m, nil, err
	}
	for range surveysMax {
		segs, err = loadSegments(fs, dir, m.stream)
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return m, segs, err
}

// surveysMax is how often survey begins anew: a folder that loses a segment
// each time is not one that a node keeps.
const surveysMax = 100

// look opens a segment to read it through. ErrTrimmed means that it is gone
// since the survey, and the oldest one there is comes after it.
func look(fs FS, dir string, seg *segment, f func(*scanner) error) error {
	file, err := fs.OpenFile(seg.name, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		if firsts, lerr := listSegments(fs, dir); lerr == nil && len(firsts) > 0 && firsts[0] > seg.first {
			return ErrTrimmed
		}
	}
	if err != nil {
		return err
	}
	err = f(newScanner(file, seg, seg.size))
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}
