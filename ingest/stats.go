package ingest

import "sync/atomic"

// Stats are a server's totals since it was made.
type Stats struct {
	ByClass       [6]atomic.Int64 // answers by the first digit of their status; [0] is unused
	BodyBytes     atomic.Int64    // of bodies as they came on the wire
	Panics        atomic.Int64    // answered 500
	AuthFailures  atomic.Int64    // unknown token, wrong secret, bad key
	JournalErrors atomic.Int64    // answered 503 or 413 because the journal did not take the record

	CallsAccepted atomic.Int64
	CallsRejected atomic.Int64

	VerdictWaits atomic.Int64 // postbacks that waited for their verdict
	WaitTimeouts atomic.Int64 // and got accepted instead, because it did not come in time

	CommitWaits    atomic.Int64 // postbacks of sources with source.AckCommitted that waited for the ledger
	CommitTimeouts atomic.Int64 // and were answered 503, because it did not commit in time
}

func (st *Stats) answered(status int) {
	if class := status / 100; class > 0 && class < len(st.ByClass) {
		st.ByClass[class].Add(1)
	}
}
