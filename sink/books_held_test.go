package sink_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// onEveryLedger runs a test on an empty ledger of each backend, and wants its
// invariants to hold afterwards.
func onEveryLedger(t *testing.T, test func(t *testing.T, h *harness)) {
	for name, open := range ledgers {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			h.t = t
			test(t, h)
			h.verify()
		})
	}
}

// decide notes what a person has decided of a held event.
func (h *harness) decide(id event.ID, release int, value any) {
	h.t.Helper()
	h.exec(`INSERT INTO ruling (stream, seq, n, release, value, actor, at) VALUES ($1, $2, $3, $4, $5, 'ann@local', $6)`,
		int64(id.Stream), int64(id.Seq), int64(id.N), release, value, h.now)
}

func TestHeld(t *testing.T) {
	onEveryLedger(t, func(t *testing.T, h *harness) {
		books := &sink.Books{DB: h.db.Read}
		h.policy["wall"] = testPolicy("wall")
		h.policy["wall"].ToAccount, h.policy["wall"].AmountMax = true, 100*event.Unit
		h.post(ended("a", h.now, 90), ended("b", h.now, 90))
		h.now += minute
		over := pays("10000.01", byRef("ref-a"))
		over.reports[0].TransactionID = "t1"
		reward := told{source: "wall", id: "t2", reports: []event.Report{{Account: "user:alice", Reward: event.Money{Amount: 500 * event.Unit, Currency: "COINS"}, HasReward: true, TransactionID: "t2"}}}
		vs := h.post(over, reward, pays("20000", byRef("ref-b")))
		status(t, vs, "held", "held", "held")

		pages := func(f sink.HeldFilter, limit int, want string) {
			t.Helper()
			var got []string
			after := ""
			for range 10 {
				rows, next, err := books.Held(t.Context(), f, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rows {
					got = append(got, strings.TrimPrefix(r.Event, fmt.Sprint(h.stream)+"-"))
				}
				if after = next; next == "" {
					break
				}
				got = append(got, "|")
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%+v by %d: %s, want %s", f, limit, text, want)
			}
		}
		pages(sink.HeldFilter{}, 0, "3 4 5")
		pages(sink.HeldFilter{}, 2, "3 4 | 5")
		pages(sink.HeldFilter{Source: "wall"}, 1, "4")
		pages(sink.HeldFilter{Source: "s"}, 1, "3 | 5")
		pages(sink.HeldFilter{Source: "s", Reason: "amount_over_cap"}, 0, "3 5")
		pages(sink.HeldFilter{Reason: "currency_differs"}, 0, "")

		h.decide(vs[0].Event, 1, int64(50*event.Unit))
		h.decide(vs[1].Event, 0, nil)
		rows, _, err := books.Held(t.Context(), sink.HeldFilter{}, "", 2)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{
			`"call_id":"a","account":null,"transaction_id":"t1","payout":"10000.01","currency":"USD","reward":null,"reward_currency":null,"pending":{"decision":"release","value":"50.00","actor":"ann@local","at":"2026-03-02T12:01:00.000000Z"}}`,
			`"call_id":null,"account":"user:alice","transaction_id":"t2","payout":null,"currency":null,"reward":"500.00","reward_currency":"COINS","pending":{"decision":"reject","value":null,"actor":"ann@local","at":"2026-03-02T12:01:00.000000Z"}}`,
		} {
			got, err := json.Marshal(rows[i])
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(got), want) || rows[i].Reason != "amount_over_cap" || !strings.Contains(rows[i].ReasonText, "cap of 10") || rows[i].ReceivedAt != sink.Instant(h.now) {
				t.Errorf("row %d is\n%s\nwant it to end\n%s", i, got, want)
			}
		}
		if r, err := books.HeldEvent(t.Context(), vs[2].Event); err != nil || r.Pending != nil || *r.CallID != "b" {
			t.Errorf("held event %+v, %v", r, err)
		}

		h.tick()
		pages(sink.HeldFilter{}, 0, "5")
		booked(t, h, "a", "50.00", "0.00")
		if _, err := books.HeldEvent(t.Context(), vs[0].Event); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("a released event: %v", err)
		}
		if _, _, err := books.Held(t.Context(), sink.HeldFilter{}, "aGVsZCAx", 0); !errors.Is(err, sink.ErrInvalid) {
			t.Errorf("a cursor cut short: %v", err)
		}
		if _, _, err := books.Held(t.Context(), sink.HeldFilter{Source: "s\x00"}, "", 0); !errors.Is(err, sink.ErrInvalid) {
			t.Errorf("a source that is no text: %v", err)
		}
	})
}
