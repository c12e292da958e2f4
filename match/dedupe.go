package match

import (
	"context"

	"github.com/tallyhook/tallyhook/event"
)

// Deduper remembers which event claimed an identity first. It is a hint that
// saves work: it may forget, and the ledger decides.
//
// A Deduper may be used by many goroutines at once. An error means that the
// backend could not be reached; Claim may be tried again with the same ids.
type Deduper interface {
	// Claim claims keys[i] for event ids[i] and sets owners[i] to the event
	// that has it: the first that claimed it within the window, which may be
	// ids[i] itself, earlier in this batch, or long ago (a repeat by the owner
	// is the owner). The three slices have one length. A zero key is none; its
	// owner is ids[i].
	Claim(ctx context.Context, keys []event.Digest, ids []event.ID, owners []event.ID) error
}
