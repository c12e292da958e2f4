package verifier

import (
	"fmt"
	"math/big"
	"strings"
	"time"
)

// The model is what the ledger should hold, said as plainly as possible: maps,
// and one event after another in the order of their ids. It shares no code
// with the product and knows none of its types. Amounts are millionths.
//
//   - A postback sets its call's value. The publisher's share follows from the
//     whole value by the rule of campaign and publisher, and is nothing when
//     the value is.
//   - What the same source has said within the window is a repeat and does
//     nothing, whatever was said in between. What could not be read, or found
//     no call, does not count as said.
//   - A postback for a call that is not known sets nothing.

type modelCall struct {
	campaign, publisher, buyer string

	valued, qualified bool
	value, share      int64
}

type modelEvent struct {
	at       time.Time
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
	said   map[string]time.Time // source and content → when
}

func newModel(window time.Duration, rule func(campaign, publisher string) string) *model {
	return &model{window: window, rule: rule, calls: map[string]*modelCall{}, said: map[string]time.Time{}}
}

// apply takes the next event and gives the verdict that it must get.
func (m *model) apply(e modelEvent) string {
	if !e.readable {
		return "invalid"
	}
	key := e.source + "\x00" + e.content
	if at, ok := m.said[key]; ok && e.at.Sub(at) < m.window {
		return "duplicate"
	}
	m.said[key] = e.at
	c := m.calls[e.call]
	if c == nil {
		return "parked"
	}
	qualified := e.payout != 0
	if c.valued && c.value == e.payout && c.qualified == qualified {
		return "unchanged"
	}
	c.valued, c.qualified, c.value, c.share = true, qualified, e.payout, 0
	if !qualified {
		return "unqualified"
	}
	c.share = share(m.rule(c.campaign, c.publisher), e.payout)
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
