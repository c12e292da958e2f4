package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of Spec.Statuses.
const (
	StatusWordsMax     = 100 // of one source
	StatusWordBytesMax = 64
)

// compileStatuses reads what the sender's words mean. Words count without
// regard to case; one may mean one thing only.
func compileStatuses(src *Source) error {
	if len(src.Spec.Statuses) == 0 {
		return nil
	}
	src.Statuses = map[string]Meaning{}
	kinds := make([]string, 0, len(src.Spec.Statuses))
	for kind := range src.Spec.Statuses {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds) // so that errors are the same each time
	for _, kind := range kinds {
		m := Meaning{Ignore: kind == Ignore}
		if !m.Ignore {
			var err error
			if m.Kind, err = event.ParseKind(kind); err != nil {
				return fmt.Errorf("statuses.%s: want conversion, reversal, adjustment or %s, each with the sender's words", kind, Ignore)
			}
		}
		for _, word := range src.Spec.Statuses[kind] {
			w := strings.ToLower(strings.TrimSpace(word))
			switch _, twice := src.Statuses[w]; {
			case w == "" || len(w) > StatusWordBytesMax:
				return fmt.Errorf("statuses.%s: word %q: want 1 to %d bytes", kind, word, StatusWordBytesMax)
			case twice:
				return fmt.Errorf("statuses.%s: word %q has a meaning already; name it once", kind, word)
			case len(src.Statuses) == StatusWordsMax:
				return fmt.Errorf("statuses: more than %d words", StatusWordsMax)
			}
			src.Statuses[w] = m
		}
	}
	return nil
}

// MeaningOf gives what a sender's word means; ok is false when the source says
// what words mean, but nothing of this one.
func (s *Source) MeaningOf(word string) (m Meaning, ok bool) {
	if s.Statuses == nil {
		return Meaning{}, true
	}
	if m, ok = s.Statuses[word]; ok { // most senders write as we do
		return m, true
	}
	if m, ok = s.Statuses[strings.ToLower(strings.TrimSpace(word))]; ok {
		return m, true
	}
	m, ok = s.Statuses[AnyStatus]
	return m, ok
}
