package event

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestBatchAdd(t *testing.T) {
	b := new(Batch)
	rec := AppendRecord(nil, someRecord())
	own := bytes.Clone(rec)
	for i := range uint64(3) {
		if err := b.Add(ID{Stream: 7, Seq: 40 + i}, int64(i), own); err != nil {
			t.Fatal(err)
		}
	}
	clear(own) // Add copies
	if b.Stream != 7 || b.First != 40 || b.Next != 43 || len(b.Records) != 3 {
		t.Errorf("stream %d, [%d, %d), %d records", b.Stream, b.First, b.Next, len(b.Records))
	}
	for i := range b.Records {
		r := &b.Records[i]
		if r.ID != (ID{Stream: 7, Seq: 40 + uint64(i)}) || r.ReceivedAt != int64(i) || !sameRecord(r, someRecord()) {
			t.Errorf("record %d: %+v", i, *r)
		}
	}
	if err := b.Add(ID{Stream: 7, Seq: 43}, 3, rec[:9]); err == nil {
		t.Error("a damaged record was added")
	}
	if b.Next != 43 || len(b.Records) != 3 {
		t.Errorf("after an error: next %d, %d records", b.Next, len(b.Records))
	}
	if err := b.Add(ID{Stream: 7, Seq: 44}, 3, rec); err != nil || b.Next != 45 || b.First != 40 {
		t.Errorf("after a gap: [%d, %d), %v", b.First, b.Next, err)
	}
}

// Views live until Reset, however much comes after them.
func TestBatchViewsLive(t *testing.T) {
	b := new(Batch)
	for round := range 3 {
		var views []string
		for i := 0; !b.Full(); i++ {
			text := fmt.Sprint(round, i, strings.Repeat("x", i*37%5000))
			views = append(views, View(b.Copy([]byte(text))))
			if err := b.Add(ID{Stream: 1, Seq: uint64(i)}, 1, AppendRecord(nil, &Record{Kind: RecordPostback, Query: text})); err != nil {
				t.Fatal(err)
			}
		}
		for i, view := range views {
			want := fmt.Sprint(round, i, strings.Repeat("x", i*37%5000))
			if view != want || b.Records[i].Query != want {
				t.Fatalf("round %d: view %d has changed", round, i)
			}
		}
		b.Reset()
		if poison && views[0][0] != 0xDB {
			t.Error("a view outlived Reset and does not show it")
		}
		if len(b.Records)+len(b.Events) > 0 || b.Full() || b.Next != 0 || b.First != 0 {
			t.Errorf("not empty after Reset: %d records, %d events", len(b.Records), len(b.Events))
		}
	}
}

func TestBatchAlloc(t *testing.T) {
	b := new(Batch)
	for _, n := range []int{0, 1, chunkBytes - 1, 1, 1, chunkBytes, 3 * chunkBytes, 10, chunkBytes + 1} {
		p := b.Alloc(n)
		if len(p) != n || cap(p) != n {
			t.Errorf("asked for %d bytes, got %d with room for %d", n, len(p), cap(p))
		}
		for i := range p {
			p[i] = 1
		}
	}
	b.Reset()
	first, second := b.Copy([]byte("first")), b.Copy([]byte("second"))
	_ = append(first, "over"...)
	if string(first) != "first" || string(second) != "second" {
		t.Errorf("%q and %q share bytes", first, second)
	}
}

func TestBatchFull(t *testing.T) {
	b := new(Batch)
	rec := AppendRecord(nil, &Record{Kind: RecordPostback})
	for i := range BatchRecordsMax {
		if b.Full() {
			t.Fatalf("full with %d records", i)
		}
		if err := b.Add(ID{Stream: 1, Seq: uint64(i)}, 1, rec); err != nil {
			t.Fatal(err)
		}
	}
	if !b.Full() {
		t.Errorf("not full with %d records", BatchRecordsMax)
	}
	b.Reset()
	if b.Alloc(BatchBytesMax - 1); b.Full() {
		t.Error("full one byte too early")
	}
	if b.Alloc(1); !b.Full() {
		t.Errorf("not full with %d bytes", BatchBytesMax)
	}
}

func TestBatchAllocatesNothing(t *testing.T) {
	b := new(Batch)
	rec := AppendRecord(nil, someRecord())
	run := func() {
		b.Reset()
		for i := range uint64(500) {
			if err := b.Add(ID{Stream: 1, Seq: i}, 1, rec); err != nil {
				t.Fatal(err)
			}
		}
		for i := range b.Records {
			e := b.NewEvent(&b.Records[i], 0)
			e.Report.Extra = append(e.Report.Extra, Pair{"a", "b"})
			e.Call.NetworkIDs = append(e.Call.NetworkIDs, Pair{"ringba", "n"})
			e.Hints = append(e.Hints, 1)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%g allocations per batch of 500", n)
	}
}

func TestBatchNewEvent(t *testing.T) {
	b := new(Batch)
	for range 2 {
		if err := b.Add(ID{Stream: 1, Seq: 5}, 9, AppendRecord(nil, someRecord())); err != nil {
			t.Fatal(err)
		}
		r := &b.Records[0]
		for n := range 3 {
			e := b.NewEvent(r, n)
			if e.ID != (ID{Stream: 1, Seq: 5, N: uint16(n)}) || e.Record != r {
				t.Errorf("event %d: %s of %p", n, e.ID, e.Record)
			}
			if e.IsCall || e.Policy != nil || e.Report.RefID != "" || len(e.Report.Extra) > 0 || len(e.Call.NetworkIDs) > 0 ||
				len(e.Hints) > 0 || !e.HintOwner.IsZero() || e.Verdict.Status != NoStatus || !e.Weak.IsZero() {
				t.Errorf("event %d is not empty: %+v", n, *e)
			}
			e.IsCall, e.Policy, e.Report.RefID, e.HintOwner, e.Verdict.Status, e.Weak[0] = true, new(Policy), "r", e.ID, Booked, 1
			e.Report.Extra, e.Call.NetworkIDs, e.Hints = append(e.Report.Extra, Pair{}), append(e.Call.NetworkIDs, Pair{}), append(e.Hints, 1)
		}
		b.Reset()
	}
}
