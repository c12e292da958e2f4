package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest is the first half of a SHA-256, kept by the ledger for as long as an
// identity lives. The zero Digest is none.
type Digest [16]byte

// IsZero reports whether d is none.
func (d Digest) IsZero() bool { return d == Digest{} }

// Identify fills in the identities of e from its report: Strong (and Reverses,
// for a reversal or an adjustment) from strongID if that is not "", Weak from everything
// the report says, Money from the fields whose change under one strong
// identity is a conflict. scratch is used for the encoding and returned grown.
func Identify(e *Event, source, strongID string, scratch []byte) []byte {
	r := &e.Report
	e.Strong, e.Reverses = Digest{}, Digest{}
	if strongID != "" {
		scratch = appendIdentity(scratch[:0], 's', source, r.Kind, strongID)
		e.Strong = sum(scratch)
		if r.Kind != Conversion {
			scratch = appendIdentity(scratch[:0], 's', source, Conversion, strongID)
			e.Reverses = sum(scratch)
		}
	}

	b := append(scratch[:0], 'm', byte(r.Kind))
	b = appendMoney(b, r)
	if r.Account != "" { // another user under the same id is another claim
		b = appendText(append(b, 'a'), r.Account)
	}
	e.Money = sum(b)

	b = appendIdentity(b[:0], 'w', source, r.Kind, "")
	b = appendMoney(b, r)
	if r.Query != "" { // a trigger in it may be what is told
		b = appendText(b, r.Query)
	}
	if r.Key != "" { // who shows a wrong one has not told what the right one tells
		b = appendText(append(b, 'k'), r.Key)
	}
	for _, s := range [...]string{r.RefID, r.CallID, r.NetworkCallID, r.Network, r.Caller, r.CallerRaw, r.TransactionID} {
		b = appendText(b, s)
	}
	b = binary.AppendVarint(b, r.StartedAt)
	b = binary.AppendVarint(b, r.OccurredAt)
	if r.Duration.OK {
		b = binary.AppendUvarint(b, uint64(r.Duration.N)+1)
	} else {
		b = append(b, 0)
	}
	for _, p := range r.Extra {
		b = appendText(appendText(b, p.Name), p.Value)
	}
	e.Weak = sum(b)
	return b
}

func appendIdentity(b []byte, class byte, source string, k Kind, id string) []byte {
	b = append(b, class, byte(k))
	return appendText(appendText(b, source), id)
}

func appendMoney(b []byte, r *Report) []byte {
	if r.HasPayout {
		b = binary.AppendVarint(append(b, 1), int64(r.Payout.Amount))
	} else {
		b = append(b, 0)
	}
	b = appendText(appendText(b, r.Payout.Currency), r.Status)
	if r.HasReward {
		b = appendText(binary.AppendVarint(b, int64(r.Reward.Amount)), r.Reward.Currency)
	}
	return b
}

func sum(b []byte) (d Digest) {
	h := sha256.Sum256(b)
	copy(d[:], h[:])
	return d
}

// PricedBy digests caller, duration and start of a report, by which a later
// report without an id is known to re-price the same call; 0 without a caller.
func (r *Report) PricedBy() int64 {
	if r.Caller == "" {
		return 0
	}
	h := uint64(KeyOf(KeyCaller, r.Caller))
	for _, v := range [...]uint64{uint64(r.StartedAt), uint64(uint32(r.Duration.N))} {
		h = (h ^ v) * 1099511628211
		h ^= h >> 29
	}
	if r.Duration.OK {
		h = (h ^ 1) * 1099511628211
	}
	return int64(h | 1)
}
