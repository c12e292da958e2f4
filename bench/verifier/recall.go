package verifier

import (
	"fmt"
	"slices"

	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/event"
)

// content is what tells postbacks apart in the activity: traffic never says
// the same of two calls.
type content struct {
	source, caller, payout string
	seconds                int
}

// saying is one content with what was sent of it.
type saying struct {
	call   string
	report traffic.Report
	early  bool
	sent   int // attempts
	rows   int // events
}

// ack is an attempt that was answered with an event.
type ack struct {
	what   string // for a person
	status int
	event  string
	said   content
}

type seen struct {
	activityRow
	id   event.ID
	said content
}

// recall makes the traffic again and lays the log beside it.
func (c *check) recall() {
	run := c.history.run
	gen, numbers := traffic.New(run.Seed, run.Base, run.Mix), []uint64{}
	for n := range c.history.sent {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		var s traffic.Script // its own each time: its texts are kept
		gen.Script(n, &s)
		for i, tries := range c.history.sent[n] {
			switch {
			case len(tries) == 0:
			case i >= len(s.Steps):
				c.differ("script %d has no step %d: the log is of other traffic", n, i)
			case s.Steps[i].Kind.Postback():
				c.recallPostback(&s, i, tries)
			default:
				c.recallCall(&s, i, tries)
			}
		}
	}
}

func (c *check) recallCall(s *traffic.Script, i int, tries []answer) {
	call, answered := &s.Calls[s.Steps[i].Call], false
	for _, a := range tries {
		if a.status >= 200 && a.status < 300 {
			answered = true
			c.Acked++
		} else if a.status != 0 && a.status != 429 && a.status < 500 {
			c.differ("call %s was refused with status %d", call.ID, a.status)
		}
	}
	if c.model.calls[call.ID] == nil {
		c.model.calls[call.ID] = &modelCall{campaign: call.Campaign, publisher: call.Publisher, buyer: traffic.Buyers[call.Buyer]}
	}
	if !answered {
		c.undecided[call.ID] = true
	}
}

func (c *check) recallPostback(s *traffic.Script, i int, tries []answer) {
	st := &s.Steps[i]
	k := content{c.history.run.Sources[st.Buyer], st.Report.Caller, event.Amount(st.Report.Payout).String(), st.Report.Seconds}
	if st.Report.Unreadable {
		k.payout = ""
	}
	said := c.said[k]
	if said == nil {
		said = &saying{report: st.Report, early: st.Early}
		if st.Call >= 0 {
			said.call = s.Calls[st.Call].ID
		}
		c.said[k] = said
	}
	for try, a := range tries {
		said.sent++
		what := fmt.Sprintf("attempt %d of step %d of script %d (%s)", try, i, s.N, st.Kind)
		ok := a.status >= 200 && a.status < 300
		switch {
		case ok, a.status == 400 && st.Report.Unreadable:
			c.acked = append(c.acked, ack{what, a.status, a.event, k})
		case a.status != 0 && a.status != 429 && a.status < 500:
			c.differ("%s was refused with status %d", what, a.status)
		}
		if ok {
			c.Acked++
		}
	}
}
