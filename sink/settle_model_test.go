//go:build !race

// Half a million postbacks, one after the other: with the race detector they
// would take minutes, and it has nothing to see in them.

package sink_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallyhook/tallyhook/event"
)

// dealing is one way in which a source is settled, with what can happen to one
// of its targets.
type dealing struct {
	source string
	policy func(*event.Policy)
	acts   []act
}

// act is a postback that may come, also more than once.
type act struct {
	name   string
	id     string // its transaction, "" for a weak identity
	kind   event.Kind
	amount event.Amount
}

const unit = event.Unit

var dealings = []dealing{
	{"over", func(*event.Policy) {}, []act{
		{"convert", "t", event.Conversion, 50 * unit},
		{"same id, other money", "t", event.Conversion, 51 * unit},
		{"reverse", "t", event.Reversal, 0},
		{"adjust", "t", event.Adjustment, 40 * unit},
		{"re-price", "u", event.Conversion, 60 * unit}}},
	{"weak", func(*event.Policy) {}, []act{
		{"convert", "", event.Conversion, 50 * unit},
		{"re-price", "", event.Conversion, 60 * unit},
		{"say zero", "", event.Conversion, 0},
		{"reverse", "", event.Reversal, 0},
		{"adjust", "", event.Adjustment, 40 * unit}}},
	{"add", func(p *event.Policy) { p.Duplicates, p.Relative = event.Add, true }, []act{
		{"convert", "t", event.Conversion, 50 * unit},
		{"same id, other money", "t", event.Conversion, 51 * unit},
		{"reverse", "t", event.Reversal, 0},
		{"take off", "t", event.Adjustment, -50 * unit},
		{"convert more", "u", event.Conversion, 60 * unit}}},
	{"parts", func(p *event.Policy) { p.Duplicates = event.Add }, []act{
		{"convert", "t", event.Conversion, 50 * unit},
		{"same id, other money", "t", event.Conversion, 51 * unit},
		{"reverse", "t", event.Reversal, 0},
		{"adjust", "t", event.Adjustment, 40 * unit},
		{"convert more", "u", event.Conversion, 60 * unit}}},
	{"first", func(p *event.Policy) { p.Duplicates = event.First }, []act{
		{"convert", "t", event.Conversion, 50 * unit},
		{"same id, other money", "t", event.Conversion, 51 * unit},
		{"reverse", "t", event.Reversal, 0},
		{"adjust", "t", event.Adjustment, 40 * unit},
		{"convert again", "u", event.Conversion, 60 * unit}}},
	{"wall", func(p *event.Policy) { p.ToAccount = true }, []act{
		{"convert", "t", event.Conversion, 50 * unit},
		{"same id, other money", "t", event.Conversion, 51 * unit},
		{"reverse", "t", event.Reversal, 0},
		{"adjust", "t", event.Adjustment, 40 * unit},
		{"convert another", "u", event.Conversion, 60 * unit}}},
}

// settled is what the rules make of the postbacks of one call, or, on accounts,
// of one transaction: told in maps and sums.
type settled struct {
	base, sum event.Amount            // sum is that of parts
	parts     map[string]event.Amount // by transaction and kind
	status    string                  // "" nothing booked yet
}

func (s *settled) value() event.Amount { return s.base + s.sum }

// settling plays a dealing's acts, as they come, on one call or user.
type settling struct {
	*dealing
	call    settled
	account map[string]*settled     // by transaction
	held    map[string]event.Amount // identity → its money
	set     map[string]bool         // identities that have set something
	undone  map[string]bool         // transactions whose reversal has come
}

func settlingOf(d *dealing) *settling {
	return &settling{dealing: d, call: settled{parts: map[string]event.Amount{}}, account: map[string]*settled{},
		held: map[string]event.Amount{}, set: map[string]bool{}, undone: map[string]bool{}}
}

// take says what becomes of the next act.
func (m *settling) take(a act) string {
	identity := fmt.Sprint(a.kind, "/", a.id)
	if a.id == "" {
		identity = fmt.Sprint(a.kind, "/weak/", a.amount)
	}
	if money, is := m.held[identity]; is {
		if money == a.amount {
			return "duplicate"
		}
		return "conflict"
	}
	conversion := fmt.Sprint(event.Conversion, "/", a.id)
	if (m.source == "wall" || m.source == "parts") && a.kind == event.Adjustment && !m.set[conversion] {
		return "unmatched"
	}
	m.held[identity] = a.amount
	if a.kind == event.Reversal && a.id != "" {
		m.undone[a.id] = true
		if !m.set[conversion] {
			return "reversed"
		}
	}
	status := m.assign(a, identity, conversion)
	if status != "held" && status != "stale" {
		m.set[identity] = true
	}
	return status
}

// assign sets what an act says, or says why not.
func (m *settling) assign(a act, identity, conversion string) string {
	s := &m.call
	if m.source == "wall" {
		if m.account[a.id] == nil {
			m.account[a.id] = &settled{parts: map[string]event.Amount{}}
		}
		s = m.account[a.id]
	}
	back := a.kind == event.Reversal || a.kind == event.Conversion && m.undone[a.id]
	price := a.amount
	if back {
		price = 0
	}
	base, sum, part := price, s.sum, ""
	if m.source == "add" || m.source == "parts" {
		part = identity
		if a.kind == event.Reversal || a.kind == event.Adjustment && m.source == "parts" {
			part = conversion
		}
		base, sum = s.base, s.sum-s.parts[part]+price
	}
	status := "booked"
	switch {
	case base+sum < 0:
		return "held"
	case m.source == "first" && a.kind == event.Conversion && s.status == "booked":
		return "stale"
	case base+sum == 0 && back:
		status = "reversed"
	case base+sum == 0:
		status = "unqualified"
	}
	unchanged := part == "" && s.status == status && s.base == base
	s.base, s.sum, s.status = base, sum, status
	if part != "" {
		s.parts[part] = price
	}
	switch {
	case unchanged:
		return "unchanged"
	case back:
		return "reversed"
	}
	return status
}

// stage plays sequences into a ledger, each on a target of its own, and keeps
// what the model says of them.
type stage struct {
	*harness
	made    int
	list    []told
	want    []string // statuses of the reports in list
	of      []string // and the sequence each belongs to
	targets []*target
}

type target struct {
	name string
	acts string
	m    *settling
}

func onStage(h *harness) *stage {
	for _, d := range dealings {
		h.source(d.source, d.policy)
	}
	h.assign("c", "p", "percent 80")
	return &stage{harness: h}
}

// prepare makes a target and tells its call.
func (s *stage) prepare(d *dealing) *target {
	s.made++
	g := &target{name: fmt.Sprint(d.source, s.made), m: settlingOf(d)}
	s.targets = append(s.targets, g)
	if d.source != "wall" {
		s.list = append(s.list, callOf(event.Call{CallID: g.name, RefID: g.name, Campaign: "c", Publisher: "p", Buyer: "b"}))
	}
	return g
}

// act adds what happens to g to the next batch.
func (s *stage) act(g *target, a act) {
	r := event.Report{RefID: g.name, Kind: a.kind, Payout: event.Money{Amount: a.amount, Currency: "USD"}, HasPayout: a.kind != event.Reversal}
	if g.m.source == "wall" {
		r = event.Report{Account: g.name, Kind: a.kind, Payout: r.Payout, HasPayout: r.HasPayout, Reward: event.Money{Amount: 10 * a.amount, Currency: "COINS"}, HasReward: r.HasPayout}
	}
	p := told{source: g.m.source, reports: []event.Report{r}}
	if a.id != "" {
		p.id = g.name + a.id
	}
	g.acts += ", " + a.name
	s.list, s.want, s.of = append(s.list, p), append(s.want, g.m.take(a)), append(s.of, g.acts)
}

// cut posts what has been added as one batch.
func (s *stage) cut(t fataler) {
	if len(s.list) == 0 {
		return
	}
	for i, v := range s.post(s.list...) {
		if v.Status.String() != s.want[i] {
			t.Fatalf("%s ends %s (%s), the model says %s", s.of[i], v.Status, v.Reason, s.want[i])
		}
	}
	s.list, s.want, s.of = s.list[:0], s.want[:0], s.of[:0]
	s.now += second / 100
}

type fataler interface{ Fatalf(string, ...any) }

// agrees compares what stands of every target, and all balances.
func (s *stage) agrees(t fataler) {
	s.cut(t)
	got := s.standing()
	balances := map[string]event.Amount{}
	for _, g := range s.targets {
		if g.m.source == "wall" {
			for id, a := range g.m.account {
				balances["b source:wall"] += a.base
				balances["a "+g.name] += 10 * a.base
				stands := got[g.name+" "+(10*a.base).String()]
				if want := fmt.Sprint(a.base, " ", 10*a.base, " ", a.status); stands != want {
					t.Fatalf("%s (%s): transaction %s stands at %q, the model says %q", g.name, g.acts, id, stands, want)
				}
			}
			continue
		}
		want, share := "", event.Amount(0)
		if c := &g.m.call; c.status != "" {
			if c.status == "booked" {
				share, _ = c.value().MulDiv(8, 10)
			}
			want = fmt.Sprint(c.value(), " ", share, " ", c.status)
			balances["b b"] += c.value()
			balances["p p"] += share
		}
		if got[g.name] != want {
			t.Fatalf("%s (%s) stands at %q, the model says %q", g.name, g.acts, got[g.name], want)
		}
	}
	maps.DeleteFunc(balances, func(_ string, v event.Amount) bool { return v == 0 })
	if have := s.balances(); !maps.Equal(have, balances) {
		t.Fatalf("balances %v, the model says %v", have, balances)
	}
	s.verify()
}

// standing reads value, share and status of every call by its id, and of every
// transaction by its account and share.
func (s *stage) standing() map[string]string {
	rows, err := s.db.Read.Query(`SELECT c.call_id, coalesce(c.target, ''), s.value, s.share, s.status FROM call c JOIN call_state s ON s.no = c.no`)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	got := map[string]string{}
	for rows.Next() {
		var call, account, status string
		var value, share event.Amount
		if err := rows.Scan(&call, &account, (*int64)(&value), (*int64)(&share), &status); err != nil {
			s.t.Fatal(err)
		}
		if account != "" {
			call = account + " " + share.String()
		}
		got[call] = fmt.Sprint(value, " ", share, " ", status)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return got
}

// sequences yields every sequence of n acts.
func sequences(acts []act, n int, yield func([]act)) {
	list := make([]act, n)
	var fill func(i int)
	fill = func(i int) {
		if i == n {
			yield(list)
			return
		}
		for _, a := range acts {
			list[i] = a
			fill(i + 1)
		}
	}
	fill(0)
}

// sequencesMost is how long sequences get. Shorter ones are their beginnings:
// every verdict on the way is compared.
const sequencesMost = 6

// TestSettlementSequences plays every sequence of what can happen to a call or
// an account. Some are played one after the other and some side by side, in
// batches whose ends are drawn.
func TestSettlementSequences(t *testing.T) {
	for _, d := range dealings {
		t.Run(d.source, func(t *testing.T) {
			t.Parallel()
			s := onStage(ledgers["sqlite"](t))
			draw := rand.New(rand.NewPCG(1, uint64(len(d.source))))
			var group [][]act
			size := 1
			play := func() {
				s.play(t, &d, group, draw.IntN(2) == 0, func() bool { return draw.IntN(600) == 0 })
				group, size = group[:0], 1+draw.IntN(500)
			}
			sequences(d.acts, sequencesMost, func(list []act) {
				if group = append(group, slices.Clone(list)); len(group) >= size {
					play()
				}
			})
			play()
			s.agrees(t)
			t.Logf("%d sequences", s.made)
		})
	}
}

// play plays sequences, side by side or one after the other, and ends a batch
// where cuts says so.
func (s *stage) play(t fataler, d *dealing, list [][]act, beside bool, cuts func() bool) {
	act := func(g *target, a act) {
		s.act(g, a)
		if cuts() || len(s.list) > 2000 {
			s.cut(t)
		}
	}
	targets := make([]*target, len(list))
	for i := range list {
		targets[i] = s.prepare(d)
		for _, a := range list[i] {
			if !beside {
				act(targets[i], a)
			}
		}
	}
	for n := 0; beside && n < sequencesMost; n++ {
		for i := range list {
			if n < len(list[i]) {
				act(targets[i], list[i][n])
			}
		}
	}
}

// TestSettlementShared draws some of them for a shared store.
func TestSettlementShared(t *testing.T) {
	s := onStage(ledgers["postgres"](t))
	rapid.Check(t, func(rt *rapid.T) {
		s.list, s.want, s.of = nil, nil, nil
		d := &dealings[rapid.IntRange(0, len(dealings)-1).Draw(rt, "dealing")]
		acts := rapid.SliceOfN(rapid.SampledFrom(d.acts), 1, sequencesMost)
		list := rapid.SliceOfN(acts, 1, 8).Draw(rt, "sequences")
		s.play(rt, d, list, rapid.Bool().Draw(rt, "side by side"), func() bool { return rapid.IntRange(0, 7).Draw(rt, "cut") == 0 })
		s.cut(rt)
	})
	s.agrees(t)
}
