package sink_test

import (
	"fmt"
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// model is the ledger's rules once more, in maps, for reports that name their
// call by ref_id. It knows nothing of batches, streams of SQL or caches.
type model struct {
	calls  map[string]*modelCall
	ids    map[string]*modelID   // strong ones
	weak   map[string][]*modelID // all that hold one, in the order in which they took it
	parked []*modelEvent
	log    map[event.ID][]string // statuses that each event went through
}

type modelCall struct {
	exists    bool
	set       map[string]event.Rank // field → rank of who set it
	buyer     string
	publisher string // with its campaign
	qualified event.Tri
	value     event.Amount
	status    string // "" nothing accepted yet
	rank      event.Rank
	by        *modelEvent             // whose price it is
	told      []modelPrice            // every price, also those that came too late
	money     map[string]event.Amount // owner of an account → what the call has on it
}

type modelPrice struct {
	by     *modelEvent
	value  event.Amount
	status string
}

type modelID struct {
	by         *modelEvent // nil: only its reversal came
	money      string
	at         int64
	call       string
	reversedBy bool
}

type modelEvent struct {
	id       event.ID
	at       int64
	strong   string // "" weak
	kind     event.Kind
	ref      string // call's id, or "" for a reversal that names none
	amount   event.Amount
	deadline int64
}

func newModel() *model {
	return &model{calls: map[string]*modelCall{}, ids: map[string]*modelID{}, weak: map[string][]*modelID{}, log: map[event.ID][]string{}}
}

func (m *model) call(id string) *modelCall {
	if m.calls[id] == nil {
		m.calls[id] = &modelCall{set: map[string]event.Rank{}, money: map[string]event.Amount{}}
	}
	return m.calls[id]
}

func (e *modelEvent) rank() event.Rank { return event.Rank{At: e.at, ID: e.id} }

func (e *modelEvent) money() string { return fmt.Sprintf("%s/%s", e.kind, e.amount) }

func (e *modelEvent) key() string {
	if e.strong != "" {
		return fmt.Sprintf("strong/%s/%s", e.kind, e.strong)
	}
	return fmt.Sprintf("weak/%s/%s/%s", e.kind, e.ref, e.amount)
}

// upsert is one telling of a call.
func (m *model) upsert(rank event.Rank, up *event.Call) {
	c := m.call(up.CallID)
	c.exists = true
	for _, f := range []struct {
		name    string
		present bool
		set     func()
	}{
		{"ref", true, func() {}},
		{"buyer", up.Buyer != "", func() { c.buyer = up.Buyer }},
		{"publisher", up.Publisher != "", func() { c.publisher = up.Publisher }},
		{"qualified", up.Qualified != event.Unknown, func() { c.qualified = up.Qualified }},
	} {
		if was, ok := c.set[f.name]; f.present && (!ok || !rank.Less(was)) {
			c.set[f.name] = rank
			f.set()
		}
	}
	if c.status != "" {
		c.rebook(c.buyer)
	}
	var waits []*modelEvent
	for _, e := range m.parked {
		if e.ref == up.CallID {
			waits = append(waits, e)
		}
	}
	slices.SortFunc(waits, func(a, b *modelEvent) int {
		if a.rank().Less(b.rank()) {
			return -1
		}
		return 1
	})
	for _, e := range waits {
		m.unpark(e)
		m.say(e, m.settle(e))
	}
}

func (m *model) unpark(e *modelEvent) {
	m.parked = slices.DeleteFunc(m.parked, func(p *modelEvent) bool { return p == e })
}

func (m *model) say(e *modelEvent, status string) { m.log[e.id] = append(m.log[e.id], status) }

// report is one postback.
func (m *model) report(e *modelEvent) {
	m.say(e, m.judge(e))
}

func (m *model) judge(e *modelEvent) string {
	if held := m.holder(e); held != nil {
		if held.money != e.money() {
			return "conflict"
		}
		if c := m.calls[held.call]; c != nil && c.by == held.by && e.rank().Less(c.rank) {
			return m.toldFirst(e, c, held)
		}
		return "duplicate"
	}
	if e.kind == event.Reversal && e.strong != "" {
		conversion := fmt.Sprintf("strong/%s/%s", event.Conversion, e.strong)
		if m.ids[conversion] == nil {
			m.ids[conversion] = &modelID{}
		}
		id, of := m.hold(e), m.ids[conversion]
		of.reversedBy = true
		if of.call == "" {
			return "reversed"
		}
		verdict := m.assign(e, of.call)
		if verdict != "stale" {
			id.call = of.call
		}
		return verdict
	}
	return m.settle(e)
}

// holder is who holds e's identity: of several that a clock which was put back
// has left, the latest within the window.
func (m *model) holder(e *modelEvent) *modelID {
	if e.strong != "" {
		if held := m.ids[e.key()]; held != nil && held.by != nil {
			return held
		}
		return nil
	}
	for _, held := range slices.Backward(m.weak[e.key()]) {
		if max(e.at-held.at, held.at-e.at) <= event.DefaultDedupeWindow.Microseconds() {
			return held
		}
	}
	return nil
}

// toldFirst puts e in the place of its repeat, on which the call's price stands.
func (m *model) toldFirst(e *modelEvent, c *modelCall, held *modelID) string {
	var last *modelPrice
	for i, p := range c.told {
		if e.rank().Less(p.by.rank()) && p.by.rank().Less(c.rank) && (last == nil || last.by.rank().Less(p.by.rank())) {
			last = &c.told[i]
		}
	}
	if e.strong != "" {
		held.by, held.at = e, e.at
	} else {
		m.hold(e).call = held.call
	}
	c.told = append(c.told, e.price())
	if last == nil {
		c.by, c.rank = e, e.rank()
		return "unchanged"
	}
	c.by, c.rank = last.by, last.by.rank()
	if last.value == c.value && last.status == c.status {
		return "unchanged"
	}
	c.value, c.status = last.value, last.status
	buyer := c.buyer
	if buyer == "" {
		buyer = "source:s"
	}
	c.rebook(buyer)
	return c.status
}

// price is what e says by itself.
func (e *modelEvent) price() modelPrice {
	switch {
	case e.kind == event.Reversal:
		return modelPrice{e, 0, "reversed"}
	case e.amount == 0:
		return modelPrice{e, 0, "unqualified"}
	}
	return modelPrice{e, e.amount, "booked"}
}

func (m *model) hold(e *modelEvent) *modelID {
	if e.strong == "" {
		list := slices.DeleteFunc(m.weak[e.key()], func(id *modelID) bool { return id.by == e })
		id := &modelID{by: e, money: e.money(), at: e.at}
		m.weak[e.key()] = append(list, id)
		return id
	}
	id := m.ids[e.key()]
	if id == nil {
		id = &modelID{}
		m.ids[e.key()] = id
	}
	id.by, id.money, id.at = e, e.money(), e.at
	return id
}

func (m *model) settle(e *modelEvent) string {
	id := m.hold(e)
	if e.ref == "" || !m.call(e.ref).exists {
		e.deadline = e.at + event.DefaultParkFor.Microseconds()
		m.parked = append(m.parked, e)
		return "parked"
	}
	verdict := m.assign(e, e.ref)
	if verdict != "stale" || e.strong == "" { // the log itself says which call a weak one was about
		id.call = e.ref
	}
	return verdict
}

func (m *model) assign(e *modelEvent, call string) string {
	c, value, status := m.call(call), e.amount, "booked"
	switch {
	case e.kind == event.Reversal:
		value, status = 0, "reversed"
	case e.strong != "" && m.ids[e.key()].reversedBy:
		value, status = 0, "reversed"
	case value == 0:
		status = "unqualified"
	}
	named := e.kind == event.Reversal && e.strong != "" && c.by != nil && m.ids[fmt.Sprintf("strong/%s/%s", event.Conversion, e.strong)].by == c.by
	if c.status != "" && e.rank().Less(c.rank) && !named {
		c.told = append(c.told, e.price())
		return "stale"
	}
	c.told = append(c.told, modelPrice{e, value, status})
	verdict := status
	if c.status == status && c.value == value {
		verdict = "unchanged"
	}
	c.value, c.status, c.rank, c.by = value, status, e.rank(), e
	buyer := c.buyer
	if buyer == "" {
		buyer = "source:s"
	}
	c.rebook(buyer)
	return verdict
}

// rebook puts the call's money where it belongs. buyer "" keeps who owed so far.
func (c *modelCall) rebook(buyer string) {
	if buyer == "" {
		for owner, v := range c.money {
			if v != 0 && owner[0] == 'b' {
				buyer = owner[2:]
			}
		}
	}
	clear(c.money)
	c.money["b "+buyer] = c.value
	if share := c.share(); share != 0 {
		c.money["p "+c.publisher] = share
	}
}

// share is 80 % of the value, for publishers whose name says a campaign.
func (c *modelCall) share() event.Amount {
	if c.status != "booked" || c.publisher == "" || c.qualified == event.No {
		return 0
	}
	v, _ := c.value.MulDiv(8, 10)
	return v
}

// expire ends what has waited long enough.
func (m *model) expire(now int64) {
	for _, e := range slices.Clone(m.parked) {
		if e.deadline <= now {
			m.unpark(e)
			m.say(e, "unmatched")
			m.weak[e.key()] = slices.DeleteFunc(m.weak[e.key()], func(id *modelID) bool { return id.by == e })
			if id := m.ids[e.key()]; id != nil && id.by == e { // else another has it since
				id.by = nil
				if !id.reversedBy {
					delete(m.ids, e.key())
				}
			}
		}
	}
}

// balances sums what every call has on every account.
func (m *model) balances() map[string]event.Amount {
	sums := map[string]event.Amount{}
	for _, c := range m.calls {
		for owner, v := range c.money {
			if v != 0 {
				sums[owner] += v
			}
		}
	}
	for owner, v := range sums {
		if v == 0 {
			delete(sums, owner)
		}
	}
	return sums
}
