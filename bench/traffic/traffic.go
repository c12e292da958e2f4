// Package traffic makes pay-per-call traffic: the calls of a network, told
// when they start and again when they end, and the postbacks that buyers send
// for them, with the noise of the trade. Numbers come in many notations,
// durations fall 20 to 50 s short, senders repeat themselves, prices change,
// some calls are worth nothing, some postbacks speak of calls nobody knows and
// some come before their call.
//
// The unit is a script: all that concerns one caller, in order. Script n is a
// function of the seed and n alone, so another process can make it again. Steps
// of one script are meant to be sent one after another, scripts side by side:
// no two scripts share a caller, a call or an id, and the calls of one caller
// differ in duration by more than any tolerance, so what must be booked in the
// end does not depend on timing.
package traffic

import (
	"math/rand/v2"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// Kind says what a step is for.
type Kind uint8

// The kinds of steps.
const (
	CallStart  Kind = iota // the call is told without duration
	CallEnd                // its end and duration are told
	Conversion             // the first price of a call
	Retry                  // the bytes of the step before, once more
	Reprice                // another price for the same call
	LateRetry              // the first price's bytes, after another price was told
	Zero                   // the buyer pays nothing
	Stranger               // a postback for a call that nobody knows
	Unreadable             // a payout that is no plain decimal number
)

var kindNames = [...]string{"call-start", "call-end", "conversion", "retry", "reprice", "late-retry", "zero", "stranger", "unreadable"}

func (k Kind) String() string { return kindNames[k] }

// Postback reports whether a step of kind k goes to a postback URL; the others
// go to the calls URL.
func (k Kind) Postback() bool { return k > CallEnd }

// Mix says how often each kind of noise occurs, in calls per thousand.
type Mix struct {
	Early      int // the first postback comes before the call is told
	NoRef      int // postbacks name no ref_id: found by caller and duration
	Retry      int // a postback is sent again at once
	Reprice    int // another price follows
	LateRetry  int // after it, the first price is told once more
	Zero       int // the first price is zero
	Stranger   int // a postback about an unknown call besides
	Unreadable int // an unreadable postback besides
}

// DefaultMix is the noise that the trade shows.
func DefaultMix() Mix {
	return Mix{Early: 40, NoRef: 350, Retry: 120, Reprice: 100, LateRetry: 300, Zero: 80, Stranger: 30, Unreadable: 10}
}

// Call is one phone call as the network knows it.
type Call struct {
	ID, RefID           string
	Caller              string // E.164
	StartedAt           time.Time
	Seconds             int
	Campaign, Publisher string
	Buyer               int // index into Buyers
}

// Report is what a postback claims, as a reader of it must understand it.
type Report struct {
	RefID      string       // "" when the buyer does not echo it
	Caller     string       // E.164, whatever notation was sent
	Seconds    int          // as the buyer's leg lasted
	Payout     event.Amount //
	Unreadable bool         // Payout was not sent in a readable form
}

// Request is what goes over the wire, without the address: the receiver's URL
// for postbacks of Step.Buyer, or its calls URL.
type Request struct {
	Method      string
	Query       string // without question mark
	ContentType string
	Body        []byte
}

// Step is one request of a script with its meaning.
type Step struct {
	Kind    Kind
	Call    int // index into Script.Calls, -1 for a stranger
	Buyer   int // index into Buyers, whose source the postback goes to
	Early   bool
	Report  Report // of postbacks
	Request Request
}

// Script is the story of one caller. The memory behind its texts and bodies is
// the script's own and lasts until the next Generator.Script into it.
type Script struct {
	N     uint64
	Calls []Call
	Steps []Step
	buf   []byte
}

// Generator makes scripts. One goroutine uses it at a time; it is cheap to make.
type Generator struct {
	seed uint64
	base time.Time
	mix  Mix
	pcg  rand.PCG
	rand *rand.Rand
}

// New makes a generator. Calls start in the ten hours before base, which is
// rounded to seconds: give the present time where windows matter.
func New(seed uint64, base time.Time, mix Mix) *Generator {
	g := &Generator{seed: seed, base: base.UTC().Truncate(time.Second), mix: mix}
	g.rand = rand.New(&g.pcg)
	return g
}

// Script fills s with script n.
func (g *Generator) Script(n uint64, s *Script) {
	g.pcg.Seed(g.seed, n)
	s.N, s.Calls, s.Steps, s.buf = n, s.Calls[:0], s.Steps[:0], s.buf[:0]
	caller := s.text(func(b []byte) []byte { return appendNumber(b, 2*n) })
	seconds, started := 60+g.rand.IntN(120), g.base.Add(-time.Duration(3600+g.rand.IntN(9*3600))*time.Second)
	for i := range g.callCount() {
		if i > 0 {
			seconds += 150 + g.rand.IntN(100)
			started = started.Add(time.Duration(120+g.rand.IntN(300)) * time.Second)
		}
		campaign, publisher := g.rand.IntN(len(Campaigns)), g.rand.IntN(len(Publishers))
		s.Calls = append(s.Calls, Call{
			ID:        s.text(func(b []byte) []byte { return g.appendID(b, "call-", n, i) }),
			RefID:     s.text(func(b []byte) []byte { return g.appendID(b, "ref-", n, i) }),
			Caller:    caller,
			StartedAt: started, Seconds: seconds,
			Campaign: Campaigns[campaign], Publisher: Publishers[publisher],
			Buyer: g.rand.IntN(len(Buyers)),
		})
	}
	g.tell(s)
}

// callsMax is how many calls one caller makes at most.
const callsMax = 3

func (g *Generator) callCount() int {
	switch p := g.rand.IntN(100); {
	case p < 60:
		return 1
	case p < 85:
		return 2
	default:
		return callsMax
	}
}

// tell writes the steps: each call's own in order, and with even chances the
// prices of one call only after the next call was told.
func (g *Generator) tell(s *Script) {
	var memory [callsMax]dialogue
	later := memory[:0]
	for i := range s.Calls {
		d := g.dialogue(s, i)
		if d.early {
			s.postback(&d, Conversion, d.first)
			s.Steps[len(s.Steps)-1].Early = true
		}
		s.upsert(i, CallStart)
		s.upsert(i, CallEnd)
		if g.rand.IntN(2) == 0 {
			later = append(later, d)
			continue
		}
		g.prices(s, &d)
	}
	for i := range later {
		g.prices(s, &later[i])
	}
}

func (g *Generator) often(perMille int) bool { return g.rand.IntN(1000) < perMille }

// prices writes the postbacks of one call.
func (g *Generator) prices(s *Script, d *dialogue) {
	if !d.early {
		kind := Conversion
		if d.first == 0 {
			kind = Zero
		}
		s.postback(d, kind, d.first)
	}
	first := s.lastOf(d.call)
	for g.often(g.mix.Retry) {
		s.repeat(first, Retry)
	}
	if g.often(g.mix.Reprice) {
		amount, kind := d.first+event.Amount(1+g.rand.IntN(5000))*event.Unit/100, Reprice
		switch p := g.rand.IntN(10); {
		case d.first > 0 && p < 2:
			amount, kind = 0, Zero
		case d.first > 0 && p < 5:
			amount = d.first - event.Amount(1+g.rand.IntN(200))*event.Unit/100
		}
		s.postback(d, kind, amount)
		if g.often(g.mix.LateRetry) {
			s.repeat(first, LateRetry)
		}
	}
	if g.often(g.mix.Unreadable) {
		s.postback(d, Unreadable, d.first)
	}
	if g.often(g.mix.Stranger) {
		g.stranger(s, d)
	}
}
