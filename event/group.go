package event

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Group is a campaign's conversion group: when a call of the campaign counts as
// converted, and what it is worth then.
type Group struct {
	Trigger string   `json:"trigger,omitempty"`  // text in the request's query that converts a call; "" for none
	Revenue *Amount  `json:"revenue,omitempty"`  // what a triggered call is worth
	Payout  *Amount  `json:"payout,omitempty"`   // and what its publisher gets of it
	Posted  bool     `json:"posted"`             // a posted value converts a call, with or without a trigger
	Rule    string   `json:"modifier,omitempty"` // of the posted value, for the publisher: operations as in Rule, "" is all of it
	Timeout TextSpan `json:"timeout,omitempty"`  // after the call's end, TimeoutDefault when 0
	Unended TextSpan `json:"timeout_without_end,omitempty"`
}

// Defaults of a Group.
const (
	TimeoutDefault  = 10 * time.Minute // after the call's end
	UnendedDefault  = 4 * time.Hour    // after its start, for a call without an end
	TimeoutMax      = 31 * 24 * time.Hour
	TriggerBytesMax = 256
)

// TextSpan is a time.Duration written as 10m or 4h.
type TextSpan time.Duration

// MarshalText writes the span as time.Duration does.
func (s TextSpan) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads the forms of time.ParseDuration.
func (s *TextSpan) UnmarshalText(p []byte) error {
	v, err := time.ParseDuration(string(p))
	if err != nil || v <= 0 || v > TimeoutMax {
		return fmt.Errorf("timeout %q: want for example 10m or 4h, at most %s", p, TimeoutMax)
	}
	*s = TextSpan(v)
	return nil
}

// ParseGroup reads the JSON of a Group.
func ParseGroup(text string) (*Group, error) {
	g := new(Group)
	if err := json.Unmarshal([]byte(text), g); err != nil {
		return nil, fmt.Errorf("conversion group: %w", err)
	}
	return g, g.Check()
}

// Check says what is wrong with g.
func (g *Group) Check() error {
	switch {
	case g.Trigger == "" && !g.Posted:
		return fmt.Errorf("conversion: nothing would convert a call: give a trigger, or posted: true")
	case len(g.Trigger) > TriggerBytesMax:
		return fmt.Errorf("conversion.trigger of %d bytes: at most %d", len(g.Trigger), TriggerBytesMax)
	case g.Trigger != "" && (g.Revenue == nil || *g.Revenue < 0):
		return fmt.Errorf("conversion.trigger %q: give the revenue that it is worth", g.Trigger)
	case g.Trigger == "" && (g.Revenue != nil || g.Payout != nil):
		return fmt.Errorf("conversion.revenue and payout go with a trigger")
	case g.Payout != nil && *g.Payout < 0:
		return fmt.Errorf("conversion.payout %s: want zero or more", *g.Payout)
	}
	if g.Payout != nil && *g.Payout > AmountMax || g.Revenue != nil && *g.Revenue > AmountMax {
		return fmt.Errorf("conversion: revenue and payout may be %s at most", AmountMax)
	}
	if g.Rule != "" {
		if _, err := ParseRule(g.Rule); err != nil {
			return fmt.Errorf("conversion.modifier: %w", err)
		}
	}
	return nil
}

// Share gives the rule by which a publisher without an assignment is paid: the
// fixed payout of a triggered call, else the modifier of its value.
func (g *Group) Share(triggered bool) *Rule {
	text := g.Rule
	switch {
	case triggered && g.Payout != nil:
		text = "flat " + g.Payout.String()
	case text == "":
		text = "percent 100"
	}
	r, err := ParseRule(text)
	if err != nil {
		panic("bug: a checked conversion group has no rule: " + err.Error())
	}
	return r
}

// Deadline is until when a postback for c is in time, 0 when that cannot be
// said yet: microseconds since the Unix epoch.
func (g *Group) Deadline(c *Call) int64 {
	after := func(at int64, s TextSpan, def time.Duration) int64 {
		if s == 0 {
			s = TextSpan(def)
		}
		return at + time.Duration(s).Microseconds()
	}
	switch {
	case c.EndedAt != 0:
		return after(c.EndedAt, g.Timeout, TimeoutDefault)
	case c.StartedAt != 0 && c.Duration.OK:
		return after(c.StartedAt+int64(c.Duration.N)*1e6, g.Timeout, TimeoutDefault)
	case c.StartedAt != 0:
		return after(c.StartedAt, g.Unended, UnendedDefault)
	}
	return 0
}

// Triggered reports whether a request's raw query holds the trigger, as it is
// or with its escapes undone.
func (g *Group) Triggered(query string) bool {
	if g.Trigger == "" {
		return false
	}
	if strings.Contains(query, g.Trigger) {
		return true
	}
	plain, err := url.QueryUnescape(query)
	return err == nil && strings.Contains(plain, g.Trigger)
}
