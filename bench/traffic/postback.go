package traffic

import (
	"strconv"

	"github.com/tallyhook/tallyhook/event"
)

// dialogue is how a buyer speaks of one call: the same names and notation
// every time.
type dialogue struct {
	call, buyer int // call -1: a stranger's
	report      Report
	first       event.Amount
	early       bool
	shape       int // 0 query, 1 form, 2 JSON
	notation    int // of the caller's number
	decimals    int // least decimals of an amount
}

// names are the field names that each buyer's system uses.
var names = [...]struct{ caller, duration, payout, ref string }{
	{"caller_id", "duration", "payout", "ref_id"},
	{"ani", "talk_time", "revenue", "subid"},
	{"From", "length", "amount", "external_id"},
	{"phone", "call_duration", "bid_amount", "click_id"},
}

func (g *Generator) dialogue(s *Script, call int) dialogue {
	c := &s.Calls[call]
	d := dialogue{
		call: call, buyer: c.Buyer,
		report: Report{RefID: c.RefID, Caller: c.Caller, Seconds: c.Seconds - 20 - g.rand.IntN(31)},
		first:  event.Amount(500+g.rand.IntN(24_500)) * event.Unit / 100,
		early:  g.often(g.mix.Early),
		shape:  g.rand.IntN(3), notation: g.rand.IntN(notations), decimals: g.rand.IntN(3),
	}
	if g.rand.IntN(20) == 0 {
		d.first += event.Amount(1+g.rand.IntN(99)) * 100 // some buyers price to the fourth decimal
	}
	if !d.early && g.often(g.mix.Zero) {
		d.first = 0
	}
	if g.often(g.mix.NoRef) {
		d.report.RefID = ""
	}
	return d
}

// stranger adds a postback in d's manner about a call that nobody knows. A
// script has at most one per call, so the number of the call makes it unique.
func (g *Generator) stranger(s *Script, d *dialogue) {
	o := *d
	o.report.Caller = s.text(func(b []byte) []byte { return appendNumber(b, 2*s.N+1) })
	if o.report.RefID != "" {
		o.report.RefID = s.text(func(b []byte) []byte { return g.appendID(b, "gone-", s.N, d.call) })
	}
	o.report.Seconds, o.call = 1000+d.call, -1
	s.postback(&o, Stranger, d.first)
}

// postback adds a step that tells amount in d's manner.
func (s *Script) postback(d *dialogue, kind Kind, amount event.Amount) {
	r := d.report
	r.Payout, r.Unreadable = amount, kind == Unreadable
	s.Steps = append(s.Steps, Step{Kind: kind, Call: d.call, Buyer: d.buyer, Report: r, Request: s.request(d, &r)})
}

// repeat adds step i once more, byte for byte.
func (s *Script) repeat(i int, kind Kind) {
	st := s.Steps[i]
	st.Kind, st.Early = kind, false
	s.Steps = append(s.Steps, st)
}

// lastOf finds the newest postback of a call.
func (s *Script) lastOf(call int) int {
	for i := len(s.Steps) - 1; ; i-- {
		if s.Steps[i].Call == call && s.Steps[i].Kind.Postback() {
			return i
		}
	}
}

func (s *Script) upsert(call int, kind Kind) {
	body := s.bytes(func(b []byte) []byte { return AppendCall(b, &s.Calls[call], kind == CallStart, kind == CallEnd) })
	s.Steps = append(s.Steps, Step{Kind: kind, Call: call, Buyer: s.Calls[call].Buyer,
		Request: Request{Method: "POST", ContentType: "application/json", Body: body}})
}

// request renders r in one of the three shapes.
func (s *Script) request(d *dialogue, r *Report) Request {
	if d.shape == 2 {
		return Request{Method: "POST", ContentType: "application/json",
			Body: s.bytes(func(b []byte) []byte { return appendJSON(b, d, r) })}
	}
	pairs := s.bytes(func(b []byte) []byte { return appendPairs(b, d, r) })
	if d.shape == 1 {
		return Request{Method: "POST", ContentType: "application/x-www-form-urlencoded", Body: pairs}
	}
	return Request{Method: "GET", Query: event.View(pairs)}
}

func appendPairs(b []byte, d *dialogue, r *Report) []byte {
	n := &names[d.buyer]
	b = append(append(b, n.caller...), '=')
	b = appendNotation(b, r.Caller, d.notation, true)
	b = append(append(append(b, '&'), n.duration...), '=')
	b = strconv.AppendInt(b, int64(r.Seconds), 10)
	b = append(append(append(b, '&'), n.payout...), '=')
	if r.Unreadable {
		b = append(b, "%24"...)
	}
	b = appendAmount(b, r.Payout, d.decimals)
	if r.RefID != "" {
		b = append(append(append(b, '&'), n.ref...), '=')
		b = append(b, r.RefID...)
	}
	return b
}

func appendJSON(b []byte, d *dialogue, r *Report) []byte {
	n := &names[d.buyer]
	b = append(append(append(b, `{"`...), n.caller...), `":"`...)
	b = appendNotation(b, r.Caller, d.notation, false)
	b = append(append(append(b, `","`...), n.duration...), `":`...)
	b = strconv.AppendInt(b, int64(r.Seconds), 10)
	b = append(append(append(b, `,"`...), n.payout...), `":`...)
	quoted := r.Unreadable || d.decimals == 2
	if quoted {
		b = append(b, '"')
	}
	if r.Unreadable {
		b = append(b, '$')
	}
	b = appendAmount(b, r.Payout, d.decimals)
	if quoted {
		b = append(b, '"')
	}
	if r.RefID != "" {
		b = append(append(append(b, `,"`...), n.ref...), `":"`...)
		b = append(append(b, r.RefID...), '"')
	}
	return append(b, '}')
}

const notations = 6

// appendNotation appends the E.164 number e as people and systems write it;
// escaped is for query strings and forms.
func appendNotation(b []byte, e string, notation int, escaped bool) []byte {
	plus, space := "+", " "
	if escaped {
		plus, space = "%2B", "%20"
	}
	area, exchange, line := e[2:5], e[5:8], e[8:]
	parts := [notations][6]string{
		{plus, e[1:]},
		{e[1:]},
		{area, exchange, line},
		{area, "-", exchange, "-", line},
		{area, ".", exchange, ".", line},
		{"(" + area + ")", space, exchange, "-", line},
	}
	for _, p := range parts[notation] {
		b = append(b, p...)
	}
	return b
}

// appendAmount appends a with as few decimals as it needs, but at least least.
func appendAmount(b []byte, a event.Amount, least int) []byte {
	b = a.Append(b) // has two decimals or more
	for end := len(b); ; end-- {
		dot := end - 1
		for b[dot] != '.' {
			dot--
		}
		if decimals := end - dot - 1; decimals == 0 {
			return b[:dot]
		} else if decimals <= least || b[end-1] != '0' {
			return b[:end]
		}
	}
}

// appendID appends an id that names the traffic, the script and the call.
func (g *Generator) appendID(b []byte, prefix string, n uint64, call int) []byte {
	b = strconv.AppendUint(append(b, prefix...), g.seed, 36)
	b = strconv.AppendUint(append(b, '-'), n, 10)
	return strconv.AppendInt(append(b, '-'), int64(call), 10)
}

// bytes gives what f appends, kept in the script's memory. When that grows,
// older views keep the memory they were made in.
func (s *Script) bytes(f func([]byte) []byte) []byte {
	start := len(s.buf)
	s.buf = f(s.buf)
	return s.buf[start:len(s.buf):len(s.buf)]
}

func (s *Script) text(f func([]byte) []byte) string { return event.View(s.bytes(f)) }
