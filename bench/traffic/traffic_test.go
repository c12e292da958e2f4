package traffic

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

var base = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func noisy() Mix {
	return Mix{Early: 300, NoRef: 500, Retry: 300, Reprice: 500, LateRetry: 500, Zero: 200, Stranger: 200, Unreadable: 200}
}

func TestScriptDependsOnSeedAndNumberAlone(t *testing.T) {
	var a, b Script
	forward, other := New(7, base, noisy()), New(8, base, noisy())
	backward := New(7, base, noisy())
	var texts []string
	for n := range uint64(200) {
		forward.Script(n, &a)
		texts = append(texts, fmt.Sprintf("%q", fmt.Sprint(a.Calls, a.Steps)))
	}
	for n := 199; n >= 0; n-- {
		backward.Script(uint64(n), &b)
		if got := fmt.Sprintf("%q", fmt.Sprint(b.Calls, b.Steps)); got != texts[n] {
			t.Fatalf("script %d differs when made in another order:\n%s\n%s", n, got, texts[n])
		}
	}
	forward.Script(3, &a)
	other.Script(3, &b)
	if fmt.Sprint(a.Calls) == fmt.Sprint(b.Calls) {
		t.Error("two seeds give the same calls")
	}
}

// What must be booked is certain only if no postback can be taken for another
// call's, and no two different things look alike.
func TestScriptsCannotBeConfused(t *testing.T) {
	g, seenCall, owner := New(1, base, noisy()), map[string]bool{}, map[string]uint64{}
	var s Script
	kinds := map[Kind]int{}
	for n := range uint64(3000) {
		g.Script(n, &s)
		contents := map[string]string{}
		for i, c := range s.Calls {
			if seenCall[c.ID] {
				t.Fatalf("call id %s twice", c.ID)
			}
			seenCall[strings.Clone(c.ID)] = true
			if first, ok := owner[c.Caller]; ok && first != n {
				t.Fatalf("caller %s in scripts %d and %d", c.Caller, first, n)
			}
			owner[strings.Clone(c.Caller)] = n
			for _, o := range s.Calls[:i] {
				if c.Seconds-o.Seconds < 150 {
					t.Fatalf("script %d: calls of %d and %d seconds by one caller", n, o.Seconds, c.Seconds)
				}
			}
			if c.StartedAt.After(base) || c.StartedAt.Before(base.Add(-11*time.Hour)) {
				t.Fatalf("call starts at %s", c.StartedAt)
			}
		}
		told := map[int]bool{}
		for i, st := range s.Steps {
			kinds[st.Kind]++
			if st.Kind == CallEnd {
				told[st.Call] = true
			}
			if !st.Kind.Postback() {
				continue
			}
			if st.Early == told[st.Call] && st.Kind != Stranger {
				t.Fatalf("script %d step %d: early is %v, but its call was told: %v", n, i, st.Early, told[st.Call])
			}
			if st.Kind == Stranger {
				if _, known := owner[st.Report.Caller]; known || st.Call != -1 {
					t.Fatalf("the stranger %s is known", st.Report.Caller)
				}
			} else if short := s.Calls[st.Call].Seconds - st.Report.Seconds; short < 20 || short > 50 {
				t.Fatalf("duration %d short", short)
			}
			key := fmt.Sprint(st.Buyer, st.Report.Caller, st.Report.Seconds, st.Report.Payout, st.Report.Unreadable)
			wire := st.Request.Query + string(st.Request.Body)
			if before, ok := contents[key]; ok && before != wire {
				t.Fatalf("same content in other bytes: %s and %s", before, wire)
			}
			contents[key] = wire
		}
	}
	for k := range kindNames {
		if kinds[Kind(k)] == 0 {
			t.Errorf("no %s in 3000 scripts", Kind(k))
		}
	}
}

func TestNumbersAreReadableInEveryNotation(t *testing.T) {
	for _, i := range []uint64{0, 1, 9_999, 10_000, 123_456, 599_999, 600_000, 2_000_000, 41_999_999} {
		want := string(appendNumber(nil, i))
		for notation := range notations {
			sent := string(appendNotation(nil, want, notation, false))
			n, err := phonenumbers.Parse(sent, "US")
			if err != nil || phonenumbers.Format(n, phonenumbers.E164) != want {
				t.Errorf("%q: %v, want %s", sent, err, want)
			}
			if n != nil && !phonenumbers.IsPossibleNumber(n) {
				t.Errorf("%q is not possible", sent)
			}
			back, err := url.QueryUnescape(string(appendNotation(nil, want, notation, true)))
			if err != nil || back != sent {
				t.Errorf("escaped %q reads %q", sent, back)
			}
		}
	}
}

// Read with the standard library, each shape says what Report says.
func TestRequestsSayWhatReportsSay(t *testing.T) {
	g := New(5, base, noisy())
	var s Script
	for n := range uint64(500) {
		g.Script(n, &s)
		for _, st := range s.Steps {
			if !st.Kind.Postback() {
				if !json.Valid(st.Request.Body) {
					t.Fatalf("call is not JSON: %s", st.Request.Body)
				}
				continue
			}
			got := fieldsOf(t, st.Request)
			payout, err := event.ParseAmount(got[names[st.Buyer].payout])
			if (err != nil) != st.Report.Unreadable || (err == nil && payout != st.Report.Payout) {
				t.Fatalf("payout %q, want %s, unreadable %v", got[names[st.Buyer].payout], st.Report.Payout, st.Report.Unreadable)
			}
			if got[names[st.Buyer].ref] != st.Report.RefID || got[names[st.Buyer].duration] != fmt.Sprint(st.Report.Seconds) {
				t.Fatalf("%v does not say %+v", got, st.Report)
			}
		}
	}
}

func fieldsOf(t *testing.T, r Request) map[string]string {
	t.Helper()
	got := map[string]string{}
	if r.ContentType == "application/json" {
		d := json.NewDecoder(strings.NewReader(string(r.Body)))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatalf("%s: %v", r.Body, err)
		}
		for k, v := range m {
			got[k] = fmt.Sprint(v)
		}
		return got
	}
	q, err := url.ParseQuery(r.Query + string(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	for k := range q {
		got[k] = q.Get(k)
	}
	return got
}

// Buyers use names that a node knows without being told.
func TestNamesAreOnesThatANodeKnows(t *testing.T) {
	src, err := source.Compile(source.Spec{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		for slot, name := range map[source.Slot]string{source.SlotCaller: n.caller, source.SlotDuration: n.duration, source.SlotPayout: n.payout, source.SlotRefID: n.ref} {
			if !slices.Contains(src.Names[slot], strings.ToLower(name)) {
				t.Errorf("%s is no name of %s", name, slot)
			}
		}
	}
}

// The network is one that `tallyhook apply` takes.
func TestNetworkIsRead(t *testing.T) {
	var n store.Network
	if err := source.DecodeYAML(NetworkJSON(), &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Buyers) != len(Buyers) || len(n.Publishers) != len(Publishers) || len(n.Campaigns) != len(Campaigns) || len(n.Campaigns[0].Assignments) != len(Publishers) {
		t.Errorf("%+v", n)
	}
}

func TestAmountNotation(t *testing.T) {
	f := func(a event.Amount, least int, want string) {
		t.Helper()
		if got := string(appendAmount(nil, a, least)); got != want {
			t.Errorf("%d with %d decimals: %s, want %s", a, least, got, want)
		}
	}
	f(50*event.Unit, 0, "50")
	f(50*event.Unit, 1, "50.0")
	f(50*event.Unit, 2, "50.00")
	f(50_250_000, 0, "50.25")
	f(50_500_000, 0, "50.5")
	f(50_500_000, 2, "50.50")
	f(33_333_300, 1, "33.3333")
	f(0, 0, "0")
	f(100*event.Unit, 0, "100")
}

func TestRulesParse(t *testing.T) {
	for _, c := range Campaigns {
		for _, p := range Publishers {
			if _, err := event.ParseRule(RuleOf(c, p)); err != nil {
				t.Error(err)
			}
		}
	}
	if got := RuleOf("hvac", "nobody"); got != "" {
		t.Errorf("rule of nobody is %q", got)
	}
}

func TestScriptDoesNotAllocate(t *testing.T) {
	g := New(1, base, noisy())
	var s Script
	for n := range uint64(2000) { // grows the memory to what is needed
		g.Script(n, &s)
	}
	var n uint64
	if got := testing.AllocsPerRun(1000, func() { g.Script(n, &s); n++ }); got != 0 {
		t.Errorf("%g allocations per script", got)
	}
}

func BenchmarkScript(b *testing.B) {
	g := New(1, base, DefaultMix())
	var s Script
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		g.Script(n, &s)
	}
}
