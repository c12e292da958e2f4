package sink_test

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallyhook/tallyhook/event"
)

// TestLedgerModel plays random histories into the ledger and the model: calls
// told in pieces and out of order, prices, repeats, zeros, reversals with and
// without their conversion, time that passes, journals that are replaced while
// the clock steps back; cut into batches at random. Everything must agree.
func TestLedgerModel(t *testing.T) {
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				h := open(t)
				defer h.close()
				h.assign("c", "p0", "percent 80")
				h.assign("c", "p1", "*0.8")
				m := newModel()
				steps := rapid.IntRange(1, 60).Draw(rt, "steps")
				var list []told
				flush := func() {
					if len(list) > 0 {
						h.post(list...)
						m.expire(h.now)
						list = nil
					}
				}
				for range steps {
					step(rt, h, m, &list, flush)
				}
				flush()
				agree(rt, h, m)
			})
		})
	}
}

// step draws one thing that happens.
func step(rt *rapid.T, h *harness, m *model, list *[]told, flush func()) {
	id := event.ID{Stream: h.stream, Seq: h.seq + uint64(len(*list))}
	call := fmt.Sprint("call", rapid.IntRange(0, 3).Draw(rt, "call"))
	switch rapid.SampledFrom([]string{"call", "price", "price", "price", "strong", "strong", "reversal", "wait", "cut", "tick", "wiped"}).Draw(rt, "what") {
	case "call":
		c := event.Call{CallID: call, RefID: call}
		if rapid.Bool().Draw(rt, "has buyer") {
			c.Buyer = rapid.SampledFrom([]string{"b0", "b1"}).Draw(rt, "buyer")
		}
		if rapid.Bool().Draw(rt, "has publisher") {
			c.Campaign, c.Publisher = "c", rapid.SampledFrom([]string{"p0", "p1"}).Draw(rt, "publisher")
		}
		c.Qualified = rapid.SampledFrom([]event.Tri{event.Unknown, event.Unknown, event.Yes, event.No}).Draw(rt, "qualified")
		*list = append(*list, callOf(c))
		m.upsert(event.Rank{At: h.now, ID: id}, &c)
	case "price", "strong", "reversal":
		e := &modelEvent{id: id, at: h.now, ref: call}
		e.amount = event.Amount(rapid.SampledFrom([]int64{0, 0, 50_000_000, 60_000_000, 1, 33_333_333}).Draw(rt, "amount"))
		if kind := rapid.IntRange(0, 5).Draw(rt, "kind"); kind < 3 {
			e.strong = fmt.Sprint("t", kind)
			if rapid.IntRange(0, 2).Draw(rt, "reversal") == 0 {
				e.kind, e.amount = event.Reversal, 0
			}
		}
		p := pays(e.amount.String(), event.Report{RefID: call, Kind: e.kind})
		*list = append(*list, p.strong(e.strong))
		m.report(e)
	case "wait":
		flush() // a batch of this harness has one time
		h.now += rapid.SampledFrom([]int64{second, 8 * minute, 16 * minute, 3 * hour}).Draw(rt, "wait")
	case "cut":
		flush()
	case "tick":
		flush()
		h.tick()
		m.expire(h.now)
	case "wiped":
		flush()
		h.wipe()
		h.now -= rapid.SampledFrom([]int64{0, 5 * minute, hour}).Draw(rt, "clock steps back")
	}
}

// agree compares everything that can be seen of both.
func agree(rt interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, h *harness, m *model) {
	for id, c := range m.calls {
		v, s, status := h.value(id)
		want := c.value.String()
		wantShare := c.share().String()
		if c.status == "" {
			want, wantShare = "", ""
		}
		if v != want || s != wantShare || status != c.status {
			rt.Fatalf("call %s: value %s share %s %s, model has %s %s %s", id, v, s, status, want, wantShare, c.status)
		}
	}
	got := map[event.ID][]string{}
	rows, err := h.db.Read.Query(`SELECT stream, seq, n, status FROM verdict ORDER BY change_seq`)
	if err != nil {
		rt.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id event.ID
		var status string
		if err := rows.Scan(&id.Stream, &id.Seq, &id.N, &status); err != nil {
			rt.Fatal(err)
		}
		got[id] = append(got[id], status)
	}
	if !maps.EqualFunc(got, m.log, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		rt.Fatalf("verdicts\n%v\nmodel has\n%v", got, m.log)
	}
	if balances := h.balances(); !maps.Equal(balances, m.balances()) {
		rt.Fatalf("balances %v, model has %v", balances, m.balances())
	}
	h.verify()
}

// balances reads buyers' and publishers' balances that are not zero.
func (h *harness) balances() map[string]event.Amount {
	rows, err := h.db.Read.Query(`SELECT substr(a.kind, 1, 1) || ' ' || a.owner, CASE a.kind WHEN 'buyer_receivable' THEN b.debits - b.credits ELSE b.credits - b.debits END
		FROM account a JOIN balance b ON b.account = a.id WHERE a.owner <> '' AND b.debits <> b.credits`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	sums := map[string]event.Amount{}
	for rows.Next() {
		var owner string
		var v int64
		if err := rows.Scan(&owner, &v); err != nil {
			h.t.Fatal(err)
		}
		sums[owner] = event.Amount(v)
	}
	return sums
}

// parked counts the events that wait.
func (h *harness) parked() (n int) {
	if err := h.db.Read.QueryRow(`SELECT count(*) FROM parked`).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// TestLedgerOrders plays every sequence, up to a length, of what can happen to
// one call, each on a call of its own, and compares with the model. The length
// is 4, or LEDGER_ORDERS.
func TestLedgerOrders(t *testing.T) {
	most := 4
	if s := os.Getenv("LEDGER_ORDERS"); s != "" {
		var err error
		if most, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	type act struct {
		kind   event.Kind
		strong string
		amount event.Amount
		call   bool
	}
	acts := []act{
		{strong: "t", amount: 50 * event.Unit}, // convert, then its repeat
		{strong: "t", amount: 51 * event.Unit}, // conflict
		{strong: "u", amount: 60 * event.Unit}, // re-price, or reinstate
		{amount: 70 * event.Unit},              // re-price without an id
		{},                                     // the buyer says zero
		{strong: "t", kind: event.Reversal},    // reversal, or reversal first
		{call: true},                           // the call itself
	}
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			h, m := open(t), newModel()
			h.assign("c", "p0", "percent 80")
			var list []told
			sequences := 0
			var play func(prefix []act)
			play = func(prefix []act) {
				if len(prefix) == most {
					call := fmt.Sprint("call", sequences)
					sequences++
					for _, a := range prefix {
						id := event.ID{Stream: h.stream, Seq: h.seq + uint64(len(list))}
						if a.call {
							c := event.Call{CallID: call, RefID: call, Campaign: "c", Publisher: "p0", Buyer: "b0"}
							list = append(list, callOf(c))
							m.upsert(event.Rank{At: h.now, ID: id}, &c)
							continue
						}
						e := &modelEvent{id: id, at: h.now, ref: call, kind: a.kind, amount: a.amount}
						if a.strong != "" {
							e.strong = call + a.strong
						}
						list = append(list, pays(a.amount.String(), event.Report{RefID: call, Kind: a.kind}).strong(e.strong))
						m.report(e)
					}
					if len(list) > 700 {
						h.post(list...)
						list = nil
						h.now += second
					}
					return
				}
				for _, a := range acts {
					play(append(prefix[:len(prefix):len(prefix)], a))
				}
			}
			play(nil)
			h.post(list...)
			h.now += hour
			h.tick()
			for h.parked() > 0 {
				h.tick()
			}
			m.expire(h.now)
			t.Logf("%d sequences of %d", sequences, most)
			agree(t, h, m)
		})
	}
}
