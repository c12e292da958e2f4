package event

import (
	"encoding/binary"
	"errors"
)

// Tri is a yes or no that may be absent.
type Tri uint8

const (
	Unknown Tri = iota
	Yes
	No
)

// Call is a phone call we know, or what one upsert says of it: empty text,
// zero times, absent seconds and Unknown leave what was there.
type Call struct {
	No         int64 // the store's own number; 0 until the store has seen the call
	CallID     string
	RefID      string
	Key        string // what a partner must show to set the value
	NetworkIDs []Pair // network's name and its id for the call
	Caller     string // E.164 with plus
	StartedAt  int64  // microseconds since the Unix epoch
	EndedAt    int64
	Duration   Seconds
	Campaign   string
	Publisher  string
	Buyer      string
	Qualified  Tri
}

// Reset empties c and keeps the memory of NetworkIDs.
func (c *Call) Reset() {
	ids := c.NetworkIDs[:0]
	*c = Call{NetworkIDs: ids}
}

// An encoded call, as a journal record holds it:
//
//	texts     call_id ref_id key caller campaign publisher buyer   uvarint length, bytes
//	ids       uvarint count, then name and value of each           as texts
//	times     started_at ended_at                                  varint microseconds
//	duration  0 absent, else seconds+1                             uvarint
//	qualified 0 unknown, 1 yes, 2 no                               byte
//
// AppendCall appends the encoding of c, without No, to dst.
func AppendCall(dst []byte, c *Call) []byte {
	for _, s := range [...]string{c.CallID, c.RefID, c.Key, c.Caller, c.Campaign, c.Publisher, c.Buyer} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.NetworkIDs)))
	for _, p := range c.NetworkIDs {
		dst = appendText(appendText(dst, p.Name), p.Value)
	}
	dst = binary.AppendVarint(dst, c.StartedAt)
	dst = binary.AppendVarint(dst, c.EndedAt)
	if c.Duration.OK {
		dst = binary.AppendUvarint(dst, uint64(c.Duration.N)+1)
	} else {
		dst = binary.AppendUvarint(dst, 0)
	}
	return append(dst, byte(c.Qualified))
}

var errCallEncoding = errors.New("call encoding is cut short or damaged")

// DecodeCall reads one encoded call from src into c and returns what follows.
// The strings of c are views into src.
func DecodeCall(c *Call, src []byte) (rest []byte, err error) {
	c.Reset()
	d := decoder{p: src}
	for _, s := range [...]*string{&c.CallID, &c.RefID, &c.Key, &c.Caller, &c.Campaign, &c.Publisher, &c.Buyer} {
		*s = d.text()
	}
	for n := d.count(); n > 0 && !d.bad; n-- {
		c.NetworkIDs = append(c.NetworkIDs, Pair{Name: d.text(), Value: d.text()})
	}
	c.StartedAt = d.varint()
	c.EndedAt = d.varint()
	if n := d.uvarint(); n > 0 && n <= 1<<31 {
		c.Duration = Seconds{N: int32(n - 1), OK: true}
	} else if n != 0 {
		d.bad = true
	}
	q := d.byte()
	if d.bad || q > byte(No) {
		return nil, errCallEncoding
	}
	c.Qualified = Tri(q)
	return d.p, nil
}

// KeyKind says which of a call's names a CallKey stands for.
type KeyKind uint8

const (
	KeyRef KeyKind = iota + 1
	KeyCall
	KeyNetwork
	KeyCaller
)

// CallKey is a 64-bit digest of one name of a call, the same on every node
// and in every version: stores keep it. It finds candidates only; who uses
// one compares the text itself.
type CallKey uint64

// KeyOf digests a name: FNV-1a over the kind and the text, then a finalizer
// that spreads the bits (the hash tables of the index take low bits).
func KeyOf(kind KeyKind, text string) CallKey {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(kind)) * 1099511628211
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return CallKey(h)
}

// AppendKeys appends the keys under which c can be found.
func (c *Call) AppendKeys(dst []CallKey) []CallKey {
	if c.RefID != "" {
		dst = append(dst, KeyOf(KeyRef, c.RefID))
	}
	if c.CallID != "" {
		dst = append(dst, KeyOf(KeyCall, c.CallID))
	}
	for _, p := range c.NetworkIDs {
		dst = append(dst, KeyOf(KeyNetwork, p.Value))
	}
	if c.Caller != "" {
		dst = append(dst, KeyOf(KeyCaller, c.Caller))
	}
	return dst
}

// AppendKeys appends the keys by which r asks for its call.
func (r *Report) AppendKeys(dst []CallKey) []CallKey {
	if r.RefID != "" {
		dst = append(dst, KeyOf(KeyRef, r.RefID))
	}
	if r.CallID != "" {
		dst = append(dst, KeyOf(KeyCall, r.CallID))
	}
	if r.NetworkCallID != "" {
		dst = append(dst, KeyOf(KeyNetwork, r.NetworkCallID))
	}
	if r.Caller != "" {
		dst = append(dst, KeyOf(KeyCaller, r.Caller))
	}
	return dst
}
