package learn

import (
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// statusWordsMost is how many words a field of kinds may have.
const statusWordsMost = 8

// commonWords are what senders mean by words that the presets do not list.
var commonWords = map[string][]string{
	"conversion": {"approved", "approve", "accepted", "complete", "completed", "confirmed", "conversion", "converted", "credited", "paid", "payable", "sale", "sold", "success", "successful", "valid", "won"},
	"reversal":   {"rejected", "reject", "reversed", "reversal", "chargeback", "charged_back", "refund", "refunded", "returned", "cancelled", "canceled", "declined", "disqualified", "invalid", "voided", "revoked"},
	"ignore":     {"pending", "open", "hold", "on_hold", "test", "initiated", "in_progress", "ringing"},
}

// meanings says for each word what the presets and common use take it for.
// Words that are taken for different things, 0 and 1 above all, have none.
func meanings() map[string]string {
	all := map[string]string{}
	say := func(word, kind string) {
		word = strings.ToLower(word)
		if had, ok := all[word]; ok && had != kind {
			kind = "" // not the same everywhere
		}
		all[word] = kind
	}
	for _, kind := range sortedKeys(commonWords) {
		for _, w := range commonWords[kind] {
			say(w, kind)
		}
	}
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			panic("bug: " + err.Error())
		}
		for _, kind := range sortedKeys(p.Source.Statuses) {
			for _, w := range p.Source.Statuses[kind] {
				if w != source.AnyStatus && len(w) > 1 {
					say(w, kind)
				}
			}
		}
	}
	return all
}

// kinds finds the field that says whether a postback pays or takes back.
func (d *draft) kinds() {
	if len(d.src.Spec.Statuses) > 0 {
		d.knownKinds()
		return
	}
	if c := d.reads(source.SlotStatus); c != nil {
		d.statuses(c, "")
		return
	}
	for _, c := range d.data.columns { // is_chargeback and the like
		if c.seen > 0 && c.all(isFlag) && takesBack(c.name) {
			d.flag(c)
			return
		}
	}
	known := meanings()
	for _, c := range d.data.columns {
		if c.seen == d.data.reports && !d.taken(c) && c.all(isWord) && c.distinct() <= statusWordsMost && slices.ContainsFunc(c.values(), func(w string) bool { return known[strings.ToLower(w)] == "reversal" }) {
			d.statuses(c, c.key)
			return
		}
	}
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

// statuses proposes what the words of c mean. Once a source says what words
// mean, others are refused, so it is proposed only when all that came are known
// and some do more than pay.
func (d *draft) statuses(c *column, field string) {
	if c.distinct() > statusWordsMost || !c.all(isWord|isFlag|isWhole) {
		return
	}
	known := meanings()
	by, unknown, more := map[string][]string{}, []Candidate{}, false
	for _, w := range distinctWords(c) {
		kind := known[w]
		if kind == "" {
			unknown = append(unknown, Candidate{Name: cut(w), Seen: count(c, w)})
			continue
		}
		by[kind] = append(by[kind], w)
		more = more || kind != event.Conversion.String()
	}
	f := Finding{What: "statuses", Seen: c.seen, Of: d.data.reports, Example: d.example(c)}
	switch {
	case len(unknown) > 0 && c.distinct() > 1:
		f.State, f.Candidates = Open, unknown
		f.Why = "words in " + cut(c.name) + " whose meaning is not known: say in statuses what pays (conversion), what takes back (reversal) and what is of no concern (ignore)"
		d.add(f)
	case more:
		var said []string
		for _, kind := range sortedKeys(by) {
			said = append(said, kind+": "+strings.Join(by[kind], ", "))
		}
		f.Proposed, f.Why = strings.Join(said, "; "), "words in "+cut(c.name)+" that senders use so; any other word is refused from then on"
		d.change(f, func(s *source.Spec) {
			if field != "" {
				setField(s, source.SlotStatus, field)
			}
			s.Statuses = by
		})
	}
}

// knownKinds says which words the source does not know.
func (d *draft) knownKinds() {
	c := d.reads(source.SlotStatus)
	if c == nil {
		return
	}
	f := Finding{What: "statuses", State: AsIs, Why: "the source knows every word in " + cut(c.name), Seen: c.seen, Of: d.data.reports, Example: d.example(c)}
	for _, w := range distinctWords(c) {
		if _, ok := d.src.MeaningOf(w); !ok {
			f.Candidates = append(f.Candidates, Candidate{Name: cut(w), Seen: count(c, w)})
		}
	}
	if len(f.Candidates) > 0 {
		f.State, f.Why = Open, "words in "+cut(c.name)+" that the source does not know, so those postbacks are invalid: add them to statuses"
		f.Candidates = f.Candidates[:min(len(f.Candidates), statusWordsMost)]
	}
	d.add(f)
}

func distinctWords(c *column) (list []string) {
	for _, t := range c.values() {
		list = appendNew(list, strings.ToLower(t))
	}
	slices.Sort(list)
	return list
}

func count(c *column, word string) (n int) {
	for _, t := range c.values() {
		if strings.EqualFold(t, word) {
			n++
		}
	}
	return n
}
