package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Kind says what a report does to a call's value.
type Kind uint8

const (
	Conversion Kind = iota // sets the value
	Reversal               // takes it back: ends at zero
	Adjustment             // sets the value, said by the sender to be a correction
)

var kindNames = [...]string{"conversion", "reversal", "adjustment"}

func (k Kind) String() string { return kindNames[k] }

// ParseKind reads the text of a Kind.
func ParseKind(s string) (Kind, error) {
	for i, n := range kindNames {
		if s == n {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("kind %q: want conversion, reversal or adjustment", s)
}

// Seconds is a whole number of seconds that may be absent. Absent is not zero.
type Seconds struct {
	N  int32
	OK bool
}

// Pair is a name and a value as somebody sent them.
type Pair struct{ Name, Value string }

// Report is what a postback claims, in our terms. Empty text and zero times
// are absent. Strings are views into the Batch that holds the event.
type Report struct {
	RefID         string
	CallID        string
	NetworkCallID string
	Network       string // whose id NetworkCallID is; "" matches any network's
	Caller        string // E.164 with plus, or "" (CallerRaw then says what came)
	CallerRaw     string
	Duration      Seconds
	StartedAt     int64 // microseconds since the Unix epoch
	Payout        Money
	HasPayout     bool
	Status        string // the sender's own word
	TransactionID string
	Kind          Kind
	OccurredAt    int64 // the sender's own time, microseconds
	Extra         []Pair

	// Of sources that settle on accounts.
	Account   string // whose balance it changes: "user:alice"
	Reward    Money  // by how much
	HasReward bool

	Query string // the raw query, its secrets masked, of sources whose requests may hold a conversion trigger
	Key   string // CallKeyDigest of the call key that the sender showed

	// Invalid, when not "", says why the postback could not be read; Detail
	// names the field and value. The other fields hold what could be.
	Invalid Reason
	Detail  Detail

	// Failed marks an event whose mapper broke: it goes to the dead letters.
	Failed bool

	// Dropped marks one that its mapper or its source does not want, for the
	// reason in Invalid: it is ignored.
	Dropped bool

	// Unmapped marks an event whose mapper could not be asked yet. Nothing else
	// of the report is filled in; it waits, and is mapped from its raw request
	// later.
	Unmapped bool
}

// Key of a report whose sender showed a key that we have issued for its call:
// ingest has checked it.
const KeyIssued = "issued"

// CallKeyDigest is what a report keeps of the key that its sender showed.
func CallKeyDigest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// HasKey reports whether the report names a call in any way at all.
func (r *Report) HasKey() bool {
	return r.RefID != "" || r.CallID != "" || r.NetworkCallID != "" || r.Caller != ""
}

// Reset empties r and keeps the memory of Extra.
func (r *Report) Reset() {
	extra := r.Extra[:0]
	*r = Report{Extra: extra}
}
