package source_test

import (
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

func preset(t *testing.T, name string) (*source.Preset, *source.Source) {
	t.Helper()
	p, err := source.PresetOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return p, compile(t, source.Spec{ID: "s", Preset: name})
}

// TestPresetsAreComplete: an operator who has nothing but a preset knows what it
// is, what to paste or why there is nothing to paste, and what is guessed.
func TestPresetsAreComplete(t *testing.T) {
	for _, name := range source.Presets() {
		p, src := preset(t, name)
		bad := func(format string, args ...any) {
			t.Helper()
			t.Errorf("preset %s: "+format, append([]any{name}, args...)...)
		}
		if p.Title == "" || len(p.Notes) == 0 {
			bad("title %q, %d notes", p.Title, len(p.Notes))
		}
		if p.Verified != (len(p.Guesses) == 0) {
			bad("verified %v with %d guesses", p.Verified, len(p.Guesses))
		}
		for _, sentence := range slices.Concat(p.Guesses, p.Notes) {
			if !strings.HasSuffix(sentence, ".") || strings.TrimSpace(sentence) != sentence {
				bad("%q is no sentence", sentence)
			}
		}
		if p.Docs != "" && !strings.HasPrefix(p.Docs, "https://") || p.Docs == "" && p.Verified && name != "generic" {
			bad("docs %q", p.Docs)
		}
		if p.Query == "" && !slices.ContainsFunc(p.Notes, func(n string) bool {
			return strings.HasPrefix(n, "There is nothing to paste but the URL") || strings.HasPrefix(n, "There is no list of macros") || strings.HasPrefix(n, "Choose the parameters")
		}) {
			bad("it has no query and does not say why")
		}
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			bad("path %q does not begin with a slash", p.Path)
		}
		if src.Spec.DedupeWindow <= 0 {
			bad("no dedupe window")
		}
	}
}

// TestPastedQueriesAreRead: what a preset has pasted at the sender holds what it
// reads: a field of money or a trigger, the identity, the account and the signature.
func TestPastedQueriesAreRead(t *testing.T) {
	for _, name := range source.Presets() {
		p, src := preset(t, name)
		if p.Query == "" {
			continue
		}
		var sent []string
		for pair := range strings.SplitSeq(p.Query, "&") {
			key, macro, ok := strings.Cut(pair, "=")
			if !ok || key == "" || macro == "" || key != url.QueryEscape(key) || slices.Contains(sent, strings.ToLower(key)) {
				t.Errorf("preset %s: pair %q of its query", name, pair)
			}
			sent = append(sent, strings.ToLower(key))
		}
		has := func(names ...string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(sent, strings.ToLower(n)) })
		}
		if id := src.Spec.Identity; id != "" && !has(append(src.Names[source.SlotTransactionID], id)...) {
			t.Errorf("preset %s: its query %q lacks the identity %q", name, p.Query, id)
		}
		for _, part := range src.Account {
			if part.Fields != nil && !has(part.Fields...) {
				t.Errorf("preset %s: its query lacks the account's %q", name, part.Fields)
			}
		}
		if src.Spec.Reward != nil && src.Spec.Reward.Rate == "" && !has(src.Names[source.SlotReward]...) {
			t.Errorf("preset %s: its query lacks the reward, one of %q", name, src.Names[source.SlotReward])
		}
		if src.Spec.Settle == source.SettleCall && !p.Source.PayoutOptional && name != "convirza" && !has(src.Names[source.SlotPayout]...) {
			t.Errorf("preset %s: its query lacks the payout, one of %q", name, src.Names[source.SlotPayout])
		}
	}
}

// TestAyetQueryHasEveryMacro: each parameter stands for the macro of its own name.
func TestAyetQueryHasEveryMacro(t *testing.T) {
	p, _ := preset(t, "ayet-studios")
	for pair := range strings.SplitSeq(p.Query, "&") {
		if key, macro, _ := strings.Cut(pair, "="); macro != "{"+key+"}" {
			t.Errorf("pair %q", pair)
		}
	}
	if n := strings.Count(p.Query, "="); n != 30 {
		t.Errorf("%d macros, want 30", n)
	}
}

// TestPresetsSignAsTheirSystems: the schemes that are tested with published
// vectors are the presets' schemes.
func TestPresetsSignAsTheirSystems(t *testing.T) {
	f := func(name, system string, change func(*signature.Spec)) {
		t.Helper()
		text, err := os.ReadFile("signature/testdata/systems/" + system + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var want signature.Spec
		if err := source.DecodeYAML(text, &want); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&want)
		}
		p, _ := preset(t, name)
		if p.Source.Signature == nil || !reflect.DeepEqual(*p.Source.Signature, want) {
			t.Errorf("preset %s signs as %+v, the system %s as %+v", name, p.Source.Signature, system, want)
		}
	}
	for _, same := range []string{"pubscale", "tapjoy", "ironsource", "digital-turbine", "offertoro", "bitlabs", "adgem", "adgem-post",
		"subid-transid", "callrail", "standard-webhooks", "stripe-like", "outpost", "justcall", "dineropay"} {
		f(same, same, nil)
	}
	f("ayet-studios", "ayet", func(s *signature.Spec) { s.ID = nil }) // one without an id is answered 200 as well
	f("cpx-research", "cpx", nil)
	f("admob-ssv", "admob", nil)
	f("convirza", "shared-secret-query", nil)
	f("pollfish", "pollfish", func(s *signature.Spec) { s.Sorted.Fields["status"] = "optional" }) // as one may choose there
	f("trackdrive-update", "trackdrive", func(s *signature.Spec) {
		s.Alternatives = []signature.Spec{{Signature: signature.Place{In: "basic"}}}
	})
}

// TestMoneyThatIsNotSigned: where a signature does not vouch for what is booked,
// the presets say so, and nothing is booked of it without a list of addresses.
func TestMoneyThatIsNotSigned(t *testing.T) {
	f := func(name string, payout, reward bool) {
		t.Helper()
		p, src := preset(t, name)
		if src.Policy.PayoutUnsure != payout || src.Policy.RewardUnsure != reward {
			t.Errorf("preset %s: payout unsure %v, reward %v; want %v, %v", name, src.Policy.PayoutUnsure, src.Policy.RewardUnsure, payout, reward)
		}
		if told := strings.Contains(strings.Join(p.Notes, " "), "allow_ips"); (payout || reward) && !told {
			t.Errorf("preset %s does not tell of allow_ips", name)
		}
		if src := compile(t, source.Spec{ID: "s", Preset: name, AllowIPs: []string{"203.0.113.7"}}); src.Policy.PayoutUnsure || src.Policy.RewardUnsure {
			t.Errorf("preset %s with a list of addresses: %+v", name, src.Policy)
		}
	}
	f("cpx-research", true, true)
	f("justcall", true, true)
	f("dineropay", true, true)
	f("offertoro", false, true)
	f("subid-transid", true, true)
	f("ironsource", false, true)
	f("digital-turbine", false, true)
	for _, name := range []string{"ayet-studios", "tapjoy", "pollfish", "bitlabs", "adgem", "adgem-post", "admob-ssv",
		"callrail", "standard-webhooks", "stripe-like", "outpost", "pubscale", "generic", "retreaver"} {
		f(name, false, false)
	}
	src := compile(t, source.Spec{ID: "s", Preset: "pubscale", AllowIPs: []string{source.AnyIP}})
	if !src.RewardWhole || !src.Policy.PayoutUnsure || src.Policy.RewardUnsure {
		t.Errorf("pubscale from anywhere: whole part only %v, %+v", src.RewardWhole, src.Policy)
	}
}

// TestExamplesCoverEveryPreset: a preset that claims to be verified shows a
// request that is read; one with an identity a repeat of it, and one that knows
// of reversals, by a word, a prefix or a sign, a reversal that takes it back.
func TestExamplesCoverEveryPreset(t *testing.T) {
	signed := regexp.MustCompile(`(?m)^signature: good$`)
	for _, name := range source.Presets() {
		p, src := preset(t, name)
		text, err := os.ReadFile(filepath.Join("testdata/senders", name+".txtar"))
		if err != nil {
			t.Errorf("preset %s has no example: %v", name, err)
			continue
		}
		if src.Verifier != nil && !signed.Match(text) {
			t.Errorf("preset %s shows no signed request", name)
		}
		if !p.Verified {
			continue
		}
		if src.Verifier != nil && !strings.Contains(string(text), "signature: refused") {
			t.Errorf("preset %s shows no bad signature", name)
		}
		if src.Spec.Identity != "" && strings.Count(string(text), "identity: 1\n") < 2 {
			t.Errorf("preset %s shows no repeat", name)
		}
		if (src.Spec.Statuses["reversal"] != nil && src.Spec.Identity != "" || src.Spec.ReversalPrefix != "") && !strings.Contains(string(text), "takes back: 1\n") {
			t.Errorf("preset %s shows no reversal that takes the conversion back", name)
		}
	}
}
