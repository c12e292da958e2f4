package mapper

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/source"
)

// table finds what a source wants of a field by the field's name.
type table struct {
	names []name
	index []int16 // open addressing by hash: place in names + 1, 0 is free

	slots    [source.SlotCount][]int16 // names of each slot in the order in which they are tried
	chosen   [source.SlotCount]int     // how many of those the operator configured
	account  []accountPart             // of the account's name
	identity int16                     // place in names of the field that identifies postbacks, -1 none
	idSlot   int                       // the slot that does, -1 none
}

type name struct {
	text string
	hash uint32
}

// tableOf gives the table of src, made when src is first met.
func (w *worker) tableOf(src *source.Source) *table {
	t := w.tables[src]
	if t == nil {
		t = newTable(src, w.m.seed)
		w.tables[src] = t
	}
	if n := 2 * len(t.names); cap(w.seen) < n {
		w.seen = make([]int16, n)
	}
	return t
}

func newTable(src *source.Source, seed uint32) *table {
	t := &table{identity: -1, idSlot: -1}
	size := 16
	wanted := namesOf(src)
	for _, names := range wanted {
		size += 4 * len(names)
	}
	for _, p := range src.Account {
		size += 4 * len(p.Fields)
	}
	for n := 16; ; n *= 2 {
		if n >= size {
			t.index = make([]int16, n)
			break
		}
	}
	for slot, names := range wanted {
		configured := src.Spec.Fields[source.Slot(slot).String()]
		for _, text := range names {
			t.slots[slot] = append(t.slots[slot], t.add(text, seed))
			if slices.ContainsFunc(configured, func(c string) bool { return strings.EqualFold(strings.TrimSpace(c), text) }) {
				t.chosen[slot]++
			}
		}
	}
	if id := src.Spec.Identity; id != "" {
		t.identity = t.add(id, seed)
		for slot := range source.SlotCount {
			if slot.String() == id {
				t.idSlot = int(slot)
			}
		}
	}
	for _, p := range src.Account {
		t.account = append(t.account, t.accountPart(p, seed))
	}
	return t
}

// namesOf gives the names of each slot. Keys of calls are looked for wherever
// they may count, under the name that Retreaver gave them.
func namesOf(src *source.Source) [source.SlotCount][]string {
	names := src.Names
	if len(names[source.SlotKey]) == 0 && (src.Spec.CallKeys || src.Spec.SetValue) {
		names[source.SlotKey] = []string{source.SlotKey.String()}
	}
	return names
}

// add gives the place of text in names, new or known.
func (t *table) add(text string, seed uint32) int16 {
	h := foldHash(seed, text)
	if at := t.find(h, text); at >= 0 {
		return at
	}
	t.names = append(t.names, name{text, h})
	i := h & uint32(len(t.index)-1)
	for t.index[i] != 0 {
		i = (i + 1) & uint32(len(t.index)-1)
	}
	t.index[i] = int16(len(t.names))
	return int16(len(t.names) - 1)
}

// find gives the place of a name in names without regard to case, -1 when
// nobody wants it.
func (t *table) find(hash uint32, text string) int16 {
	for i := hash & uint32(len(t.index)-1); ; i = (i + 1) & uint32(len(t.index)-1) {
		at := t.index[i]
		if at == 0 {
			return -1
		}
		if n := &t.names[at-1]; n.hash == hash && strings.EqualFold(n.text, text) {
			return at - 1
		}
	}
}

// foldHash is FNV-1a over the characters of s, equal for names that
// strings.EqualFold calls equal.
func foldHash(seed uint32, s string) uint32 {
	const prime = 16777619
	h := 2166136261 ^ seed
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return foldHashWide(h, s[i:])
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint32(c)) * prime
	}
	return h
}

func foldHashWide(h uint32, s string) uint32 {
	const prime = 16777619
	for _, r := range s {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		h = (h ^ uint32(least)) * prime
	}
	return h
}
