package mapper

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/source"
)

// extension encodes a pair of the mapper's own.
func extension(name, text string) string {
	p := binary.LittleEndian.AppendUint16(nil, uint16(len(name)))
	return output(abi.FieldExtension, string(p)+name+text)
}

// reported is the one report that a partner's mapper that always says out gives.
func reported(t *testing.T, s source.Spec, out string, change func(*event.Record)) event.Event {
	t.Helper()
	s.ID, s.Mapper = "own", "acme"
	h := newHost(t, s)
	h.version("acme", 1, says(out))
	rec := h.record("own", "")
	change(&rec)
	h.told(rec)
	if len(h.b.Events) != 1 {
		t.Fatalf("%d events", len(h.b.Events))
	}
	return h.b.Events[0]
}

func as(query string) func(*event.Record) { return func(r *event.Record) { r.Query = query } }

// A report that a partner's mapper made settles on an account by what it says.
func TestPartnerSettlesOnAccounts(t *testing.T) {
	f := func(change func(*source.Spec), out, account, want string) {
		t.Helper()
		s := source.Spec{Settle: source.SettleAccount, Account: "{app|Site}:{transaction_id}", Identity: "transaction_id",
			PayoutOptional: true, Reward: &source.Reward{Currency: "COINS"}, ReversalPrefix: "r-"}
		change(&s)
		e := reported(t, s, out, as("app=evil&uid=evil"))
		if got := credit(&e.Report); got != want || e.Report.Account != account {
			t.Errorf("%q: account %q, %s; want %q, %s", out, e.Report.Account, got, account, want)
		}
	}
	same := func(*source.Spec) {}
	id := output(abi.FieldTransactionID, "t1")
	f(same, id+extension("APP", "game")+extension("reward", "12.5"), "game:t1", "12.50 COINS")
	f(same, id+extension("site", " s ")+extension("Reward", "12"), "s:t1", "12.00 COINS")
	f(same, id+extension("app", "game"), "game:t1", "none reward_missing reward")
	f(same, id+extension("reward", "1"), "", "1.00 COINS account_missing app|site")
	f(same, id+extension("app", "a\x00b")+extension("reward", "1"), "", "1.00 COINS account_missing app")
	f(same, id+extension("app", "game")+extension("reward", "-1"), "game:t1", "-1.00 COINS payout_negative reward")
	f(same, output(abi.FieldTransactionID, "r-t1")+extension("app", "game"), "game:r-t1", "reversal none")
	f(same, output(abi.FieldTransactionID, "r-t1", abi.FieldKind, "conversion")+extension("app", "game"), "game:r-t1", "reversal none")
	f(func(s *source.Spec) { s.Reward.Rate = "1000" }, id+output(abi.FieldPayout, "0.36")+extension("app", "game"), "game:t1", "360.00 COINS")
	f(func(s *source.Spec) { s.Reward = nil }, id+output(abi.FieldPayout, "0.36")+extension("app", "game"), "game:t1", "0.36 USD")

	s := source.Spec{Identity: "transaction_id", ReversalPrefix: "r-"}
	sold := reported(t, s, id+output(abi.FieldPayout, "1"), as(""))
	back := reported(t, s, output(abi.FieldTransactionID, "r-t1"), as(""))
	if sold.Strong.IsZero() || back.Reverses != sold.Strong || back.Report.TransactionID != "r-t1" {
		t.Errorf("reverses %x, sold %x, %q", back.Reverses, sold.Strong, back.Report.TransactionID)
	}
}

// What a mapper is not shown counts all the same: the key of the call, its id
// in the path, and where triggers stand.
func TestPartnerIsOfACall(t *testing.T) {
	out := output(abi.FieldCallID, "c2", abi.FieldPayout, "1")
	f := func(s source.Spec, change func(*event.Record), callID, key, query string, extra ...event.Pair) {
		t.Helper()
		r := reported(t, s, out, change).Report
		if r.CallID != callID || r.Key != key || r.Query != query || !slices.Equal(r.Extra, extra) || r.Invalid != "" {
			t.Errorf("%q, key %q, query %q, extra %v, %s; want %q, %q, %q, %v", r.CallID, r.Key, r.Query, r.Extra, r.Invalid, callID, key, query, extra)
		}
	}
	path := func(id, query, body string, flags event.Flags) func(*event.Record) {
		return func(r *event.Record) {
			r.Query, r.Body, r.Flags = query, []byte(body), flags
			r.Headers = []event.Pair{{Name: event.HeaderCallID, Value: id}}
		}
	}
	s := source.Spec{CallKeys: true, Triggers: true}
	f(s, as("key=hush&sale=1"), "c2", digestOfHush, "key=***&sale=1")
	f(s, as("KEY=%68ush"), "c2", digestOfHush, "KEY=***")
	f(s, as("key=hush&key=hush"), "c2", digestOfHush, "key=***&key=***")
	f(s, as("key=hush&key=other"), "c2", "", "key=***&key=***")
	f(s, as("key=***"), "c2", "", "key=***")
	f(s, as("sale=1"), "c2", "", "sale=1")
	f(s, path("c1", "a=1", "key=hush&b=2", 0), "c1", digestOfHush, "a=1&key=***&b=2", event.Pair{Name: "call_id", Value: "c2"})
	f(s, path("c2", "key=hush", `{"a":1}`, 0), "c2", digestOfHush, "key=***")
	f(s, path("c1", "key=hush", "", event.FlagKeyed), "c1", event.KeyIssued, "key=***", event.Pair{Name: "call_id", Value: "c2"})
	f(source.Spec{}, as("key=hush"), "c2", "", "")

	r := reported(t, s, out, path(strings.Repeat("c", IDBytesMax+1), "", "", 0)).Report
	if r.Invalid != event.BodyMalformed || r.CallID != "" {
		t.Errorf("a call id beyond all bounds: %q %s", r.CallID, r.Invalid)
	}
}
