package sink

import (
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// outcomes checks I6. The revisions of an event are numbered from 1 without a
// gap, the last is the one final one unless the event is parked or held; every
// posting was made by a call's upsert or by an event whose final verdict
// accepts a value and has the posting's deltas; and no verdict has a delta
// without its posting.
func (v *verifier) outcomes() (string, error) {
	if err := v.expect("verdict"); err != nil {
		return "", err
	}
	pruned, err := v.pruned()
	if err != nil {
		return "", err
	}
	w := revisionWalk{pruned: pruned}
	absent := int64(0) // whether a posting's verdict may be
	if pruned {
		absent = 1
	}
	return firstOf(
		func() (string, error) {
			return v.each(`SELECT stream, seq, n, revision, final, status, change_seq FROM verdict ORDER BY stream, seq, n, revision`, w.look)
		},
		func() (string, error) { return w.end(), nil },
		func() (string, error) {
			return v.none(`SELECT 'posting ' || p.no || ': event ' || p.stream || '-' || p.seq || '.' || p.n || CASE
    WHEN v.change_seq IS NULL THEN ', its cause, has no final verdict'
    ELSE ', its cause, ended ' || v.status || ' with deltas ' || v.delta || ' and ' || v.share_delta || ' against ' || p.delta || ' and ' || p.share_delta || ' (millionths)' END
FROM posting p LEFT JOIN verdict v ON v.stream = p.stream AND v.seq = p.seq AND v.n = p.n AND v.final = 1
WHERE p.cause <> 'call' AND CASE WHEN v.change_seq IS NULL THEN CAST($1 AS BIGINT) = 0
  ELSE v.status NOT IN ('booked', 'unchanged', 'unqualified', 'reversed') OR v.delta <> p.delta OR v.share_delta <> p.share_delta OR v.call IS DISTINCT FROM p.call END ORDER BY p.no LIMIT 1`, absent)
		},
		func() (string, error) {
			return v.none(`SELECT 'verdict ' || v.change_seq || ': event ' || v.stream || '-' || v.seq || '.' || v.n || ' changed a call by ' || v.delta || ' and ' || v.share_delta || ' millionths without a posting'
FROM verdict v WHERE (v.delta <> 0 OR v.share_delta <> 0) AND (v.final = 0 OR NOT EXISTS (
  SELECT 1 FROM posting p WHERE p.stream = v.stream AND p.seq = v.seq AND p.n = v.n AND p.cause <> 'call')) ORDER BY v.change_seq LIMIT 1`)
		})
}

// revisionWalk goes through the revisions of one event at a time.
type revisionWalk struct {
	pruned   bool
	id       event.ID
	revision int64
	final    bool
	status   string
	change   int64
}

func (w *revisionWalk) look(scan func(...any) error) (string, error) {
	r := revisionWalk{pruned: w.pruned}
	if err := scan(&r.id.Stream, &r.id.Seq, &r.id.N, &r.revision, &r.final, &r.status, &r.change); err != nil {
		return "", err
	}
	before := *w
	var fault string
	if r.id != w.id {
		fault = w.end()
		before = revisionWalk{}
		if w.pruned {
			before.revision = r.revision - 1
		}
	}
	*w = r
	s, err := event.ParseStatus(r.status)
	at := fmt.Sprintf("event %s: ", r.id)
	switch {
	case fault != "":
		return fault, nil
	case err != nil:
		return at + err.Error(), nil
	case r.revision != before.revision+1:
		return at + fmt.Sprintf("revision %d follows %d", r.revision, before.revision), nil
	case before.final:
		return at + fmt.Sprintf("revision %d follows the final one", r.revision), nil
	case r.final != s.Final():
		return at + fmt.Sprintf("revision %d is %s and has final = %v", r.revision, r.status, r.final), nil
	case r.change <= before.change:
		return at + fmt.Sprintf("revision %d was recorded as change %d, the one before as %d", r.revision, r.change, before.change), nil
	}
	return "", nil
}

// end looks at the last revision of the event that ends.
func (w *revisionWalk) end() string {
	if !w.id.IsZero() && !w.final && w.status != "parked" && w.status != "held" {
		return fmt.Sprintf("event %s: its last revision %d is not final", w.id, w.revision)
	}
	return ""
}

// order checks I7. change_seq has no gap; first verdicts lie in the order of
// their streams, below the stream's checkpoint; postings are numbered from 1
// without a gap, those made at once in the order of their streams.
func (v *verifier) order() (string, error) {
	for _, table := range []string{"verdict", "posting"} {
		if err := v.expect(table); err != nil {
			return "", err
		}
	}
	next := map[uint32]uint64{}
	_, err := v.each(`SELECT stream, next_seq FROM stream`, func(scan func(...any) error) (string, error) {
		var stream uint32
		var seq uint64
		err := scan(&stream, &seq)
		next[stream] = seq
		return "", err
	})
	if err != nil {
		return "", err
	}
	verdicts := orderWalk{name: "verdict", next: next, last: map[uint32]event.ID{}}
	postings := orderWalk{name: "posting", next: next, last: map[uint32]event.ID{}, fromOne: true}
	return firstOf(
		func() (string, error) {
			return v.each(`SELECT v.change_seq, v.stream, v.seq, v.n, v.revision = 1 AND NOT `+mappedLater+` FROM verdict v ORDER BY v.change_seq`, verdicts.look)
		},
		func() (string, error) {
			return v.each(`
SELECT p.no, p.stream, p.seq, p.n, p.cause = 'call' OR EXISTS (
  SELECT 1 FROM verdict v WHERE v.stream = p.stream AND v.seq = p.seq AND v.n = p.n AND v.revision = 1 AND v.final = 1 AND NOT `+mappedLater+`)
FROM posting p ORDER BY p.no`, postings.look)
		})
}

// mappedLater: the record's first report waited for its mapper, so this one,
// its second or a later one, is as late. The verdict that says so may have been
// pruned.
const mappedLater = `(v.n > 0 AND NOT EXISTS (SELECT 1 FROM verdict f WHERE f.stream = v.stream AND f.seq = v.seq AND f.n = 0 AND f.revision = 1
    AND NOT (f.reason = 'mapper_unavailable' AND f.status = 'parked')))`

// orderWalk follows numbers that rise by one, and the journals beside them.
type orderWalk struct {
	name    string
	fromOne bool
	next    map[uint32]uint64 // stream → checkpoint
	last    map[uint32]event.ID
	number  int64
}

func (w *orderWalk) look(scan func(...any) error) (string, error) {
	var number int64
	var id event.ID
	var atOnce bool // not after having waited
	if err := scan(&number, &id.Stream, &id.Seq, &id.N, &atOnce); err != nil {
		return "", err
	}
	before := w.number
	if before == 0 && !w.fromOne {
		before = number - 1 // what came earlier may have been pruned
	}
	w.number = number
	next, known := w.next[id.Stream]
	switch {
	case number != before+1:
		return fmt.Sprintf("%s %d follows %d: there is a gap", w.name, number, before), nil
	case !known:
		return fmt.Sprintf("%s %d: event %s is of a stream that this store never gave", w.name, number, id), nil
	case id.Seq >= next:
		return fmt.Sprintf("%s %d: event %s is not below its stream's checkpoint %d", w.name, number, id, next), nil
	case !atOnce:
		return "", nil
	}
	if last := w.last[id.Stream]; !last.Less(id) {
		return fmt.Sprintf("%s %d: event %s comes after event %s of the same journal", w.name, number, id, last), nil
	}
	w.last[id.Stream] = id
	return "", nil
}

// How long an event may stay parked beyond its deadline: by the newest record
// of its own journal, or of any journal. Clocks of different journals may
// differ, so the second bound is wide; it is for journals that went away.
const (
	overdueMax    = 5 * time.Minute
	overdueAnyMax = 24 * time.Hour
)

// waiting checks I9. Parked rows and events whose newest revision is parked
// are the same events, those apart that wait for their mapper and have a row of
// their own; names waited for belong to parked rows; and no deadline has passed
// long ago.
func (v *verifier) waiting() (string, error) {
	if err := v.expect("parked"); err != nil {
		return "", err
	}
	var newest int64
	if err := v.tx.QueryRowContext(v.ctx, `SELECT coalesce(max(received_at), 0) FROM stream`).Scan(&newest); err != nil {
		return "", err
	}
	return firstOf(
		func() (string, error) {
			return v.each(`
SELECT p.stream, p.seq, p.n, p.deadline, coalesce(s.received_at, 0), coalesce((
  SELECT v.status FROM verdict v WHERE v.stream = p.stream AND v.seq = p.seq AND v.n = p.n ORDER BY v.revision DESC LIMIT 1), 'nothing')
FROM parked p LEFT JOIN stream s ON s.stream = p.stream ORDER BY p.deadline`, func(scan func(...any) error) (string, error) {
				var id event.ID
				var deadline, own int64
				var status string
				if err := scan(&id.Stream, &id.Seq, &id.N, &deadline, &own, &status); err != nil {
					return "", err
				}
				late, lateAny := time.Duration(own-deadline)*time.Microsecond, time.Duration(newest-deadline)*time.Microsecond
				switch {
				case status != "parked":
					return fmt.Sprintf("parked %s: its newest verdict is %s", id, status), nil
				case late > overdueMax:
					return fmt.Sprintf("parked %s: its journal has gone on for %s beyond its deadline", id, late), nil
				case lateAny > overdueAnyMax:
					return fmt.Sprintf("parked %s: other journals have gone on for %s beyond its deadline", id, lateAny), nil
				}
				return "", nil
			})
		},
		func() (string, error) {
			return v.none(`SELECT 'verdict ' || v.change_seq || ': event ' || v.stream || '-' || v.seq || '.' || v.n || ' is parked and does not wait'
FROM verdict v WHERE v.status = 'parked'
  AND NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision)
  AND NOT EXISTS (SELECT 1 FROM parked p WHERE p.stream = v.stream AND p.seq = v.seq AND p.n = v.n)
  AND NOT EXISTS (SELECT 1 FROM unmapped u WHERE u.stream = v.stream AND u.seq = v.seq AND v.n = 0 AND v.reason = 'mapper_unavailable') ORDER BY v.change_seq LIMIT 1`)
		},
		func() (string, error) {
			return v.none(`SELECT 'unmapped ' || u.stream || '-' || u.seq || ': its newest verdict does not say that it waits for its mapper'
FROM unmapped u WHERE NOT EXISTS (SELECT 1 FROM verdict v WHERE v.stream = u.stream AND v.seq = u.seq AND v.n = 0 AND v.status = 'parked' AND v.reason = 'mapper_unavailable'
  AND NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = 0 AND w.revision > v.revision)) LIMIT 1`)
		},
		func() (string, error) {
			return v.none(`SELECT 'held ' || h.stream || '-' || h.seq || '.' || h.n || ': its newest verdict is not held'
FROM held h WHERE NOT EXISTS (SELECT 1 FROM verdict v WHERE v.stream = h.stream AND v.seq = h.seq AND v.n = h.n AND v.status = 'held'
  AND NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision)) LIMIT 1`)
		},
		func() (string, error) {
			return v.none(`SELECT 'verdict ' || v.change_seq || ': event ' || v.stream || '-' || v.seq || '.' || v.n || ' is held and nobody is asked'
FROM verdict v WHERE v.status = 'held'
  AND NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision)
  AND NOT EXISTS (SELECT 1 FROM held h WHERE h.stream = v.stream AND h.seq = v.seq AND h.n = v.n) ORDER BY v.change_seq LIMIT 1`)
		},
		func() (string, error) {
			return v.none(`SELECT 'call ' || c.no || ': it is said to be ' || c.converts || ' and its conversions to be ' || coalesce(sum(CASE k.outcome WHEN 'not_converted' THEN 1 ELSE 2 END), 0)
FROM call c LEFT JOIN conversion k ON k.call = c.no WHERE c.converts <> 0 OR k.no IS NOT NULL GROUP BY c.no, c.converts
HAVING c.converts <> coalesce(sum(CASE k.outcome WHEN 'not_converted' THEN 1 ELSE 2 END), 0) LIMIT 1`)
		},
		func() (string, error) {
			return v.none(`SELECT 'parked_key ' || k.hash || ': event ' || k.stream || '-' || k.seq || '.' || k.n || ' is not parked'
FROM parked_key k WHERE NOT EXISTS (SELECT 1 FROM parked p WHERE p.stream = k.stream AND p.seq = k.seq AND p.n = k.n) LIMIT 1`)
		})
}
