package mapper

import (
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// outcome is what a report says in the end: kind, payout, fault.
func outcome(r *event.Report) string {
	payout := "none"
	if r.HasPayout {
		payout = r.Payout.Amount.String()
	}
	out := r.Kind.String() + " " + payout
	if r.Invalid != "" {
		out += " " + string(r.Invalid)
	}
	return out
}

// What is said of the kind in several places counts in their order; whoever
// says reversal is believed before a word that says conversion.
func TestKindOrder(t *testing.T) {
	spec := source.Spec{Identity: "tid", ReversalPrefix: "r-",
		Fields:     map[string][]string{"kind": {"kind"}, "status": {"s"}},
		Statuses:   map[string][]string{"conversion": {"0"}, "reversal": {"1"}, "adjustment": {"2"}, "ignore": {"3"}},
		Transforms: source.Transforms{NegativeReverses: true}}
	f := func(query, want string) {
		t.Helper()
		if got := outcome(&mapOne(t, spec, request{query: query}).Report); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	f("tid=a&payout=5", "conversion 5.00")
	f("tid=a&payout=5&s=0", "conversion 5.00")
	f("tid=a&payout=5&s=1", "reversal 5.00")
	f("tid=a&payout=-5", "reversal 5.00")
	f("tid=a&payout=-5&s=0", "reversal 5.00") // nobody sells for less than nothing
	f("tid=a&payout=5&s=2", "adjustment 5.00")
	f("tid=a&s=1", "reversal none")
	f("tid=a&s=0", "conversion none payout_missing")

	f("tid=r-a", "reversal none")
	f("tid=+r-a+&payout=5", "reversal 5.00")
	f("tid=r-a&payout=-5", "reversal 5.00")
	f("tid=r-a&payout=5&s=0", "reversal 5.00")
	f("tid=r-a&payout=5&s=2", "reversal 5.00")
	f("tid=r-a&payout=5&s=1&kind=conversion", "reversal 5.00")
	f("tid=R-a&payout=5", "conversion 5.00") // case counts
	f("tid=ar-&payout=5", "conversion 5.00")
	f("tid=r-&payout=5", "reversal 5.00 identity_missing") // of nothing

	f("tid=a&payout=5&kind=conversion&s=1", "reversal 5.00")
	f("tid=a&payout=5&kind=adjustment&s=1", "adjustment 5.00")
	f("tid=a&payout=5&kind=reversal&s=2", "reversal 5.00")
	f("tid=r-a&payout=5&kind=adjustment", "adjustment 5.00")
	f("tid=a&payout=-5&kind=adjustment", "adjustment -5.00 payout_negative") // to less than nothing
	f("tid=a&payout=-5&s=2", "adjustment -5.00 payout_negative")
	f("tid=a&payout=5&s=4", "conversion 5.00 status_unknown")
	f("tid=r-a&payout=5&s=3", "reversal 5.00 status_ignored")
}

// A prefixed identity speaks of the one behind the prefix; the transaction
// stays as it was sent, and so does everything around a reversal.
func TestReversalPrefix(t *testing.T) {
	spec := source.Spec{Identity: "transaction_id", ReversalPrefix: "r-",
		Fields: map[string][]string{"transaction_id": {"transaction_id"}, "occurred_at": {"chargeback_date"}, "ref_id": {"external_identifier"}}}
	const tid = "381f99333613b41392b15183d69a7240308e8461"
	sold := mapOne(t, spec, request{query: "transaction_id=" + tid + "&payout=0.36&external_identifier=alice"})
	back := mapOne(t, spec, request{query: "transaction_id=r-" + tid + "&external_identifier=alice&is_chargeback=1&chargeback_reason=fraud&chargeback_date=2026-01-02T03:04:05Z"})
	if back.Reverses != sold.Strong || sold.Strong.IsZero() || back.Strong == sold.Strong || back.Strong.IsZero() {
		t.Errorf("reverses %x, sold %x, own %x", back.Reverses, sold.Strong, back.Strong)
	}
	r := back.Report
	if r.TransactionID != "r-"+tid || r.Kind != event.Reversal || r.Invalid != "" || r.OccurredAt != 1767323045000000 || r.RefID != "alice" {
		t.Errorf("%+v", r)
	}
	if len(r.Extra) != 2 || r.Extra[0] != (event.Pair{Name: "is_chargeback", Value: "1"}) || r.Extra[1] != (event.Pair{Name: "chargeback_reason", Value: "fraud"}) {
		t.Errorf("extra %q", r.Extra)
	}
	twice := mapOne(t, spec, request{query: "transaction_id=r-r-" + tid})
	if twice.Strong == back.Strong || twice.Reverses == sold.Strong {
		t.Error("a prefix within the id was taken off too")
	}
	plain := mapOne(t, source.Spec{Identity: "transaction_id"}, request{query: "transaction_id=r-" + tid + "&payout=1"})
	if plain.Report.Kind != event.Conversion || plain.Strong == sold.Strong {
		t.Error("a source without a prefix took one off")
	}
}

func TestRelativeAdjustments(t *testing.T) {
	f := func(tr source.Transforms, query, want string) {
		t.Helper()
		spec := source.Spec{Identity: "tid", Adjustments: "relative", Transforms: tr, Fields: map[string][]string{"kind": {"kind"}}}
		if got := outcome(&mapOne(t, spec, request{query: query}).Report); got != want {
			t.Errorf("%s with %+v: %s, want %s", query, tr, got, want)
		}
	}
	for _, tr := range []source.Transforms{{}, {NegativeReverses: true}} {
		f(tr, "tid=a&kind=adjustment&payout=-5", "adjustment -5.00")
		f(tr, "tid=a&kind=adjustment&payout=%2B5", "adjustment 5.00")
		f(tr, "tid=a&kind=adjustment&payout=0", "adjustment 0.00")
		f(tr, "tid=a&kind=adjustment", "adjustment none payout_missing")
	}
	f(source.Transforms{}, "tid=a&payout=-5", "conversion -5.00 payout_negative")
	f(source.Transforms{NegativeReverses: true}, "tid=a&payout=-5", "reversal 5.00")
}

func TestPayoutOptional(t *testing.T) {
	f := func(query, want string) {
		t.Helper()
		if got := outcome(&mapOne(t, source.Spec{PayoutOptional: true}, request{query: query}).Report); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	f("ref_id=a", "conversion none")
	f("ref_id=a&payout=", "conversion none")
	f("ref_id=a&payout=0", "conversion 0.00")
	f("ref_id=a&payout=x", "conversion none payout_unreadable")
}
