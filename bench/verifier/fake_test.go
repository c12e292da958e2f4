package verifier

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/event"
)

// fakeNode answers like a node and books like one, in memory and in the
// plainest way, with faults on demand.
type fakeNode struct {
	mu      sync.Mutex
	fault   string
	seq     int
	calls   map[string]map[string]any
	events  []*fakeEvent
	said    map[string]bool
	posts   []map[string]any
	account map[account]int64
	drops   int // every n-th request gets no answer, half of them after it was taken in
	change  int64
	served  int
	haunted bool
	enough  func() // called when 500 requests have come

	waiting map[string][]*fakeEvent // for their source's mapper, with the faults "waits" and "jumps"
}

type fakeEvent struct {
	id, source, ref, caller, status, call string
	seconds                               int
	payout                                event.Amount
	unreadable                            bool
	delta, share                          event.Amount
	at                                    time.Time
	changes                               []int64 // of its revisions
	waits, waited                         bool    // for its mapper
}

func startFake(t *testing.T, fault string, drops int) (*fakeNode, *Node) {
	t.Helper()
	f := &fakeNode{fault: fault, drops: drops, calls: map[string]map[string]any{}, said: map[string]bool{}, account: map[account]int64{}, waiting: map[string][]*fakeEvent{}}
	in, admin := httptest.NewServer(http.HandlerFunc(f.ingest)), httptest.NewServer(http.HandlerFunc(f.admin))
	t.Cleanup(in.Close)
	t.Cleanup(admin.Close)
	return f, NewNode(in.Listener.Addr().String(), admin.Listener.Addr().String(), "key")
}

func (f *fakeNode) ingest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.served++; f.served == 500 {
		f.enough()
	}
	drop := f.drops > 0 && f.served%f.drops == 0
	switch {
	case drop && f.served%3 == 0:
		w.WriteHeader(503)
		return
	case drop && f.served%3 == 1:
		panic(http.ErrAbortHandler)
	}
	f.seq++
	answer := fmt.Sprintf(`{"ok":true,"event":"1-%d","status":"accepted"}`, f.seq)
	if r.URL.Path == "/v1/calls" {
		f.upsert(body)
	} else if f.fault != "lost" || f.seq%50 != 0 {
		f.postback(strings.TrimPrefix(r.URL.Path, "/v1/postbacks/"), r, body)
	}
	if drop {
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, answer)
}

func (f *fakeNode) upsert(body []byte) {
	var c map[string]any
	json.Unmarshal(body, &c)
	id := c["call_id"].(string)
	if f.fault == "lost call" && id == "call-3-5-0" {
		return
	}
	if f.calls[id] == nil {
		f.calls[id] = map[string]any{"value": event.Amount(0), "publisher_share": event.Amount(0)}
	}
	for k, v := range c {
		f.calls[id][k] = v
	}
	for _, e := range f.events {
		if e.status == "parked" && !e.waits && f.settle(e) {
			f.revise(e)
		}
	}
}

func (f *fakeNode) postback(source string, r *http.Request, body []byte) {
	q := r.URL.Query()
	if r.Header.Get("Content-Type") == "application/json" {
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		d.Decode(&m)
		for k, v := range m {
			q.Set(k, fmt.Sprint(v))
		}
	} else if form, err := url.ParseQuery(string(body)); err == nil && len(form) > 0 {
		q = form
	}
	first := func(names ...string) string {
		i := slices.IndexFunc(names, q.Has)
		return q.Get(names[max(0, i)])
	}
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, first("caller_id", "ani", "From", "phone"))
	e := &fakeEvent{id: fmt.Sprintf("1-%d", f.seq), source: source, ref: first("ref_id", "subid", "external_id", "click_id"),
		caller: "+1" + digits[len(digits)-10:], status: "parked", at: time.Now()}
	e.seconds, _ = strconv.Atoi(first("duration", "talk_time", "length", "call_duration"))
	var err error
	if e.payout, err = event.ParseAmount(first("payout", "revenue", "amount", "bid_amount")); err != nil {
		e.status, e.unreadable = "invalid", true
	}
	f.events = append(f.events, e)
	if f.standsBack(e) {
		return
	}
	f.decide(e)
	if f.fault == "phantom" && len(f.events) >= 30 && !f.haunted && !e.unreadable {
		f.haunted = true
		ghost := *e
		ghost.id, ghost.payout, ghost.delta, ghost.share, ghost.changes = "1-999999", 1, 0, 0, nil
		f.revise(&ghost)
		f.events = append(f.events, &ghost)
	}
}

// standsBack makes every 37th postback wait for its mapper, and what its source
// sends until four wait; with the fault "jumps" all that comes after the first
// overtakes it.
func (f *fakeNode) standsBack(e *fakeEvent) bool {
	queue := f.waiting[e.source]
	if f.fault != "waits" && f.fault != "jumps" || len(queue) == 0 && len(f.events)%37 != 0 || f.fault == "jumps" && len(queue) == 1 {
		return false
	}
	e.waits, e.waited = true, true
	f.revise(e)
	if f.waiting[e.source] = append(queue, e); len(queue) == 3 {
		f.takeUp(e.source)
	}
	return true
}

// takeUp decides what waits for the mapper of a source.
func (f *fakeNode) takeUp(source string) {
	for _, e := range f.waiting[source] {
		e.waits = false
		f.decide(e)
	}
	f.waiting[source] = nil
}

func (f *fakeNode) decide(e *fakeEvent) {
	key := fmt.Sprint(e.source, e.ref, e.caller, e.seconds, e.payout)
	switch {
	case e.unreadable:
	case f.said[key] && f.fault != "forgets":
		e.status = "duplicate"
	default:
		f.said[key] = true
		f.settle(e)
	}
	f.revise(e)
}

// revise numbers a new revision of e's verdict.
func (f *fakeNode) revise(e *fakeEvent) {
	f.change++
	if f.fault == "numbers" && f.change == 100 {
		f.change--
	}
	e.changes = append(e.changes, f.change)
}

// settle books e when its call is known, and says whether it is.
func (f *fakeNode) settle(e *fakeEvent) bool {
	for id, c := range f.calls {
		told, _ := c["duration"].(float64)
		short := int(told) - e.seconds
		byCaller := c["caller"] == e.caller && told > 0 && short >= -60 && short <= 60
		if (e.ref == "" || c["ref_id"] != e.ref) && !byCaller {
			continue
		}
		e.call, e.status = id, "booked"
		var s event.Amount
		if e.payout == 0 {
			e.status = "unqualified"
		} else {
			rule, _ := event.ParseRule(traffic.RuleOf(c["campaign"].(string), c["publisher"].(string)))
			s, _ = rule.Share(e.payout)
		}
		if f.fault == "share" && len(f.events) >= 40 && s > 0 {
			s++
		}
		e.delta, e.share = e.payout-c["value"].(event.Amount), s-c["publisher_share"].(event.Amount)
		c["value"], c["publisher_share"], c["qualified"], c["value_from_postback"] = e.payout, s, e.payout != 0, true
		f.post(e, c)
		if f.fault == "doubled" && len(f.events) >= 40 {
			f.post(e, c)
		}
		return true
	}
	return false
}

func (f *fakeNode) post(e *fakeEvent, c map[string]any) {
	no, line := len(f.posts)+1, 0
	for _, d := range []event.Amount{e.delta, e.share} {
		if line++; d != 0 {
			f.posts = append(f.posts, map[string]any{"posting": no, "line": line, "event": e.id, "call_id": e.call, "amount": max(d, -d)})
		}
	}
	f.account[account{"buyer_receivable", c["buyer"].(string)}] += int64(e.delta)
	f.account[account{"network_revenue", ""}] -= int64(e.delta)
	f.account[account{"network_publisher_cost", ""}] += int64(e.share)
	f.account[account{"publisher_pending", c["publisher"].(string)}] -= int64(e.share)
}

func (f *fakeNode) admin(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := []any{}
	switch {
	case r.Header.Get("Authorization") != "Bearer key":
		w.WriteHeader(401)
		return
	case r.URL.Path == "/api/v1/apply":
		io.WriteString(w, `{"changed":12}`)
		return
	case r.URL.Path == "/api/v1/sources":
		var spec struct{ ID string }
		json.NewDecoder(r.Body).Decode(&spec)
		json.NewEncoder(w).Encode(map[string]string{"id": spec.ID, "url": "http://localhost:8080/v1/postbacks/" + spec.ID})
		return
	case r.URL.Path == "/api/v1/status":
		io.WriteString(w, `{"journal":{"last_seq":9},"pipeline":{"committed_seq":9}}`)
		return
	case strings.HasPrefix(r.URL.Path, "/api/v1/calls/"):
		c := f.calls[strings.TrimPrefix(r.URL.Path, "/api/v1/calls/")]
		if c == nil {
			w.WriteHeader(404)
		}
		json.NewEncoder(w).Encode(c)
		return
	case strings.HasPrefix(r.URL.Path, "/api/v1/events/"):
		i := slices.IndexFunc(f.events, func(e *fakeEvent) bool { return e.id == strings.TrimPrefix(r.URL.Path, "/api/v1/events/") })
		for j, change := range f.events[i].changes {
			status, reason := "parked", ""
			switch {
			case j == len(f.events[i].changes)-1:
				status = f.events[i].status
			case j == 0 && f.events[i].waited:
				reason = mapperUnavailable
			}
			rows = append(rows, map[string]any{"revision": j + 1, "status": status, "reason": reason, "change_seq": change})
		}
		json.NewEncoder(w).Encode(map[string]any{"revisions": rows})
		return
	case r.URL.Path == "/api/v1/activity":
		for source := range f.waiting {
			f.takeUp(source)
		}
		for _, e := range f.events {
			row := map[string]any{"event": e.id, "received_at": e.at, "source": e.source, "status": e.status, "call_id": e.call,
				"caller": e.caller, "duration": e.seconds, "payout": e.payout, "delta": e.delta, "share_delta": e.share,
				"revision": len(e.changes), "change_seq": e.changes[len(e.changes)-1]}
			if e.unreadable {
				row["payout"] = nil
			}
			rows = append(rows, row)
		}
	case r.URL.Path == "/api/v1/ledger/transfers":
		for _, p := range f.posts {
			rows = append(rows, p)
		}
	case r.URL.Path == "/api/v1/ledger/balances":
		for a, v := range f.account {
			if f.fault == "balance" && a.kind == "network_revenue" {
				v++
			}
			rows = append(rows, map[string]any{"kind": a.kind, "owner": a.owner, "currency": "USD",
				"debits": event.Amount(max(v, 0)), "credits": event.Amount(max(-v, 0))})
		}
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("after"))
	to, next := min(from+100, len(rows)), ""
	if to < len(rows) {
		next = strconv.Itoa(to)
	}
	json.NewEncoder(w).Encode(map[string]any{"rows": rows[from:to], "next": next})
}
