package sink

import (
	"fmt"
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// weakHolders follows weak identities through the verdicts that name them. A
// clock that is put back may leave several holders of one identity, each with
// a time of its own; who asks meets the latest of those within its window (holder).
type weakHolders map[idKey]*weakHolder

type weakHolder struct {
	from, to int64       // when a holder must have been received
	list     []*identity // in the order in which they took it
}

func (h weakHolders) want(i wantedIdentity) {
	if known := h[i.key]; known != nil {
		known.from, known.to = min(known.from, i.from), max(known.to, i.to)
		return
	}
	h[i.key] = &weakHolder{from: i.from, to: i.to}
}

// hear takes in that i holds the identity, or, when gives is set, gives it back.
func (h weakHolders) hear(key []byte, i *identity, gives bool) error {
	if len(key) != len(event.Digest{}) {
		return fmt.Errorf("verdict of event %s has a weak identity of %d bytes", i.id, len(key))
	}
	w := h[keyOf(classWeak, event.Digest(key))]
	if w == nil || i.receivedAt < w.from || i.receivedAt > w.to {
		return nil
	}
	w.list = slices.DeleteFunc(w.list, func(o *identity) bool { return o.id == i.id })
	if !gives {
		w.list = append(w.list, i)
	}
	return nil
}

// into gives the holders to the working set, the latest first.
func (h weakHolders) into(w *work) {
	for k, holder := range h {
		if w.ids[k] != nil {
			continue
		}
		for _, i := range holder.list {
			i.before = w.ids[k]
			w.ids[k] = i
		}
	}
}
