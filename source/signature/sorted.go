package signature

import (
	"bytes"
	"fmt"
	"slices"
)

type order uint8

const (
	byKey order = iota
	byPlaceholder
	byListed
	bySent
)

var orderNames = map[string]order{"key": byKey, "placeholder": byPlaceholder, "listed": byListed, "sent": bySent}

// sortedRule is a compiled Sorted.
type sortedRule struct {
	from   [fromJSON + 1]bool
	only   []listed // nil is all
	except []string
	by     order
	pair   pairRule
	join   string
	raw    bool
	keys   pipe
	values pipe
	fields map[string]*pipe
}

// listed is a field of a list, and the word it is sorted by.
type listed struct {
	ref  ref
	sort string
}

var sortedFrom = map[string][]origin{"": {fromQuery}, "query": {fromQuery}, "form": {fromForm}, "json": {fromJSON}, "params": {fromQuery, fromForm}}

func compileSorted(s *Sorted) (r *sortedRule, err error) {
	r = &sortedRule{except: slices.Clone(s.Except), raw: s.Raw, join: "&", fields: map[string]*pipe{}}
	origins, ok := sortedFrom[s.From]
	if !ok {
		return nil, fmt.Errorf("sorted: from %q: want query, form, json or params", s.From)
	}
	for _, o := range origins {
		r.from[o] = true
	}
	if s.Join != nil {
		r.join = *s.Join
	}
	if len(r.join) > SettingBytesMax {
		return nil, fmt.Errorf("sorted: join of %d bytes: at most %d", len(r.join), SettingBytesMax)
	}
	if r.by, err = s.order(); err != nil {
		return nil, err
	}
	if err = r.list(s, origins); err != nil {
		return nil, err
	}
	if r.pair, err = parsePair(s.Pair); err != nil {
		return nil, fmt.Errorf("sorted: %w", err)
	}
	if r.keys, err = parsePipe(s.Keys, false); err != nil {
		return nil, fmt.Errorf("sorted: keys: %w", err)
	}
	if r.values, err = parsePipe(s.Values, true); err != nil {
		return nil, fmt.Errorf("sorted: values: %w", err)
	}
	for name, steps := range s.Fields {
		p, err := parsePipe(steps, true)
		if err != nil {
			return nil, fmt.Errorf("sorted: field %s: %w", name, err)
		}
		r.fields[name] = &p
	}
	return r, nil
}

func (s *Sorted) order() (order, error) {
	if s.By == "" {
		if len(s.Placeholders) > 0 {
			return byPlaceholder, nil
		}
		return byKey, nil
	}
	o, ok := orderNames[s.By]
	switch {
	case !ok:
		return o, fmt.Errorf("sorted: by %q: want key, placeholder, listed or sent", s.By)
	case o == byPlaceholder && len(s.Placeholders) == 0:
		return o, fmt.Errorf("sorted: by placeholder needs placeholders: name each macro and the parameter that holds it")
	case o == byListed && len(s.Only) == 0:
		return o, fmt.Errorf("sorted: by listed needs only: list the fields in their order")
	case o == bySent && len(s.Only)+len(s.Placeholders) > 0:
		return o, fmt.Errorf("sorted: by sent takes all fields: use by listed with only, or except")
	case o != byPlaceholder && len(s.Placeholders) > 0:
		return o, fmt.Errorf("sorted: by %q ignores the placeholders: use by placeholder, or only", s.By)
	}
	return o, nil
}

func (r *sortedRule) list(s *Sorted, origins []origin) error {
	switch {
	case len(s.Only) > ListedFieldsMax || len(s.Except) > ListedFieldsMax || len(s.Placeholders) > ListedFieldsMax || len(s.Fields) > ListedFieldsMax:
		return fmt.Errorf("sorted: a list of more than %d names", ListedFieldsMax)
	case len(s.Only) > 0 && (len(s.Except) > 0 || len(s.Placeholders) > 0):
		return fmt.Errorf("sorted: only contradicts except and placeholders: keep one")
	case s.Raw && len(s.Placeholders)+len(s.Only) > 0:
		return fmt.Errorf("sorted: raw takes all fields as sent: use except, not only or placeholders")
	case s.Raw && s.From == "json":
		return fmt.Errorf("sorted: raw is for query and form: JSON has no escapes to keep")
	}
	o := fromAny
	if len(origins) == 1 {
		o = origins[0]
	}
	add := func(name, sort string) error {
		if name == "" || len(name) > SettingBytesMax {
			return fmt.Errorf("sorted: field %q: want a name of 1 to %d bytes", name, SettingBytesMax)
		}
		r.only = append(r.only, listed{ref{origin: o, name: name}, sort})
		return nil
	}
	for _, name := range s.Only {
		if err := add(name, name); err != nil {
			return err
		}
	}
	for sort, name := range s.Placeholders {
		if err := add(name, sort); err != nil {
			return err
		}
	}
	if r.by != byListed {
		slices.SortStableFunc(r.only, func(a, b listed) int { return compareStrings(a.sort, b.sort) })
	}
	return nil
}

func compareStrings(a, b string) int { return bytes.Compare(view(a), view(b)) }

// entry is one field of the text. key is what it is sorted by.
type entry struct {
	key, value []byte
	pipe       *pipe
	at         int32 // in params.list
}

func (r *sortedRule) pipeOf(name []byte) *pipe {
	if p, ok := r.fields[string(name)]; ok {
		return p
	}
	return &r.values
}

// appendSorted adds the sorted fields to buf.
func (u *run) appendSorted(sc *scheme) (why Reason) {
	r := sc.sorted
	if why = u.loaded(); why != "" {
		return why
	}
	u.entries = u.entries[:0]
	if r.only != nil {
		why = u.gatherListed(r)
	} else {
		why = u.gatherAll(sc)
	}
	if why != "" {
		return why
	}
	if len(u.entries) == 0 {
		return FieldMissing // a signature over nothing fits every such request
	}
	for i := range u.entries {
		e := &u.entries[i]
		if i > 0 {
			u.buf = append(u.buf, r.join...)
		}
		u.buf = append(u.buf, r.pair.before...)
		if r.pair.key {
			if why = u.appendPiped(&r.keys, e.key); why != "" {
				return why
			}
			u.buf = append(u.buf, r.pair.between...)
		}
		if why = u.appendPiped(e.pipe, e.value); why != "" {
			u.about = shorten(string(e.key), fieldShownBytesMax)
			return why
		}
		u.buf = append(u.buf, r.pair.after...)
	}
	return ""
}

func (u *run) gatherListed(r *sortedRule) Reason {
	for i := range r.only {
		name := r.only[i].ref.name
		p := r.pipeOf(view(name))
		value, present, why := u.field(r.only[i].ref, p)
		if why != "" {
			return why
		}
		if present {
			u.entries = append(u.entries, entry{key: view(name), value: value, pipe: p})
		}
	}
	return ""
}

// gatherAll takes all fields but those excepted. A field that stands twice
// with the same value counts once.
func (u *run) gatherAll(sc *scheme) Reason {
	r, ps := sc.sorted, &u.params
	for i := range ps.list {
		f := &ps.list[i]
		if !r.from[f.origin] {
			continue
		}
		name, value := ps.name(f), ps.value(f)
		if sc.isSignature(f.origin, name) || slices.Contains(r.except, text(name)) {
			continue
		}
		p := r.pipeOf(name)
		if len(value) == 0 && p.skipEmpty {
			continue
		}
		if len(value) == 0 && p.required {
			u.about = shorten(string(name), fieldShownBytesMax)
			return FieldMissing
		}
		if r.raw {
			name, value = ps.raw(f)
		}
		if len(u.entries) == SortedFieldsMax {
			return TooMany
		}
		u.entries = append(u.entries, entry{key: name, value: value, pipe: p, at: int32(i)})
	}
	if why := u.contradicted(); why != "" {
		return why
	}
	if r.by == byKey {
		slices.SortStableFunc(u.entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	}
	return ""
}

// contradicted looks for fields of whatever origin that have the name of a
// gathered one, in whatever case, and another value, and drops the second of
// two gathered ones that are the same.
func (u *run) contradicted() Reason {
	ps := &u.params
	kept := u.entries[:0]
	for _, e := range u.entries {
		f := &ps.list[e.at]
		name, again := text(ps.name(f)), false
		for i := range ps.list {
			g := &ps.list[i]
			if int32(i) == e.at || !ps.named(g, name, f.wide) {
				continue
			}
			if !bytes.Equal(ps.value(g), ps.value(f)) {
				u.about = shorten(string(ps.name(f)), fieldShownBytesMax)
				return FieldRepeated
			}
			again = again || int32(i) < e.at && g.origin == f.origin && bytes.Equal(ps.name(g), ps.name(f))
		}
		if !again {
			kept = append(kept, e)
		}
	}
	u.entries = kept
	return ""
}
