package sink

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// A call is told in several upserts, which may arrive out of order from
// several nodes. Each field keeps the rank of the upsert that set it, and only
// a later one sets it again: the outcome does not depend on the order in which
// upserts are posted. Most calls have one or two ranks in all.

// field is one bit per field of a call.
type field uint16

const (
	fieldRef field = 1 << iota
	fieldKey
	fieldNetworkIDs
	fieldCaller
	fieldStarted
	fieldEnded
	fieldDuration
	fieldCampaign
	fieldPublisher
	fieldBuyer
	fieldQualified
)

// fieldsRank says which fields the upsert of that rank has set.
type fieldsRank struct {
	fields field
	rank   event.Rank
}

// present tells which fields an upsert names.
func present(c *event.Call) (f field) {
	for _, p := range [...]struct {
		bit field
		ok  bool
	}{
		{fieldRef, c.RefID != ""}, {fieldKey, c.Key != ""}, {fieldNetworkIDs, len(c.NetworkIDs) > 0},
		{fieldCaller, c.Caller != ""}, {fieldStarted, c.StartedAt != 0}, {fieldEnded, c.EndedAt != 0},
		{fieldDuration, c.Duration.OK}, {fieldCampaign, c.Campaign != ""}, {fieldPublisher, c.Publisher != ""},
		{fieldBuyer, c.Buyer != ""}, {fieldQualified, c.Qualified != event.Unknown},
	} {
		if p.ok {
			f |= p.bit
		}
	}
	return f
}

// merge sets the fields that up names and that no later upsert has set, and
// returns which those were. It clones the texts: up's live in a batch.
func (c *callRow) merge(up *event.Call, rank event.Rank) field {
	set := present(up)
	for _, r := range c.ranks {
		if rank.Less(r.rank) {
			set &^= r.fields
		}
	}
	for bit := fieldRef; bit <= fieldQualified; bit <<= 1 {
		if set&bit != 0 {
			c.set(bit, up)
		}
	}
	if set != 0 {
		for i := range c.ranks {
			c.ranks[i].fields &^= set
		}
		c.ranks = slices.DeleteFunc(c.ranks, func(r fieldsRank) bool { return r.fields == 0 })
		c.ranks = append(c.ranks, fieldsRank{set, rank})
	}
	return set
}

func (c *callRow) set(bit field, up *event.Call) {
	switch bit {
	case fieldRef:
		c.RefID = clone(up.RefID)
	case fieldKey:
		c.Key = clone(up.Key)
	case fieldNetworkIDs:
		c.NetworkIDs = nil
		for _, p := range up.NetworkIDs {
			c.NetworkIDs = append(c.NetworkIDs, event.Pair{Name: clone(p.Name), Value: clone(p.Value)})
		}
	case fieldCaller:
		c.Caller = clone(up.Caller)
	case fieldStarted:
		c.StartedAt = up.StartedAt
	case fieldEnded:
		c.EndedAt = up.EndedAt
	case fieldDuration:
		c.Duration = up.Duration
	case fieldCampaign:
		c.Campaign = clone(up.Campaign)
	case fieldPublisher:
		c.Publisher = clone(up.Publisher)
	case fieldBuyer:
		c.Buyer = clone(up.Buyer)
	case fieldQualified:
		c.Qualified = up.Qualified
	}
}

func clone(s string) string { return string([]byte(s)) }

// appendRanks encodes ranks for call.ranks:
//
//	per entry: fields u16 | at i64 | stream u32 | seq u64 | n u16   big endian, 24 bytes
func appendRanks(dst []byte, ranks []fieldsRank) []byte {
	for _, r := range ranks {
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.fields))
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.rank.At))
		dst = binary.BigEndian.AppendUint32(dst, r.rank.ID.Stream)
		dst = binary.BigEndian.AppendUint64(dst, r.rank.ID.Seq)
		dst = binary.BigEndian.AppendUint16(dst, r.rank.ID.N)
	}
	return dst
}

const rankBytes = 24

func parseRanks(p []byte) ([]fieldsRank, error) {
	if len(p)%rankBytes != 0 {
		return nil, errors.New("call.ranks is damaged: its length is no multiple of 24")
	}
	ranks := make([]fieldsRank, 0, len(p)/rankBytes+1)
	for ; len(p) > 0; p = p[rankBytes:] {
		ranks = append(ranks, fieldsRank{field(binary.BigEndian.Uint16(p)), event.Rank{
			At: int64(binary.BigEndian.Uint64(p[2:])),
			ID: event.ID{Stream: binary.BigEndian.Uint32(p[10:]), Seq: binary.BigEndian.Uint64(p[14:]), N: binary.BigEndian.Uint16(p[22:])}}})
	}
	return ranks, nil
}
