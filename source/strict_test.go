package source_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func TestDecodeJSON(t *testing.T) {
	var s source.Spec
	err := source.DecodeJSON([]byte(`{"id":"acme","match":{"window":"48h"},"limits":{"per_ip_per_min":5},"paused":true}`), &s)
	if err != nil || s.ID != "acme" || s.Match.Window != source.Duration(48*time.Hour) || s.Limits.PerIPPerMin != 5 || !s.Paused {
		t.Fatalf("%+v, %v", s, err)
	}
	f := func(text string, want ...string) {
		t.Helper()
		err := source.DecodeJSON([]byte(text), new(source.Spec))
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v: want one with %s", text, err, w)
			}
		}
	}
	f(`{"curency":"USD"}`, `"curency"`, `did you mean "currency"?`)
	f(`{"match":{"windw":"1h"}}`, `"windw"`, `did you mean "window"?`)
	f(`{"limits":{"per_token_per_minute":1}}`, `did you mean "per_token_per_min"?`)
	f(`{"reply":{"mod":"verdict"}}`, `"mod"`, `did you mean "mode"?`)
	f(`{"reply":{"classes":{"ok":{"stat":200}}}}`, `"stat"`, `did you mean "status"?`)
	f(`{"xyzzyplugh":1}`, `unknown key "xyzzyplugh"`)
	f(`{"id":"a"} {"id":"b"}`, "after the end")
	f(`{"id":"a"}]`, "after the end")
	f(`{"id":`, "unexpected")
	f(``, "EOF")
	f(`{"dedupe_window":"soon"}`, `"soon"`, "90s")
	f(`{"park_for":"-1m"}`, `"-1m"`)
	f(`{"paused":"yes"}`, "paused")
}

func TestDecodeYAML(t *testing.T) {
	var s source.Spec
	err := source.DecodeYAML([]byte("id: acme\nfields:\n  payout: [data.amount, amt]\nmatch: {duration_tolerance: 90s}\nreply: accepted\n"), &s)
	want := source.Spec{ID: "acme", Fields: map[string][]string{"payout": {"data.amount", "amt"}},
		Match: source.Match{DurationTolerance: source.Duration(90 * time.Second)}, Reply: source.ReplySpec{Mode: "accepted"}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v, %v: want %+v", s, err, want)
	}
	f := func(text, want string) {
		t.Helper()
		if err := source.DecodeYAML([]byte(text), new(source.Spec)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v: want one with %s", text, err, want)
		}
	}
	f("nmae: Acme", `did you mean "name"?`)
	f("id: a\nid: b", `"id" already set`)
	f("id: [", "yaml")
	f("- id: a", "array")
}

func TestNearest(t *testing.T) {
	known := []string{"payout", "payout_currency", "currency", "caller", "id"}
	f := func(word, want string) {
		t.Helper()
		if got := source.Nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q: want %q", word, got, want)
		}
	}
	f("payout", "payout")
	f("PAYOUT", "payout")
	f("payuot", "payout")
	f("pay", "")
	f("curency", "currency")
	f("payout_curency", "payout_currency")
	f("idd", "id")
	f("caler", "caller")
	f("unrelated", "")
	f(strings.Repeat("payout", 100_000), "")
	if got := source.Nearest("x", nil); got != "" {
		t.Errorf("nearest of nothing is %q", got)
	}
}

func TestDuration(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var d source.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		got, err := d.MarshalText()
		if err != nil || string(got) != want {
			t.Errorf("%q is written %q, %v: want %q", text, got, err, want)
		}
		var again source.Duration
		if err := again.UnmarshalText(got); err != nil || again != d {
			t.Errorf("%q is read back as %v, %v: want %v", got, again, err, d)
		}
	}
	f("24h", "24h")
	f("15m", "15m")
	f("60s", "60s")
	f("90s", "90s")
	f("0s", "0s")
	f("1m", "60s")
	f("2m", "2m")
	f("90m", "1h30m")
	f("100h", "100h")
	f("10h", "10h")
	f("1h0m30s", "1h0m30s")
	f("1500ms", "1.5s")
	f("1h0m0.25s", "1h0m0.25s")
	for _, bad := range []string{"", "5", "-1s", "soon", "1d", "99999999h"} {
		if err := new(source.Duration).UnmarshalText([]byte(bad)); err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: error %v: want one that names it", bad, err)
		}
	}
}

func TestReplySpec(t *testing.T) {
	f := func(text string, want source.ReplySpec, out string) {
		t.Helper()
		var r source.ReplySpec
		if err := source.DecodeJSON([]byte(text), &r); err != nil || !reflect.DeepEqual(r, want) {
			t.Errorf("%s is read as %+v, %v: want %+v", text, r, err, want)
			return
		}
		got, err := json.Marshal(r)
		if err != nil || string(got) != out {
			t.Errorf("%s is written %s, %v: want %s", text, got, err, out)
		}
		var again source.ReplySpec
		if err := json.Unmarshal(got, &again); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s is read back as %+v, %v", got, again, err)
		}
	}
	f(`"accepted"`, source.ReplySpec{Mode: "accepted"}, `"accepted"`)
	f(`{"mode":"verdict"}`, source.ReplySpec{Mode: "verdict"}, `"verdict"`)
	full := source.ReplySpec{Mode: "accepted", Classes: map[string]source.Answer{"ok": {Status: 200, Body: "1", ContentType: "text/plain"}, "invalid": {Status: 422}}}
	f(`{"mode":"accepted","classes":{"ok":{"status":200,"body":"1","content_type":"text/plain"},"invalid":{"status":422}}}`, full,
		`{"mode":"accepted","classes":{"invalid":{"status":422},"ok":{"status":200,"body":"1","content_type":"text/plain"}}}`)
	for _, bad := range []string{`5`, `["accepted"]`, `{"mode":5}`, `true`} {
		if err := source.DecodeJSON([]byte(bad), new(source.ReplySpec)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// Whatever a file holds, reading and compiling it ends in a Source or an
// error; what compiles is written, read and compiled again to the same.
func FuzzDecodeCompile(f *testing.F) {
	f.Add([]byte("id: acme"))
	f.Add([]byte("id: acme\nname: Acme\nbuyer: b\npreset: generic\nreply: {mode: accepted, classes: {ok: {status: 200, body: OK}}}\npaused: true"))
	f.Add([]byte("id: a\nfields: {payout: [data.amount], REF_ID: [x]}\nconstants: {currency: eur}\nidentity: X\n"))
	f.Add([]byte("id: a\nmatch: {window: 24h, duration_tolerance: 60s, default_region: GB}\ndedupe_window: 15m\npark_for: 0.5s\namount_max: '12.5'\ncurrency: usd"))
	f.Add([]byte(`{"id":"a","limits":{"per_ip_per_min":-1,"per_token_per_min":0,"profile":"strict"},"transforms":{"time_zone":"Local","cents":true}}`))
	f.Add([]byte("a: &a [x, x]\nb: [*a, *a]"))
	f.Add([]byte("id: !!binary 5"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var spec source.Spec
		if err := source.DecodeYAML(text, &spec); err != nil {
			return
		}
		src, err := source.Compile(spec)
		if err != nil {
			return
		}
		out, err := json.Marshal(src.Spec)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", src.Spec, err)
		}
		var back source.Spec
		if err := source.DecodeJSON(out, &back); err != nil {
			t.Fatalf("%s cannot be read back: %v", out, err)
		}
		again, err := source.Compile(back)
		if err != nil {
			t.Fatalf("%s does not compile again: %v", out, err)
		}
		if !reflect.DeepEqual(again.Policy, src.Policy) || again.Constants != src.Constants || !reflect.DeepEqual(again.Names, src.Names) || again.PerToken != src.PerToken || again.PerIP != src.PerIP {
			t.Fatalf("%s compiles to %+v: want %+v", out, again, src)
		}
	})
}
