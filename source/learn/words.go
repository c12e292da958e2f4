package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// statusWordsMost is how many words a field of kinds may have.
const statusWordsMost = 8

// commonWords are what senders mean by words that the presets do not list.
var commonWords = map[string][]string{
	"conversion": {"approved", "approve", "accepted", "complete", "completed", "confirmed", "conversion", "converted", "credited", "paid", "payable", "sale", "sold", "success", "successful", "valid", "won"},
	"reversal":   {"rejected", "reject", "reverse", "reversed", "reversal", "chargeback", "charge_back", "charged_back", "refund", "refunded", "return", "returned", "cancel", "cancelled", "canceled", "declined", "denied", "disqualified", "refused", "invalid", "void", "voided", "revoked"},
	"ignore":     {"pending", "open", "hold", "on_hold", "test", "initiated", "in_progress", "ringing"},
}

// vocabulary is the kind of each word, as joined writes it.
type vocabulary map[string]string

func (v vocabulary) of(word string) string { return v[joined(word)] }

// joined writes a word in lower case with its parts joined alike.
func joined(word string) string {
	return strings.NewReplacer(" ", "_", "-", "_").Replace(plainWord(word))
}

// plainWord writes a word as a source compares it.
func plainWord(word string) string { return strings.ToLower(strings.TrimSpace(word)) }

// meanings says for each word what the presets and common use take it for.
// Words that are taken for different things, 0 and 1 above all, have none.
func meanings() vocabulary {
	all := vocabulary{}
	say := func(word, kind string) {
		word = joined(word)
		if had, ok := all[word]; ok && had != kind {
			kind = "" // not the same everywhere
		}
		all[word] = kind
	}
	for _, kind := range sortedKeys(commonWords) {
		for _, w := range commonWords[kind] {
			say(w, kind)
		}
	}
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			panic("bug: " + err.Error())
		}
		for _, kind := range sortedKeys(p.Source.Statuses) {
			for _, w := range p.Source.Statuses[kind] {
				if w != source.AnyStatus && len(w) > 1 {
					say(w, kind)
				}
			}
		}
	}
	return all
}

// wordsSaid checks what a person says that words mean.
func (d *draft) wordsSaid() error {
	if len(d.in.Statuses) == 0 {
		return nil
	}
	if _, err := source.Compile(source.Spec{ID: "words", Statuses: d.in.Statuses}); err != nil {
		return fmt.Errorf("meaning of words: %s", d.hide(err.Error()))
	}
	return nil
}

// said gives the kind that a person says a word has, "" for none.
func (d *draft) said(word string) string {
	for kind, list := range d.in.Statuses {
		if slices.ContainsFunc(list, func(w string) bool { return plainWord(w) == plainWord(word) }) {
			return kind
		}
	}
	return ""
}

// withSaid is what the source says of words, with what a person says of them
// in its place.
func (d *draft) withSaid() map[string][]string {
	by := map[string][]string{}
	for _, kind := range sortedKeys(d.src.Spec.Statuses) {
		for _, w := range d.src.Spec.Statuses[kind] {
			if d.said(w) == "" {
				by[kind] = append(by[kind], w)
			}
		}
	}
	for _, kind := range sortedKeys(d.in.Statuses) {
		for _, w := range d.in.Statuses[kind] {
			by[kind] = appendNew(by[kind], plainWord(w))
		}
	}
	return by
}

// inKinds writes what words mean on one line.
func inKinds(by map[string][]string) string {
	var said []string
	for _, kind := range sortedKeys(by) {
		said = append(said, kind+": "+strings.Join(by[kind], ", "))
	}
	return strings.Join(said, "; ")
}

// spelled gives a word as it was first sent.
func (d *draft) spelled(c *column, word string) string {
	for _, t := range c.values() {
		if strings.EqualFold(t, word) {
			return t
		}
	}
	return word
}

// listed names words as they were sent: A, B and C.
func (d *draft) listed(c *column, words []string) string {
	var list []string
	for _, w := range words {
		if len(list) == statusWordsMost {
			list = append(list, fmt.Sprintf("%d more", len(words)-statusWordsMost))
			break
		}
		list = append(list, cut(d.hide(d.spelled(c, w))))
	}
	last := len(list) - 1
	if last < 1 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:last], ", ") + " and " + list[last]
}

func plural(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

func distinctWords(c *column) (list []string) {
	for _, t := range c.values() {
		list = appendNew(list, strings.ToLower(t))
	}
	slices.Sort(list)
	return list
}

func count(c *column, word string) (n int) {
	for _, t := range c.values() {
		if strings.EqualFold(t, word) {
			n++
		}
	}
	return n
}
