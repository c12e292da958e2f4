package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// kinds finds the field that says whether a postback pays or takes back. It
// fails when what a person says of its words cannot be meant.
func (d *draft) kinds() error {
	if err := d.wordsSaid(); err != nil {
		return err
	}
	if len(d.src.Spec.Statuses) > 0 {
		d.knownKinds()
		return nil
	}
	if c := d.reads(source.SlotStatus); c != nil {
		d.statuses(c, "")
		return nil
	}
	if len(d.in.Statuses) > 0 {
		return d.saidOf()
	}
	for _, c := range d.data.columns { // is_chargeback and the like
		if c.seen > 0 && c.all(isFlag) && takesBack(c.name) {
			d.flag(c)
			return nil
		}
	}
	known := meanings()
	for _, c := range d.data.columns {
		if c.seen == d.data.reports && !d.taken(c) && c.all(isWord) && c.distinct() <= statusWordsMost && slices.ContainsFunc(c.values(), func(w string) bool { return known.of(w) == event.Reversal.String() }) {
			d.statuses(c, c.key)
			return nil
		}
	}
	return nil
}

// saidOf takes the one field that holds words which a person gave a meaning,
// where the source reads no field as the status.
func (d *draft) saidOf() error {
	var found []*column
	for _, c := range d.data.columns {
		if !d.taken(c) && slices.ContainsFunc(distinctWords(c), func(w string) bool { return d.said(w) != "" }) {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("statuses: the source reads no field as the status, and %d fields hold a word that was given a meaning: name the right one in fields.status first", len(found))
	}
	d.statuses(found[0], found[0].key)
	return nil
}

// statuses proposes what the words of c mean. Once a source says what words
// mean, others are refused, so it is proposed only when all that came are
// known, and some do more than pay.
func (d *draft) statuses(c *column, field string) {
	known := meanings()
	by, unknown, more := map[string][]string{}, []string{}, []string{}
	for _, w := range distinctWords(c) {
		kind := d.said(w)
		if kind == "" {
			kind = known.of(w)
		}
		switch kind {
		case "":
			unknown = append(unknown, w)
			continue
		case event.Conversion.String():
		default:
			more = append(more, w)
		}
		by[kind] = append(by[kind], w)
	}
	for _, kind := range sortedKeys(d.in.Statuses) { // and words that have not come yet
		for _, w := range d.in.Statuses[kind] {
			by[kind] = appendNew(by[kind], plainWord(w))
		}
	}
	words := c.distinct() <= statusWordsMost && c.all(isWord|isFlag|isWhole)
	switch {
	case len(unknown) > 0 && (words || len(more) > 0):
		d.unknownWords(c, unknown, more)
	case len(unknown) == 0 && (len(more) > 0 || len(d.in.Statuses) > 0):
		f := Finding{What: "statuses", Proposed: inKinds(by), Seen: c.seen, Of: d.data.reports, Example: d.example(c),
			Why: "words in " + cut(c.name) + " that senders use so; any other word is refused from then on"}
		if len(d.in.Statuses) > 0 {
			f.Why = "words in " + cut(c.name) + " as you say and as senders use them; any other word is refused from then on"
		}
		d.change(f, func(s *source.Spec) {
			if field != "" {
				setField(s, source.SlotStatus, field)
			}
			s.Statuses = by
		})
	}
}

// unknownWords says which words nobody has given a meaning. Beside words that
// take back, the proposal is not to be applied: all would be booked.
func (d *draft) unknownWords(c *column, unknown, more []string) {
	f := Finding{What: "statuses", State: Open, Seen: c.seen, Of: d.data.reports, Example: d.shown(c, d.spelled(c, unknown[0]))}
	for _, w := range unknown[:min(len(unknown), statusWordsMost)] {
		f.Candidates = append(f.Candidates, Candidate{Name: cut(d.hide(d.spelled(c, w))), Seen: count(c, w)})
	}
	open := d.listed(c, unknown)
	f.Why = "the meaning of " + open + " in " + cut(c.name) + " is not known: say in statuses what pays (conversion), what takes back (reversal) and what is of no concern (ignore); until statuses says otherwise, " +
		d.listed(c, slices.Concat(unknown, more)) + " " + plural(len(unknown)+len(more), "counts as a sale", "count as sales")
	example := "reversal=" + cut(d.hide(d.spelled(c, unknown[0])))
	halt := len(more) > 0 && !d.unproven
	if halt {
		f.Why += "; nothing is applied before that: say it with --status KIND=WORD"
	}
	if d.add(f); !halt {
		return
	}
	d.out.Halt = fmt.Sprintf("statuses: the meaning of %s in %s is not known, and %s there %s not pay: as it is, all would be booked as sales, so nothing is applied: say what each word means, such as --status %s, or in the field statuses of the API; kinds are conversion, reversal, adjustment and ignore",
		open, cut(c.name), d.listed(c, more), plural(len(more), "does", "do"), example)
}

// takesBack reports whether a flag of that name marks what takes back.
func takesBack(name string) bool {
	return slices.ContainsFunc(words(name), func(w string) bool {
		return slices.Contains([]string{"chargeback", "reversal", "reversed", "refund", "refunded", "cancelled", "canceled", "chargebacked"}, w)
	})
}

func (d *draft) flag(c *column) {
	yes, no := []string{}, []string{}
	for _, v := range c.values() {
		low := strings.ToLower(v)
		list := &no
		if low == "1" || low == "true" || low == "yes" {
			list = &yes
		}
		if !slices.Contains(*list, low) {
			*list = append(*list, low)
		}
	}
	other := map[string][2]string{"0": {"0", "1"}, "1": {"0", "1"}, "true": {"false", "true"}, "false": {"false", "true"}, "yes": {"no", "yes"}, "no": {"no", "yes"}}
	for _, v := range slices.Concat(yes, no) { // what was not seen yet will come
		if pair := other[v]; !slices.Contains(no, pair[0]) || !slices.Contains(yes, pair[1]) {
			no, yes = appendNew(no, pair[0]), appendNew(yes, pair[1])
		}
	}
	slices.Sort(yes)
	slices.Sort(no)
	d.change(Finding{What: "statuses", Proposed: "conversion: " + strings.Join(no, ", ") + "; reversal: " + strings.Join(yes, ", "), Seen: c.seen, Of: d.data.reports,
		Why: cut(c.name) + " says whether a postback takes back", Example: d.example(c)}, func(s *source.Spec) {
		setField(s, source.SlotStatus, c.key)
		s.Statuses = map[string][]string{event.Conversion.String(): no, event.Reversal.String(): yes}
	})
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func setField(s *source.Spec, slot source.Slot, name string) {
	if s.Fields == nil {
		s.Fields = map[string][]string{}
	}
	if list := s.Fields[slot.String()]; !slices.Contains(list, name) {
		s.Fields[slot.String()] = append([]string{name}, list...)
	}
}

// knownKinds says which words the source does not know, and adds what a person
// says of them.
func (d *draft) knownKinds() {
	c := d.reads(source.SlotStatus)
	if len(d.in.Statuses) > 0 {
		f := Finding{What: "statuses", Proposed: inKinds(d.in.Statuses), Why: "as you say", Of: d.data.reports}
		if c != nil {
			f.Seen, f.Example = c.seen, d.example(c)
		}
		by := d.withSaid()
		if !d.change(f, func(s *source.Spec) { s.Statuses = by }) {
			return
		}
	}
	if c == nil {
		return
	}
	f := Finding{What: "statuses", State: AsIs, Why: "the source knows every word in " + cut(c.name), Seen: c.seen, Of: d.data.reports, Example: d.example(c)}
	for _, w := range distinctWords(c) {
		if _, ok := d.src.MeaningOf(w); !ok {
			if f.State == AsIs {
				f.State, f.Example = Open, d.shown(c, d.spelled(c, w))
			}
			f.Candidates = append(f.Candidates, Candidate{Name: cut(d.hide(d.spelled(c, w))), Seen: count(c, w)})
		}
	}
	switch {
	case f.State == Open:
		f.Why = "words in " + cut(c.name) + " that the source does not know: add them to statuses; until then those postbacks are invalid"
		f.Candidates = f.Candidates[:min(len(f.Candidates), statusWordsMost)]
	case len(d.in.Statuses) > 0:
		return
	}
	d.add(f)
}
