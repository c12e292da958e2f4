package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// learned are the slots that are looked for, those that values show best first.
var learned = []source.Slot{source.SlotPayout, source.SlotCaller, source.SlotDuration, source.SlotCurrency, source.SlotRefID, source.SlotCallID,
	source.SlotNetworkCallID, source.SlotStartedAt, source.SlotTransactionID, source.SlotStatus, source.SlotReward, source.SlotOccurredAt}

// reads gives the column that the source as drafted fills a slot from, nil
// when it finds none.
func (d *draft) reads(slot source.Slot) *column {
	for _, n := range d.src.Names[slot] {
		if c := d.data.byName[n]; c != nil && c.seen > 0 {
			return c
		}
	}
	return nil
}

// taken reports whether some slot, or the account, is filled from c already.
func (d *draft) taken(c *column) bool {
	for slot := range source.SlotCount {
		if d.reads(slot) == c {
			return true
		}
	}
	for _, p := range d.src.Account {
		if slices.Contains(p.Fields, c.key) {
			return true
		}
	}
	return signatureField(&d.src.Spec, c) || secretName(c.key)
}

// slots finds a field for each slot that the source cannot fill.
func (d *draft) slots() {
	known := knownAliases()
	for _, slot := range learned {
		if slot == source.SlotReward && d.src.Spec.Settle != source.SettleAccount {
			continue
		}
		c := d.reads(slot)
		switch {
		case c != nil && fits(slot, c):
			d.add(Finding{What: slot.String(), State: AsIs, Proposed: c.name, Why: "the source reads it", Seen: c.seen, Of: d.data.reports, Example: d.example(c)})
		case c != nil:
			d.misfit(known, slot, c)
		case d.src.Constants[slot] == "":
			d.fill(known, slot, "")
		}
	}
	d.keyless()
}

// misfit is for a field that the source reads though its values are none for
// the slot: a better one goes before it.
func (d *draft) misfit(known aliases, slot source.Slot, c *column) {
	if d.fill(known, slot, c.name) {
		return
	}
	d.add(Finding{What: slot.String(), State: Open, Proposed: c.name, Seen: c.seen, Of: d.data.reports, Example: d.example(c),
		Why: "the source reads it, but not all of its values are " + meant(slot)})
}

// choice is a column with what speaks for it.
type choice struct {
	*column
	points int
	why    string
}

// choices ranks the columns that a slot may be filled from.
func (d *draft) choices(known aliases, slot source.Slot) (list []choice) {
	for _, c := range d.data.columns {
		if c.seen == 0 || d.taken(c) || !fits(slot, c) {
			continue
		}
		points, why := known.namePoints(c, slot)
		if points >= 0 {
			shape, says := distinctive(slot, c)
			if shape > 0 {
				points += shape
				why = strings.TrimPrefix(why+", "+says, ", ")
			}
		}
		if points >= valueOnly {
			list = append(list, choice{c, points, why})
		}
	}
	slices.SortStableFunc(list, func(a, b choice) int { return b.points - a.points })
	return list
}

// fill proposes a field for a slot. It reports whether it had one.
func (d *draft) fill(known aliases, slot source.Slot, instead string) bool {
	list := d.choices(known, slot)
	if len(list) == 0 {
		return false
	}
	const lead = 15 // by which the first must stand out
	best := list[0]
	sure := best.points >= nameSure || best.points >= valueOnly && len(list) == 1 && byValue(slot)
	if len(list) > 1 && list[1].points > best.points-lead {
		sure = false
	}
	f := Finding{What: slot.String(), Proposed: best.name, Seen: best.seen, Of: d.data.reports, Example: d.example(best.column)}
	f.Why = fmt.Sprintf("%s, and all its values are %s", best.why, meant(slot))
	if instead != "" {
		f.Why += fmt.Sprintf(", which those of %s are not", cut(instead))
	}
	if sure {
		return d.change(f, func(s *source.Spec) {
			if s.Fields == nil {
				s.Fields = map[string][]string{}
			}
			s.Fields[slot.String()] = append([]string{best.key}, s.Fields[slot.String()]...)
		})
	}
	f.State, f.Proposed, f.Example = Open, "", ""
	f.Why = "more than one field may be it: name the right one in fields." + slot.String() + "; until then none of them is read so"
	if len(list) == 1 {
		f.Why = best.why + ", which is not enough to be sure: name it in fields." + slot.String() + " if it is right; until then it is not read so"
	}
	for _, c := range list[:min(len(list), 5)] {
		f.Candidates = append(f.Candidates, Candidate{c.name, d.example(c.column), c.seen})
	}
	d.add(f)
	return false
}

// byValue lists the slots whose values show them whatever the field is called.
func byValue(slot source.Slot) bool {
	return slot == source.SlotCaller || slot == source.SlotCurrency || slot == source.SlotDuration
}

// distinctive says how much the values themselves speak for a slot.
func distinctive(slot source.Slot, c *column) (points int, says string) {
	switch {
	case slot == source.SlotCaller && c.all(isPhoneSure):
		return valueOnly, "it holds phone numbers"
	case slot == source.SlotCurrency && c.all(isCurrency):
		return valueOnly, "it holds ISO currencies"
	case slot == source.SlotDuration && c.all(isClock):
		return valueOnly, "it holds minutes and seconds"
	}
	return 0, ""
}

const secondsMost = 7 * 24 * 60 * 60

// fits reports whether the values of c can be those of a slot.
func fits(slot source.Slot, c *column) bool {
	switch slot {
	case source.SlotCaller:
		return c.all(isPhone)
	case source.SlotPayout, source.SlotReward:
		return c.all(isAmount)
	case source.SlotDuration:
		if c.all(isClock) {
			return true
		}
		for _, t := range c.values() {
			whole, rest, _ := strings.Cut(t, ".")
			if onlyDigits(whole) != whole || whole == "" || len(whole) > 9 || strings.Trim(rest, "0") != "" {
				return false
			}
		}
		return c.seen > 0
	case source.SlotCurrency:
		return c.all(isCurrency) || c.all(isCurrencyLike) && !c.any(isWhole)
	case source.SlotStartedAt, source.SlotOccurredAt:
		return c.all(isUnix | isUnixMillis | isTime | isLocalTime)
	case source.SlotStatus:
		return c.distinct() <= 16 && c.all(isWord|isFlag|isWhole)
	}
	for _, t := range c.values() { // identifiers
		if len(t) > 256 || strings.ContainsAny(t, " \t\r\n") {
			return false
		}
	}
	return c.seen > 0 && !c.all(isTime|isLocalTime)
}

func meant(slot source.Slot) string {
	switch slot {
	case source.SlotCaller:
		return "phone numbers"
	case source.SlotPayout, source.SlotReward:
		return "amounts"
	case source.SlotDuration:
		return "durations"
	case source.SlotCurrency:
		return "currencies"
	case source.SlotStartedAt, source.SlotOccurredAt:
		return "times"
	case source.SlotStatus:
		return "words"
	}
	return "identifiers"
}

// keyless says what is missing for a postback to be booked at all.
func (d *draft) keyless() {
	open := func(slot source.Slot) bool {
		return slices.ContainsFunc(d.out.Findings, func(f Finding) bool { return f.What == slot.String() && f.State == Open })
	}
	if d.reads(source.SlotPayout) == nil && d.src.Constants[source.SlotPayout] == "" && !d.src.Spec.PayoutOptional && d.src.Spec.Reward == nil && !open(source.SlotPayout) {
		d.add(Finding{What: "payout", State: Open, Of: d.data.reports, Why: "no field looks like a payout: have the sender add it, or set constants.payout if it is always the same; until then nothing is booked"})
	}
	if d.src.Spec.Settle == source.SettleAccount {
		return
	}
	for _, slot := range []source.Slot{source.SlotRefID, source.SlotCallID, source.SlotNetworkCallID, source.SlotCaller} {
		if d.reads(slot) != nil || open(slot) {
			return
		}
	}
	d.add(Finding{What: "call", State: Open, Of: d.data.reports, Why: "no field names a call: have the sender pass back ref_id or call_id, or send the caller with the duration; until then nothing is booked"})
}
