package sink

import (
	"context"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// ledgerDB is a backend of the ledger.
type ledgerDB interface {
	begin(ctx context.Context) (ledgerTx, error)
	close() error
}

// ledgerTx is one posting transaction. What it loads it puts into the working
// set, and never twice: a row that is there already may have been changed.
type ledgerTx interface {
	// start reads the counters, the stream's checkpoint and writer, and what the
	// other living streams have taken in. From here on nobody else posts.
	start(w *work) error
	loadIdentities(want []wantedIdentity, w *work) error
	loadCalls(nos []int64, w *work) error
	loadCallsByID(ids []string, w *work) error
	// loadNames fills w.named for names that will be looked up.
	loadNames(names []callName, w *work) error
	// loadWaiting fills w.waits with the parked events that wait for keys.
	loadWaiting(keys []event.CallKey, w *work) error
	// due gives up to limit parked events whose deadline has passed at time at.
	due(at int64, limit int, scan func(scanner) error) error
	// loadUnmapped fills w.unmapped with those of the records that still wait for
	// their mapper.
	loadUnmapped(records []event.ID, w *work) error
	// unmappedTo gives the sequences of the records of a stream and source that
	// wait, up to seq, the lowest first and limit at most.
	unmappedTo(stream uint32, source string, seq uint64, limit int) ([]uint64, error)
	// lastUnmapped gives for each source the highest sequence of the stream's
	// records that wait for its mapper, 0 when there is none.
	lastUnmapped(stream uint32, sources []string) ([]uint64, error)
	// recorded scans the verdicts of a stream's records from to to, by event and
	// revision.
	recorded(stream uint32, from, to uint64, scan func(scanner) error) error
	// changedCalls appends the names of calls changed after change from, by
	// rising change; false says that they are too many.
	changedCalls(from, to int64, dst []recentCall) ([]recentCall, bool, error)
	// between gives the event of the highest rank between two that set the value
	// of a call, or would have but for the second; nil when there is none.
	between(call int64, after, before event.Rank) (*standing, error)
	// breathe says, in long work between two statements, that this process
	// lives.
	breathe() error
	accountID(a account) (int64, error)
	// components gives the parts of a call's value by who told them.
	components(call int64) (map[idKey]event.Amount, error)
	// dayTotal gives what a source's events have added in a day.
	dayTotal(k dayKey) (event.Amount, error)
	// ruled scans up to limit held events of which people have decided, the
	// earliest decision first.
	ruled(limit int, scan func(scanner) error) error
	// currentGroup gives the id of a campaign's newest conversion group, group
	// one by its id.
	currentGroup(campaign string) (int64, error)
	group(id int64) (campaign, spec string, err error)
	// overdue gives up to limit calls whose deadline for converting is before at.
	overdue(at int64, limit int) ([]int64, error)
	lastConversion() (int64, error)
	currentRule(a assignment) (int64, error)
	rule(id int64, a *assignment) (text string, err error)
	// flush writes everything that w changed and moves the stream's checkpoint.
	flush(w *work) error
	commit() error
	rollback()
}

// scanner is the row of either driver.
type scanner interface{ Scan(dst ...any) error }

// wantedIdentity asks for an identity. A weak one can only be held by an event
// that was received between from and to.
type wantedIdentity struct {
	key      idKey
	from, to int64
}

// The columns that scanCall, scanWaiting and scanRecorded read.
const (
	callColumns = `c.no, c.call_id, coalesce(c.ref_id,''), coalesce(c.key,''), coalesce(c.network_ids,''), coalesce(c.caller,''),
  coalesce(c.started_at,0), coalesce(c.ended_at,0), coalesce(c.duration,-1), coalesce(c.campaign,''), coalesce(c.publisher,''), coalesce(c.buyer,''),
  coalesce(c.qualified,-1), c.ranks, c.change_seq, s.no IS NOT NULL, coalesce(s.currency,''), coalesce(s.value,0), coalesce(s.share,0), coalesce(s.status,''),
  coalesce(s.rule,0), coalesce(s.buyer_account,0), coalesce(s.publisher_account,0), coalesce(s.priced_by,0),
  coalesce(s.rank_at,0), coalesce(s.rank_stream,0), coalesce(s.rank_seq,0), coalesce(s.rank_n,0), coalesce(s.last_posting,0),
  coalesce(c.target,''), coalesce(c.convert_by,0), c.converts, coalesce(s.parts,0), coalesce(s.word,''), coalesce(s.share_currency,'')
FROM call c LEFT JOIN call_state s ON s.no = c.no `
	// what scanWaiting reads of a held event, and then of what was decided of it.
	ruledColumns = `p.stream, p.seq, p.n, p.identity, v.revision, v.source, v.received_at, coalesce(v.caller,''),
  v.mapper, v.fuel, v.peer, v.us_queue, v.us_map, v.us_match, v.report, coalesce(v.call, 0), d.release, d.value, d.actor
FROM ruling d JOIN held p ON p.stream = d.stream AND p.seq = d.seq AND p.n = d.n
JOIN verdict v ON v.stream = p.stream AND v.seq = p.seq AND v.n = p.n AND v.revision =
  (SELECT max(revision) FROM verdict w WHERE w.stream = p.stream AND w.seq = p.seq AND w.n = p.n) ORDER BY d.at, d.stream, d.seq, d.n `
	waitingColumns = `p.stream, p.seq, p.n, p.identity, v.revision, v.source, v.received_at, coalesce(v.caller,''),
  v.mapper, v.fuel, v.peer, v.us_queue, v.us_map, v.us_match, v.report
FROM parked p JOIN verdict v ON v.stream = p.stream AND v.seq = p.seq AND v.n = p.n AND v.revision =
  (SELECT max(revision) FROM verdict w WHERE w.stream = p.stream AND w.seq = p.seq AND w.n = p.n) `
	// The window is narrow: both ends are tellings of one event.
	qBetween = `SELECT received_at, stream, seq, n, kind, status, reason, coalesce(payout, 0), coalesce(value, 0), coalesce(report, '') FROM verdict
WHERE call = $1 AND final = 1 AND status IN ('booked', 'unchanged', 'unqualified', 'reversed', 'stale')
  AND (received_at, stream, seq, n) > ($2, $3, $4, $5) AND (received_at, stream, seq, n) < ($6, $7, $8, $9)
ORDER BY received_at DESC, stream DESC, seq DESC, n DESC LIMIT 1`
	recordedColumns = `seq, n, revision, change_seq, status, reason, coalesce(detail,''), strategy, candidates, coalesce(call,0), coalesce(call_id,''),
  coalesce(currency,''), coalesce(value,0), delta, share_delta FROM verdict `
)

func (w *work) scanCall(r scanner) error {
	c := new(callRow)
	s := &c.state
	var networks, status string
	var duration, qualified int64
	var ranks []byte
	err := r.Scan(&c.No, &c.CallID, &c.RefID, &c.Key, &networks, &c.Caller, &c.StartedAt, &c.EndedAt, &duration,
		&c.Campaign, &c.Publisher, &c.Buyer, &qualified, &ranks, &c.change, &c.hasState, &s.currency, (*int64)(&s.value), (*int64)(&s.share), &status,
		&s.rule, &s.buyerAccount, &s.publisherAccount, &s.pricedBy, &s.rank.At, &s.rank.ID.Stream, &s.rank.ID.Seq, &s.rank.ID.N, &s.lastPosting,
		&c.target, &c.convertBy, &c.converts, (*int64)(&s.parts), &s.word, &s.shareCurrency)
	if err != nil {
		return err
	}
	if _, known := w.calls[c.No]; known {
		return nil
	}
	if duration >= 0 {
		c.Duration = event.Seconds{N: int32(duration), OK: true}
	}
	switch qualified {
	case 1:
		c.Qualified = event.Yes
	case 0:
		c.Qualified = event.No
	}
	if networks != "" {
		if c.NetworkIDs, err = parseNetworks(networks); err != nil {
			return err
		}
	}
	if c.ranks, err = parseRanks(ranks); err != nil {
		return err
	}
	if c.hasState {
		if s.status, err = event.ParseStatus(status); err != nil {
			return err
		}
	}
	w.add(c)
	return nil
}

// hasIdentity takes a loaded identity unless this batch has it already.
func (w *work) hasIdentity(class byte, key []byte, i *identity) error {
	if len(key) != len(event.Digest{}) {
		return fmt.Errorf("identity of event %s has a key of %d bytes", i.id, len(key))
	}
	if k := keyOf(class, event.Digest(key)); w.ids[k] == nil {
		w.ids[k] = i
	}
	return nil
}

// scanStrong reads a row of the identity table.
func (w *work) scanStrong(r scanner) error {
	var key, money []byte
	i := &identity{stored: true}
	if err := r.Scan(&key, &i.id.Stream, &i.id.Seq, &i.id.N, &money, &i.receivedAt, &i.call, &i.reversedBy); err != nil {
		return err
	}
	if len(money) != len(i.money) {
		return fmt.Errorf("identity of event %s has %d bytes of money digest", i.id, len(money))
	}
	copy(i.money[:], money)
	return w.hasIdentity(classStrong, key, i)
}

// scanWaiting reads a parked or held event, and what follows it into more.
func (w *work) scanWaiting(r scanner, more ...any) (*waiting, error) {
	p := new(waiting)
	v := &p.v
	var key, report []byte
	err := r.Scan(append([]any{&p.id.Stream, &p.id.Seq, &p.id.N, &key, &v.v.Revision, &v.source, &v.receivedAt, &v.caller,
		&v.mapper, &v.fuel, &v.peer, &v.usQueue, &v.usMap, &v.usMatch, &report}, more...)...)
	if err != nil {
		return nil, err
	}
	if len(key) != len(idKey{}) {
		return nil, fmt.Errorf("parked event %s holds an identity of %d bytes", p.id, len(key))
	}
	p.key, p.at = idKey(key), v.receivedAt
	p.weak = p.key[0] == classWeak
	if p.r, err = event.ParseReportJSON(report); err != nil {
		p.r, p.broken = new(event.Report), event.ReportUnreadable
	} else if p.p = w.l.Policy(v.source); p.p == nil {
		p.broken = event.SourceUnknown
	}
	if p.p == nil {
		p.p = &event.Policy{Source: v.source}
	}
	v.kind, v.report = p.r.Kind, report
	v.duration, v.hasPayout, v.payout, v.currency = p.r.Duration, p.r.HasPayout, p.r.Payout.Amount, p.r.Payout.Currency
	return p, nil
}

// betweenArgs are the arguments of qBetween.
func betweenArgs(call int64, after, before event.Rank) []any {
	args := []any{call}
	for _, r := range []event.Rank{after, before} {
		args = append(args, r.At, int64(r.ID.Stream), int64(r.ID.Seq), int64(r.ID.N))
	}
	return args
}

func scanStanding(r scanner) (*standing, error) {
	s := new(standing)
	var kind, status, reason string
	var payout, value int64
	var report []byte
	if err := r.Scan(&s.rank.At, &s.rank.ID.Stream, &s.rank.ID.Seq, &s.rank.ID.N, &kind, &status, &reason, &payout, &value, &report); err != nil {
		return nil, err
	}
	s.price(kind == event.Reversal.String(), status, event.Reason(reason), event.Amount(payout), event.Amount(value))
	if parsed, err := event.ParseReportJSON(report); err == nil { // unreadable: it prices as nothing known
		s.pricedBy = parsed.PricedBy()
	}
	return s, nil
}

// price sets what an event says that its call is worth. value is what the call
// was worth afterwards: of one that came too late, or in the place of a repeat,
// that is another one's price, and its own is its payout.
func (s *standing) price(reversal bool, status string, reason event.Reason, payout, value event.Amount) {
	s.value = value
	if status == event.Stale.String() || reason == event.ToldFirst {
		s.value = payout
	} else {
		reversal = reversal || status == event.Reversed.String() || reason == event.ReversedOnArrival
	}
	switch {
	case reversal:
		s.value, s.status = 0, event.Reversed
	case s.value == 0:
		s.status = event.Unqualified
	default:
		s.status = event.Booked
	}
}

// prices reports whether a verdict of this batch is one that qBetween finds.
func (r *verdictRow) prices() bool {
	switch r.v.Status {
	case event.Booked, event.Unchanged, event.Unqualified, event.Reversed, event.Stale:
		return true
	}
	return false
}

func (r *verdictRow) standing() *standing {
	s := &standing{rank: event.Rank{At: r.receivedAt, ID: r.v.Event}}
	s.price(r.kind == event.Reversal, r.v.Status.String(), r.v.Reason, r.payout, r.v.Value)
	if parsed, err := event.ParseReportJSON(r.report); err == nil {
		s.pricedBy = parsed.PricedBy()
	}
	return s
}

// waitingFor gives the stored parked events that wait for the name k.
func (w *work) waitingFor(k event.CallKey) ([]*waiting, error) {
	list, known := w.waits[k]
	if known {
		return list, nil
	}
	if err := w.tx.loadWaiting([]event.CallKey{k}, w); err != nil {
		return nil, err
	}
	list = w.waits[k]
	return list, w.loadHeld(list)
}

// waitingUntil gives the parked events whose deadline has passed at time at.
func (w *work) waitingUntil(at int64, limit int) (list []*waiting, err error) {
	err = w.tx.due(at, limit, func(r scanner) error {
		p, err := w.scanWaiting(r)
		if err == nil && !w.done[p.id] {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, w.loadHeld(list)
}

// loadHeld loads the identities that parked events hold.
func (w *work) loadHeld(list []*waiting) error {
	var want []wantedIdentity
	for _, p := range list {
		want = append(want, wantedIdentity{p.key, p.at, p.at})
	}
	return w.tx.loadIdentities(want, w)
}

// recorded fills in the verdicts of events that an earlier transaction has
// decided already.
func (w *work) recorded(events []event.Event) error {
	if len(events) == 0 {
		return nil
	}
	byID := make(map[event.ID]*event.Event, len(events))
	var ids []string
	for i := range events {
		e := &events[i]
		if byID[e.ID] = e; e.IsCall {
			ids = append(ids, e.Call.CallID)
		}
	}
	if err := w.tx.loadCallsByID(ids, w); err != nil {
		return err
	}
	for i := range events {
		if e := &events[i]; e.IsCall && w.byID[e.Call.CallID] != nil {
			w.told = append(w.told, toldCall{e, w.byID[e.Call.CallID]})
		}
	}
	stream := events[0].ID.Stream
	err := w.tx.recorded(stream, events[0].ID.Seq, events[len(events)-1].ID.Seq, func(r scanner) error {
		v := event.Verdict{Event: event.ID{Stream: stream}}
		var status, reason, strategy, detail string
		if err := r.Scan(&v.Event.Seq, &v.Event.N, &v.Revision, &v.ChangeSeq, &status, &reason, &detail, &strategy, &v.Candidates,
			&v.CallNo, &v.CallID, &v.Currency, (*int64)(&v.Value), (*int64)(&v.Delta), (*int64)(&v.ShareDelta)); err != nil {
			return err
		}
		e := byID[v.Event]
		if e == nil {
			return nil
		}
		if err := v.Status.UnmarshalText([]byte(status)); err != nil {
			return err
		}
		if err := v.Strategy.UnmarshalText([]byte(strategy)); err != nil {
			return err
		}
		var err error
		v.Reason = event.Reason(reason)
		v.Detail, err = event.ParseDetail([]byte(detail))
		e.Verdict = v
		return err
	})
	if err != nil {
		return fmt.Errorf("verdicts recorded for stream %d from %d: %w", stream, events[0].ID.Seq, err)
	}
	return nil
}
