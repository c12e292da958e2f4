package event

import "time"

// Policy is what the stream must know of a source beyond the bytes it sent.
// It is immutable once published; a changed source gets a new Policy.
type Policy struct {
	Source            string        // the source's id
	Buyer             string        // "" prices any buyer's call
	Currency          string        // of reports that name none
	Window            time.Duration // how far a call's start may lie from the reported one
	DurationTolerance time.Duration
	DedupeWindow      time.Duration // how long a weak identity is remembered
	ParkFor           time.Duration // how long an event waits for its call
	AmountMax         Amount        // above it an event is held
	NegativeReverses  bool          // a negative payout is a reversal; else it is invalid
}

// Defaults of a Policy, used where a source says nothing.
const (
	DefaultCurrency          = "USD"
	DefaultWindow            = 24 * time.Hour
	DefaultDurationTolerance = 60 * time.Second
	DefaultDedupeWindow      = 15 * time.Minute
	DefaultParkFor           = 10 * time.Minute
	DefaultAmountMax         = 10_000 * Unit
	StartSkew                = 5 * time.Minute // a call may start this much after its postback's claim: clocks differ
)
