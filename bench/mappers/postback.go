package mappers

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
)

// BatchEvents is how many postbacks one batch holds.
const BatchEvents = 500

// callers are few enough that every mapper has read their numbers before.
const callers = 32

// shape is one kind of postback: about 500 bytes in 16 pairs.
type shape struct {
	name    string
	query   func(i int) []event.Pair
	headers []event.Pair
}

// shapes: in one, a query holds everything, nine fields of it unknown ones that
// are kept; in the other, the query is short and six headers, which the pairs
// mapper does not look at, are there besides.
var shapes = []shape{
	{name: "16 fields of a query", query: func(i int) []event.Pair {
		return append(known(i), []event.Pair{{Name: "campaign", Value: "solar-west-2026"}, {Name: "publisher", Value: "pub42"},
			{Name: "creative", Value: "banner-7"}, {Name: "sub1", Value: strings.Repeat("a", 24)}, {Name: "sub2", Value: strings.Repeat("b", 32)},
			{Name: "sub3", Value: strings.Repeat("c", 38)}, {Name: "sub4", Value: strings.Repeat("d", 40)},
			{Name: "agent", Value: "Mozilla/5.0"}, {Name: "note", Value: "hello world"}}...)
	}},
	{name: "10 fields of a query, 6 headers", query: func(i int) []event.Pair {
		return append(known(i), []event.Pair{{Name: "campaign", Value: "8c1f7d20"}, {Name: "zip", Value: "94107"}, {Name: "state", Value: "CA"}}...)
	}, headers: []event.Pair{{Name: "content-type", Value: "application/x-www-form-urlencoded"},
		{Name: "user-agent", Value: "Network-Postback/2.11 (+https://example.com/bots)"}, {Name: "host", Value: "hooks.example.com"},
		{Name: "x-request-id", Value: "b9c1e2f0a1d34c7f9f1f5c9a8b7d6e5f"}, {Name: "accept", Value: "*/*"}, {Name: "x-forwarded-for", Value: "203.0.113.77"}}},
}

// known are the fields that every mapper reads, a little different in each postback.
func known(i int) []event.Pair {
	return []event.Pair{{Name: "ref_id", Value: fmt.Sprintf("abc-123-def-%03d", i%1000)}, {Name: "call_id", Value: fmt.Sprintf("7f3a%04d", i%10_000)},
		{Name: "caller", Value: fmt.Sprintf("+121255501%02d", i%callers)}, {Name: "duration", Value: fmt.Sprint(60 + i%240)},
		{Name: "payout", Value: fmt.Sprintf("%d.50", 10+i%80)}, {Name: "currency", Value: "USD"}, {Name: "status", Value: "approved"}}
}

// pairs is how many pairs a sender sends.
func (s *shape) pairs() int { return len(s.query(0)) + len(s.headers) }

// record is postback i, of a source.
func (s *shape) record(i int, sourceID string) event.Record {
	var query []string
	for _, p := range s.query(i) {
		query = append(query, p.Name+"="+url.QueryEscape(p.Value))
	}
	return event.Record{ID: event.ID{Stream: 1, Seq: uint64(i + 1)}, Kind: event.RecordPostback, Source: sourceID, ReceivedAt: 1_700_000_000_000_000,
		Method: "GET", Peer: "203.0.113.77", Query: strings.Join(query, "&"), Headers: s.headers}
}

// input is postback i as a mapper reads it.
func (s *shape) input(i int) []byte {
	buf := make([]byte, abi.BufferBytesMin)
	rec := s.record(i, "")
	e := abi.Begin(buf, 0, rec.ReceivedAt/1000)
	ok := e.Pair(abi.KindRequest, "method", rec.Method) && e.Pair(abi.KindRequest, "peer", rec.Peer) && e.Pair(abi.KindRequest, "content_type", rec.ContentType)
	for _, p := range s.query(i) {
		ok = ok && e.Pair(abi.KindQuery, p.Name, p.Value)
	}
	for _, p := range s.headers {
		ok = ok && e.Pair(abi.KindHeader, p.Name, p.Value)
	}
	n, fits := e.End(nil)
	if !ok || !fits {
		panic("bug: a postback of the bench does not fit into a buffer")
	}
	return buf[:n]
}
