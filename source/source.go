package source

import (
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source/signature"
)

// Slot is one field of a report that a postback's field may fill.
type Slot uint8

const (
	SlotRefID Slot = iota
	SlotCallID
	SlotNetworkCallID
	SlotCaller
	SlotDuration
	SlotPayout
	SlotCurrency
	SlotStartedAt
	SlotOccurredAt
	SlotStatus
	SlotTransactionID
	SlotKind
	SlotReward
	SlotKey
	SlotCount
)

var slotNames = [SlotCount]string{"ref_id", "call_id", "network_call_id", "caller", "duration", "payout", "currency",
	"started_at", "occurred_at", "status", "transaction_id", "kind", "reward", "key"}

func (s Slot) String() string { return slotNames[s] }

// VerdictWaitMax is how long a sender in mode verdict is kept waiting.
const VerdictWaitMax = 250 * time.Millisecond

// CommitWaitMax is how long the sender of a source with AckCommitted is kept
// waiting for the ledger before it is told to come again.
const CommitWaitMax = 5 * time.Second

// Meaning is what a sender's word in status means.
type Meaning struct {
	Kind   event.Kind
	Ignore bool // of no concern, whatever else the postback says
}

// Source is a compiled Spec. It is immutable: a change makes a new one.
type Source struct {
	Spec   Spec
	Policy event.Policy

	Names     [SlotCount][]string // lower case, in the order in which they are tried
	Constants [SlotCount]string
	Statuses  map[string]Meaning // by word in lower case; nil: words are kept and not interpreted
	Zone      *time.Location     // of times without an offset; nil refuses them
	Region    string

	MapperName    string // of the source's own mapper, "" is the built-in one
	MapperVersion int    // that the source is pinned to; 0 follows the active one

	Verifier *signature.Verifier // nil: no signature is asked for
	Signing  *signature.Secrets  // what Verifier checks against; the store's to set
	Allow    []netip.Prefix      // peers that may send; none: all

	BodyOnly bool // the signature is that of the body: nothing is read from the query

	Account     []AccountPart // of the account's name; none: it settles on calls
	RewardIn    string        // currency of rewards, "" when the payout is credited
	RewardRate  event.Amount  // units for one unit of payout; 0 takes the slot reward
	RewardWhole bool          // only the whole part of a reward is signed, so only that counts

	PerToken int // requests a minute, 0 is off
	PerIP    int

	TokenHash [32]byte
	Secrets   [][32]byte // live secrets' digests; none means no secret is asked for
	Deleted   bool       // kept so that its journaled events still find their policy

	// Seen counts what ingest does with this source's requests. It is shared by
	// every version of the source, so counters survive a swap.
	Seen *Counters
}

// AccountPart is a literal of an account's name, or the sender's names of the
// field that stands there, in lower case: the first one with a value does.
type AccountPart struct {
	Literal string
	Fields  []string
}

// Counters are a source's totals since the start of the process.
type Counters struct {
	Received, Limited, Refused, Degraded atomic.Int64
}

// HashToken digests a token or secret for look-up and comparison. A plain
// digest is enough: tokens hold 256 random bits.
func HashToken(s []byte) [32]byte { return sha256.Sum256(s) }

// Directory is all sources at one moment.
type Directory struct {
	byToken  map[[32]byte]*Source
	byID     map[string]*Source
	setValue *Source
	Version  int64 // of the store's objects
	Own      bool  // some source has a mapper of its own
}

// NewDirectory indexes list. Deleted sources are found by id only.
func NewDirectory(list []*Source, version int64) *Directory {
	d := &Directory{byToken: make(map[[32]byte]*Source, len(list)), byID: make(map[string]*Source, len(list)), Version: version}
	for _, s := range list {
		d.byID[s.Spec.ID] = s
		d.Own = d.Own || s.MapperName != ""
		if !s.Deleted {
			d.byToken[s.TokenHash] = s
			if s.Spec.SetValue && (d.setValue == nil || s.Spec.ID < d.setValue.Spec.ID) {
				d.setValue = s
			}
		}
	}
	return d
}

// SetValue gives the source that takes /calls/{call_id}/set_value: of those
// that may the first by id; nil when none may.
func (d *Directory) SetValue() *Source { return d.setValue }

// ByToken finds a live source by the digest of its token, nil when unknown.
func (d *Directory) ByToken(h [32]byte) *Source { return d.byToken[h] }

// ByID finds a source, deleted ones too, nil when unknown.
func (d *Directory) ByID(id string) *Source { return d.byID[id] }

// All lists every source, deleted ones too, in no order.
func (d *Directory) All() []*Source { return slices.Collect(maps.Values(d.byID)) }

// Live is how many sources are not deleted.
func (d *Directory) Live() int { return len(d.byToken) }

// Live is the directory in force; readers load it once per request or batch.
type Live struct{ p atomic.Pointer[Directory] }

// NewLive starts with d.
func NewLive(d *Directory) *Live {
	l := new(Live)
	l.p.Store(d)
	return l
}

// Load gives the directory in force.
func (l *Live) Load() *Directory { return l.p.Load() }

// Swap puts d in force.
func (l *Live) Swap(d *Directory) { l.p.Store(d) }
