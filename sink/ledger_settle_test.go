package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// Sources that settle on accounts.
func TestLedgerAccounts(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"a reward and its payout in their own currencies":       rewarded,
		"a retry, and the same id with other money":             rewardRepeated,
		"a reversal leaves exactly zero":                        rewardTakenBack,
		"a reversal that comes first":                           rewardTakenBackFirst,
		"a reversal of what nobody knows":                       rewardUnknown,
		"several users in one batch":                            severalUsers,
		"a conversion and its reversal through two nodes":       rewardTwoNodes,
		"a retry that is booked before the first telling":       rewardRetryFirst,
		"an absolute adjustment":                                rewardAdjusted,
		"an absolute adjustment that names no payout":           rewardAdjustedAlone,
		"an adjustment before its transaction, sent again":      rewardAdjustedEarly,
		"relative adjustments":                                  rewardAdjustedBy,
		"a test changes nothing and says what would have been":  rewardTest,
		"a payout that nobody vouches for":                      rewardPayoutUnsure,
		"a reward that nobody vouches for":                      rewardUnsure,
		"a reward over the cap":                                 rewardOverCap,
		"a reward over the day's cap":                           rewardOverDay,
		"a reward in another currency":                          rewardOtherCurrency,
		"one postback with rewards of several users":            rewardsOfOnePostback,
		"an equal reward without an id, once the first is past": rewardWithoutID,
		"a reversal that names nothing":                         rewardReversalOfNothing,
	})
}

// plays runs stories on a new ledger of each backend. What the ledger promises
// always holds at the end of each.
func plays(t *testing.T, stories map[string]func(*testing.T, *harness)) {
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			for name, story := range stories {
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
					if backend == "postgres" {
						t.Parallel() // most of their time they wait for the server
					}
					h := open(t)
					story(t, h)
					h.verify()
				})
			}
		})
	}
}

// says compares verdicts with "status" or "status reason".
func says(t *testing.T, vs []event.Verdict, want ...string) {
	t.Helper()
	var got []string
	for i, v := range vs {
		s := v.Status.String()
		if i < len(want) && strings.Contains(want[i], " ") {
			s += " " + string(v.Reason)
		}
		got = append(got, s)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("verdicts %q, want %q", got, want)
	}
}

// source sets up one more source, or changes one.
func (h *harness) source(id string, change func(*event.Policy)) {
	p := testPolicy(id)
	change(p)
	h.policy[id] = p
}

// node is one more node with a journal of its own: on Postgres another process
// too.
func (h *harness) node() *harness {
	other := *h
	if h.db.Postgres() {
		other.ledger = h.another()
	}
	other.newStream()
	return &other
}

// send posts a batch and returns the verdicts of its reports.
func (h *harness) send(b *event.Batch) (vs []event.Verdict) {
	h.t.Helper()
	if _, err := h.ledger.Post(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
	for i := range b.Events {
		if !b.Events[i].IsCall {
			vs = append(vs, b.Events[i].Verdict)
		}
	}
	return vs
}

// has checks the balance of an account, "" when it was never opened.
func (h *harness) has(account, currency, want string) {
	h.t.Helper()
	books := sink.Books{DB: h.db.Read}
	list, _, err := books.Balances(h.t.Context(), sink.BalanceFilter{Account: account, Currency: currency}, "", 10)
	if err != nil {
		h.t.Fatal(err)
	}
	got := ""
	if len(list) == 1 {
		got = list[0].Balance.String()
	}
	if got != want || len(list) > 1 {
		h.t.Fatalf("%s in %s has %q, want %q (%+v)", account, currency, got, want, list)
	}
}

func amountOf(text string) event.Amount {
	v, err := event.ParseAmount(text)
	if err != nil {
		panic(err)
	}
	return v
}

// credit is a postback of source "wall" that credits a user. payout "" is none.
func credit(user, payout, reward string) told {
	r := event.Report{Account: "user:" + user, Reward: event.Money{Amount: amountOf(reward), Currency: "COINS"}, HasReward: true}
	if payout != "" {
		r.Payout, r.HasPayout = event.Money{Amount: amountOf(payout), Currency: "USD"}, true
	}
	return told{source: "wall", reports: []event.Report{r}}
}

// as changes the kind of a postback.
func (p told) as(k event.Kind) told {
	p.reports = append([]event.Report(nil), p.reports...)
	p.reports[0].Kind = k
	return p
}

// from changes the source of a postback.
func (p told) from(source string) told { p.source = source; return p }

// chargeback takes a transaction of source "wall" back.
func chargeback(user, id string) told {
	return told{source: "wall", id: id, reports: []event.Report{{Kind: event.Reversal, Account: "user:" + user}}}
}

func (h *harness) wall() {
	h.source("wall", func(p *event.Policy) { p.ToAccount = true })
}

// users checks ann's coins and what the source's buyer owes in dollars.
func (h *harness) users(coins, dollars string) {
	h.t.Helper()
	h.has("account:user:ann", "COINS", coins)
	h.has("network:rewards", "COINS", coins)
	h.has("buyer:source:wall:receivable", "USD", dollars)
	h.has("network:revenue", "USD", dollars)
}

func rewarded(t *testing.T, h *harness) {
	h.wall()
	vs := h.post(credit("ann", "0.75", "750").strong("t1"))
	says(t, vs, "booked ")
	if v := vs[0]; v.Strategy != event.ByAccount || v.Value != amountOf("0.75") || v.Delta != amountOf("0.75") || v.ShareDelta != 750*event.Unit || v.CallID != "" {
		t.Errorf("%+v", v)
	}
	says(t, h.post(credit("ann", "", "50").strong("t2")), "booked ")
	h.users("800.00", "0.75")
	h.has("account:user:ann", "USD", "")
}

func rewardRepeated(t *testing.T, h *harness) {
	h.wall()
	one := credit("ann", "0.75", "750").strong("t1")
	says(t, h.post(one, one), "booked", "duplicate same_event")
	h.now += 400 * 24 * hour
	says(t, h.post(one, credit("ann", "0.75", "751").strong("t1"), credit("ann", "0.76", "750").strong("t1")),
		"duplicate", "conflict other_content", "conflict other_content")
	h.users("750.00", "0.75")
}

func rewardTakenBack(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "0.333333", "333.333333").strong("t1"), credit("ann", "1", "1000").strong("t2")), "booked", "booked")
	vs := h.post(chargeback("ann", "t1"), chargeback("ann", "t1"))
	says(t, vs, "reversed taken_back", "duplicate same_event")
	if vs[0].Delta != -amountOf("0.333333") || vs[0].ShareDelta != -amountOf("333.333333") {
		t.Errorf("took back %s and %s", vs[0].Delta, vs[0].ShareDelta)
	}
	h.users("1000.00", "1.00")
	says(t, h.post(credit("ann", "0.333333", "333.333333").strong("t1")), "duplicate")
	says(t, h.post(chargeback("ann", "t2")), "reversed")
	h.users("0.00", "0.00")
}

func rewardTakenBackFirst(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(chargeback("ann", "t1")), "reversed reversal_beforehand")
	one := credit("ann", "0.75", "750").strong("t1")
	says(t, h.post(one), "reversed reversed_on_arrival")
	says(t, h.post(one, chargeback("ann", "t1")), "duplicate", "duplicate")
	h.users("", "")
	says(t, h.post(chargeback("ann", "t2"), credit("ann", "0.75", "750").strong("t2"), credit("ann", "0.5", "5").strong("t3")),
		"reversed reversal_beforehand", "reversed reversed_on_arrival", "booked")
	h.users("5.00", "0.50")
}

func rewardUnknown(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "1", "10").strong("t1")), "booked")
	says(t, h.post(chargeback("ann", "other"), chargeback("ann", "other")), "reversed reversal_beforehand", "duplicate")
	h.users("10.00", "1.00")
}

func severalUsers(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "1", "10").strong("t1"), credit("bob", "2", "20").strong("t2"), credit("ann", "3", "30").strong("t3"), chargeback("bob", "t2"), credit("bob", "4", "40").strong("t4")),
		"booked", "booked", "booked", "reversed", "booked")
	h.has("account:user:ann", "COINS", "40.00")
	h.has("account:user:bob", "COINS", "40.00")
	h.has("network:rewards", "COINS", "80.00")
	h.has("buyer:source:wall:receivable", "USD", "8.00")
}

// The reversal is booked first; the conversion, which was received before it,
// stands in the other node's journal.
func rewardTwoNodes(t *testing.T, h *harness) {
	h.wall()
	other := h.node()
	first := h.batch(credit("ann", "0.75", "750").strong("t1"))
	other.now += minute
	says(t, other.post(chargeback("ann", "t1")), "reversed reversal_beforehand")
	says(t, h.send(first), "reversed reversed_on_arrival")
	h.users("", "")
	h.now += hour
	says(t, h.post(credit("ann", "0.75", "750").strong("t2")), "booked") // and in the order in which they came
	other.now = h.now + minute
	says(t, other.post(chargeback("ann", "t2")), "reversed taken_back")
	h.users("0.00", "0.00")
}

func rewardRetryFirst(t *testing.T, h *harness) {
	h.wall()
	other := h.node()
	first := h.batch(credit("ann", "0.75", "750").strong("t1"))
	other.now += minute
	says(t, other.post(credit("ann", "0.75", "750").strong("t1")), "booked")
	says(t, h.send(first), "duplicate same_event")
	h.users("750.00", "0.75")
	says(t, h.post(chargeback("ann", "t1")), "reversed taken_back") // it was received before what it takes back
	h.users("0.00", "0.00")
}

func rewardAdjusted(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "1", "1000").strong("t1"), credit("ann", "2", "2000").strong("t2")), "booked", "booked")
	to := credit("ann", "0.5", "500").strong("t1").as(event.Adjustment)
	says(t, h.post(to, to), "booked ", "duplicate")
	h.users("2500.00", "2.50")
	says(t, h.post(chargeback("ann", "t1")), "reversed")
	h.users("2000.00", "2.00")
}

// It corrects what it names and leaves the rest.
func rewardAdjustedAlone(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "1", "1000").strong("t1")), "booked")
	says(t, h.post(credit("ann", "", "400").strong("t1").as(event.Adjustment)), "booked")
	h.users("400.00", "1.00")
}

func rewardAdjustedEarly(t *testing.T, h *harness) {
	h.wall()
	to := credit("ann", "0.5", "500").strong("t1").as(event.Adjustment)
	says(t, h.post(to), "unmatched no_such_transaction")
	says(t, h.post(chargeback("ann", "t0"), credit("ann", "0.5", "500").strong("t0").as(event.Adjustment)), "reversed", "unmatched no_such_transaction")
	h.users("", "")
	says(t, h.post(credit("ann", "1", "1000").strong("t1"), to, to), "booked", "booked", "duplicate")
	h.users("500.00", "0.50")
}

func rewardAdjustedBy(t *testing.T, h *harness) {
	h.source("wall", func(p *event.Policy) { p.ToAccount, p.Relative = true, true })
	less := credit("ann", "-0.25", "-250").strong("a1").as(event.Adjustment)
	says(t, h.post(credit("ann", "1", "1000").strong("t1"), less, less, credit("ann", "0.1", "100").strong("a2").as(event.Adjustment)),
		"booked", "booked", "duplicate", "booked")
	h.users("850.00", "0.85")
	says(t, h.post(chargeback("ann", "t1")), "reversed") // an account may be in debt
	h.users("-150.00", "-0.15")
}

func rewardTest(t *testing.T, h *harness) {
	h.wall()
	p := credit("ann", "1", "1000").strong("t1")
	try := p
	try.test = true
	vs := h.post(try)
	says(t, vs, "ignored test")
	if d := vs[0].Detail; d.Would != "booked" || d.Value != "1000.00" || d.Call != "user:ann" {
		t.Errorf("would have been %+v", d)
	}
	h.users("", "")
	back := chargeback("ann", "t1")
	back.test = true
	says(t, h.post(p, back), "booked", "ignored test") // the test held nothing
	h.users("1000.00", "1.00")
	says(t, h.post(try), "ignored test")
	h.users("1000.00", "1.00")
}

func rewardPayoutUnsure(t *testing.T, h *harness) {
	h.source("wall", func(p *event.Policy) { p.ToAccount, p.PayoutUnsure = true, true })
	says(t, h.post(credit("ann", "999", "1000").strong("t1")), "booked")
	h.users("1000.00", "")
}

func rewardUnsure(t *testing.T, h *harness) {
	h.source("wall", func(p *event.Policy) { p.ToAccount, p.RewardUnsure = true, true })
	vs := h.post(credit("ann", "1", "1000").strong("t1"), credit("ann", "1", "0").strong("t2"))
	says(t, vs, "held money_unsigned", "booked")
	if vs[0].Detail.Field != "reward" {
		t.Errorf("detail %+v", vs[0].Detail)
	}
	h.users("", "1.00")
	h.rules(vs[0].Event, true, "")
	h.tick()
	h.users("1000.00", "2.00")
}

func rewardOverCap(t *testing.T, h *harness) {
	h.wall()
	vs := h.post(credit("ann", "1", "10000.01").strong("t1"), credit("ann", "10000.01", "1").strong("t2"), credit("ann", "1", "10000").strong("t3"))
	says(t, vs, "held amount_over_cap", "held amount_over_cap", "booked")
	h.users("10000.00", "1.00")
	h.rules(vs[0].Event, true, "20000") // what the account is credited
	h.tick()
	h.users("30000.00", "2.00")
	h.revisions(vs[0].Event, "held", "booked")
	says(t, h.post(chargeback("ann", "t1")), "reversed")
	h.users("10000.00", "1.00")
}

// Without a payout it is the reward that counts.
func rewardOverDay(t *testing.T, h *harness) {
	h.source("wall", func(p *event.Policy) { p.ToAccount, p.DailyMax = true, 100*event.Unit })
	says(t, h.post(credit("ann", "", "60").strong("t1"), credit("bob", "", "40.000001").strong("t2"), credit("ann", "", "40").strong("t3"), credit("ann", "100", "1").strong("t4")),
		"booked", "held daily_cap_reached", "booked", "booked")
	h.users("101.00", "100.00")
	h.now += 24 * hour
	says(t, h.post(credit("ann", "", "100").strong("t5"), credit("ann", "", "0.000001").strong("t6")), "booked", "held daily_cap_reached")
	h.users("201.00", "100.00")
}

func rewardOtherCurrency(t *testing.T, h *harness) {
	h.wall()
	gems := credit("ann", "0.5", "500").strong("t1").as(event.Adjustment)
	gems.reports[0].Reward.Currency = "GEMS"
	vs := h.post(credit("ann", "1", "1000").strong("t1"), gems)
	says(t, vs, "booked", "held currency_differs")
	if d := vs[1].Detail; d.Got != "COINS" || d.Value != "GEMS" {
		t.Errorf("detail %+v", d)
	}
	h.users("1000.00", "1.00")
	h.rules(vs[1].Event, true, "")
	h.tick()
	h.revisions(vs[1].Event, "held", "held")
	h.rules(vs[1].Event, true, "400") // in the currency of the transaction
	h.tick()
	h.revisions(vs[1].Event, "held", "held", "booked")
	h.users("400.00", "0.50")
	h.has("account:user:ann", "GEMS", "")

	euros := credit("ann", "2", "300").strong("t1").as(event.Adjustment)
	euros.id, euros.reports[0].Payout.Currency = "t3", "EUR"
	vs = h.post(credit("ann", "3", "30").strong("t3"), euros)
	says(t, vs, "booked", "held currency_differs")
	h.rules(vs[1].Event, true, "15")
	h.tick()
	h.last(vs[1].Event, "booked", "released")
	h.users("415.00", "3.50") // the payout stays as it was

	first := credit("bob", "", "7").strong("t2") // but each transaction may have its own
	first.reports[0].Reward.Currency = "GEMS"
	says(t, h.post(first), "booked")
	h.has("account:user:bob", "GEMS", "7.00")
}

func rewardsOfOnePostback(t *testing.T, h *harness) {
	h.wall()
	p := credit("ann", "1", "10")
	p.reports = append(p.reports, credit("bob", "2", "20").reports[0])
	b := h.batch(p)
	for i, id := range []string{"t1", "t2"} {
		event.Identify(&b.Events[i], "wall", id, nil)
	}
	says(t, h.send(b), "booked", "booked")
	h.has("account:user:ann", "COINS", "10.00")
	h.has("account:user:bob", "COINS", "20.00")
}

// A mapper may give no id; then equal ones are one within the dedupe window.
func rewardWithoutID(t *testing.T, h *harness) {
	h.wall()
	p := credit("ann", "1", "10")
	says(t, h.post(p, p), "booked", "duplicate")
	h.now += hour
	says(t, h.post(p), "booked")
	h.users("20.00", "2.00")
}

func rewardReversalOfNothing(t *testing.T, h *harness) {
	h.wall()
	says(t, h.post(credit("ann", "1", "10"), chargeback("ann", ""), chargeback("ann", "")), "booked", "unmatched no_such_transaction", "unmatched no_such_transaction")
	h.users("10.00", "1.00")
}
