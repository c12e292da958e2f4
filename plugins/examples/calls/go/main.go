// Calls maps a JSON body that holds an array of calls, and each call an array of
// bids of which one won: a report per call. See ../README.md.
package main

import tallyhook "github.com/tallyhook/tallyhook/plugins/sdk/go"

// MapperMap is what the host calls.
//
//go:wasmexport mapper_v1_map
func MapperMap(length uint32) uint64 { return tallyhook.Run(length, Map) }

func main() {}

// bid is one of a call's: calls.0.bids.1.amount, .buyer, .won come one after the
// other, in whatever order the sender wrote them.
type bid struct {
	index         int
	amount, buyer []byte
	won           bool
}

// call is the one that is being read.
type call struct {
	index   int
	id      []byte
	bid     bid
	winner  bid
	winners int
}

func (c *call) bidDone() {
	if c.bid.won {
		c.winner = c.bid
		c.winners++
	}
	c.bid = bid{}
}

func (c *call) addBid(index int, name, value []byte) {
	if index != c.bid.index {
		c.bidDone()
		c.bid.index = index
	}
	switch string(name) {
	case "amount":
		c.bid.amount = value
	case "buyer":
		c.bid.buyer = value
	case "won":
		c.bid.won = string(value) == "true"
	}
}

var buyerKey = []byte("buyer")

func (c *call) done(currency []byte, out *tallyhook.Reports) {
	c.bidDone()
	if len(c.id) == 0 {
		out.Fail("a call has no id")
	}
	if c.winners > 1 {
		out.Fail("a call has more than one bid that won")
	}
	out.Set(tallyhook.CallID, c.id)
	out.Set(tallyhook.Currency, currency)
	if c.winners == 0 {
		out.SetString(tallyhook.Payout, "0") // nobody bought it
	} else if out.Set(tallyhook.Payout, c.winner.amount) {
		out.Extra(buyerKey, c.winner.buyer)
	}
}

// Map maps one request.
func Map(p *tallyhook.Postback, out *tallyhook.Reports) tallyhook.Answer {
	currency := p.Get(tallyhook.JSON, "currency")
	c := call{index: -1}
	for pairs := p.Pairs(); pairs.Next(); {
		index, name, ok := tallyhook.Element(pairs.Name, "calls")
		if pairs.Kind != tallyhook.JSON || !ok {
			continue
		}
		if index != c.index {
			if c.index >= 0 {
				c.done(currency, out)
			}
			if !out.NextReport() {
				return tallyhook.Done // more than 256: the SDK refuses the whole
			}
			c = call{index: index}
		}
		switch string(name) {
		case "id":
			c.id = pairs.Value
		case "tracking.click":
			out.Set(tallyhook.RefID, pairs.Value)
		case "ani":
			out.Set(tallyhook.Caller, pairs.Value)
		case "talk_seconds":
			out.Set(tallyhook.Duration, pairs.Value)
		case "started":
			out.Set(tallyhook.StartedAt, pairs.Value)
		default:
			if n, name, ok := tallyhook.Element(name, "bids"); ok {
				c.addBid(n, name, pairs.Value)
			}
		}
	}
	if c.index < 0 {
		return tallyhook.Missing
	}
	c.done(currency, out)
	return tallyhook.Done
}
