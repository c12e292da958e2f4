package sink_test

import (
	"fmt"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// Conversion groups: what a call of a campaign is worth, and to whom.
func TestLedgerConversionValues(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"a trigger says what a call is worth":                    triggers,
		"a posted value and its modifiers":                       modifiers,
		"a modifier that leaves nothing":                         modifierBelow,
		"neither a trigger nor a value":                          notTriggered,
		"a trigger alone takes no posted value":                  triggerAlone,
		"a source whose requests hold no triggers":               noTriggers,
		"a publisher with an assignment of its own":              ownAssignment,
		"the group is changed or removed after a call is booked": groupChanged,
	})
}

// asks is a postback of source "s" with a query, which may name no value.
func asks(query, call, id string) told {
	return told{source: "s", id: id, reports: []event.Report{{RefID: "ref-" + call, Query: query}}}
}

func (h *harness) triggering() {
	h.source("s", func(p *event.Policy) { p.Triggers = true })
}

func triggers(t *testing.T, h *harness) {
	h.triggering()
	h.group("c", `{"trigger":"status=won","revenue":"40","payout":"25"}`)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	says(t, h.post(asks("x=1&status%3Dwon", "a", "t1")), "booked ")
	booked(t, h, "a", "40.00", "25.00")
	h.became("a", "converted")
	says(t, h.post(asks("status=won&y", "b", "t2"), asks("status=won", "b", "t2"), asks("status=won", "b", "t3")), "booked", "duplicate", "unchanged")
	booked(t, h, "b", "40.00", "25.00")
	says(t, h.post(undo("s", "t3")), "reversed")
	booked(t, h, "b", "0.00", "0.00")
	h.became("b", "converted")
}

func modifiers(t *testing.T, h *harness) {
	for i, m := range []struct{ rule, share string }{{"", "50.00"}, {"*0.8", "40.00"}, {"*0", "0.00"}, {"-1", "49.00"}, {"*0.8-1", "39.00"}, {"+5", "55.00"}} {
		campaign, call := fmt.Sprint("c", i), fmt.Sprint("call", i)
		h.group(campaign, fmt.Sprintf(`{"posted":true,"modifier":%q}`, m.rule))
		c := ended(call, h.now, 90)
		c.call.Campaign, c.call.Publisher = campaign, "p"
		h.post(c)
		says(t, h.post(price("50", call, call)), "booked ")
		booked(t, h, call, "50.00", m.share)
		h.became(call, "converted")
	}
	h.has("publisher:p:pending", "USD", "233.00")
}

func modifierBelow(t *testing.T, h *harness) {
	h.group("c", `{"posted":true,"modifier":"-60"}`)
	h.post(h.ofCampaign("a"))
	says(t, h.post(price("50", "a", "t1"), price("61", "a", "t2")), "booked", "booked")
	booked(t, h, "a", "61.00", "1.00")
	says(t, h.post(price("59.99", "a", "t3")), "booked")
	booked(t, h, "a", "59.99", "0.00")
}

func notTriggered(t *testing.T, h *harness) {
	h.triggering()
	h.group("c", `{"trigger":"won","revenue":"40","posted":true}`)
	h.post(h.ofCampaign("a"))
	vs := h.post(asks("status=lost", "a", "t1"), asks("", "a", "t2"))
	says(t, vs, "ignored not_triggered", "ignored not_triggered")
	if d := vs[0].Detail; d.Got != "c" || d.Call != "a" {
		t.Errorf("detail %+v", d)
	}
	booked(t, h, "a", "", "")
	h.became("a", "")
	says(t, h.post(asks("won", "a", "t1"), price("50", "a", "t3")), "booked", "booked") // its identity was free
	booked(t, h, "a", "50.00", "50.00")
	h.now += hour
	h.tick()
	h.became("a", "converted")
}

func triggerAlone(t *testing.T, h *harness) {
	h.triggering()
	h.group("c", `{"trigger":"won","revenue":"40"}`)
	h.post(h.ofCampaign("a"))
	says(t, h.post(price("50", "a", "t1")), "ignored not_triggered")
	p := price("50", "a", "t1")
	p.reports[0].Query = "won=1&payout=50"
	says(t, h.post(p), "booked")
	booked(t, h, "a", "40.00", "40.00") // no payout of its own: all of it
}

func noTriggers(t *testing.T, h *harness) {
	h.group("c", `{"trigger":"won","revenue":"40","payout":"25"}`)
	h.post(h.ofCampaign("a"))
	says(t, h.post(asks("won", "a", "t1")), "ignored not_triggered")
	says(t, h.post(price("50", "a", "t2")), "booked")
	booked(t, h, "a", "50.00", "50.00")
	h.became("a", "converted")
}

func ownAssignment(t *testing.T, h *harness) {
	h.triggering()
	h.group("c", `{"trigger":"won","revenue":"40","payout":"25","posted":true,"modifier":"*0.5"}`)
	h.assign("c", "p", "percent 10")
	h.assign("c", "ended", "percent 10")
	h.assign("c", "ended", "")
	for call, publisher := range map[string]string{"a": "p", "b": "q", "d": ""} {
		c := ended(call, h.now, 90)
		c.call.Campaign, c.call.Publisher = "c", publisher
		h.post(c)
	}
	says(t, h.post(asks("won", "a", "t1"), asks("won", "b", "t2"), asks("won", "d", "t3")), "booked", "booked", "booked")
	booked(t, h, "a", "40.00", "4.00")
	booked(t, h, "b", "40.00", "25.00")
	booked(t, h, "d", "40.00", "0.00")
	says(t, h.post(price("60", "a", "t4"), price("60", "b", "t5")), "booked", "booked")
	booked(t, h, "a", "60.00", "6.00")
	booked(t, h, "b", "60.00", "30.00")
	h.post(callOf(event.Call{CallID: "b", Publisher: "p"}))
	booked(t, h, "b", "60.00", "6.00")
	h.post(callOf(event.Call{CallID: "b", Publisher: "q"}))
	booked(t, h, "b", "60.00", "30.00")
	says(t, h.post(asks("won", "b", "t6")), "booked")
	booked(t, h, "b", "40.00", "25.00")
}

func groupChanged(t *testing.T, h *harness) {
	h.group("c", `{"posted":true,"modifier":"*0.5"}`)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"), h.ofCampaign("d"))
	says(t, h.post(price("50", "a", "t1")), "booked")
	h.group("c", `{"posted":true,"modifier":"*0.1"}`)
	says(t, h.post(price("60", "a", "t2"), price("60", "b", "t3")), "booked", "booked")
	booked(t, h, "a", "60.00", "30.00") // as when it was first booked
	booked(t, h, "b", "60.00", "6.00")
	h.group("c", "")
	says(t, h.post(price("70", "a", "t4"), price("70", "b", "t5"), price("70", "d", "t6")), "booked", "booked", "booked")
	booked(t, h, "a", "70.00", "35.00")
	booked(t, h, "b", "70.00", "7.00")
	booked(t, h, "d", "70.00", "0.00")
}
