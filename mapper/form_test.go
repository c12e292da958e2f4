package mapper

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// fieldsOf reads text as a form the way the mapper does.
func fieldsOf(w *worker, text string, from origin) []field {
	w.fields, w.whole = w.fields[:0], fault{}
	w.form(text, from)
	return w.fields
}

func testWorker(t testing.TB, s source.Spec) *worker {
	src := compile(t, s)
	w := newWorker(NewBuiltin(liveOf(src)))
	w.begin(new(event.Batch), w.m.Live.Load())
	w.src, w.table = src, w.tableOf(src)
	return w
}

func TestForm(t *testing.T) {
	w := testWorker(t, source.Spec{})
	f := func(text string, want ...string) {
		t.Helper()
		var got []string
		for _, x := range fieldsOf(w, text, fromBody) {
			got = append(got, x.name, x.text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("")
	f("a=1&b=2", "a", "1", "b", "2")
	f("a", "a", "")
	f("=1", "", "1")
	f("a=b=c", "a", "b=c")
	f("&&a=&&", "a", "")
	f("a+b=c+d%2Be", "a b", "c d+e")
	f("a%3D=%26%c3%A9", "a=", "&é")
	f("a=100%&b=%zz&c=%4", "a", "100%", "b", "%zz", "c", "%4") // an escape that is none stands for itself
	f("a;b=c;d", "a;b", "c;d")
	f("a=é", "a", "é")
	f("a=%ff&b=1", "b", "1")
	f("%ff=1&b=%C3&c=\xff")
}

// differ compares the mapper's reading of a form with net/url's, where that accepts it.
func differ(t *testing.T, w *worker, text string, from origin) {
	w.b.Reset()
	got := fieldsOf(w, text, from)
	for _, f := range got {
		if !utf8.ValidString(f.name) || !utf8.ValidString(f.text) {
			t.Fatalf("%q: %q=%q is not UTF-8", text, f.name, f.text)
		}
	}
	want, err := url.ParseQuery(text)
	if err != nil || w.whole.reason != "" {
		return
	}
	left := 0
	for _, v := range want {
		left += len(v)
	}
	for _, f := range got {
		v := want[f.name]
		if len(v) == 0 || v[0] != f.text {
			t.Fatalf("%q: %q=%q, net/url has %q", text, f.name, f.text, v)
		}
		want[f.name] = v[1:]
		left--
	}
	if left != 0 {
		t.Fatalf("%q: net/url has %d more: %q", text, left, want)
	}
}

// robust maps r whole: whatever it is, it ends in one to ReportsMax events with a weak
// identity and clean texts, nothing breaks, and a second time gives the same.
func robust(t *testing.T, m *Builtin, r request) {
	b := new(event.Batch)
	digest := func() (all []event.Digest) {
		b.Reset()
		fillBatch(t, b, []request{r})
		if err := m.Map(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if len(b.Events) == 0 || len(b.Events) > event.ReportsMax {
			t.Fatalf("%d events", len(b.Events))
		}
		for i := range b.Events {
			e := &b.Events[i]
			if e.Report.Failed || e.Weak.IsZero() || len(e.Report.Extra) > FieldsMax {
				t.Fatalf("%+v", e.Report)
			}
			for _, s := range []string{e.Report.RefID, e.Report.CallID, e.Report.CallerRaw, e.Report.Status, e.Report.Detail.Field, e.Report.Detail.Got} {
				if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || len(s) > 3*NameBytesMax {
					t.Fatalf("%q in %+v", s, e.Report)
				}
			}
			r := &e.Report
			if !utf8.ValidString(r.Account+r.Query) || strings.ContainsFunc(r.Account, unicode.IsControl) || len(r.Account) > source.AccountBytesMax || len(r.Query) > QueryBytesMax {
				t.Fatalf("account %q, query %q", r.Account, r.Query)
			}
			if good := r.Invalid == "" && e.Policy.ToAccount; good && (r.Account == "" || r.HasReward && r.Reward.Amount < 0 || !r.HasReward && r.Kind != event.Reversal) {
				t.Fatalf("%+v", *r)
			}
			all = append(all, e.Weak)
		}
		return all
	}
	if first, again := digest(), digest(); !slices.Equal(first, again) {
		t.Fatal("mapped twice, it differs")
	}
}

var formSeeds = []string{
	"caller_id=%2B13055551234&duration=90&payout=50&ref_id=abc123", "payout=1&payout=2", "payout_or_blank=&PAYOUT=50",
	"a=%00&b=%ff&c=100%", "a;b=c", "secret=x&kind=reversal", "tid=r-1&coins=-360&payout=-0.36&uid=alice&key=hush",
	"tid=1&coins=12,5+%E2%82%AC&uid=+&app=%C2%85&sale=true&%6bey=hush%ff", "key=a&key=b&uid=" + strings.Repeat("u", 300), strings.Repeat("k&", 300), "ref_id=\x00", "caller=+13055551234",
}

func FuzzQuery(f *testing.F) {
	for _, s := range formSeeds {
		f.Add(s)
	}
	w := testWorker(f, source.Spec{Identity: "transaction_id"})
	f.Fuzz(func(t *testing.T, query string) {
		differ(t, w, query, fromQuery)
		robust(t, w.m, request{query: query})
	})
}

func FuzzForm(f *testing.F) {
	for _, s := range formSeeds {
		f.Add("payout=1", s)
	}
	w := testWorker(f, source.Spec{Fields: map[string][]string{"kind": {"kind"}, "payout": {"net.amount"}}})
	settles := settling("{app|site}:{uid}")
	settles.ReversalPrefix, settles.Triggers, settles.CallKeys = "r-", true, true
	settles.Transforms = source.Transforms{NegativeReverses: true, DecimalComma: true, CurrencySign: true}
	account := testWorker(f, settles)
	f.Fuzz(func(t *testing.T, query, body string) {
		differ(t, w, body, fromBody)
		robust(t, w.m, request{query: query, contentType: formType, body: body})
		robust(t, account.m, request{query: query, contentType: formType, body: body, callID: "c1"})
	})
}
