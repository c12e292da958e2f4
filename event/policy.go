package event

import (
	"fmt"
	"time"
)

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

	ToAccount   bool                // a report is booked on the account that it names, not on a call
	Duplicates  Duplicates          // what a second conversion does to a call that has a value
	Relative    bool                // adjustments say by how much, not to what
	DailyMax    Amount              // of what a source's events may add in a day of UTC; 0 is no bound
	Transitions map[string][]string // from a sender's word, lower case, to those that may follow; nil lets all
	Triggers    bool                // the conversion groups of campaigns look at its requests
	CallKeys    bool                // a report must show the key of its call

	PayoutUnsure bool // the sender's signature does not vouch for payouts, nor does anything else
	RewardUnsure bool // nor for rewards
}

// Duplicates says what a further conversion does to a call that has a value.
type Duplicates uint8

const (
	Overwrite Duplicates = iota // sets it: the latest counts
	Add                         // adds to it; needs a strong identity
	First                       // nothing: the first counts until it is reversed
)

var duplicatesNames = [...]string{"overwrite", "add", "first"}

func (d Duplicates) String() string { return duplicatesNames[d] }

// ParseDuplicates reads the name of a Duplicates; "" is overwrite.
func ParseDuplicates(s string) (Duplicates, error) {
	if s == "" {
		return Overwrite, nil
	}
	for i, n := range duplicatesNames {
		if s == n {
			return Duplicates(i), nil
		}
	}
	return 0, fmt.Errorf("duplicates %q: want overwrite, add or first", s)
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
