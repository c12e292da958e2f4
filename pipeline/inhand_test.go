package pipeline

import (
	"path/filepath"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// begun is a batch of records [first, first+n).
func begun(t *testing.T, first uint64, n int) *event.Batch {
	b := new(event.Batch)
	rec := event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Source: "s"})
	for i := range n {
		if err := b.Add(event.ID{Stream: 1, Seq: first + uint64(i)}, 1, rec); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func open(t *testing.T, path string) *InHand {
	h, err := OpenInHand(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// A process that dies on a record is simulated by taking a batch in hand and
// never saying done. The next one reads the file as a new process would.
func TestInHandFindsThePoisonRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in-hand")
	h := open(t, path)
	if h.limit() != 0 {
		t.Fatal("a fresh node takes records one by one")
	}
	h.take(0, begun(t, 1, 5).Records)
	h.done(0)
	h.take(1, begun(t, 6, 10).Records) // dies on 8, which nobody knows yet

	h = open(t, path)
	if h.limit() != 1 || h.Suspects() != 10 {
		t.Fatalf("limit %d, %d suspects", h.limit(), h.Suspects())
	}
	for seq := uint64(6); seq < 8; seq++ {
		b := begun(t, seq, 1)
		h.take(0, b.Records)
		if b.Records[0].Poison {
			t.Fatalf("record %d is called poison", seq)
		}
		h.done(0)
	}
	h.take(0, begun(t, 8, 1).Records) // dies, alone in hand

	h = open(t, path)
	b := begun(t, 8, 1)
	h.take(0, b.Records) // and again
	if b.Records[0].Poison {
		t.Fatal("a record is called poison after one death of its own")
	}

	h = open(t, path)
	b = begun(t, 8, 1)
	h.take(0, b.Records)
	if !b.Records[0].Poison {
		t.Fatal("the record that ended the process twice alone is to be parsed once more")
	}
	h.done(0)
	h.take(0, begun(t, 9, 1).Records)
	h.done(0)
	if h.limit() != 0 {
		t.Fatal("the rest is still taken one by one")
	}
}

// Marks of a journal that was wiped say nothing of the next one's records.
func TestInHandKnowsItsStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in-hand")
	open(t, path).write(0, span{first: 100, count: 1, deaths: 1, stream: 7})
	h, b := open(t, path), begun(t, 100, 1)
	h.take(0, b.Records)
	if b.Records[0].Poison || h.Suspects() != 0 {
		t.Fatalf("poison %v, %d suspects", b.Records[0].Poison, h.Suspects())
	}
}

func TestInHandDamagedFileKnowsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in-hand")
	h := open(t, path)
	h.write(0, span{first: 1, count: 1 << 31, deaths: 1})
	if h = open(t, path); h.limit() != 0 {
		t.Fatal("a span beyond any batch is believed")
	}
}

// Waiting records are no run of sequences. How often does the process die until
// the one that kills it is found?
func TestInHandOfABacklog(t *testing.T) {
	for _, gap := range []uint64{1, 10, 1000} {
		path := filepath.Join(t.TempDir(), "in-hand-waiting")
		var queue []event.Record
		for i := range 1000 {
			queue = append(queue, event.Record{ID: event.ID{Stream: 1, Seq: 1 + uint64(i)*gap}})
		}
		killer := queue[900].ID.Seq
		deaths := 0
	process:
		for deaths < 3000 && len(queue) > 0 {
			h, err := OpenInHand(path, true)
			if err != nil {
				t.Fatal(err)
			}
			for len(queue) > 0 {
				n := RetakenMax
				if l := h.limit(); l > 0 {
					n = l
				}
				b := append([]event.Record{}, queue[:min(n, len(queue))]...)
				h.take(0, b)
				for i := range b {
					if b[i].ID.Seq == killer && !b[i].Poison {
						deaths++
						h.Close()
						continue process
					}
				}
				h.done(0)
				queue = queue[len(b):]
			}
			h.Close()
		}
		if deaths > 3 || len(queue) > 0 {
			t.Errorf("gap %d between waiting records: the process dies %d times on one record", gap, deaths)
		}
	}
}
