package signature

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// Limits of the search for templates of single fields.
const (
	detectFieldsMax   = 12 // that are tried in every order
	detectTogetherMax = 4  // in one template
)

var (
	detectJoins  = [...]string{"", ".", ":", "-", "|", "_", "&", ",", "+", "/", ";"}
	detectInners = [...]string{"", "upper|md5"}

	// Words in the names of fields that senders sign, so that those are tried
	// when there are too many.
	detectHints = [...]string{"user", "uid", "id", "token", "trans", "tx", "value", "amount", "reward", "payout", "currency", "point", "status", "time", "sub"}
)

// fieldGuess is a field in one of the ways in which it may be signed.
type fieldGuess struct {
	name  string // as in a template
	field int    // two guesses of one field are not used together
	value []byte
	hints int
}

// fields tries templates of up to four fields in every order, with every usual
// separator and the secret at every place.
func (d *detector) fields(s spot, hashes int) {
	guesses := d.guesses(s)
	for _, hash := range hashesOf(len(s.digest)) {
		for _, keyed := range [...]bool{false, true} {
			a, err := algorithmOf(hash)
			if keyed {
				a, err = algorithmOf("hmac-" + hash)
			}
			if err != nil {
				panic("bug: " + err.Error())
			}
			search := fieldSearch{detector: d, spot: s, algorithm: a, guesses: guesses, left: hashes / 2}
			for n := 1; n <= detectTogetherMax && !search.done; n++ {
				search.extend(n)
			}
		}
	}
}

// guesses lists the fields worth signing, the likely first.
func (d *detector) guesses(s spot) (list []fieldGuess) {
	ps := &d.u.params
	for i := range ps.list {
		f := &ps.list[i]
		name, value := string(ps.name(f)), ps.value(f)
		if (ref{origin: f.origin, name: name}).String() == s.place.In || len(value) == 0 || len(value) > SettingBytesMax ||
			strings.ContainsAny(name, "{}|:@") || name == "" || slices.ContainsFunc(list, func(g fieldGuess) bool { return g.name == name }) {
			continue
		}
		g := fieldGuess{name: name, field: i, value: value}
		for _, h := range detectHints {
			if strings.Contains(strings.ToLower(name), h) {
				g.hints++
			}
		}
		list = append(list, g)
	}
	slices.SortStableFunc(list, func(a, b fieldGuess) int { return cmp.Compare(b.hints, a.hints) })
	list = list[:min(len(list), detectFieldsMax)]
	for _, g := range list {
		if whole, ok := appendInt(nil, g.value); ok && !bytes.Equal(whole, g.value) {
			list = append(list, fieldGuess{name: g.name + "|int", field: g.field, value: whole})
		}
	}
	return list
}

// fieldSearch walks all templates of one algorithm.
type fieldSearch struct {
	*detector
	spot      spot
	algorithm algorithm
	guesses   []fieldGuess
	chosen    []int
	buf       []byte
	left      int // digests
	done      bool
}

// extend chooses n further fields and tries each choice.
func (f *fieldSearch) extend(n int) {
	if n == 0 {
		f.joins()
		return
	}
	for i := range f.guesses {
		if f.done || slices.ContainsFunc(f.chosen, func(j int) bool { return f.guesses[j].field == f.guesses[i].field }) {
			continue
		}
		f.chosen = append(f.chosen, i)
		f.extend(n - 1)
		f.chosen = f.chosen[:len(f.chosen)-1]
	}
}

// joins tries the chosen fields with every separator and place of the secret.
func (f *fieldSearch) joins() {
	places := len(f.chosen) + 1 // before each field, or at the end
	if f.algorithm.family == familyHMAC {
		places = 1
	}
	for _, join := range detectJoins {
		if join != "" && len(f.chosen) == 1 && f.algorithm.family == familyHMAC {
			return // nothing to join
		}
		for at := range places {
			for _, inner := range detectInners {
				if inner != "" && f.algorithm.hash != hashSHA1 {
					continue
				}
				if f.left--; f.left < 0 {
					f.done = true
					return
				}
				if same(f.digest(join, at, inner), f.spot.digest) && f.keep(join, at, inner) {
					f.done = true
					return
				}
			}
		}
	}
}

func (f *fieldSearch) digest(join string, at int, inner string) []byte {
	f.buf = f.buf[:0]
	for i, j := range f.chosen {
		if i > 0 {
			f.buf = append(f.buf, join...)
		}
		if i == at && f.algorithm.family == familyHash {
			f.buf = append(append(f.buf, f.secret...), join...)
		}
		f.buf = append(f.buf, f.guesses[j].value...)
	}
	if at == len(f.chosen) {
		f.buf = append(append(f.buf, join...), f.secret...)
	}
	input := f.buf
	if inner != "" {
		upper := appendCase(f.u.scratch[0][:0], f.buf, true)
		f.u.scratch[0] = upper
		f.u.scratch[1], _ = transform{op: opMD5}.append(f.u.scratch[1][:0], upper)
		input = f.u.scratch[1]
	}
	return f.u.hasher.digest(f.algorithm, f.secret, input)
}

// keep makes a scheme of a template that fits.
func (f *fieldSearch) keep(join string, at int, inner string) bool {
	var parts []string
	for i, j := range f.chosen {
		if i == at && f.algorithm.family == familyHash {
			parts = append(parts, "{@secret}")
		}
		parts = append(parts, "{"+f.guesses[j].name+"}")
	}
	if at == len(f.chosen) {
		parts = append(parts, "{@secret}")
	}
	return f.try(Spec{Algorithm: f.algorithm.name, Input: strings.Join(parts, join), Inner: inner, Signature: f.spot.place})
}
