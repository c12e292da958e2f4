package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// unusedMax is how many fields that nothing takes are listed.
const unusedMax = 20

// unused lists the fields that nothing takes, those that look like ids first:
// one of them may be what tells postbacks apart, or what was passed to the sender.
func (d *draft) unused() {
	var ids, rest []Finding
	for _, c := range d.data.columns {
		if c.seen == 0 || d.taken(c) || d.identified(c) || d.mentioned(c) {
			continue
		}
		f := Finding{What: "field", State: Note, Proposed: cut(c.name), Seen: c.seen, Of: d.data.reports, Example: d.example(c), Why: "nothing is read from it"}
		if may := d.mayBe(c); may != "" {
			f.State, f.Why = Open, "it is named like an id and differs in each: if it is one, name it in "+may+"; until then it is not read"
			ids = append(ids, f)
			continue
		}
		rest = append(rest, f)
	}
	d.list(slices.Concat(ids, rest), "fields that nothing is read from")
	d.strangers()
}

// strangers lists the fields that stood only in requests that do not count.
func (d *draft) strangers() {
	var list []Finding
	for _, c := range d.strange.columns {
		if had := d.data.byName[c.key]; c.seen == 0 || secretName(c.key) || had != nil && had.seen > 0 {
			continue
		}
		list = append(list, Finding{What: "field", State: Open, Proposed: cut(c.name), Seen: c.seen, Of: d.strange.reports, Example: d.example(c),
			Why: "it stood only in requests that were refused, which anybody may have sent: it is never proposed; name it in fields if it is the sender's"})
	}
	d.list(list, "fields that stood only in requests that were refused")
}

// list adds findings up to a bound, and says how many there are beyond.
func (d *draft) list(list []Finding, what string) {
	shown := list[:min(len(list), unusedMax)]
	for _, f := range shown {
		d.add(f)
	}
	if more := len(list) - len(shown); more > 0 {
		d.add(Finding{What: "field", State: Note, Why: fmt.Sprintf("and %d more %s", more, what), Seen: more, Of: len(list)})
	}
}

// identified reports whether the source tells postbacks apart by c.
func (d *draft) identified(c *column) bool {
	return strings.EqualFold(d.src.Spec.Identity, c.key)
}

// mentioned reports whether a finding that is open has c among what it may be.
func (d *draft) mentioned(c *column) bool {
	return slices.ContainsFunc(d.out.Findings, func(f Finding) bool {
		return slices.ContainsFunc(f.Candidates, func(m Candidate) bool { return m.Name == c.name })
	})
}

// idEndings are how names of ids end.
var idEndings = []string{"no", "id", "code", "ref", "number"}

// mayBe names the settings for which c is a candidate, "" when it is for none.
func (d *draft) mayBe(c *column) string {
	plain := plainName(c.name)
	if !slices.ContainsFunc(idEndings, func(e string) bool { return strings.HasSuffix(plain, e) }) ||
		c.distinct() < c.seen || !fits(source.SlotTransactionID, c) || c.any(isPhoneSure|isIP|isClock|isCurrency|isFlag) || c.all(isAmount) && !c.all(isWhole) {
		return ""
	}
	var may []string
	if d.src.Spec.Identity == "" {
		may = append(may, "identity")
	}
	if d.reads(source.SlotRefID) == nil && d.src.Spec.Settle != source.SettleAccount {
		may = append(may, "fields.ref_id")
	}
	return strings.Join(may, " or ")
}
