package console

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

var macroForm = regexp.MustCompile(`^(\[\[.+\]\]|\[.+\]|\{\{.+\}\}|\{.+\}|%.+%|#.+#)$`)

var pathMacro = regexp.MustCompile(`\[[^\]/]+\]|\{[^}/]+\}`)

// intoPath fills in the path. The id of the call that it names goes into the
// record where the intake puts it.
func (t *trial) intoPath() {
	for _, p := range t.params {
		if !p.inPath {
			continue
		}
		t.path = pathMacro.ReplaceAllStringFunc(t.path, func(m string) string {
			if macroOf(m) == p.macro {
				return url.PathEscape(p.value)
			}
			return m
		})
		if p.slot(t.src) == source.SlotCallID {
			t.headers = append(t.headers, event.Pair{Name: event.HeaderCallID, Value: p.value})
		}
	}
}

// macroOf gives the sender's word between a macro's brackets, "" for a fixed text.
func macroOf(value string) string {
	if !macroForm.MatchString(value) {
		return ""
	}
	return strings.Trim(value, "[]{}%#")
}

// template takes over what the preset has pasted at the sender. A source that
// names a field itself has renamed it there. Without a template, each slot's
// first name stands for it.
func (t *trial) template(p *source.Preset) {
	renamed := func(name string) string {
		for slot, own := range t.src.Spec.Fields {
			if len(own) > 0 && !containsFold(own, name) && containsFold(p.Source.Fields[slot], name) {
				return own[0]
			}
		}
		return name
	}
	t.path = p.Path
	for _, m := range pathMacro.FindAllString(p.Path, -1) {
		t.add(trialParam{name: macroOf(m), macro: macroOf(m), inPath: true})
	}
	for pair := range strings.SplitSeq(p.Query, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || t.isSignature(name) {
			continue
		}
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		one := trialParam{name: renamed(name), macro: macroOf(value)}
		if one.macro == "" {
			one.value, one.set = value, true
		}
		t.add(one)
	}
	for slot := range source.SlotCount {
		if len(t.src.Names[slot]) > 0 && !slices.ContainsFunc(t.params, func(q trialParam) bool { return q.slot(t.src) == slot }) {
			t.add(trialParam{name: t.src.Names[slot][0], macro: slot.String()})
		}
	}
	for _, name := range t.signedFields() {
		t.add(trialParam{name: name, macro: name})
	}
	if id := t.src.Spec.Identity; id != "" && slotNamed(id) == source.SlotCount {
		t.add(trialParam{name: id, macro: id})
	}
	for _, part := range t.src.Account {
		if len(part.Fields) > 0 && !slices.ContainsFunc(t.params, func(q trialParam) bool { return containsFold(part.Fields, q.name) }) {
			t.add(trialParam{name: part.Fields[0], macro: part.Fields[0]})
		}
	}
}

// add appends a parameter unless there is one of that name.
func (t *trial) add(p trialParam) {
	if !slices.ContainsFunc(t.params, func(q trialParam) bool { return strings.EqualFold(q.name, p.name) }) {
		t.params = append(t.params, p)
	}
}

// slot gives which slot a parameter fills, SlotCount for none.
func (p trialParam) slot(src *source.Source) source.Slot {
	for slot := range source.SlotCount {
		if slices.Contains(src.Names[slot], strings.ToLower(p.name)) {
			return slot
		}
	}
	return source.SlotCount
}

func slotNamed(name string) source.Slot {
	for slot := range source.SlotCount {
		if slot.String() == name {
			return slot
		}
	}
	return source.SlotCount
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// take gives parameters what was set for them by name, by macro or by slot, and
// takes it out of left. Any other name that the source reads is added.
func (t *trial) take(left map[string]string) {
	for _, key := range []func(p *trialParam) string{
		func(p *trialParam) string { return p.name },
		func(p *trialParam) string { return p.macro },
		func(p *trialParam) string {
			if slot := p.slot(t.src); slot < source.SlotCount {
				return slot.String()
			}
			return ""
		},
	} {
		for i := range t.params {
			p := &t.params[i]
			name := strings.ToLower(key(p))
			if value, ok := left[name]; ok && name != "" {
				p.value, p.set = value, true
				delete(left, name)
			}
		}
	}
	for _, name := range sortedNames(left) {
		p := trialParam{name: name, value: left[name], set: true}
		if t.src.MapperName != "" || p.slot(t.src) < source.SlotCount || t.reads(name) {
			t.params = append(t.params, p)
			delete(left, name)
		}
	}
}

// reads reports whether the account's name is made of a field.
func (t *trial) reads(name string) bool {
	return slices.ContainsFunc(t.src.Account, func(p source.AccountPart) bool { return containsFold(p.Fields, name) })
}

func sortedNames(m map[string]string) []string {
	var list []string
	for name := range m {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// nameForm is what the name of a parameter, or a path into JSON, looks like.
var nameForm = regexp.MustCompile(`^[\pL_][\pL\pN_.\-\[\]:]*$`)

// takeUnread takes the names that the source reads nothing from. They are sent
// as they are, with a remark, unless all that the sender can send is known.
func (t *trial) takeUnread(left, spelled map[string]string, p *source.Preset) error {
	var refused []string
	for _, name := range sortedNames(left) {
		if p.Query != "" || p.Path != "" || !nameForm.MatchString(name) || len(name) > trialNameBytesMax {
			refused = append(refused, spelled[name])
			continue
		}
		one := trialParam{name: spelled[name], value: left[name], set: true}
		t.remarks = append(t.remarks, fmt.Sprintf("%q is sent as it is, and the source reads nothing from it%s", clip(one.name), t.meant(name)))
		t.params = append(t.params, one)
	}
	if len(refused) == 0 {
		return nil
	}
	return t.unknown(refused)
}

// meant asks whether another name was meant.
func (t *trial) meant(name string) string {
	var known []string
	for _, p := range t.params {
		known = append(known, p.name)
		if p.macro != "" {
			known = append(known, strings.ToLower(p.macro))
		}
	}
	if near := source.Nearest(strings.ToLower(name), known); near != "" && !strings.EqualFold(near, name) {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// unknown says of every name that is none of the sender's what to do about it,
// and which the sender has, with its macros where they are called otherwise.
func (t *trial) unknown(names []string) error {
	var have, bad []string
	for _, p := range t.params {
		have = append(have, p.name)
		if p.macro != "" && !strings.EqualFold(p.macro, p.name) {
			have[len(have)-1] += " (" + p.macro + ")"
		}
	}
	for _, name := range names {
		bad = append(bad, fmt.Sprintf("%q%s", clip(name), t.meant(name)))
	}
	return badRequest("set: the sender has no such parameter: %s; leave it out, or name it in the source's fields or identity if the sender does send it; it has %s",
		strings.Join(bad, ", "), strings.Join(have, ", "))
}
