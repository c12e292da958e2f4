package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// Points of what speaks for a preset, and what a better one needs.
const (
	pointsVerified  = 40 // its signature holds
	pointsPlace     = 8  // something of the right length stands where it signs
	pointsUnsigned  = -8 // nothing does
	pointsTemplate  = 10 // of the parameters that it has pasted at the sender, all came
	pointsWords     = 4
	pointsMethod    = -6
	presetPointsMin = 14
	presetLead      = 8 // ahead of the preset that the source has
	guessedLead     = 4 // and so much more when it rests on guesses
)

// fit is how well a preset explains what came.
type fit struct {
	*source.Preset
	points int
	why    []string
}

// preset finds the preset that explains most of what came.
func (d *draft) preset() {
	if d.src.MapperName != "" || d.data.reports == 0 {
		return
	}
	current := d.src.Spec.Preset
	uses := nameUses()
	var list []fit
	var now fit
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			panic("bug: " + err.Error())
		}
		f := d.fit(p, uses)
		if name == current {
			now = f
		}
		list = append(list, f)
	}
	slices.SortStableFunc(list, func(a, b fit) int { return b.points - a.points })
	best := list[0]
	lead := presetLead
	if !best.Verified {
		lead += guessedLead
	}
	tied := len(list) > 1 && list[1].points == best.points && list[1].Name != current
	if best.Name == current || best.points < presetPointsMin || best.points < now.points+lead || tied {
		d.add(Finding{What: "preset", State: AsIs, Proposed: current, Why: strings.Join(append([]string{"no other fits better"}, now.why...), "; "), Seen: len(d.requests), Of: len(d.requests)})
		return
	}
	why := best.why
	if !best.Verified {
		why = append(why, "what is known of it rests on guesses")
	}
	d.change(Finding{What: "preset", Proposed: best.Name, Why: best.Title + ": " + strings.Join(why, "; "), Seen: len(d.requests), Of: len(d.requests)},
		func(s *source.Spec) { s.Preset = best.Name })
}

// nameUses counts in how many presets a name occurs: what all use says little.
func nameUses() map[string]int {
	uses := map[string]int{}
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			panic("bug: " + err.Error())
		}
		for n := range ownNames(p) {
			uses[n]++
		}
	}
	return uses
}

// ownNames are the fields that a preset speaks of.
func ownNames(p *source.Preset) map[string]bool {
	names := map[string]bool{}
	for _, list := range p.Source.Fields {
		for _, n := range list {
			names[strings.ToLower(n)] = true
		}
	}
	for _, n := range templateNames(p.Query) {
		names[n] = true
	}
	if p.Source.Identity != "" {
		names[strings.ToLower(p.Source.Identity)] = true
	}
	return names
}

// templateNames are the parameters of what is pasted at the sender.
func templateNames(query string) (list []string) {
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, ok := strings.Cut(pair, "="); ok && name != "" {
			list = append(list, strings.ToLower(name))
		}
	}
	return list
}

func (d *draft) fit(p *source.Preset, uses map[string]int) fit {
	f := fit{Preset: p}
	d.fitNames(&f, uses)
	d.fitTemplate(&f)
	d.fitSignature(&f)
	d.fitWords(&f)
	if len(p.Source.Methods) > 0 && slices.ContainsFunc(d.requests, func(r Request) bool {
		return r.Method != "" && !slices.ContainsFunc(p.Source.Methods, func(m string) bool { return strings.EqualFold(m, r.Method) })
	}) {
		f.points += pointsMethod
	}
	return f
}

// fitNames counts for each slot one name that came, and the identity. A name
// that only this preset has says most.
func (d *draft) fitNames(f *fit, uses map[string]int) {
	var found []string
	count := func(name string) {
		if c := d.data.byName[name]; c != nil && c.seen > 0 && !slices.Contains(found, c.name) {
			found = append(found, c.name)
			f.points += max(1, 6/uses[name])
		}
	}
	for _, slot := range sortedKeys(f.Source.Fields) {
		for _, n := range f.Source.Fields[slot] {
			n = strings.ToLower(n)
			if c := d.data.byName[n]; c != nil && c.seen > 0 {
				if i := slotOf(slot); i >= 0 && fits(source.Slot(i), c) {
					count(n)
				}
				break
			}
		}
	}
	if id := strings.ToLower(f.Source.Identity); id != "" {
		count(id)
	}
	if len(found) > 0 {
		f.why = append(f.why, "it knows "+cut(strings.Join(found, ", ")))
	}
}

func (d *draft) fitTemplate(f *fit) {
	names := templateNames(f.Query)
	here := 0
	for _, n := range names {
		if c := d.data.byName[n]; c != nil {
			here++
		}
	}
	if len(names) < 2 || 2*here < len(names) {
		return
	}
	f.points += pointsTemplate * here / len(names)
	if here == len(names) {
		f.why = append(f.why, "every parameter of its URL came")
	} else {
		f.why = append(f.why, fmt.Sprintf("%d of the %d parameters of its URL came", here, len(names)))
	}
}

func (d *draft) fitSignature(f *fit) {
	s := f.Source.Signature
	if s == nil {
		return
	}
	for _, sign := range d.signs {
		if sameScheme(&sign.spec, s) {
			f.points += pointsVerified
			f.why = append(f.why, fmt.Sprintf("its signature holds on %d of %d requests", sign.seen, sign.of))
			return
		}
	}
	seen := 0
	for i := range d.requests {
		if _, ok := d.standsIn(&d.requests[i], s.Signature.In); ok {
			seen++
		}
	}
	switch {
	case seen > 0:
		f.points += pointsPlace
		f.why = append(f.why, "a signature stands where it signs, in "+s.Signature.In)
	case !f.Source.SignatureOptional:
		f.points += pointsUnsigned
	}
}

func (d *draft) fitWords(f *fit) {
	for _, name := range f.Source.Fields["status"] {
		c := d.data.byName[strings.ToLower(name)]
		if c == nil || c.seen == 0 || len(f.Source.Statuses) == 0 {
			continue
		}
		known := map[string]bool{}
		for _, list := range f.Source.Statuses {
			for _, w := range list {
				known[strings.ToLower(w)] = true
			}
		}
		for _, w := range c.values() {
			if !known[strings.ToLower(w)] && !known[source.AnyStatus] {
				f.points -= pointsWords
				return
			}
		}
		f.points += pointsWords
		f.why = append(f.why, "it knows every word in "+c.name)
		return
	}
}
