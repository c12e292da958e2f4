package learn

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// identity finds the field whose value is each postback's own: another for
// each, the same in retries. It is proposed only where its name says so too,
// since a field that merely differs may be the click, which is priced again.
func (d *draft) identity() {
	if id := d.src.Spec.Identity; id != "" {
		d.knownIdentity(id)
		return
	}
	var list []choice
	for _, c := range d.data.columns {
		if points, why := d.identifies(c); points > 0 {
			list = append(list, choice{c, points, why})
		}
	}
	slices.SortStableFunc(list, func(a, b choice) int { return b.points - a.points })
	if len(list) == 0 {
		return
	}
	best := list[0]
	f := Finding{What: "identity", Proposed: best.name, Why: best.why, Seen: best.seen, Of: d.data.reports, Example: d.example(best.column)}
	alone := len(list) == 1 || list[1].points < best.points
	if best.points >= nameSure && alone {
		if d.change(f, func(s *source.Spec) { s.Identity = best.key }) {
			d.reversals(best.column)
		}
		return
	}
	f.State, f.Proposed, f.Example = Open, "", ""
	f.Why = "these fields differ in each postback: if one is the transaction's own id, name it in identity; if it is the click's or the call's, leave it, since those are priced again; until then only postbacks that say the same are taken for retries"
	for _, c := range list[:min(len(list), 5)] {
		f.Candidates = append(f.Candidates, Candidate{c.name, d.example(c.column), c.seen})
	}
	d.add(f)
}

// knownIdentity says how the source's identity holds up.
func (d *draft) knownIdentity(id string) {
	c := d.data.byName[id]
	if i := slotOf(id); c == nil && i >= 0 {
		c = d.reads(source.Slot(i))
	}
	if c == nil || c.seen == 0 {
		d.add(Finding{What: "identity", State: Open, Proposed: id, Of: d.data.reports,
			Why: "the source identifies postbacks by it, and none has it, so all are invalid: have the sender add it, or name another field in identity"})
		return
	}
	d.add(Finding{What: "identity", State: AsIs, Proposed: c.name, Why: "the source identifies postbacks by it", Seen: c.seen, Of: d.data.reports, Example: d.example(c)})
	d.reversals(c)
}

// idWords are words in the names of fields that identify a transaction.
var idWords = [][]string{{"transaction"}, {"txn"}, {"tx", "id"}, {"txid"}, {"trans", "id"}, {"transid"}, {"conversion", "id"}, {"token"}, {"event", "id"}, {"eventid"},
	{"order", "id"}, {"idempotency"}, {"payment", "id"}, {"unique", "id"}, {"postback", "id"}}

// identifies says how much speaks for c as the identity; 0 rules it out.
func (d *draft) identifies(c *column) (points int, why string) {
	if c.seen < d.data.reports || secretName(c.key) || signatureField(&d.src.Spec, c) || !fits(source.SlotTransactionID, c) ||
		c.any(isPhoneSure|isTime|isUnix|isIP|isClock|isCurrency|isFlag) || c.all(isAmount) && !c.all(isWhole) {
		return 0, ""
	}
	for _, slot := range []source.Slot{source.SlotPayout, source.SlotDuration, source.SlotCaller, source.SlotRefID, source.SlotCallID, source.SlotNetworkCallID} {
		if d.reads(slot) == c && !(slot == source.SlotRefID && d.namesIdentity(c)) {
			return 0, ""
		}
	}
	differ, same, ok := d.repeats(c)
	named := d.namesIdentity(c)
	made := c.all(isUUID | isToken)
	switch {
	case !ok || differ == 0 && d.data.reports > 1 && same == 0:
		return 0, ""
	case named:
		points, why = nameSure, "its name says so"
	case made && differ >= 2:
		points, why = nameWeak, "it looks like made for each"
	default:
		return 0, ""
	}
	if made {
		points += 5
	}
	switch {
	case differ >= 2 && same > 0:
		points, why = points+10, why+"; it differs in each and is the same in retries"
	case differ >= 2:
		points, why = points+5, why+"; it differs in each"
	}
	return points, why
}

// namesIdentity reports whether a name is one that presets identify by, or sounds so.
func (d *draft) namesIdentity(c *column) bool {
	for _, name := range source.Presets() {
		if p, err := source.PresetOf(name); err == nil && p.Source.Identity != "" && slices.Contains(forms(c.name), plainName(p.Source.Identity)) {
			return true
		}
	}
	have := words(c.name)
	return slices.ContainsFunc(idWords, func(w []string) bool { return containsAll(have, w) })
}

// repeats counts how many values of c differ, and how many reports repeat one.
// ok is false when two reports have the same value and pay different things:
// then it does not identify them.
func (d *draft) repeats(c *column) (differ, same int, ok bool) {
	first := map[string]int{}
	for i, t := range c.texts {
		if t == "" {
			continue
		}
		j, again := first[t]
		if !again {
			first[t] = i
			continue
		}
		same++
		for _, o := range d.data.columns {
			if o != c && o.texts[i] != o.texts[j] && d.counts(o) {
				return len(first), same, false
			}
		}
	}
	return len(first), same, true
}

// counts reports whether two postbacks that differ in c tell different things:
// times of sending and signatures do not.
func (d *draft) counts(c *column) bool {
	return !secretName(c.key) && !signatureField(&d.src.Spec, c) && !c.all(isUnix|isUnixMillis|isTime|isLocalTime)
}

var prefixForm = regexp.MustCompile(`^([A-Za-z]{1,8}[-_:.])(.+)$`)

// reversals finds the prefix that marks the identity of what takes back.
func (d *draft) reversals(c *column) {
	if d.src.Spec.ReversalPrefix != "" {
		return
	}
	values := map[string]bool{}
	for _, v := range c.values() {
		values[v] = true
	}
	of := map[string]int{} // how many have a prefix behind which another one's id stands
	shares := map[string]int{}
	for v := range values {
		if m := prefixForm.FindStringSubmatch(v); m != nil && len(m[1]) <= source.ReversalPrefixBytes {
			shares[m[1]]++
			if values[m[2]] {
				of[m[1]]++
			}
		}
	}
	for _, prefix := range sortedKeys(shares) {
		f := Finding{What: "reversal_prefix", Proposed: prefix, Seen: shares[prefix], Of: len(values)}
		switch {
		case of[prefix] > 0:
			f.Why = "behind it stands the id of another postback, which it takes back"
			d.change(f, func(s *source.Spec) { s.ReversalPrefix = prefix })
			return
		case shares[prefix] < len(values) && strings.HasPrefix(strings.ToLower(prefix), "r"):
			f.State, f.Why = Open, "some ids begin so and others do not: if those take back, set reversal_prefix"
			d.add(f)
			return
		}
	}
}
