package source_test

import (
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// file is a network file, as far as these tests go.
type file struct {
	Campaigns []struct {
		ID          string `json:"id"`
		Assignments []struct {
			Payout string `json:"payout"`
		} `json:"assignments"`
		Conversion *event.Group `json:"conversion"`
	} `json:"campaigns"`
	Sources []source.Spec `json:"sources"`
}

func TestFileErrorsNameTheObject(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		err := source.DecodeYAML([]byte(text), new(file))
		if err == nil {
			t.Errorf("%s: was read", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v: want one with %s", text, err, w)
			}
		}
		if strings.Contains(err.Error(), "JSON") {
			t.Errorf("%s: error %v speaks of JSON", text, err)
		}
	}
	f("signature: {algorithm: md5}", `unknown key "signature": it belongs to a source: put it under "sources: - id: …"`)
	f("duplicates: add\nsources: [{id: a}]", `unknown key "duplicates": it belongs to a source`)
	f("trigger: x", `it belongs to a campaign: put it under "campaigns: - id: …", in conversion`)
	f("sources: [{id: a, window: 1h}]", `source "a": unknown key "window": it belongs to match: put it below that`)
	f("sources: [{id: a}, {id: b, match: {windw: 1h}}]", `source "b": match: unknown key "windw": did you mean "window"?`)
	f("sources: [{id: a, campaigns: []}]", `source "a": unknown key "campaigns": it belongs to the top`)
	f("sources: [{id: a, reply: {classes: {ok: {stat: 200}}}}]", `source "a": reply.classes.ok: unknown key "stat": did you mean "status"?`)
	f("sources: [{id: a, match: {window: 3}}]", `source "a": match.window is the number 3: want a duration such as 3s or 10m`)
	f("sources: [{id: a, park_for: soon}]", `source "a": park_for: duration "soon"`)
	f("campaigns: [{id: c, conversion: {timeout: 3}}]", `campaign "c": conversion.timeout is the number 3: want a duration such as 3s or 10m`)
	f("campaigns: [{id: c, conversion: {timeout: -3m}}]", `campaign "c": conversion.timeout: timeout "-3m"`)
	f("campaigns: [{id: c, conversion: {revenue: many}}]", `campaign "c": conversion.revenue "many"`, "plain decimal")
	f("campaigns: [{id: c, assignments: [{payout: 5}]}]", `campaign "c": assignments[0].payout is the number 5: want text, write it in quotes: "5"`)
	f("sources: [{id: a, name: yes}]", `source "a": name is true: want text, write it in quotes: "true"`)
	f("sources: [{id: a, currency: 12}]", `source "a": currency is the number 12: want text`)
	f("sources: [{id: a, paused: maybe}]", `source "a": paused is the text "maybe": want true or false`)
	f("sources: [{id: a, match: [1h]}]", `source "a": match is a list: want keys below it`)
	f("sources: [{id: a, allow_ips: 10.0.0.1}]", `source "a": allow_ips is the text "10.0.0.1": want a list`)
	f("sources: [{id: a, limits: {per_ip_per_min: 1.5}}]", `limits.per_ip_per_min is the number 1.5: want a whole number`)
	f("sources: [{match: {window: 3}}]", `sources[0].match.window is the number 3`)

	// What YAML would turn into another number is asked for in quotes.
	for _, number := range []string{"0100", "0x64", "1_000", "1e3", "+5", "123456789012.123456", "!!int 0100", "&a 0100", "12345678901234567890"} {
		f("sources: [{id: a, daily_max: "+number+"}]", `source "a": daily_max is the number`, `in quotes: "25.00"`)
		f("sources:\n- id: a\n  daily_max:\n    "+number+"\n", `source "a": daily_max is the number`)
	}
}

func TestMoneyWrittenAsNumbers(t *testing.T) {
	f := func(number, want string) {
		t.Helper()
		json := `{"sources":[{"id":"a","daily_max":` + number + `,"amount_max":` + number + `,"reward":{"currency":"COINS","rate":` + number + `}}]}`
		block := "sources:\n- id: a\n  daily_max: " + number + "\n  \"amount_max\": " + number + " # a day\n  reward: {currency: COINS, rate: " + number + "}\n"
		for _, text := range []string{json, block} {
			var v file
			decode := source.DecodeJSON
			if text == block {
				decode = source.DecodeYAML
			}
			if err := decode([]byte(text), &v); err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			s := v.Sources[0]
			for _, got := range []string{s.DailyMax, s.AmountMax, s.Reward.Rate} {
				a, err := event.ParseAmount(got)
				if err != nil || a.String() != want {
					t.Errorf("%s: %q, %v: want %s", text, got, err, want)
				}
			}
		}
	}
	f("100", "100.00")
	f("25.00", "25.00")
	f("0.1", "0.10")
	f("10.70", "10.70")
	f("99999999.999999", "99999999.999999")
	f("-3", "-3.00")

	var v file
	if err := source.DecodeYAML([]byte("campaigns:\n- id: c\n  assignments: [{payout: percent 80}]\n  conversion: {trigger: x, revenue: 25.00, payout: 7.5}\n"), &v); err != nil {
		t.Fatal(err)
	}
	if g := v.Campaigns[0].Conversion; *g.Revenue != 25*event.Unit || *g.Payout != 7_500_000 {
		t.Errorf("revenue %s, payout %s", g.Revenue, g.Payout)
	}
	// JSON has a number's own text, however long it is.
	if err := source.DecodeJSON([]byte(`{"campaigns":[{"conversion":{"revenue":123456789012.123456}}]}`), &v); err != nil || v.Campaigns[0].Conversion.Revenue.String() != "123456789012.123456" {
		t.Errorf("%+v, %v", v, err)
	}
}
