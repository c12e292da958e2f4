package sink

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// listing is a filter as SQL. Its first two parameters are the span.
type listing struct {
	where string
	args  []any
	limit int
}

func (f *Filter) listing() (l listing, err error) {
	if l.limit, err = rowLimit(f.Limit); err != nil {
		return l, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Since.After(f.Until) {
		return l, invalid("since %s lies after until %s: swap them", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339))
	}
	for name, text := range map[string]string{"source": f.Source, "caller": f.Caller, "call_id": f.CallID} {
		if err := isText(name, text); err != nil {
			return l, err
		}
	}
	if f.CallID != "" {
		l.add("v.call = (SELECT no FROM call WHERE call_id = %s)", f.CallID)
	}
	if f.Source != "" {
		l.add("v.source = %s", f.Source)
	}
	if f.Status != "" {
		var names []any
		for name := range strings.SplitSeq(f.Status, ",") {
			s, err := event.ParseStatus(strings.TrimSpace(name))
			if err != nil {
				return l, invalid("%v", err)
			}
			names = append(names, s.String())
		}
		l.add("v.status IN (%s)", names...)
	}
	if f.Caller != "" {
		l.add("(v.caller IN (%[1]s) OR v.call_caller IN (%[1]s))", callerForms(f.Caller)...)
	}
	if !f.Since.IsZero() {
		l.add("v.received_at >= %s", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		l.add("v.received_at < %s", f.Until.UnixMicro())
	}
	return l, nil
}

// add narrows the listing by a condition, in which %s stands for the list of
// values.
func (l *listing) add(condition string, values ...any) {
	var list []string
	for _, v := range values {
		l.args = append(l.args, v)
		list = append(list, fmt.Sprintf("$%d", len(l.args)+2))
	}
	l.where += " AND " + fmt.Sprintf(condition, strings.Join(list, ", "))
}

// callerForms gives the texts under which a caller may be recorded: as it was
// typed, its digits with a plus (a "+" in a URL reads as a blank, 00 is dialled
// for it), and the digits alone.
func callerForms(caller string) []any {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, caller)
	forms := []any{strings.TrimSpace(caller)}
	if digits != "" {
		forms = append(forms, digits, "+"+strings.TrimPrefix(digits, "00"))
	}
	return forms
}

// isText refuses what no text in the store can be, and Postgres not even asks for.
func isText(name, s string) error {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return nil
	}
	return invalid("%s %q: it holds bytes that are no text; take them out", name, cut(s, 64))
}
