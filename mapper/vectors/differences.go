package vectors

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tallyhook/tallyhook/event"
)

// DifferencesMax is how many differences of one case are told.
const DifferencesMax = 20

// Differences says how got, the events that a mapper made of c's request,
// differs from what c wants; nothing when it does not. One line each, such as
//
//	report 2: payout: want 12.50, got 1250.00
//
// Values are compared in our notation: 12.5 equals 12.50, and times equal by
// the instant. A field that c does not name must be absent, but for what we
// fill in ourselves: the source's currency, the kind conversion, the network.
// Of an invalid report only what c names is compared.
func (c *Case) Differences(got []event.Event) []string {
	var diff []string
	for i := range c.Want {
		w := &c.Want[i]
		if i < len(got) {
			diff = append(diff, c.compare(w, &got[i].Report, fmt.Sprintf("report %d: ", i+1))...)
		} else if !w.Ignored || len(got) > 0 {
			diff = append(diff, fmt.Sprintf("report %d: want %s, got nothing", i+1, cut(w.String())))
		}
	}
	for i := len(c.Want); i < len(got); i++ {
		diff = append(diff, fmt.Sprintf("report %d: want nothing, got %s", i+1, tell(&got[i].Report)))
	}
	if more := len(diff) - DifferencesMax; more > 0 {
		diff = append(diff[:DifferencesMax], fmt.Sprintf("and %d more", more))
	}
	return diff
}

func (c *Case) compare(w *Want, got *event.Report, at string) (diff []string) {
	note := func(name, want, got string) {
		diff = append(diff, fmt.Sprintf("%s%s: want %s, got %s", at, name, show(want), show(got)))
	}
	switch {
	case w.Ignored && got.Dropped:
		return nil
	case w.Ignored != got.Dropped, w.Invalid != got.Invalid, got.Failed, got.Unmapped:
		return []string{fmt.Sprintf("%swant %s, got %s", at, outcome(w), tell(got))}
	}
	list := fields
	if w.Invalid != "" {
		list = slices.Concat(faultFields, fields)
	}
	for _, f := range list {
		want, named := w.Fields[f.name]
		if !named && f.name == "kind" {
			want = event.Conversion.String()
		}
		if is := f.got(got); is != want && (named || !c.fills(w, f.name, is)) {
			note(f.name, want, is)
		}
	}
	if w.Extra == nil && w.Invalid != "" {
		return diff
	}
	extra := extraOf(got)
	if len(extra) < len(got.Extra) {
		diff = append(diff, at+"extra: a name stands there twice")
	}
	names := maps.Clone(extra)
	maps.Copy(names, w.Extra)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if want, is := w.Extra[name], extra[name]; want != is {
			note("extra."+cut(name), want, is)
		}
	}
	return diff
}

// fills reports whether value may stand in a field that w does not name.
func (c *Case) fills(w *Want, name, value string) bool {
	switch {
	case w.Invalid != "":
		return true
	case name == "currency":
		return value == c.Source.Policy.Currency
	case name == "network":
		return true
	default:
		return value == c.constant(name)
	}
}

// constant is what the source fills into a field that the postback lacks.
func (c *Case) constant(name string) string {
	text := c.Source.Spec.Constants[name]
	for _, f := range fields {
		if f.name == name && f.read != nil && text != "" {
			if ours, err := f.read(text); err == nil {
				return ours
			}
		}
	}
	return text
}

// outcome is what w wants, in a word or two.
func outcome(w *Want) string {
	switch {
	case w.Ignored:
		return "it ignored"
	case w.Invalid != "":
		return "invalid: " + cut(string(w.Invalid))
	}
	return "a report"
}

// tell is what came out, for a person.
func tell(r *event.Report) string {
	switch {
	case r.Dropped:
		return "it ignored"
	case r.Unmapped:
		return "nothing: the mapper was not asked"
	case r.Invalid != "":
		what := "invalid: "
		if r.Failed {
			what = "the mapper broken: "
		}
		what += string(r.Invalid)
		if r.Detail.Field != "" {
			what += ", field " + show(r.Detail.Field)
		}
		if r.Detail.Got != "" {
			what += ", " + show(r.Detail.Got)
		}
		if r.Detail.Limit != 0 {
			what += ", " + strconv.FormatInt(r.Detail.Limit, 10)
		}
		return what
	}
	w := WantOf(r)
	return cut(w.String())
}

// show renders a value: as it is when it is one plain word.
func show(s string) string {
	if s == "" {
		return "nothing"
	}
	odd := func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '"' || r == '\'' || r == unicode.ReplacementChar
	}
	if s = cut(s); strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
