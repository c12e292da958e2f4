package ingest

import (
	"strings"
	"sync/atomic"

	"github.com/tallyhook/tallyhook/source/signature"
)

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

	refused [len(refusedWords)]atomic.Int64 // see EachRefused
}

// refusedWords are what refused requests are counted by: the reason, or the
// detail of a signature. The set is closed, so that it can label a metric.
var refusedWords = [...]string{
	reasonIP, reasonCertificate, reasonMethod, reasonSecret, reasonCallKey, codeLimited, "bad_request", reasonCallID, "body_too_large",
	"record_too_large", "gzip_broken", "unsupported_content_type", "unsupported_content_encoding",
	string(signature.SignatureMissing), string(signature.SignatureMalformed), string(signature.SignatureWrong),
	string(signature.TimestampMissing), string(signature.TimestampMalformed), string(signature.TimestampOld), string(signature.TimestampAhead),
	string(signature.IDMissing), string(signature.FieldMissing), string(signature.FieldMalformed), string(signature.FieldRepeated),
	string(signature.BodyMissing), string(signature.BodyMalformed), string(signature.BodyUnsigned), string(signature.TailUnsigned),
	string(signature.KeyUnknown), string(signature.ObjectUnknown), string(signature.SecretMissing), string(signature.SecretMalformed),
	string(signature.TooLong), string(signature.TooMany),
	refusedOther,
}

const refusedOther = "other"

func (st *Stats) refusedFor(reason, detail string) {
	if reason == reasonSignature {
		reason, _, _ = strings.Cut(detail, ":")
	}
	for i, word := range refusedWords {
		if word == reason || word == refusedOther {
			st.refused[i].Add(1)
			return
		}
	}
}

// EachRefused calls f with each word that requests of a known source are
// refused for, and how many were. The words are a closed set.
func (st *Stats) EachRefused(f func(word string, n int64)) {
	for i, word := range refusedWords {
		f(word, st.refused[i].Load())
	}
}

func (st *Stats) answered(status int) {
	if class := status / 100; class > 0 && class < len(st.ByClass) {
		st.ByClass[class].Add(1)
	}
}
