package journal

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// The n-th operation of each kind fails, for every n there is. Nothing is
// acknowledged after that, and what was acknowledged before is there at the
// next start, with the disk as it is and as a power cut leaves it.
func TestFaults(t *testing.T) {
	for _, kind := range []string{"sync", "write", "short write", "rename", "syncdir", "remove"} {
		t.Run(kind, func(t *testing.T) {
			for n := 1; ; n++ {
				mem := crashable()
				hit, acked, sent := faulty(t, mem, kind, n)
				if !hit {
					if n < 3 {
						t.Fatalf("only %d operations", n-1)
					}
					t.Logf("%d operations", n-1)
					return
				}
				for _, disk := range []*vfs.MemFS{crashClone(mem, 0, nil), mem} {
					j, err := recovered(t, outage{fs: disk, acked: acked, sent: sent, committed: sent + 1})
					if err != nil {
						t.Fatalf("%s %d: reopen: %v", kind, n, err)
					}
					mustAppend(t, j, int(j.Status().Last)+1, 10, j.Status().Last+1)
					must(t, j.Close())
				}
			}
		})
	}
}

// faulty works with a journal until the n-th operation of a kind fails.
func faulty(t *testing.T, mem *vfs.MemFS, kind string, n int) (hit bool, acked, sent uint64) {
	var count, writers atomic.Int64
	fs := memFS{FS: mem, before: func(op, name string) error {
		if writers.Load() > 0 && strings.HasSuffix(name, ".seg") && (op == "write" || op == "sync") {
			t.Errorf("%s %d: %s of %s after the failure", kind, n, op, name)
		}
		if op != kind && (op != "write" || kind != "short write") {
			return nil
		}
		if count.Add(1) != int64(n) {
			return nil
		}
		if strings.HasSuffix(name, ".seg") && op != "remove" {
			writers.Add(1)
		}
		if kind == "short write" {
			return io.ErrShortWrite
		}
		return errorfs.ErrInjected
	}}
	cfg := powerConfig(fs)
	cfg.IdleAfter = time.Microsecond
	j, err := Open(cfg)
	if err != nil {
		return true, 0, 0
	}
	defer j.Close()
	for range 40 {
		over := writers.Load() > 0
		select {
		case <-j.Failed():
			over = true
		default:
		}
		sent++
		id, err := j.Append(record(int(sent), 2000))
		switch {
		case err == nil && over:
			t.Fatalf("%s %d: acknowledged %v after the failure", kind, n, id)
		case err == nil:
			acked = sent
			must(t, j.Commit(acked+1))
		case !errors.Is(err, ErrFailed):
			t.Fatalf("%s %d: %v, want ErrFailed", kind, n, err)
		}
		if err != nil {
			<-j.Failed() // closed, or this hangs
			wantErr(t, j.Err(), ErrFailed)
			sent--
			_, err := j.AppendAll([][]byte{{1}})
			wantErr(t, err, ErrFailed)
			sent++
			break
		}
	}
	return count.Load() >= int64(n), acked, sent
}

// slow is a disk whose syncs of segments wait for the test.
type slow struct {
	memFS
	began, go_ chan struct{}
	on         atomic.Bool
}

func newSlow() *slow {
	s := &slow{began: make(chan struct{}, 100), go_: make(chan struct{})}
	s.memFS = memFS{FS: crashable(), before: func(op, name string) error {
		if s.on.Load() && op == "sync" && strings.HasSuffix(name, ".seg") {
			s.began <- struct{}{}
			<-s.go_
		}
		return nil
	}}
	return s
}

// A full buffer makes appends wait, WaitMax at most, and loses nothing.
func TestBusy(t *testing.T) {
	s := newSlow()
	cfg := config(s)
	cfg.WaitMax, cfg.GroupBytesMax = 20*time.Millisecond, 2000
	j := open(t, cfg)
	s.on.Store(true)
	var all sync.WaitGroup
	var acked atomic.Int64
	add := func() {
		all.Go(func() {
			if _, err := j.Append(record(1, 900)); err != nil {
				t.Error(err)
			}
			acked.Add(1)
		})
	}
	add()
	<-s.began
	for n := 1; n <= 3; n++ { // the third one fills the buffer
		add()
		within(t, "appended", func() bool { j.in.mu.Lock(); defer j.in.mu.Unlock(); return j.in.records == n })
	}
	_, err := j.Append(record(2, 10))
	wantErr(t, err, ErrBusy)
	_, err = j.AppendAll([][]byte{record(2, 10), record(3, 10)})
	wantErr(t, err, ErrBusy)
	if acked.Load() != 0 {
		t.Fatal("acknowledged without a sync")
	}
	s.on.Store(false)
	close(s.go_)
	all.Wait()
	if got := contents(t, j); fmt.Sprint(got) != "[1 1 1 1]" {
		t.Fatalf("read %v", got)
	}
}
