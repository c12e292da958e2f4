package match

import (
	"context"
	"errors"

	"github.com/tallyhook/tallyhook/event"
)

// CandidatesMax is how many calls the index keeps of one name: the newest, by
// slice of start and then by number. Only callers have many.
const CandidatesMax = 64

// WantKeysMax is how many names one Want may give.
const WantKeysMax = 3

// Want asks for the calls of one report by alternative names. They are tried
// in order and the first that the index knows answers.
type Want struct {
	Keys [WantKeysMax]event.CallKey
	N    int // how many of Keys are in use

	// Since, when not 0, is the earliest start, in microseconds, that a wanted
	// call may have. If the index no longer keeps all calls from then on it
	// answers nothing at all, rather than a part.
	Since int64
}

// Scan gives every call that an index should hold to yield, in slices of any
// length that yield does not keep, and stops at its first error.
type Scan func(ctx context.Context, yield func([]event.Call) error) error

// ErrRebuilding is what Rebuild returns while another one is at work, on this
// node or, where nodes share an index, on any.
var ErrRebuilding = errors.New("a rebuild of the call index is running already; wait for it to end")

// Index is a cache of the store's recent calls, from digests of their names
// to their numbers in the store (event.Call.No). What it answers is a hint:
// it may name a call that has changed since, and who uses a number compares
// the call itself. That it answers nothing says nothing: the store is asked.
//
// Several nodes may put into one index, each what it has committed. So ranges
// of changes arrive in any order, and one may be missing for a while; the
// index is complete through the largest number up to which the ranges join
// without a gap.
//
// An Index may be used by many goroutines at once. Errors mean that the
// backend could not be reached; every method may be tried again.
type Index interface {
	// Put takes in calls as the store has merged them, all with their No: every
	// change after from up to through is among them. A range that the index has
	// in part or whole extends it by the rest; a repeat changes nothing. A call
	// that was put before is found by its new names too, and by its old ones
	// until they expire. calls and their texts are not kept.
	Put(ctx context.Context, calls []event.Call, from, through int64) error

	// Find appends to out[i] the numbers of the calls that wants[i] asks for,
	// each once and in no order, CandidatesMax at most. It returns the change
	// number up to which the index is complete, 0 while it is not: before its
	// first Rebuild has ended and while one is running.
	Find(ctx context.Context, wants []Want, out [][]int64) (through int64, err error)

	// Through is the change number up to which the index is complete, 0 while it
	// is not. When the store is ahead of it for more than a moment a Put is
	// missing: who reads the calls changed since then from the store and puts
	// them as one range closes the gap.
	Through(ctx context.Context) (int64, error)

	// Rebuild takes in all that scan gives, which holds every change up to
	// number through; later changes are Put meanwhile or afterwards. progress,
	// unless nil, is told the number of calls so far. On an error the index
	// stays incomplete and Rebuild may be called again.
	Rebuild(ctx context.Context, scan Scan, through int64, progress func(calls int)) error
}
