package sink

import (
	"github.com/tallyhook/tallyhook/event"
)

// work is everything one transaction reads and will write. Rows are loaded
// once and changed in place; flush writes those marked dirty.
type work struct {
	l  *Ledger
	tx ledgerTx
	b  *event.Batch

	now           int64  // decided_at
	next          uint64 // the stream's checkpoint
	change        int64  // last change_seq of the verdict log
	posting       int64  // last posting number
	postingWas    int64  // the same before this batch
	callNo        int64  // last number given to a call
	callChange    int64  // last change number of a call
	callChangeWas int64  // the same before this batch
	parked        bool   // some events wait in the store
	oldest        int64  // received_at of the oldest record that waits there for its mapper, 0 when none does
	groupTop      int64  // id of the newest conversion group
	convertBy     int64  // the earliest deadline of a call that has not converted, 0 when there is none
	ruled         bool   // people have decided of held events
	writer        string // of the stream, as the store has it
	ruleTop       int64  // id of the newest payout rule
	others        int64  // what the other living streams have taken in, as Batch.Watermark; nobody when there are none

	calls   map[int64]*callRow
	byID    map[string]*callRow
	byKey   map[event.CallKey][]int64 // calls upserted since the index was asked, this batch's too
	indexed bool                      // with byKey, the index's hints are complete
	ids     map[idKey]*identity

	newAccounts map[account]int64

	verdicts  []verdictRow
	postings  []postingRow
	transfers []transferRow
	park      []parkedRow // to insert
	unpark    []event.ID  // to delete
	parkedNow map[event.CallKey][]*waiting
	late      []*waiting        // those of parkedNow whose time is over
	putOffs   []unmappedRow     // to insert
	mapped    []event.ID        // to delete
	unmapped  map[event.ID]int  // records of Batch.Waiting that wait still, and the revision of their verdict
	queued    map[string]bool   // sources of this stream of which records wait for their mapper, those of this batch apart
	text      []byte            // arena of reports, raws and details in verdicts
	done      map[event.ID]bool // parked events decided by this batch
	settled   int

	components  map[int64]map[idKey]event.Amount // by call, once asked for
	changed     []componentRow
	days        map[dayKey]*dayTotal
	heldNow     []heldRow // to insert
	unheld      []event.ID
	orphans     bool // decisions are there, of nothing that is held any more
	conversions []conversionRow
	conversion  int64 // number of the last conversion, once asked for
	claims      bool  // flush makes this process the stream's writer
	told        []toldCall
	waits       map[event.CallKey][]*waiting // parked in the store, once asked for
	named       map[callName][]int64         // calls of that name in the store, those nearest to its time, once asked for
	recent      []recentCall

	cands []event.Candidate // scratch of match
	nums  []int64
	keys  []event.CallKey
}

// nobody says that no other stream lives.
const nobody = -1

func newWork(l *Ledger, tx ledgerTx, b *event.Batch) *work {
	return &work{l: l, tx: tx, b: b, now: l.Now().UnixMicro(), others: nobody,
		calls: make(map[int64]*callRow, len(b.Events)), byID: map[string]*callRow{},
		byKey: map[event.CallKey][]int64{}, ids: make(map[idKey]*identity, len(b.Events)),
		newAccounts: map[account]int64{}, components: map[int64]map[idKey]event.Amount{}, days: map[dayKey]*dayTotal{}, conversion: unasked,
		parkedNow: map[event.CallKey][]*waiting{}, done: map[event.ID]bool{}, waits: map[event.CallKey][]*waiting{}, named: map[callName][]int64{},
		verdicts: make([]verdictRow, 0, len(b.Events)),
		text:     make([]byte, 0, 512*len(b.Events))}
}

// callRow is a call with what is booked on it.
type callRow struct {
	event.Call
	ranks  []fieldsRank
	change int64
	was    []callName // the names before this batch, for call_key
	target string     // the account on which it is booked, "" for a phone call

	convertBy int64 // until when a postback is in time, 0 when that is decided or nobody asks
	converts  converts

	state    callState
	hasState bool

	isNew, dirty, stateDirty bool
}

// callName is one name of a call as call_key has it: at is the call's start
// for its caller, who may have many calls, and 0 for ids.
type callName struct {
	key event.CallKey
	at  int64
}

func (c *callRow) names() []callName {
	if c.target != "" {
		return nil
	}
	keys := c.AppendKeys(nil)
	list := make([]callName, len(keys))
	for i, k := range keys {
		list[i].key = k
	}
	if c.Caller != "" {
		list[len(list)-1].at = c.StartedAt
	}
	return list
}

// callState is what is booked, and by whom.
type callState struct {
	currency         string
	value, share     event.Amount
	parts            event.Amount // what of the value is components
	word             string       // the sender's own status, lower case
	shareCurrency    string       // "" when the share is in currency
	status           event.Status
	rule             int64
	buyerAccount     int64
	publisherAccount int64
	pricedBy         int64
	rank             event.Rank
	lastPosting      int64
}

// idKey is an identity's class, then its digest.
type idKey [17]byte

const (
	classStrong = 1
	classWeak   = 2
)

func keyOf(class byte, d event.Digest) (k idKey) {
	k[0] = class
	copy(k[1:], d[:])
	return k
}

// identity is who first told something.
type identity struct {
	id         event.ID // zero for a tombstone: only its reversal came
	money      event.Digest
	receivedAt int64
	call       int64
	reversedBy string
	change     int64     // of a weak one, where the store does not give them in order
	before     *identity // of a weak one: who took it earlier, and may be nearer in time to who asks

	stored, dirty, gone bool
}

// holder is who holds a claim's identity, nil when nobody does: of a weak one
// the latest who was received within the dedupe window around the claim.
func (w *work) holder(c *claim) *identity {
	for i := w.ids[c.key]; i != nil; i = i.before {
		if d := c.at - i.receivedAt; !i.gone && !i.id.IsZero() && (!c.weak || max(d, -d) <= c.p.DedupeWindow.Microseconds()) {
			return i
		}
	}
	return nil
}

type assignment struct{ campaign, publisher string }

// rule is a row of the rule table, parsed.
type rule struct {
	id int64
	assignment
	payout *event.Rule // nil: the assignment has ended
}

// account names one account of the ledger.
type account struct{ kind, owner, currency string }

// Kinds of accounts. Receivables, costs and rewards grow by debits, the others by
// credits: what the network has of a call is its value
// less its share.
const (
	kindBuyer     = "buyer_receivable"
	kindRevenue   = "network_revenue"
	kindCost      = "network_publisher_cost"
	kindPublisher = "publisher_pending"

	kindRewards = "network_rewards" // what the network has credited to accounts
	kindAccount = "account"         // of those a source settles on
)

type postingRow struct {
	no                            int64
	id                            event.ID
	call                          int64
	cause, source                 string
	receivedAt                    int64
	currency, shareCurrency       string
	value, share, delta, shareDlt event.Amount
	rule                          int64
}

type transferRow struct {
	posting       int64
	line          int
	debit, credit int64
	amount        event.Amount
	currency      string
}

// parkedRow is an event that begins to wait.
type parkedRow struct {
	id       event.ID
	deadline int64
	identity idKey
	keys     []event.CallKey
}

// unmappedRow is a record that begins to wait for its mapper.
type unmappedRow struct {
	id         event.ID
	source     string
	flags      event.Flags
	receivedAt int64
}

// verdictRow is one revision as the verdict log keeps it.
type verdictRow struct {
	v          event.Verdict
	source     string
	receivedAt int64
	kind       event.Kind
	weak       event.Digest // with weakUntil: the weak identity that it holds or gives back
	weakUntil  int64        // 0 is none
	considered []byte
	call       *callRow
	caller     string
	duration   event.Seconds
	hasPayout  bool
	payout     event.Amount
	currency   string
	hasValue   bool
	mapper     string
	fuel       int64
	peer       string
	usQueue    int64
	usMap      int64
	usMatch    int64
	report     []byte
	raw        []byte
}

// keep copies the bytes that add appends into the transaction's arena.
func (w *work) keep(add func(dst []byte) []byte) []byte {
	from := len(w.text)
	w.text = add(w.text)
	return w.text[from:len(w.text):len(w.text)]
}
