package learn

import (
	"slices"
	"strconv"

	"github.com/tallyhook/tallyhook/source"
)

// notations finds how amounts and durations are written.
func (d *draft) notations() {
	d.amounts()
	d.durations()
	for _, slot := range []source.Slot{source.SlotStartedAt, source.SlotOccurredAt} {
		if c := d.reads(slot); c != nil && c.any(isLocalTime) && d.src.Zone == nil {
			d.add(Finding{What: "transforms.time_zone", State: Open, Seen: c.seen, Of: d.data.reports, Example: d.example(c),
				Why: "times in " + cut(c.name) + " carry no offset, and such are refused: set transforms.time_zone to the sender's, for example America/New_York"})
			break
		}
	}
}

// transform proposes one setting of transforms.
func (d *draft) transform(name, to, why string, c *column, edit func(*source.Transforms)) {
	d.change(Finding{What: "transforms." + name, Proposed: to, Why: why, Seen: c.seen, Of: d.data.reports, Example: d.example(c)},
		func(s *source.Spec) { edit(&s.Transforms) })
}

func (d *draft) amounts() {
	c := d.reads(source.SlotPayout)
	if c == nil || !c.all(isAmount) {
		return
	}
	t := d.src.Spec.Transforms
	if c.any(isSigned) && !t.CurrencySign {
		d.transform("currency_sign", "true", "amounts stand with a currency sign", c, func(t *source.Transforms) { t.CurrencySign = true })
	}
	comma, thousands := d.separators(c)
	if comma && !t.DecimalComma {
		d.transform("decimal_comma", "true", "a comma stands before the cents", c, func(t *source.Transforms) { t.DecimalComma = true })
	}
	if thousands && !t.Thousands {
		d.transform("thousands", "true", "groups of three digits are parted", c, func(t *source.Transforms) { t.Thousands = true })
	}
	d.cents(c)
	if c.any(isNegative) && !t.NegativeReverses {
		d.transform("negative_reverses", "true", "some amounts are below zero, which is how senders take back", c, func(t *source.Transforms) { t.NegativeReverses = true })
	}
}

// separators reads commas: 12,34 can only be a decimal, 1,234.56 only parts
// thousands; 1,234 alone may be either and is left open.
func (d *draft) separators(c *column) (comma, thousands bool) {
	either := 0
	for i, s := range c.shapes {
		text, _ := unsign(c.values()[i])
		switch {
		case s&isComma != 0 && s&isThousands != 0:
			either++
		case s&isComma != 0:
			comma = true
		case s&isThousands != 0:
			thousands = true
		case decimalFraction(text):
			thousands = thousands || either > 0 // a point parts cents, so commas part thousands
		}
	}
	pointed := slices.ContainsFunc(c.values(), func(t string) bool { text, _ := unsign(t); return decimalFraction(text) })
	switch {
	case comma && (thousands || pointed):
		d.add(Finding{What: "transforms.decimal_comma", State: Open, Seen: c.seen, Of: d.data.reports, Example: d.example(c),
			Why: "some amounts have a decimal comma and some a point: ask the sender which it is"})
		return false, false
	case either > 0 && !comma && !thousands && !pointed:
		d.add(Finding{What: "transforms.thousands", State: Open, Seen: either, Of: d.data.reports, Example: d.example(c),
			Why: "1,234 may be a thousand or one and a fraction: set transforms.thousands or transforms.decimal_comma"})
		return false, false
	}
	return comma, thousands || either > 0 && pointed
}

// cents looks for amounts in whole cents. A name that says so is believed; large whole
// numbers alone are not.
func (d *draft) cents(c *column) {
	if d.src.Spec.Transforms.Cents || !c.all(isWhole) {
		return
	}
	have := words(c.name)
	if slices.Contains(have, "cents") || slices.Contains(have, "cent") || slices.Contains(have, "pence") {
		d.transform("cents", "true", "its name says cents, and all amounts are whole", c, func(t *source.Transforms) { t.Cents = true })
		return
	}
	for _, t := range c.values() {
		if n, err := strconv.ParseInt(t, 10, 64); err != nil || n != 0 && n < 500 {
			return
		}
	}
	d.add(Finding{What: "transforms.cents", State: Open, Seen: c.seen, Of: d.data.reports, Example: d.example(c),
		Why: "all amounts are whole and large: if they are cents, set transforms.cents; until then they are whole units of money"})
}

func (d *draft) durations() {
	c := d.reads(source.SlotDuration)
	if c == nil || d.src.Spec.Transforms.Duration != "" {
		return
	}
	if c.all(isClock) {
		d.transform("duration", "mm:ss", "durations are written as minutes and seconds", c, func(t *source.Transforms) { t.Duration = "mm:ss" })
		return
	}
	have := words(c.name)
	named := slices.Contains(have, "ms") || slices.Contains(have, "millis") || slices.Contains(have, "milliseconds") || slices.Contains(have, "msec")
	least, most := int64(1<<62), int64(0)
	for _, t := range c.values() {
		if n, err := strconv.ParseInt(t, 10, 64); err == nil && n > 0 {
			least, most = min(least, n), max(most, n)
		} else if err != nil {
			return
		}
	}
	switch {
	case named:
		d.transform("duration", "ms", "its name says milliseconds", c, func(t *source.Transforms) { t.Duration = "ms" })
	case most > secondsMost:
		d.transform("duration", "ms", "as seconds, calls would last more than a week", c, func(t *source.Transforms) { t.Duration = "ms" })
	case least >= 5000 && most > 0:
		d.add(Finding{What: "transforms.duration", State: Open, Seen: c.seen, Of: d.data.reports, Example: d.example(c),
			Why: "every call would last longer than 80 minutes: if these are milliseconds, set transforms.duration to ms; until then they are seconds"})
	}
}
