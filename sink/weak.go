package sink

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// weakHolders follows weak identities through the verdicts that name them. A
// clock that is put back may leave several holders of one identity, each with
// a time of its own; who asks meets the latest of those within its window (holder).
type weakHolders map[idKey]weakHolder

type weakHolder struct {
	from, to int64     // when a holder must have been received
	latest   *identity // and, behind it, those who took it earlier
}

func (h weakHolders) want(i wantedIdentity) {
	known, twice := h[i.key]
	if twice {
		i.from, i.to = min(known.from, i.from), max(known.to, i.to)
	}
	h[i.key] = weakHolder{from: i.from, to: i.to}
}

// hear takes in that i holds the identity, or, when gives is set, gives it back.
func (h weakHolders) hear(key []byte, i *identity, gives bool) error {
	if len(key) != len(event.Digest{}) {
		return fmt.Errorf("verdict of event %s has a weak identity of %d bytes", i.id, len(key))
	}
	k := keyOf(classWeak, event.Digest(key))
	w, wanted := h[k]
	if !wanted || i.receivedAt < w.from || i.receivedAt > w.to {
		return nil
	}
	for at := &w.latest; *at != nil; at = &(*at).before { // who takes it again holds it once
		if (*at).id == i.id {
			*at = (*at).before
			break
		}
	}
	if !gives {
		at := &w.latest
		for *at != nil && (*at).change > i.change {
			at = &(*at).before
		}
		i.before, *at = *at, i
	}
	h[k] = w
	return nil
}

// into gives the holders to the working set, the latest first.
func (h weakHolders) into(w *work) {
	for k, holder := range h {
		if holder.latest != nil && w.ids[k] == nil {
			w.ids[k] = holder.latest
		}
	}
}
