package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tallyhook/tallyhook/event"
)

// The files in testdata tell what happens to a journal. Commands:
//
//	open | close                    a node starts, ends
//	append n=3 size=100             three appends, a sync each
//	batch n=3 size=100              three records, one sync
//	unsynced n=1 size=100           a group that is written, and the sync never comes back
//	crash percent=50 seed=1         the power goes; so much of what is not synced stays
//	kill                            the process goes, the system and its memory stay
//	commit next=5 | trim hours=25   the ledger has it; time goes by
//	flip seg=1 off=100              one bit, off counts from the first frame (header: negative)
//	zero seg=1 off=0                the page that holds off
//	remove file=meta
//	read from=1 | list | verify
type story struct {
	cfg   Config
	mem   *vfs.MemFS
	j     *Journal
	clock *clock
	next  int
	power chan struct{} // closed when syncs have to stop
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{mem: crashable(), clock: newClock(time.Unix(1_800_000_000, 0))}
		s.plug()
		defer func() {
			if s.j != nil {
				s.j.Close()
			}
		}()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

// plug puts the disk in.
func (s *story) plug() {
	power := make(chan struct{})
	s.power = power
	s.cfg = config(memFS{FS: s.mem, before: func(op, name string) error {
		select {
		case <-power:
			if op == "sync" && strings.HasSuffix(name, ".seg") {
				return errors.New("power is gone")
			}
		default:
		}
		return nil
	}})
	s.cfg.Now = s.clock.now
	s.cfg.CheckFor = time.Hour
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	n, size, seg, off := 1, 100, 1, 0
	d.MaybeScanArgs(t, "n", &n)
	d.MaybeScanArgs(t, "size", &size)
	d.MaybeScanArgs(t, "seg", &seg)
	d.MaybeScanArgs(t, "off", &off)
	switch d.Cmd {
	case "open":
		j, err := Open(s.cfg)
		if err != nil {
			return err.Error()
		}
		s.j = j
		last, _ := j.Last()
		return fmt.Sprintf("stream %d, newest record %d", j.Stream(), last)
	case "close":
		err := s.j.Close()
		s.j = nil
		return say(err)
	case "append", "batch", "unsynced":
		return s.append(d.Cmd, n, size)
	case "crash":
		return s.crash(t, d)
	case "kill":
		s.j.Close() // after unsynced it touches nothing any more
		s.j = nil
		s.plug()
		return "ok"
	case "commit":
		return say(s.j.Commit(arg(t, d, "next")))
	case "trim":
		s.clock.add(time.Duration(arg(t, d, "hours")) * time.Hour)
		tidied(s.j)
		return "ok"
	case "flip":
		patch(t, s.cfg.FS, s.segment(t, seg), int64(dataStart+off), func(p []byte) { p[0] ^= 0x10 }, 1)
		return "ok"
	case "zero":
		page := int64(dataStart+off) / pageBytes * pageBytes
		patch(t, s.cfg.FS, s.segment(t, seg), page, func(p []byte) { clear(p) }, pageBytes)
		return "ok"
	case "remove":
		var file string
		d.ScanArgs(t, "file", &file)
		return say(s.cfg.FS.Remove(filepath.Join(s.cfg.Dir, file)))
	case "read":
		return s.read(t, arg(t, d, "from"))
	case "list":
		return s.list()
	case "verify":
		r, err := verify(s.cfg.FS, s.cfg.Dir, nil)
		out := fmt.Sprintf("stream %d of %s: %d segments, records %d to %d, %d whole, %d loose bytes",
			r.Stream, r.Store, r.Segments, r.First, r.Last, r.Records, r.Loose)
		if err != nil {
			out += "\n" + err.Error()
		}
		return out
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func say(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func arg(t *testing.T, d *datadriven.TestData, name string) (v uint64) {
	d.ScanArgs(t, name, &v)
	return v
}

func (s *story) append(how string, n, size int) string {
	var recs [][]byte
	for range n {
		s.next++
		recs = append(recs, record(s.next, size))
	}
	if how == "unsynced" {
		close(s.power)
	}
	if how != "append" {
		return s.report(s.j.AppendAll(recs))
	}
	var out string
	for _, rec := range recs {
		out = s.report(s.j.Append(rec))
	}
	return out
}

func (s *story) report(id event.ID, err error) string {
	s.clock.add(time.Second)
	if err != nil {
		return err.Error()
	}
	last, _ := s.j.Last()
	return fmt.Sprintf("%v, newest record %d", id, last)
}

func (s *story) crash(t *testing.T, d *datadriven.TestData) string {
	percent, seed := 0, 1
	d.MaybeScanArgs(t, "percent", &percent)
	d.MaybeScanArgs(t, "seed", &seed)
	left := crashClone(s.mem, percent, rand.New(rand.NewPCG(uint64(seed), 0)))
	s.j.Close()
	s.j, s.mem = nil, left
	s.plug()
	return "ok"
}

func (s *story) segment(t *testing.T, n int) string {
	firsts, err := listSegments(s.cfg.FS, s.cfg.Dir)
	must(t, err)
	return segmentPath(s.cfg.Dir, firsts[n-1])
}

func (s *story) read(t *testing.T, from uint64) string {
	first, last := uint64(0), uint64(0)
	err := readAll(t, s.j, from, func(r *event.Record) {
		bodyID(t, r)
		if first == 0 {
			first = r.ID.Seq
		}
		last = r.ID.Seq
	})
	out := fmt.Sprintf("records %d to %d", first, last)
	if err != nil {
		out += "\n" + err.Error()
	}
	return out
}

func (s *story) list() string {
	infos, err := list(s.cfg.FS, s.cfg.Dir)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, i := range infos {
		fmt.Fprintf(&out, "%s records %d to %d, %v", filepath.Base(i.Name), i.First, i.Last, time.UnixMicro(i.LastAt).Sub(time.UnixMicro(i.FirstAt)))
		if i.Live {
			out.WriteString(", live")
		}
		out.WriteByte('\n')
	}
	return out.String()
}
