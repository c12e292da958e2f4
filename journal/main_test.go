package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

func itoa(n int) string { return strconv.Itoa(n) }

// config is for journals of a few kilobytes, whose segments end soon.
func config(fs FS) Config {
	return Config{
		Dir: "/journal", StoreID: "store", NewStream: func() (uint32, error) { return 7, nil },
		SegmentBytes: 32 << 10, BytesMax: 64 << 20, FreeBytesMin: -1, BallastBytes: -1,
		RecordBytesMax: 8 << 10, IdleAfter: time.Hour, FS: fs,
	}
}

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	must(t, err)
	t.Cleanup(func() { j.Close() })
	return j
}

// record encodes a record whose body says which one it is and fills up to about n bytes.
func record(id, n int) []byte {
	body := make([]byte, max(n, 8))
	for i := range body {
		body[i] = byte(id + i)
	}
	binary.LittleEndian.PutUint64(body, uint64(id))
	return event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Source: "s", Body: body})
}

// bodyID checks a record made by record and says which one it is.
func bodyID(t testing.TB, r *event.Record) int {
	t.Helper()
	id := int(binary.LittleEndian.Uint64(r.Body))
	want := record(id, len(r.Body))
	if got := event.AppendRecord(nil, r); !bytes.Equal(got, want) {
		t.Fatalf("record %v: wrong bytes", r.ID)
	}
	return id
}

// readAll reads from sequence from to the end and calls f for each record.
func readAll(t testing.TB, j *Journal, from uint64, f func(*event.Record)) error {
	t.Helper()
	r, err := j.Reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	last, _ := j.Last()
	var b event.Batch
	for r.Position() <= last {
		b.Reset()
		if err := r.Next(context.Background(), &b); err != nil {
			return err
		}
		for i := range b.Records {
			f(&b.Records[i])
		}
	}
	return nil
}

// contents is what a journal holds: for each sequence from 1 on the id of the record.
func contents(t testing.TB, j *Journal) []int {
	t.Helper()
	var ids []int
	at := int64(0)
	must(t, readAll(t, j, 1, func(r *event.Record) {
		if r.ID.Seq != uint64(len(ids)+1) || r.ID.Stream != j.Stream() || r.ReceivedAt < at {
			t.Fatalf("record %v at %d follows record %d at %d", r.ID, r.ReceivedAt, len(ids), at)
		}
		at = r.ReceivedAt
		ids = append(ids, bodyID(t, r))
	}))
	return ids
}

// mustAppend appends a record and wants it to have the sequence seq.
func mustAppend(t testing.TB, j *Journal, id, n int, seq uint64) {
	t.Helper()
	got, err := j.Append(record(id, n))
	must(t, err)
	if want := (event.ID{Stream: j.Stream(), Seq: seq}); got != want {
		t.Fatalf("appended as %v, want %v", got, want)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// within fails the test unless f becomes true soon.
func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// clock is one that the test sets.
type clock struct{ micros atomic.Int64 }

func newClock(start time.Time) *clock { c := new(clock); c.micros.Store(start.UnixMicro()); return c }

func (c *clock) now() time.Time      { return time.UnixMicro(c.micros.Load()) }
func (c *clock) add(d time.Duration) { c.micros.Add(d.Microseconds()) }

// tidied returns when the keeper has looked after everything as it is now: it
// takes the second poke when it is through with the first.
func tidied(j *Journal) {
	for range 3 {
		j.keeper.poked <- struct{}{}
	}
}

// patch changes the bytes of a file in place.
func patch(t testing.TB, fs FS, name string, off int64, change func(p []byte), n int) {
	t.Helper()
	f, err := fs.OpenFile(name, 2)
	must(t, err)
	p := make([]byte, n)
	must(t, readFull(f, name, p, off))
	change(p)
	must(t, writeFull(f, p, off))
	must(t, f.Sync())
	must(t, f.Close())
}

// copyFiles makes a fresh crashable file system with the files of dir.
func copyFiles(t testing.TB, from FS, dir string) memFS {
	t.Helper()
	to := memFS{FS: crashable()}
	must(t, to.MkdirAll(dir))
	names, err := from.ReadDir(dir)
	must(t, err)
	for _, name := range names {
		path := fmt.Sprint(dir, "/", name)
		src, err := from.OpenFile(path, 0)
		must(t, err)
		n, err := src.Size()
		must(t, err)
		p := make([]byte, n)
		if _, err := src.ReadAt(p, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		must(t, src.Close())
		dst, err := to.OpenFile(path, 0x242) // read, write, create, truncate
		must(t, err)
		must(t, writeFull(dst, p, 0))
		must(t, dst.Sync())
		must(t, dst.Close())
	}
	must(t, to.SyncDir(dir))
	return to
}
