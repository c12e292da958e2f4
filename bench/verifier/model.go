package verifier

import (
	"cmp"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// The model is what the ledger should hold, said as plainly as possible: maps,
// and one event after another in the order in which the ledger took them. It
// shares no code with the product and knows none of its types. Amounts are
// millionths.
//
//   - A postback sets its call's value, unless one that was received later has
//     set it already: then it is stale. The publisher's share follows from the
//     whole value by the rule of campaign and publisher, and is nothing when
//     the value is.
//   - What the same source has said within the window is a repeat and does
//     nothing, whatever was said in between. What could not be read does not
//     count as said; what waits for its call does.
//   - A postback for a call that is not known sets nothing.
//
// On one node the ledger takes events as they were received. Several nodes
// bring theirs when they can: one that was away brings old ones late.

type modelCall struct {
	campaign, publisher, buyer string

	valued, qualified bool
	value, share      int64
	rank              rank    // of the event that set the value
	told              []price // every price, also those that came too late
}

type price struct {
	rank  rank
	value int64
}

// rank orders events: the later received, the greater.
type rank struct {
	at     time.Time
	stream uint32
	seq    uint64
	n      uint16
}

func (r rank) compare(o rank) int {
	return cmp.Or(r.at.Compare(o.at), cmp.Compare(r.stream, o.stream), cmp.Compare(r.seq, o.seq), cmp.Compare(r.n, o.n))
}

type modelEvent struct {
	rank
	source   string
	content  string // all that it says, as one text
	call     string // which call it is about, "" for one that nobody knows
	payout   int64
	readable bool
}

// account is a balance's name, as the ledger has it.
type account struct{ kind, owner string }

type model struct {
	window time.Duration
	rule   func(campaign, publisher string) string
	calls  map[string]*modelCall
	said   map[string]rank // source and content → who told it
}

func newModel(window time.Duration, rule func(campaign, publisher string) string) *model {
	return &model{window: window, rule: rule, calls: map[string]*modelCall{}, said: map[string]rank{}}
}

// apply takes the next event, which is heard and decided at once, and gives the
// verdict that it must get.
func (m *model) apply(e modelEvent) string {
	if first := m.hear(e); first != "" {
		return first
	}
	return m.decide(e)
}

// hear takes an event in. It gives the verdict of one that ends there, and ""
// for one that is to be decided, now or when its call comes.
func (m *model) hear(e modelEvent) string {
	if !e.readable {
		return "invalid"
	}
	key := e.key()
	if first, ok := m.said[key]; ok && e.at.Sub(first.at).Abs() < m.window {
		if c := m.calls[e.call]; c != nil && c.valued && c.rank == first && e.rank.compare(first) < 0 {
			return m.toldFirst(e, c)
		}
		return "duplicate"
	}
	m.said[key] = e.rank
	return ""
}

func (e modelEvent) key() string { return e.source + "\x00" + e.content }

// toldFirst puts e in the place of its repeat, which was received later, was
// booked before it, and is what the call's value stands on. What came between
// the two counts again.
func (m *model) toldFirst(e modelEvent, c *modelCall) string {
	last := price{rank: e.rank, value: e.payout}
	for _, p := range c.told {
		if last.rank.compare(p.rank) < 0 && p.rank.compare(c.rank) < 0 {
			last = p
		}
	}
	m.said[e.key()] = e.rank
	c.told = append(c.told, price{rank: e.rank, value: e.payout})
	return m.set(c, last.rank, last.value)
}

// decide says what a heard event does to its call.
func (m *model) decide(e modelEvent) string {
	c := m.calls[e.call]
	if c == nil {
		return "parked"
	}
	c.told = append(c.told, price{rank: e.rank, value: e.payout})
	if c.valued && e.rank.compare(c.rank) < 0 {
		return "stale"
	}
	return m.set(c, e.rank, e.payout)
}

// set makes a call worth value by the event of that rank.
func (m *model) set(c *modelCall, by rank, value int64) string {
	qualified := value != 0
	same := c.valued && c.value == value && c.qualified == qualified
	c.rank, c.valued, c.qualified, c.value, c.share = by, true, qualified, value, 0
	if qualified {
		c.share = share(m.rule(c.campaign, c.publisher), value)
	}
	switch {
	case same:
		return "unchanged"
	case !qualified:
		return "unqualified"
	}
	return "booked"
}

// balances gives the debits less credits of every account, from what the calls
// are worth now: how they came there does not matter.
func (m *model) balances() map[account]int64 {
	b := map[account]int64{}
	for _, c := range m.calls {
		b[account{"buyer_receivable", c.buyer}] += c.value
		b[account{"network_revenue", ""}] -= c.value
		b[account{"network_publisher_cost", ""}] += c.share
		b[account{"publisher_pending", c.publisher}] -= c.share
	}
	for a, v := range b {
		if v == 0 {
			delete(b, a)
		}
	}
	return b
}

// share applies a rule to a value: "percent P", "flat A", or operations from
// left to right, each rounded half to even to a millionth; never below zero.
func share(rule string, value int64) int64 {
	if rule == "" || value <= 0 {
		return 0
	}
	v := big.NewRat(value, 1)
	word, arg, _ := strings.Cut(rule, " ")
	switch word {
	case "flat":
		return round(new(big.Rat).Mul(decimal(arg), million))
	case "percent":
		return round(v.Mul(v, new(big.Rat).Quo(decimal(arg), big.NewRat(100, 1))))
	}
	for rest := rule; rest != ""; {
		end := 1 + len(rest[1:])
		if i := strings.IndexAny(rest[1:], "+-*/"); i >= 0 {
			end = 1 + i
		}
		arg := decimal(rest[1:end])
		switch rest[0] {
		case '+':
			v.Add(v, arg.Mul(arg, million))
		case '-':
			v.Sub(v, arg.Mul(arg, million))
		case '*':
			v.Mul(v, arg)
		case '/':
			v.Quo(v, arg)
		}
		v.SetInt64(round(v))
		rest = rest[end:]
	}
	return max(0, round(v))
}

var million = big.NewRat(1_000_000, 1)

func decimal(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(strings.TrimSpace(text))
	if !ok {
		panic(fmt.Sprintf("bug: the traffic's rules hold the number %q", text))
	}
	return r
}

// round rounds half to even.
func round(r *big.Rat) int64 {
	q, rest := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(r.Denom()) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		if q.Bit(0) == 1 {
			q.Add(q, big.NewInt(1))
		}
	}
	return q.Int64()
}
