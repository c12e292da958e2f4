package console

import "time"

// Node is the running node as the console sees it. Its methods are cheap and
// safe for concurrent use.
type Node interface {
	// Status is how the node stands now.
	Status() NodeStatus
	// Ready is nil while the intake can accept a postback: the journal is
	// open, not full and not failed. Its text is for a person.
	Ready() error
	// Refused lists the last requests of a source that were not journaled, the
	// newest first.
	Refused(sourceID string) []Refusal
}

// NodeStatus is how a node stands at one moment.
type NodeStatus struct {
	Node      string    `json:"node"`
	Stream    uint32    `json:"stream"` // of its journal
	StartedAt time.Time `json:"started_at"`

	Journal  JournalStatus  `json:"journal"`
	Pipeline PipelineStatus `json:"pipeline"`
	Index    IndexStatus    `json:"index"`

	Backends []BackendStatus `json:"backends"`
	Shipping ShippingStatus  `json:"shipping"`
	Limits   LimitsStatus    `json:"limits"`

	Parked   int64 `json:"parked"`   // events that wait for their call
	Unmapped int64 `json:"unmapped"` // postbacks that wait for their mapper
	Sources  int   `json:"sources"`  // live ones in force

	// Failed, when not "", says why the node cannot go on and must be
	// restarted; /healthz answers 503 with it.
	Failed string `json:"failed,omitempty"`
}

// JournalStatus is how a node's journal stands.
type JournalStatus struct {
	FirstSeq  uint64 `json:"first_seq"` // oldest record that is kept
	LastSeq   uint64 `json:"last_seq"`  // newest record on disk, 0 for none
	Bytes     int64  `json:"bytes"`     // that its segments take
	BytesMax  int64  `json:"bytes_max"` // that they may take
	FreeBytes int64  `json:"free_bytes"`
	Segments  int    `json:"segments"`
	Full      bool   `json:"full"`   // refuses records for lack of space
	Failed    bool   `json:"failed"` // for good

	SyncSeconds Histogram `json:"-"`
}

// PipelineStatus is how far the stream of a node is behind its journal.
type PipelineStatus struct {
	CommittedSeq uint64  `json:"committed_seq"` // every record up to it has its verdicts in the ledger
	LagRecords   uint64  `json:"lag_records"`   // on disk without a verdict
	LagSeconds   float64 `json:"lag_s"`         // age of the oldest of them
	Paused       bool    `json:"paused"`
	Retrying     string  `json:"retrying,omitempty"` // what it tries again until it works
}

// IndexStatus is how the index of recent calls stands.
type IndexStatus struct {
	Names    int64 `json:"names"`    // a call has up to four
	Complete bool  `json:"complete"` // it holds every call within the window
}

// BackendStatus is how one thing stands that the node leans on. A node takes
// in postbacks without any of them.
type BackendStatus struct {
	Role  string    `json:"role"` // store, index, limits or activity
	Kind  string    `json:"kind"` // sqlite, memory, postgres, redis, clickhouse
	Up    bool      `json:"up"`
	Since time.Time `json:"since,omitzero"`  // of this state; zero when it was never another
	Fault string    `json:"fault,omitempty"` // while it is not up: what is wrong
}

// ShippingStatus is how far the activity store is behind the verdict log. Where
// activity is read from the log itself, everything is zero.
type ShippingStatus struct {
	Holding    bool    `json:"holding"` // this node ships; another one may
	Through    int64   `json:"through"` // change_seq of the last verdict that is there
	LagRows    int64   `json:"lag_rows"`
	LagSeconds float64 `json:"lag_s"`
}

// LimitsStatus is how shared rate limits are being decided.
type LimitsStatus struct {
	Local uint64 `json:"local"` // decisions that this node took by itself because the shared limiter was not there
}

// Refusal is a request that was not journaled. Query is redacted by who made it.
type Refusal struct {
	At     time.Time `json:"at"`
	Peer   string    `json:"peer"`
	Method string    `json:"method"`
	Status int       `json:"status"`
	Reason string    `json:"reason"` // machine word
	Query  string    `json:"query"`
	Detail string    `json:"detail,omitempty"` // what the check found: "signature_wrong", "field_missing: user_id"
	Advice string    `json:"advice,omitempty"` // what to do about it, a sentence
}

// Histogram is a distribution as Prometheus counts it.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound → how many values were not above it
}
