package event

import "fmt"

// Status is the outcome of one event; the set is closed.
type Status uint8

const (
	NoStatus    Status = iota
	Booked             // the call's value is now what the report says
	Unchanged          // it was already
	Unqualified        // the buyer said 0
	Reversed           // taken back to zero
	Duplicate          // told before
	Conflict           // same identity, other content: nothing booked
	Parked             // no call yet, window open
	Unmatched          // no call
	Invalid            // could not be read
	Stale              // older than what is booked
	Held               // a person decides
	Ignored            // test, disabled, on the ignore list
	Rejected           // a person refused a held one
	Failed             // poison, kept in the dead letters
)

var statusNames = [...]string{"", "booked", "unchanged", "unqualified", "reversed", "duplicate", "conflict",
	"parked", "unmatched", "invalid", "stale", "held", "ignored", "rejected", "failed"}

func (s Status) String() string { return statusNames[s] }

// MarshalText renders the status's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(statusNames[s]), nil }

// UnmarshalText reads a status's name.
func (s *Status) UnmarshalText(p []byte) (err error) {
	*s, err = ParseStatus(string(p))
	return err
}

// Statuses lists every status by name.
func Statuses() []string { return statusNames[1:] }

// ParseStatus reads a status's name.
func ParseStatus(name string) (Status, error) {
	for i, n := range statusNames[1:] {
		if n == name {
			return Status(i + 1), nil
		}
	}
	return 0, fmt.Errorf("status %q: want one of %v", name, Statuses())
}

// Final reports whether no later revision can follow s.
func (s Status) Final() bool { return s != Parked && s != Held }

// Releases reports whether an event that ended as s gives its identity back,
// so that a corrected resend may still book.
func (s Status) Releases() bool {
	return s == Invalid || s == Unmatched || s == Failed || s == Ignored
}

// Strategy says by what a report found its call.
type Strategy uint8

const (
	ByNothing Strategy = iota
	ByRefID
	ByCallID
	ByNetworkCallID
	ByCaller
	ByReversal // the call that the reversed conversion was booked on
	ByAccount  // no call: the account that it names
)

var strategyNames = [...]string{"", "ref_id", "call_id", "network_call_id", "caller", "reversal", "account"}

func (s Strategy) String() string { return strategyNames[s] }

// MarshalText renders the strategy's name.
func (s Strategy) MarshalText() ([]byte, error) { return []byte(strategyNames[s]), nil }

// UnmarshalText reads a strategy's name.
func (s *Strategy) UnmarshalText(p []byte) error {
	for i, n := range strategyNames {
		if n == string(p) {
			*s = Strategy(i)
			return nil
		}
	}
	return fmt.Errorf("strategy %q is not known", p)
}

// Verdict is the newest revision of an event's outcome, as it was recorded.
type Verdict struct {
	Event      ID
	ChangeSeq  int64
	Revision   int
	Status     Status
	Reason     Reason
	Detail     Detail
	Strategy   Strategy
	CallNo     int64
	CallID     string
	Candidates int // calls that fitted
	Currency   string
	Value      Amount // the call's value after this event
	Delta      Amount // by how much this event changed it
	ShareDelta Amount // by how much it changed the publisher's share
}

// Candidate is a call that may be the one, with what is booked on it.
type Candidate struct {
	Call     *Call
	Valued   bool  // an accepted report has set its value
	PricedBy int64 // Report.PricedBy of the report that did
}

// Decision is what matching says of one report and its candidates.
type Decision struct {
	Pick     int      // index of the call, -1 for none
	Strategy Strategy // by what it was found
	Fits     int      // how many candidates fitted the same way
	Reason   Reason   // why none, or what is worth saying of the pick
	Detail   Detail   // names the nearest candidate and by how much it missed
	Waiting  bool     // none, but a candidate may yet fit when its call ends
}

// Decide chooses the call that a report pays for. It is a pure function of
// its arguments; receivedAt is in microseconds.
type Decide func(r *Report, p *Policy, receivedAt int64, cands []Candidate) Decision
