package clickhouse_test

import (
	"fmt"
	"time"
)

// network tells three days of a small pay-per-call network. The answers to the
// questions of docs/analytics.md over it are in testdata/analytics.txt; they
// were worked out from this list.
func (w *world) network() {
	w.t.Helper()
	w.objects()
	const usd = 1_000_000
	day := func(d int, clock string) time.Time {
		at, err := time.Parse("15:04:05", clock)
		if err != nil {
			w.t.Fatal(err)
		}
		return time.Date(2026, 3, 2+d, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
	}
	acme := func(v verdict) verdict { v.source, v.mapper = "acme-main", "builtin"; return v }
	zen := func(mapper string, v verdict) verdict { v.source, v.mapper = "zen-ringba", mapper; return v }
	// found fills in the call of a verdict and what it says of it.
	found := func(call int64, payout, value, delta, share float64, v verdict) verdict {
		v.call, v.callID, v.strategy, v.candidates = call, fmt.Sprintf("c%d", call), "ref_id", 1
		v.caller = fmt.Sprintf("+130555501%02d", call)
		v.callCaller = v.caller
		if v.currency == "" {
			v.currency = "USD"
		}
		v.payout, v.value, v.delta, v.shareDelta = int64(payout*usd), int64(value*usd), int64(delta*usd), int64(share*usd)
		return v
	}
	list := []verdict{
		{seq: 1, source: "old-src", at: day(0, "09:00:00")},
		acme(verdict{seq: 2, at: day(0, "10:10:00")}),
		acme(verdict{seq: 3, at: day(0, "10:11:00"), status: "duplicate", reason: "same_event", detail: `{"of":"1-2"}`}),
		acme(verdict{seq: 4, at: day(0, "10:20:00")}),
		acme(verdict{seq: 5, at: day(0, "11:30:00"), status: "unmatched", reason: "duration_outside_tolerance", detail: `{"call":"c3","missed_by":45,"limit":60}`, caller: "+13055550103"}),
		acme(verdict{seq: 6, at: day(0, "11:40:00"), status: "unmatched", reason: "no_call_from_caller", detail: `{"got":"+13055550199"}`, caller: "+13055550199"}),
		zen("zen@1", verdict{seq: 7, at: day(0, "12:40:00"), status: "parked", reason: "no_such_ref", interim: true, detail: `{"field":"ref_id","got":"r4"}`}),
		zen("zen@1", verdict{seq: 8, at: day(0, "12:41:00"), status: "parked", reason: "no_such_ref", interim: true, detail: `{"field":"ref_id","got":"r0"}`}),
		zen("zen@1", verdict{seq: 7, revision: 2, at: day(0, "12:40:00"), after: 5 * time.Minute}),
		zen("zen@1", verdict{seq: 8, revision: 2, at: day(0, "12:41:00"), after: 10 * time.Minute, status: "unmatched", reason: "no_such_ref", detail: `{"field":"ref_id","got":"r0"}`}),
		zen("zen@1", verdict{seq: 9, at: day(0, "13:00:00")}),
		zen("zen@1", verdict{seq: 10, at: day(1, "08:00:00")}),
		zen("zen@1", verdict{seq: 11, at: day(1, "09:00:00"), status: "reversed", reason: "taken_back", kind: "reversal"}),
		acme(verdict{seq: 12, at: day(1, "09:10:00")}),
		acme(verdict{seq: 13, at: day(1, "09:15:00"), status: "conflict", reason: "other_content", detail: `{"of":"1-12"}`}),
		acme(verdict{seq: 14, at: day(1, "10:30:00"), status: "stale", reason: "older_than_booked", detail: `{"of":"1-2"}`}),
		zen("zen@1", verdict{seq: 15, at: day(1, "11:00:00"), status: "held", reason: "amount_over_cap", interim: true, detail: `{"call":"c7","limit":10000000000}`}),
		zen("zen@1", verdict{seq: 16, at: day(1, "11:05:00"), status: "held", reason: "currency_differs", interim: true, detail: `{"got":"USD","value":"EUR","call":"c5"}`}),
		zen("zen@2", verdict{seq: 17, at: day(2, "09:00:00"), status: "failed", reason: "mapper_panicked"}),
		zen("zen@2", verdict{seq: 18, at: day(2, "09:01:00"), status: "invalid", reason: "payout_unreadable", detail: `{"field":"payout","got":"abc"}`}),
		acme(verdict{seq: 19, at: day(2, "09:30:00"), status: "unqualified", reason: "buyer_said_zero"}),
		acme(verdict{seq: 20, at: day(2, "09:31:00"), status: "unchanged", reason: "same_value"}),
		acme(verdict{seq: 21, at: day(2, "10:00:00"), status: "ignored", reason: "test", detail: `{"would":"booked","value":"50.00"}`}),
		zen("zen@2", verdict{seq: 22, at: day(2, "10:30:00"), after: 400 * time.Millisecond}),
		acme(verdict{seq: 23, at: day(2, "11:00:00"), status: "parked", reason: "no_such_ref", interim: true, detail: `{"field":"ref_id","got":"r99"}`}),
		acme(verdict{seq: 24, at: day(2, "12:00:00")}),
		zen("zen@1", verdict{seq: 16, revision: 2, at: day(1, "11:05:00"), after: 25 * time.Hour, status: "rejected", reason: "currency_differs", detail: `{"got":"USD","value":"EUR","call":"c5"}`}),
		{seq: 25, source: "lux-src", at: day(2, "13:00:00"), currency: "EUR"},
	}
	// What each event that found its call said, and did to the call's money.
	money := map[int64][5]float64{ // call, payout, value afterwards, delta, share's delta
		1: {11, 5, 5, 5, 4}, 2: {1, 50, 50, 50, 40}, 3: {1, 50, 50, 0, 0}, 4: {2, 30, 30, 30, 24},
		7: {4, 80, 80, 80, 60}, 9: {5, 20, 20, 20, 15}, 10: {5, 35, 35, 15, 11.25}, 11: {4, 0, 0, -80, -60}, 12: {6, 45, 45, 45, 36}, 13: {6, 70, 45, 0, 0}, 14: {1, 45, 50, 0, 0},
		15: {7, 20_000, 0, 0, 0}, 16: {5, 30, 35, 0, 0}, 19: {8, 0, 0, 0, 0}, 20: {6, 45, 45, 0, 0}, 22: {9, 25, 25, 25, 20}, 24: {3, 60, 60, 60, 45}, 25: {10, 10, 10, 10, 8},
	}
	for i := range list {
		v := &list[i]
		v.usQueue, v.usMap, v.usMatch = 500, 200, 800
		if m, ok := money[v.seq]; ok && v.status != "parked" {
			*v = found(int64(m[0]), m[1], m[2], m[3], m[4], *v)
		}
		if v.seq == 15 || v.seq == 16 {
			v.value = nil
		}
		if v.seq == 16 {
			v.currency = "EUR"
		}
	}
	w.tell(list...)
}

// objects are the calls of the network, and the names of everybody.
func (w *world) objects() {
	for _, c := range []struct {
		no                         int
		buyer, campaign, publisher string
		start                      string
		seconds                    int
	}{
		{1, "acme", "solar", "pat", "02 10:00:00", 120}, {2, "acme", "solar", "kim", "02 10:05:00", 90}, {3, "acme", "auto", "pat", "02 11:00:00", 300},
		{4, "zen", "auto", "kim", "02 12:00:00", 200}, {5, "zen", "auto", "pat", "02 12:30:00", 60}, {6, "acme", "solar", "pat", "03 09:00:00", 150},
		{7, "zen", "solar", "kim", "03 10:00:00", 45}, {8, "acme", "solar", "pat", "03 11:00:00", 500}, {9, "zen", "solar", "kim", "04 10:00:00", 100},
		{10, "lux", "auto", "kim", "04 12:50:00", 240}, {11, "old", "solar", "kim", "02 08:50:00", 60},
	} {
		at, err := time.Parse("2006-01-02 15:04:05", "2026-03-"+c.start)
		if err != nil {
			w.t.Fatal(err)
		}
		w.exec(`INSERT INTO call (no, call_id, caller, started_at, duration, campaign, publisher, buyer, ranks, change_seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $1)`,
			c.no, fmt.Sprintf("c%d", c.no), fmt.Sprintf("+130555501%02d", c.no), at.UnixMicro(), c.seconds, c.campaign, c.publisher, c.buyer, []byte{})
	}
	for id, name := range map[string]string{"acme": "Acme Legal", "zen": "Zen Insurance", "lux": "Lux Energy"} { // old has no name
		w.exec(`INSERT INTO buyer (id, name) VALUES ($1, $2)`, id, name)
	}
	for id, name := range map[string]string{"pat": "Pat Media", "kim": "Kim Leads"} {
		w.exec(`INSERT INTO publisher (id, name) VALUES ($1, $2)`, id, name)
	}
	for id, name := range map[string]string{"solar": "Solar TX", "auto": "Auto CA"} {
		w.exec(`INSERT INTO campaign (id, name) VALUES ($1, $2)`, id, name)
	}
	for id, spec := range map[string]string{"acme-main": `{"name":"Acme postbacks","buyer":"acme"}`, "zen-ringba": `{"name":"Zen via Ringba","buyer":"zen","preset":"ringba"}`, "old-src": `{"name":"Old buyer","buyer":"old"}`, "lux-src": `{"name":"Lux","buyer":"lux"}`} {
		w.exec(`INSERT INTO source (id, spec, token_hash, token_sealed, created_at, updated_at) VALUES ($1, $2, $3, $3, 1, 1)`, id, spec, []byte(id))
	}
	w.exec(`INSERT INTO meta (key, value) VALUES ('objects_version', '1')`)
}
