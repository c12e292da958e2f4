// Pairs does what the built-in mapper does for a source without settings, as a
// mapper of one's own: the usual names in query, form or JSON, in any case, body
// before query; what nobody asked for is kept. See ../README.md.
package main

import (
	"bytes"

	tallyhook "github.com/tallyhook/tallyhook/plugins/sdk/go"
)

// MapperMap is what the host calls.
//
//go:wasmexport mapper_v1_map
func MapperMap(length uint32) uint64 { return tallyhook.Run(length, Map) }

func main() {}

const (
	fieldsMax = 256
	fieldIDs  = 13
	aliases   = 51
)

// alias is a name that means a field. In each field the one with the lowest
// rank that has a value wins.
type alias struct {
	name  string
	field tallyhook.Field
	rank  uint8
}

// byLength holds the aliases of 3 bytes, of 4, and so on.
var byLength = [14][]alias{
	{
		{"tid", tallyhook.RefID, 6},
		{"ani", tallyhook.Caller, 8},
		{"bid", tallyhook.Payout, 5},
	},
	{
		{"from", tallyhook.Caller, 3},
	},
	{
		{"subid", tallyhook.RefID, 5},
		{"phone", tallyhook.Caller, 5},
		{"value", tallyhook.Payout, 4},
		{"price", tallyhook.Payout, 7},
	},
	{
		{"ref_id", tallyhook.RefID, 0},
		{"pub_id", tallyhook.RefID, 4},
		{"callid", tallyhook.CallID, 1},
		{"caller", tallyhook.Caller, 1},
		{"length", tallyhook.Duration, 5},
		{"payout", tallyhook.Payout, 0},
		{"amount", tallyhook.Payout, 3},
		{"status", tallyhook.Status, 0},
	},
	{
		{"call_id", tallyhook.CallID, 0},
		{"seconds", tallyhook.Duration, 6},
		{"revenue", tallyhook.Payout, 2},
	},
	{
		{"click_id", tallyhook.RefID, 3},
		{"callerid", tallyhook.Caller, 2},
		{"duration", tallyhook.Duration, 0},
		{"earnings", tallyhook.Payout, 8},
		{"currency", tallyhook.Currency, 0},
	},
	{
		{"caller_id", tallyhook.Caller, 0},
		{"talk_time", tallyhook.Duration, 3},
	},
	{
		{"bid_amount", tallyhook.Payout, 6},
		{"started_at", tallyhook.StartedAt, 0},
		{"start_time", tallyhook.StartedAt, 1},
		{"call_start", tallyhook.StartedAt, 3},
		{"event_time", tallyhook.OccurredAt, 1},
	},
	{
		{"external_id", tallyhook.RefID, 1},
		{"our_call_id", tallyhook.CallID, 3},
		{"internal_id", tallyhook.CallID, 4},
		{"from_number", tallyhook.Caller, 4},
		{"occurred_at", tallyhook.OccurredAt, 0},
		{"call_status", tallyhook.Status, 1},
	},
	{
		{"external_ref", tallyhook.RefID, 2},
		{"reference_id", tallyhook.CallID, 2},
		{"caller_phone", tallyhook.Caller, 6},
	},
	{
		{"inboundcallid", tallyhook.NetworkCallID, 2},
		{"caller_number", tallyhook.Caller, 7},
		{"talk_duration", tallyhook.Duration, 2},
		{"call_duration", tallyhook.Duration, 4},
	},
	{
		{"transaction_id", tallyhook.RefID, 7},
	},
	{
		{"network_call_id", tallyhook.NetworkCallID, 0},
		{"inbound_call_id", tallyhook.NetworkCallID, 1},
		{"payout_or_blank", tallyhook.Payout, 1},
		{"payout_currency", tallyhook.Currency, 1},
		{"call_start_time", tallyhook.StartedAt, 2},
	},
	{
		{"duration_seconds", tallyhook.Duration, 1},
	},
}

// first is the number of the first alias of each list.
var first = func() (first [len(byLength)]int) {
	for i := range len(byLength) - 1 {
		first[i+1] = first[i] + len(byLength[i])
	}
	return first
}()

// entry is one name and value of the request.
type entry struct {
	name, value []byte
	alias       *alias // nil: nobody asked for it
	number      int    // of the alias
	origin      int    // 0 query, 1 body
	used        bool
}

// collected is what one report is made of; its memory is reused.
type collected struct {
	all     [fieldsMax]entry
	count   int
	tooMany bool

	seen [aliases][2]uint16 // place in all + 1, by query or body
	best [fieldIDs][2]*entry
}

var entries collected

func (c *collected) add(name, value []byte, origin int) {
	if c.count == fieldsMax {
		c.tooMany = true
		return
	}
	e := &c.all[c.count]
	c.count++
	e.name, e.value, e.origin = name, value, origin
	e.alias, e.number = aliasOf(name)
}

//go:noinline
func aliasOf(name []byte) (a *alias, number int) {
	length := len(name) - 3
	if length < 0 || length >= len(byLength) {
		return nil, 0
	}
	list := byLength[length]
	for i := range list {
		if tallyhook.EqualFold(name, list[i].name) {
			return &list[i], first[length] + i
		}
	}
	return nil, 0
}

// report makes one report of what has been collected so far. What is done for
// each entry is a function of its own, as Go is charged for a whole function on
// every turn of a loop in it.
func (c *collected) report(out *tallyhook.Reports) {
	c.seen, c.best = [aliases][2]uint16{}, [fieldIDs][2]*entry{}
	if c.tooMany {
		out.Fail("more than 256 fields")
	}
	for i := range c.count {
		c.resolve(i, out)
	}
	for field := range c.best {
		c.set(field, out)
	}
	for i := range c.count {
		c.keep(i, out)
	}
}

// resolve notes whether entry i is the one that its field is to be read from.
//
//go:noinline
func (c *collected) resolve(i int, out *tallyhook.Reports) {
	e := &c.all[i]
	e.used = false
	if e.alias == nil {
		return
	}
	if len(tallyhook.Trim(e.value)) == 0 {
		e.used = true // empty is absent, not zero
		return
	}
	at, top := &c.seen[e.number][e.origin], &c.best[e.alias.field][e.origin]
	switch {
	case *at == 0:
		*at = uint16(i + 1)
		if *top == nil || e.alias.rank < (*top).alias.rank {
			*top = e
		}
	case bytes.Equal(c.all[*at-1].value, e.value):
		e.used = true
	default:
		out.Fail("a field is given twice with different values")
	}
}

// set sets a field to the body's value, else the query's.
//
//go:noinline
func (c *collected) set(field int, out *tallyhook.Reports) {
	e := c.best[field][1]
	if e == nil {
		e = c.best[field][0]
	}
	if e != nil {
		out.Set(tallyhook.Field(field), e.value)
		e.used = true
	}
}

//go:noinline
func (c *collected) keep(i int, out *tallyhook.Reports) {
	if e := &c.all[i]; !e.used {
		out.Extra(e.name, e.value)
	}
}

// elements makes the reports of an outermost JSON array: 0.payout, 0.ref_id, 1.payout, …
func (c *collected) elements(p *tallyhook.Postback, out *tallyhook.Reports) {
	shared, tooMany := c.count, c.tooMany
	current := 0
	for pairs := p.Pairs(); pairs.Next(); {
		if pairs.Kind != tallyhook.JSON {
			continue
		}
		index, rest, ok := tallyhook.Element(pairs.Name, "")
		if !ok {
			continue
		}
		for ; current < index; current++ {
			c.report(out) // an empty element is a report too
			if !out.NextReport() {
				return
			}
			c.count, c.tooMany = shared, tooMany
		}
		if len(rest) == 0 {
			out.Fail("an element of the array is no JSON object")
		} else {
			c.add(rest, pairs.Value, 1)
		}
	}
	c.report(out)
}

// take adds a pair, if it is of the kind, and reports whether it is of JSON.
//
//go:noinline
func (c *collected) take(pair *tallyhook.Pairs, array bool) (json bool) {
	switch pair.Kind {
	case tallyhook.Query:
		c.add(pair.Name, pair.Value, 0)
	case tallyhook.Form:
		c.add(pair.Name, pair.Value, 1)
	case tallyhook.JSON:
		if !array {
			c.add(pair.Name, pair.Value, 1)
		}
		return true
	}
	return false
}

// Map maps one request.
func Map(p *tallyhook.Postback, out *tallyhook.Reports) tallyhook.Answer {
	c := &entries
	c.count, c.tooMany = 0, false
	body := tallyhook.Trim(p.Body())
	array, json := len(body) > 0 && body[0] == '[', false
	for pairs := p.Pairs(); pairs.Next(); {
		json = c.take(&pairs, array) || json
	}
	out.NextReport()
	if array && json {
		c.elements(p, out)
	} else {
		c.report(out)
	}
	return tallyhook.Done
}
