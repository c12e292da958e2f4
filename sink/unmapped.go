package sink

import (
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tallyhook/tallyhook/event"
)

// A record whose mapper cannot be asked gets a verdict all the same, so that the
// checkpoint moves on: parked, mapper_unavailable, with its raw request. Later
// it comes again in Batch.Waiting, is mapped, and its reports are decided with
// the rank that it had.
//
//	parked (mapper_unavailable) ──► whatever its reports come to, revision 2 of report 0, 1 of the others
//
// What a source sends meanwhile queues behind it, in its own stream: decided
// here, under the ledger's lock, whatever the mapper knew of it.

// putOff makes a record wait for its mapper.
func (w *work) putOff(c *claim, v *verdictRow) {
	w.putOffs = append(w.putOffs, unmappedRow{id: c.id, source: v.source, flags: c.flags & (event.FlagTest | event.FlagKeyed), receivedAt: c.at})
}

// comesAgain gives the events of b.Waiting, which stand first.
func comesAgain(events []event.Event) []event.Event {
	n := 0
	for n < len(events) && events[n].Again {
		n++
	}
	return events[:n]
}

// recordOf is the id of the record of an event.
func recordOf(id event.ID) event.ID {
	id.N = 0
	return id
}

// queue finds out which of the records that come again may be decided, and makes
// those fresh ones wait whose source has earlier ones that do. It gives the
// fresh events that are left: a record that waits has one.
func (w *work) queue(again, fresh []event.Event) ([]event.Event, error) {
	if w.oldest == 0 && !anyUnmapped(fresh) {
		return fresh, nil
	}
	w.unmapped, w.queued = map[event.ID]int{}, map[string]bool{}
	decided, err := w.inTurn(again)
	if err != nil {
		return nil, err
	}
	var sources []string
	for i := range fresh {
		if e := &fresh[i]; !e.IsCall && !slices.Contains(sources, e.Record.Source) {
			sources = append(sources, e.Record.Source)
		}
	}
	if len(sources) > 0 && w.oldest != 0 {
		tops, err := w.tx.lastUnmapped(w.b.Stream, sources)
		if err != nil {
			return nil, err
		}
		for i, s := range sources {
			w.queued[s] = tops[i] > decided[lane{w.b.Stream, s}]
		}
	}
	kept := 0
	for i := range fresh {
		e := &fresh[i]
		if !e.IsCall && e.Record.Flags&event.FlagPaused == 0 && w.standsBack(e) && e.ID.N > 0 {
			continue
		}
		if kept < i { // exchanged, not copied: the memory of each stays its own
			fresh[kept], fresh[i] = fresh[i], fresh[kept]
		}
		kept++
	}
	return fresh[:kept], nil
}

// anyUnmapped walks by index: an event is large, and this is done for each batch.
func anyUnmapped(events []event.Event) bool {
	for i := range events {
		if events[i].Report.Unmapped {
			return true
		}
	}
	return false
}

// lane is the records of one source in one stream: they keep their order.
type lane struct {
	stream uint32
	source string
}

// inTurn fills w.unmapped with the records that come again and have none before
// them that waits on, and gives the last of each lane. One that another node has
// decided meanwhile is not among them.
func (w *work) inTurn(again []event.Event) (decided map[lane]uint64, err error) {
	coming := map[lane][]uint64{}
	for i := range again {
		e := &again[i]
		k := lane{e.ID.Stream, e.Record.Source}
		if have := coming[k]; len(have) == 0 || have[len(have)-1] != e.ID.Seq {
			coming[k] = append(have, e.ID.Seq)
		}
	}
	decided = map[lane]uint64{}
	var ids []event.ID
	for k, seqs := range coming {
		waiting, err := w.tx.unmappedTo(k.stream, k.source, seqs[len(seqs)-1], len(seqs)+1)
		if err != nil {
			return nil, err
		}
		for _, seq := range waiting {
			for len(seqs) > 0 && seqs[0] < seq {
				seqs = seqs[1:] // decided meanwhile
			}
			if len(seqs) == 0 || seqs[0] != seq {
				break // seq waits on, and with it all behind it
			}
			ids = append(ids, event.ID{Stream: k.stream, Seq: seq})
			decided[k] = seq
			seqs = seqs[1:]
		}
	}
	return decided, w.tx.loadUnmapped(ids, w)
}

// standsBack makes a fresh event wait for its source's mapper, if it has to.
func (w *work) standsBack(e *event.Event) bool {
	r := &e.Report
	if w.queued[e.Record.Source] && !r.Unmapped {
		r.Reset()
		r.Unmapped, r.Invalid, r.Detail.Got = true, event.MapperUnavailable, "earlier postbacks wait for it"
		e.Fuel = 0
	}
	w.queued[e.Record.Source] = w.queued[e.Record.Source] || r.Unmapped
	return r.Unmapped
}

// reportAgain decides an event of b.Waiting, unless another node has.
func (w *work) reportAgain(e *event.Event) error {
	revision, waits := w.unmapped[recordOf(e.ID)]
	switch {
	case !waits:
		return nil
	case e.ID.N > 0:
		revision = 0
	default:
		w.mapped = append(w.mapped, e.ID)
		w.settled++
	}
	return w.report(e, revision)
}

func (t *sqliteTx) loadUnmapped(records []event.ID, w *work) error {
	for _, id := range records {
		err := t.rows(qUnmapped, func(r scanner) error {
			var revision int
			err := r.Scan(&revision)
			w.unmapped[id] = revision
			return err
		}, int64(id.Stream), int64(id.Seq))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *sqliteTx) unmappedTo(stream uint32, source string, seq uint64, limit int) (list []uint64, err error) {
	err = t.rows(qUnmappedTo, func(r scanner) error { return appendSeq(r, &list) }, source, int64(stream), int64(seq), int64(limit))
	return list, err
}

func appendSeq(r scanner, list *[]uint64) error {
	var seq uint64
	err := r.Scan(&seq)
	*list = append(*list, seq)
	return err
}

func (t *sqliteTx) lastUnmapped(stream uint32, sources []string) ([]uint64, error) {
	tops := make([]uint64, len(sources))
	for i, s := range sources {
		if err := t.rows(qLastUnmapped, func(r scanner) error { return r.Scan(&tops[i]) }, s, int64(stream)); err != nil {
			return nil, err
		}
	}
	return tops, nil
}

func (t *sqliteTx) flushUnmapped(w *work) error {
	for _, id := range w.mapped {
		if err := t.exec(qMapped, int64(id.Stream), int64(id.Seq)); err != nil {
			return err
		}
	}
	return insertUnmapped.run(t, len(w.putOffs), func(dst []any, i int) []any {
		u := &w.putOffs[i]
		return append(dst, int64(u.id.Stream), int64(u.id.Seq), u.source, int64(u.flags), u.receivedAt)
	})
}

func (t *postgresTx) loadUnmapped(records []event.ID, w *work) error {
	if len(records) == 0 {
		return nil
	}
	a := newArrays(len(records), 2, 0, 0)
	for _, id := range records {
		a.addInts(int64(id.Stream), int64(id.Seq))
	}
	return t.each(func(r scanner) error {
		var id event.ID
		var revision int
		err := r.Scan(&id.Stream, &id.Seq, &revision)
		w.unmapped[id] = revision
		return err
	}, pgUnmappedOf, a.ints[0], a.ints[1])
}

func (t *postgresTx) unmappedTo(stream uint32, source string, seq uint64, limit int) (list []uint64, err error) {
	err = t.each(func(r scanner) error { return appendSeq(r, &list) }, pgUnmappedTo, storable(source), int64(stream), int64(seq), int64(limit))
	return list, err
}

func (t *postgresTx) lastUnmapped(stream uint32, sources []string) ([]uint64, error) {
	tops := make([]uint64, len(sources))
	a := newArrays(len(sources), 0, 1, 0)
	for _, s := range sources {
		a.addTexts(s)
	}
	err := t.each(func(r scanner) error {
		var i int
		var top uint64
		err := r.Scan(&i, &top)
		tops[i-1] = top
		return err
	}, pgLastUnmapped, a.texts[0], int64(stream))
	return tops, err
}

func (t *postgresTx) queueUnmapped(q *pgx.Batch, w *work) {
	if len(w.mapped) > 0 {
		a := newArrays(len(w.mapped), 2, 0, 0)
		for _, id := range w.mapped {
			a.addInts(int64(id.Stream), int64(id.Seq))
		}
		q.Queue(pgMapped, a.ints[0], a.ints[1])
	}
	if len(w.putOffs) == 0 {
		return
	}
	a := newArrays(len(w.putOffs), 4, 1, 0)
	for i := range w.putOffs {
		u := &w.putOffs[i]
		a.addInts(int64(u.id.Stream), int64(u.id.Seq), int64(u.flags), u.receivedAt)
		a.addTexts(u.source)
	}
	q.Queue(pgUnmapped, a.ints[0], a.ints[1], a.texts[0], a.ints[2], a.ints[3])
}
