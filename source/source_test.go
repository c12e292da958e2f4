package source_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func compile(t *testing.T, s source.Spec) *source.Source {
	t.Helper()
	if s.ID == "" {
		s.ID = "acme"
	}
	src, err := source.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestCompileDefaults(t *testing.T) {
	src := compile(t, source.Spec{})
	want := event.Policy{
		Source: "acme", Currency: "USD", Window: 24 * time.Hour, DurationTolerance: 60 * time.Second,
		DedupeWindow: 15 * time.Minute, ParkFor: 10 * time.Minute, AmountMax: 10_000 * event.Unit,
	}
	if !reflect.DeepEqual(src.Policy, want) {
		t.Errorf("policy %+v: want %+v", src.Policy, want)
	}
	if src.Region != "US" || src.Zone != nil || src.PerToken != 12_000 || src.PerIP != 0 || src.Seen == nil || src.Deleted || src.Secrets != nil {
		t.Errorf("source %+v", src)
	}
	s := src.Spec
	if s.Name != "acme" || s.Preset != "generic" || s.Reply.Mode != source.ReplyVerdict || s.Currency != "USD" || s.AmountMax != "10000.00" {
		t.Errorf("spec %+v lacks its defaults", s)
	}
	if again := compile(t, s); !reflect.DeepEqual(again.Spec, s) || !reflect.DeepEqual(again.Policy, src.Policy) || !reflect.DeepEqual(again.Names, src.Names) {
		t.Errorf("compiling what came out gives %+v: want the same", again.Spec)
	}
}

func TestCompileSettings(t *testing.T) {
	src := compile(t, source.Spec{
		ID: "acme", Name: "Acme", Buyer: "b1", Currency: "coins", AmountMax: "12.5", Identity: "Webhook-ID",
		Match:        source.Match{Window: source.Duration(time.Hour), DurationTolerance: source.Duration(5 * time.Second), DefaultRegion: "GB"},
		DedupeWindow: source.Duration(time.Minute), ParkFor: source.Duration(time.Second),
		Transforms: source.Transforms{NegativeReverses: true, TimeZone: "America/New_York", Duration: "mm:ss"},
		Constants:  map[string]string{"currency": "EUR"},
		Fields:     map[string][]string{"payout": {" Data.Amount ", "payout"}, "kind": {"type"}},
	})
	want := event.Policy{
		Source: "acme", Buyer: "b1", Currency: "COINS", Window: time.Hour, DurationTolerance: 5 * time.Second,
		DedupeWindow: time.Minute, ParkFor: time.Second, AmountMax: 12_500_000, NegativeReverses: true,
	}
	if !reflect.DeepEqual(src.Policy, want) {
		t.Errorf("policy %+v: want %+v", src.Policy, want)
	}
	if src.Region != "GB" || src.Zone.String() != "America/New_York" || src.Spec.Identity != "webhook-id" || src.Constants[source.SlotCurrency] != "EUR" {
		t.Errorf("source %+v", src)
	}
	names := src.Names[source.SlotPayout]
	if len(names) < 3 || names[0] != "data.amount" || names[1] != "payout" || names[2] != "payout_or_blank" {
		t.Errorf("payout names %q: want the source's own first, then the preset's, each once", names)
	}
	if kind := src.Names[source.SlotKind]; !reflect.DeepEqual(kind, []string{"type"}) {
		t.Errorf("kind names %q", kind)
	}
}

func TestCompileLimits(t *testing.T) {
	f := func(l source.Limits, perToken, perIP int) {
		t.Helper()
		src := compile(t, source.Spec{Limits: l})
		if src.PerToken != perToken || src.PerIP != perIP {
			t.Errorf("%+v gives %d per token and %d per IP: want %d and %d", l, src.PerToken, src.PerIP, perToken, perIP)
		}
		if again := compile(t, src.Spec); again.PerToken != perToken || again.PerIP != perIP {
			t.Errorf("%+v, compiled twice, gives %d per token and %d per IP", l, again.PerToken, again.PerIP)
		}
	}
	f(source.Limits{}, 12_000, 0)
	f(source.Limits{Profile: "strict"}, 200, 50)
	f(source.Limits{Profile: "strict", PerTokenPerMin: 300}, 300, 50)
	f(source.Limits{Profile: "strict", PerIPPerMin: -1}, 200, 0)
	f(source.Limits{PerTokenPerMin: -1, PerIPPerMin: 7}, 0, 7)
	f(source.Limits{PerTokenPerMin: source.PerMinuteMax}, source.PerMinuteMax, 0)
}

// Every error says which value is wrong, and of which source.
func TestCompileErrors(t *testing.T) {
	f := func(s source.Spec, want ...string) {
		t.Helper()
		if s.ID == "" {
			s.ID = "acme"
		}
		_, err := source.Compile(s)
		if err == nil {
			t.Errorf("%+v compiled: want an error with %q", s, want)
			return
		}
		for _, w := range append(want, `source "`+s.ID+`"`) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %v: want one with %s", err, w)
			}
		}
	}
	long := strings.Repeat("x", 300)
	f(source.Spec{ID: "Acme"}, `id "Acme"`, "a-z")
	f(source.Spec{ID: "-acme"}, `id "-acme"`)
	f(source.Spec{ID: "a|b"}, `id "a|b"`)
	f(source.Spec{ID: long}, "1 to 63")
	f(source.Spec{Name: long}, "300 bytes", "at most 200")
	f(source.Spec{Preset: "genric"}, `preset "genric"`, "generic")
	f(source.Spec{Mapper: "Acme"}, `mapper "Acme"`, "NAME@VERSION")
	f(source.Spec{Mapper: "acme@"}, `mapper "acme@"`, "leave out the @")
	f(source.Spec{Mapper: "acme@0"}, `version "0"`)
	f(source.Spec{Mapper: "acme@01"}, `version "01"`)
	f(source.Spec{Mapper: "acme@1000001"}, `version "1000001"`)
	f(source.Spec{Mapper: "acme", Fields: map[string][]string{"payout": {"p"}}}, `mapper "acme"`, "fields")
	f(source.Spec{Mapper: "acme", Transforms: source.Transforms{Cents: true}}, "transforms", "plain decimals")
	f(source.Spec{Mapper: "acme", Identity: "lead_hash"}, `identity "lead_hash"`, "not shown")
	f(source.Spec{Mapper: "acme", MapperFallback: "last"}, `mapper_fallback "last"`, "previous")
	f(source.Spec{Mapper: "acme@3", MapperFallback: "previous"}, "pinned", "@3")
	f(source.Spec{Statuses: map[string][]string{"sale": {"1"}}}, "statuses.sale", "ignore")
	f(source.Spec{Statuses: map[string][]string{"conversion": {" "}}}, "statuses.conversion", `word " "`)
	f(source.Spec{Statuses: map[string][]string{"conversion": {"A"}, "reversal": {"a"}}}, "statuses.reversal", `word "a"`, "already")
	f(source.Spec{MapperFallback: "previous"}, "built-in mapper has no versions")
	f(source.Spec{Fields: map[string][]string{"payuot": {"x"}}}, `"payuot"`, `did you mean "payout"?`)
	f(source.Spec{Fields: map[string][]string{"zzzzzzzzz": {"x"}}}, `"zzzzzzzzz"`, "transaction_id")
	f(source.Spec{Fields: map[string][]string{"payout": {"  "}}}, `fields.payout: name ""`)
	f(source.Spec{Fields: map[string][]string{"payout": {long}}}, "fields.payout", "1 to 128 bytes")
	f(source.Spec{Fields: map[string][]string{"kind": strings.Fields(strings.Repeat("n ", 40) + numbered(33))}}, "fields.kind: 34 names", "at most 32")
	f(source.Spec{Constants: map[string]string{"curency": "USD"}}, `"curency"`, `did you mean "currency"?`)
	f(source.Spec{Transforms: source.Transforms{Duration: "hours"}}, `transforms.duration "hours"`, "mm:ss")
	f(source.Spec{Transforms: source.Transforms{TimeZone: "Mars/Base"}}, `transforms.time_zone "Mars/Base"`)
	f(source.Spec{Match: source.Match{Window: source.Duration(source.WindowMax + 1)}}, "match.window", "8784h0m0")
	f(source.Spec{Match: source.Match{DurationTolerance: source.Duration(25 * time.Hour)}}, "match.duration_tolerance 25h")
	f(source.Spec{Match: source.Match{DefaultRegion: "UK"}}, `match.default_region "UK"`, "GB")
	f(source.Spec{DedupeWindow: source.Duration(source.WindowMax + 1)}, "dedupe_window")
	f(source.Spec{ParkFor: source.Duration(32 * 24 * time.Hour)}, "park_for 768h")
	f(source.Spec{Limits: source.Limits{Profile: "lax"}}, `limits.profile "lax"`, "strict")
	f(source.Spec{Limits: source.Limits{PerTokenPerMin: -2}}, "limits.per_token_per_min -2")
	f(source.Spec{Limits: source.Limits{PerIPPerMin: source.PerMinuteMax + 1}}, "limits.per_ip_per_min 60000001")
	f(source.Spec{Currency: "$"}, `currency "$"`)
	f(source.Spec{Currency: "ABCDEFGHIJKLM"}, `currency "ABCDEFGHIJKLM"`)
	f(source.Spec{AmountMax: "1e4"}, `amount_max "1e4"`)
	f(source.Spec{AmountMax: "0"}, `amount_max "0"`)
	f(source.Spec{AmountMax: "-5"}, `amount_max "-5"`)
	f(source.Spec{Reply: source.ReplySpec{Mode: "later"}}, `reply "later"`)
	f(source.Spec{Ack: "commited"}, `ack "commited"`, "journal or committed")
	reply := func(class string, a source.Answer) source.Spec {
		return source.Spec{Reply: source.ReplySpec{Classes: map[string]source.Answer{class: a}}}
	}
	f(reply("refused", source.Answer{}), `reply.classes "refused"`)
	f(reply("ok", source.Answer{Status: 199}), "reply.classes.ok.status 199")
	f(reply("booked", source.Answer{Status: 600}), "reply.classes.booked.status 600")
	f(reply("paused", source.Answer{Body: strings.Repeat("x", 5000)}), "reply.classes.paused.body of 5000 bytes")
}

func TestAck(t *testing.T) {
	f := func(text, want, shown string) {
		t.Helper()
		var s source.Spec
		if err := source.DecodeYAML([]byte(text), &s); err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		src := compile(t, s)
		out, err := json.Marshal(src.Spec)
		if src.Spec.Ack != want || err != nil || !strings.Contains(string(out), shown) {
			t.Errorf("%s: %q is shown as %s, %v: want %s", text, src.Spec.Ack, out, err, shown)
		}
	}
	f("id: a", source.AckJournal, `"ack":"journal"`)
	f("id: a\nack: journal", source.AckJournal, `"ack":"journal"`)
	f("id: a\nack: committed\nreply: accepted", source.AckCommitted, `"reply":"accepted","ack":"committed"`)
	if err := source.DecodeYAML([]byte("id: a\nakc: committed"), new(source.Spec)); err == nil || !strings.Contains(err.Error(), `did you mean "ack"?`) {
		t.Errorf("a misspelt key: %v", err)
	}
}

// numbered gives n different names.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" f" + strings.Repeat("x", i))
	}
	return b.String()
}

func TestPresetsCompile(t *testing.T) {
	names := source.Presets()
	if len(names) == 0 || !reflect.DeepEqual(names, sorted(names)) {
		t.Fatalf("presets %q", names)
	}
	for _, name := range names {
		src := compile(t, source.Spec{Preset: name})
		var slots int
		for _, n := range src.Names {
			if len(n) > 0 {
				slots++
			}
		}
		if slots == 0 {
			t.Errorf("preset %q fills no slot", name)
		}
	}
}

func TestGenericPresetKnowsTheUsualNames(t *testing.T) {
	src := compile(t, source.Spec{})
	f := func(slot source.Slot, first, last string) {
		t.Helper()
		if n := src.Names[slot]; len(n) == 0 || n[0] != first || n[len(n)-1] != last {
			t.Errorf("%s is %q: want %s to %s", slot, n, first, last)
		}
	}
	f(source.SlotRefID, "ref_id", "transaction_id")
	f(source.SlotCallID, "call_id", "internal_id")
	f(source.SlotCaller, "caller_id", "ani")
	f(source.SlotDuration, "duration", "seconds")
	f(source.SlotPayout, "payout", "earnings")
	if n := src.Names[source.SlotTransactionID]; n != nil {
		t.Errorf("transaction_id is %q: it is another name of ref_id here", n)
	}
}

func TestDirectory(t *testing.T) {
	make := func(id, token string, deleted bool) *source.Source {
		src := compile(t, source.Spec{ID: id})
		src.TokenHash, src.Deleted = source.HashToken([]byte(token)), deleted
		return src
	}
	a, b, gone := make("a", "token-a", false), make("b", "token-b", false), make("gone", "token-gone", true)
	d := source.NewDirectory([]*source.Source{a, b, gone}, 7)
	f := func(token, id string, byToken, byID *source.Source) {
		t.Helper()
		if got := d.ByToken(source.HashToken([]byte(token))); got != byToken {
			t.Errorf("token %q finds %v", token, got)
		}
		if got := d.ByID(id); got != byID {
			t.Errorf("id %q finds %v", id, got)
		}
	}
	f("token-a", "a", a, a)
	f("token-b", "b", b, b)
	f("token-gone", "gone", nil, gone)
	f("token-x", "x", nil, nil)
	f("", "", nil, nil)
	if len(d.All()) != 3 || d.Version != 7 {
		t.Errorf("%d sources of version %d", len(d.All()), d.Version)
	}
	live := source.NewLive(d)
	next := source.NewDirectory(nil, 8)
	if live.Load() != d {
		t.Error("it does not start with the first")
	}
	if live.Swap(next); live.Load() != next || next.ByToken([32]byte{}) != nil {
		t.Error("the swap had no effect")
	}
}
