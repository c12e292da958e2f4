package mapper

import (
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// The key of one call opens no other one: nothing in the request may lead to a
// call but the path.
func TestPathAloneNamesTheCall(t *testing.T) {
	f := func(flags event.Flags, query, body string, extra int) {
		t.Helper()
		for _, e := range mapAll(t, source.Spec{SetValue: true}, request{callID: "mine", flags: flags, query: query, body: body}) {
			if r := &e.Report; r.CallID != "mine" || r.RefID != "" || r.NetworkCallID != "" || r.Caller != "" {
				t.Errorf("%s %s: call %q, ref_id %q, network %q, caller %q", query, body, r.CallID, r.RefID, r.NetworkCallID, r.Caller)
			} else if len(r.Extra) != extra {
				t.Errorf("%s %s: extra %v, want %d", query, body, r.Extra, extra)
			}
		}
	}
	for _, flags := range []event.Flags{event.FlagKeyed, 0} {
		f(flags, "payout=900&ref_id=yours", "", 1)
		f(flags, "payout=900&network_call_id=yours", "", 1)
		f(flags, "payout=900&caller=%2B12025550143&duration=60", "", 0)
		f(flags, "payout=900", `{"click_id":"yours"}`, 1)
		f(flags, "payout=900", `[{"click_id":"yours","call_id":"yours"},{"ref_id":"his","inbound_call_id":"his"}]`, 2)
	}
}
