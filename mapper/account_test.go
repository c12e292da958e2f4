package mapper

import (
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// settling is a source that settles on accounts and needs no payout.
func settling(account string) source.Spec {
	return source.Spec{Identity: "tid", Settle: source.SettleAccount, Account: account, PayoutOptional: true,
		Reward: &source.Reward{Currency: "COINS"}, Fields: map[string][]string{"reward": {"coins"}}}
}

func TestAccount(t *testing.T) {
	f := func(template string, r request, want string) {
		t.Helper()
		e := mapOne(t, settling(template), r)
		if e.Report.Account != want || e.Report.Invalid != "" {
			t.Errorf("%s of %+v: %q (%s %+v), want %q", template, r, e.Report.Account, e.Report.Invalid, e.Report.Detail, want)
		}
	}
	f("user:{uid}", request{query: "tid=1&coins=1&uid=alice"}, "user:alice")
	f("user:{UID}", request{query: "tid=1&coins=1&Uid=+Al+ice+"}, "user:Al ice") // names in any case, values as they are
	f("{uid}", request{query: "tid=1&coins=1&uid=alice"}, "alice")
	f("a:{x}/{y}!", request{query: "tid=1&coins=1&x=1", body: "y=%C3%A9"}, "a:1/é!")
	f("{x}.{x}", request{query: "tid=1&coins=1&x=1"}, "1.1")
	f("u:{data.user.id}", request{body: `{"tid":"1","coins":1,"data":{"user":{"id":77}}}`}, "u:77")
	f("u:{uid}", request{query: "tid=1&coins=1&uid=query", body: "uid=body"}, "u:body")
	f("u:{uid}", request{query: "tid=1&coins=1&uid=query", body: "uid=+"}, "u:query")
	f("u:{uid}", request{query: "tid=1&coins=1&uid=a&uid=a"}, "u:a")
	f("u:{external_identifier|user_id}", request{query: "tid=1&coins=1&external_identifier=alice&user_id=7"}, "u:alice")
	f("u:{external_identifier|user_id}", request{query: "tid=1&coins=1&external_identifier=&user_id=7"}, "u:7")
	f("u:{external_identifier|user_id}", request{query: "tid=1&coins=1&external_identifier=***&user_id=7"}, "u:7")
	f("u:{uid}", request{query: "tid=1&coins=1&uid=" + strings.Repeat("x", source.AccountBytesMax-2)}, "u:"+strings.Repeat("x", source.AccountBytesMax-2))
	f("u:{tid}-{coins}", request{query: "tid=1&coins=3"}, "u:1-3") // fields of slots too
}

func TestAccountMissing(t *testing.T) {
	f := func(template string, r request, field, got string) {
		t.Helper()
		e := mapOne(t, settling(template), r)
		if d := e.Report.Detail; e.Report.Account != "" || e.Report.Invalid != event.AccountMissing || d.Field != field || d.Got != got {
			t.Errorf("%s of %+v: %q, %s %+v; want %s %q", template, r, e.Report.Account, e.Report.Invalid, d, field, got)
		}
	}
	long := strings.Repeat("x", source.AccountBytesMax)
	f("user:{uid}", request{query: "tid=1&coins=1"}, "uid", "")
	f("user:{uid}", request{query: "tid=1&coins=1&uid=+"}, "uid", "")
	f("user:{uid}", request{query: "tid=1&coins=1&uid=***"}, "uid", "")
	f("user:{a|b}", request{query: "tid=1&coins=1&c=1"}, "a|b", "")
	f("{a}:{b}", request{query: "tid=1&coins=1&a=1"}, "b", "")
	f("{a}:{b}", request{query: "tid=1&coins=1&a=1:2&b=3"}, "a", "1:2") // or {1, 2:3} would be the same
	f("user:{uid}", request{query: "tid=1&coins=1&Uid=a%00b"}, "Uid", "a\ufffdb")
	f("user:{uid}", request{query: "tid=1&coins=1&uid=a%0Ab"}, "uid", "a\nb")
	f("user:{uid}", request{query: "tid=1&coins=1&uid=a%C2%85b"}, "uid", "a\u0085b")
	f("user:{uid}", request{query: "tid=1&coins=1&uid=" + long}, "uid", long[:GotBytesMax])
	f("{a}:{b}!", request{query: "tid=1&coins=1&a=1&b=" + long[2:]}, "b", long[:GotBytesMax]) // what does not fit in all
	f("{b}:{a}!", request{query: "tid=1&coins=1&a=1&b=" + long[2:]}, "b", long[:GotBytesMax])

	e := mapOne(t, settling("user:{uid}"), request{query: "tid=1&coins=1&uid=alice&uid=bob"})
	if e.Report.Invalid != event.BodyDuplicateKey || e.Report.Detail.Field != "uid" {
		t.Errorf("two users: %s %+v", e.Report.Invalid, e.Report.Detail)
	}
	e = mapOne(t, source.Spec{}, request{query: "payout=1&uid=alice"})
	if e.Report.Account != "" || e.Report.HasReward || e.Report.Invalid != "" {
		t.Errorf("a source that settles on calls: %+v", e.Report)
	}
}

// What fills the account is shown where it would be without.
func TestAccountStaysInExtra(t *testing.T) {
	e := mapOne(t, settling("{uid}:{app}:{coins}"), request{query: "tid=1&coins=2&app=1&uid=alice&zip=3"})
	want := []event.Pair{{Name: "app", Value: "1"}, {Name: "uid", Value: "alice"}, {Name: "zip", Value: "3"}}
	if !slices.Equal(e.Report.Extra, want) || e.Report.Account != "alice:1:2" {
		t.Errorf("%q: extra %q, want %q", e.Report.Account, e.Report.Extra, want)
	}
}

// Reports of one array have their own accounts, from what they share and what
// is theirs.
func TestAccountsOfAnArray(t *testing.T) {
	events := mapAll(t, settling("{app}:{uid}"), request{query: "app=game", body: `[{"tid":1,"coins":1,"uid":"a"},{"tid":2,"coins":1},{"tid":3,"coins":1,"uid":"c"}]`})
	var got []string
	for i := range events {
		got = append(got, events[i].Report.Account)
	}
	if !slices.Equal(got, []string{"game:a", "", "game:c"}) || events[1].Report.Invalid != event.AccountMissing {
		t.Errorf("%q", got)
	}
}

// Of a source whose signature is that of the body nothing else is read.
func TestBodyOnly(t *testing.T) {
	src := compile(t, settling("user:{uid}"))
	src.BodyOnly = true
	f := func(r request, account, reward string, invalid event.Reason) {
		t.Helper()
		b := batchOf(t, r)
		if err := NewBuiltin(liveOf(src)).Map(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		e := &b.Events[0]
		got := ""
		if e.Report.HasReward {
			got = e.Report.Reward.Amount.String()
		}
		if e.Report.Account != account || got != reward || e.Report.Invalid != invalid || e.Strong.IsZero() != !strings.Contains(r.body, "tid") {
			t.Errorf("%+v: %q %s %s %x", r, e.Report.Account, got, e.Report.Invalid, e.Strong)
		}
		if slices.ContainsFunc(e.Report.Extra, func(p event.Pair) bool { return p.Value == "evil" }) {
			t.Errorf("%+v: extra %q", r, e.Report.Extra)
		}
	}
	const evil = "uid=evil&zip=evil&tid=evil&coins=99"
	f(request{query: evil, body: `{"tid":"1","coins":5,"uid":"alice"}`}, "user:alice", "5.00", "")
	f(request{query: evil, body: "tid=1&coins=5&uid=alice"}, "user:alice", "5.00", "")
	f(request{query: evil, body: `{"tid":"1","coins":5}`}, "", "5.00", event.AccountMissing)
	f(request{query: evil, body: `{"coins":5,"uid":"alice"}`}, "user:alice", "5.00", event.IdentityMissing)
	f(request{query: evil}, "", "", event.RewardMissing)
	f(request{query: evil + "&uid=other&%ff", body: `{"tid":"1","coins":5,"uid":"alice"}`}, "user:alice", "5.00", "") // not even its faults
}
