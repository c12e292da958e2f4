package signature

import (
	"fmt"
	"slices"
	"strings"
)

// Cover says how far a field is signed.
type Cover uint8

const (
	CoverNone Cover = iota // anybody who holds one signed request may change it
	CoverPart              // what is signed is cut or folded: of int(100.9) the .9 is not
	CoverFull
)

var coverNames = [...]string{"none", "part", "full"}

func (c Cover) String() string { return coverNames[c] }

// Covers says how far the scheme signs a field, given as the mapper found it:
// query:NAME, form:NAME or json:NAME, or plainly NAME, which must then be
// signed wherever it stands. With alternatives it is the least of them.
func (v *Verifier) Covers(field string) Cover {
	r, err := parseRef(field)
	if err != nil {
		return CoverNone
	}
	least := CoverFull
	for i := range v.schemes {
		least = min(least, v.schemes[i].covers(r))
	}
	return least
}

func (sc *scheme) covers(r ref) Cover {
	best := CoverNone
	for i := range sc.parts {
		p := &sc.parts[i]
		c := CoverNone
		switch p.kind {
		case partField:
			// Two values under one name are refused, whatever their origins.
			if p.ref.origin == r.origin || p.ref.needsParams() && r.needsParams() {
				c = coverIf(strings.EqualFold(p.ref.name, r.name), &p.pipe)
			}
		case partBody:
			c = coverIf(r.origin == fromForm || r.origin == fromJSON, &p.pipe)
		case partURL, partQuery:
			c = coverIf((r.origin == fromQuery || r.origin == fromAny && sc.urlOnly) && !listsFold(sc.tail, r.name), &p.pipe)
			if sc.isSignature(r.origin, view(r.name)) {
				c = CoverNone
			}
		case partSorted:
			c = min(sc.sorted.covers(sc, r), coverIf(true, &p.pipe))
		case partTimestamp:
			c = coverIf(sc.timestamp.ref == r, &p.pipe)
		case partID:
			c = coverIf(sc.id.ref == r, &p.pipe)
		}
		best = max(best, c)
	}
	if best == CoverFull && sc.inner.lossy() {
		best = CoverPart
	}
	return best
}

func coverIf(yes bool, p *pipe) Cover {
	switch {
	case !yes:
		return CoverNone
	case p.lossy():
		return CoverPart
	}
	return CoverFull
}

func (s *sortedRule) covers(sc *scheme, r ref) Cover {
	p := s.pipeFold(r.name)
	if s.only != nil {
		return coverIf(r.needsParams() && slices.ContainsFunc(s.only, func(l listed) bool { return strings.EqualFold(l.ref.name, r.name) }), p)
	}
	if !r.needsParams() || listsFold(s.except, r.name) || sc.isSignature(r.origin, view(r.name)) {
		return CoverNone
	}
	from := s.from[r.origin]
	if r.origin == fromAny {
		from = sc.urlOnly || sc.formOnly && s.from[fromQuery]
	}
	return coverIf(from, p)
}

// pipeFold is the pipe of a field whose name may come in any case: a lossy one
// if there is one.
func (s *sortedRule) pipeFold(name string) *pipe {
	found := &s.values
	for field, p := range s.fields {
		if strings.EqualFold(field, name) && (found == &s.values || p.lossy()) {
			found = p
		}
	}
	return found
}

// listsFold reports whether a list has a name, without regard to case: whoever
// reads the field does not regard it either.
func listsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// SignedFields names what is signed: fields as the scheme names them, and
// "body", "url", "query:*", "form:*", "json:*" for all of one kind. A lossy
// one says how: "value (int)". Covers answers for one field.
func (v *Verifier) SignedFields() []string {
	var list []string
	add := func(s string) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	sc := &v.schemes[0]
	for i := range sc.parts {
		p := &sc.parts[i]
		switch p.kind {
		case partField:
			add(described(p.ref.String(), &p.pipe))
		case partBody:
			add("body")
		case partURL:
			add("url")
		case partQuery:
			add("query:*")
		case partPath:
			add("path")
		case partHost:
			add("host")
		case partMethod:
			add("method")
		case partTimestamp:
			add(sc.timestamp.where())
		case partID:
			add(sc.id.where())
		case partSorted:
			sc.sorted.describe(add)
		}
	}
	return list
}

func (s *sortedRule) describe(add func(string)) {
	for _, l := range s.only {
		add(described(l.ref.String(), s.pipeOf(view(l.ref.name))))
	}
	for _, o := range [...]origin{fromQuery, fromForm, fromJSON} {
		if s.only == nil && s.from[o] {
			add(ref{origin: o, name: "*"}.String())
		}
	}
}

func described(name string, p *pipe) string {
	if !p.lossy() {
		return name
	}
	var words []string
	for _, t := range p.steps {
		words = append(words, t.String())
	}
	return name + " (" + strings.Join(words, ", ") + ")"
}

func (t transform) String() string {
	switch t.op {
	case opFixed:
		return fmt.Sprintf("fixed:%d", t.n)
	case opEscape:
		return escapes[t.n].name
	}
	for name, o := range plainOps {
		if o == t.op {
			return name
		}
	}
	panic(fmt.Sprintf("bug: transform %d", t.op))
}

// weakness words what the scheme leaves open.
func (v *Verifier) weakness() string {
	sc := &v.schemes[0]
	if sc.algorithm.family == familySecret {
		return "the secret itself is sent, and nothing is signed"
	}
	var parts []string
	if sc.algorithm.legacy {
		parts = append(parts, sc.algorithm.name)
	}
	if !sc.has(partBody) && !sc.has(partURL) && !sc.has(partQuery) && !(sc.has(partSorted) && sc.sorted.only == nil) {
		parts = append(parts, "only "+strings.Join(v.SignedFields(), ", ")+" are signed")
	}
	if left, right := sc.glued(); left != "" {
		parts = append(parts, "nothing parts "+left+" from "+right+", so that characters may move from one to the other")
	}
	if sc.algorithm.family == familyHash && sc.parts[0].kind == partSecret && !sc.ends(partSecret) && len(sc.inner.steps) == 0 {
		parts = append(parts, "the secret stands first, so that the last field may be lengthened")
	}
	if sc.unescape {
		parts = append(parts, "escapes are undone before signing, so that a value may be split at an &")
	}
	if sc.timestamp != nil && !sc.has(partTimestamp) && sc.covers(sc.timestamp.ref) == CoverNone {
		parts = append(parts, "the timestamp is not signed")
	}
	return strings.Join(parts, ", and ")
}

func (sc *scheme) ends(k partKind) bool { return sc.parts[len(sc.parts)-1].kind == k }

// Glued reports whether a field stands right beside another of the sender's, with
// nothing between them: then characters may move from one to the other under
// one signature, though neither can be changed alone.
func (v *Verifier) Glued(field string) bool {
	r, err := parseRef(field)
	if err != nil {
		return false
	}
	for i := range v.schemes {
		sc := &v.schemes[i]
		if sc.sorted != nil && sc.has(partSorted) && sc.sorted.unparted() && sc.sorted.covers(sc, r) != CoverNone {
			return true
		}
		for j := range sc.parts {
			if p := &sc.parts[j]; p.kind == partField && strings.EqualFold(p.ref.name, r.name) && sc.glues(j) {
				return true
			}
		}
	}
	return false
}

// glues reports whether another value of the sender's stands right beside part i.
func (sc *scheme) glues(i int) bool {
	return i > 0 && sc.parts[i-1].kind == partField || i+1 < len(sc.parts) && sc.parts[i+1].kind == partField
}

// unparted reports whether nothing parts the fields of s from one another.
func (s *sortedRule) unparted() bool {
	return s.join == "" && s.pair.between == "" && s.pair.before+s.pair.after == ""
}

// glued finds two values of the sender's that stand side by side.
func (sc *scheme) glued() (left, right string) {
	if s := sc.sorted; s != nil && s.unparted() {
		return "one field", "the next"
	}
	for i := 1; i < len(sc.parts); i++ {
		if a, b := &sc.parts[i-1], &sc.parts[i]; a.kind == partField && b.kind == partField {
			return a.ref.name, b.ref.name
		}
	}
	return "", ""
}
