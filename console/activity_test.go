package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

// events asks for activity and gives the ids of the events.
func (b *bench) events(query url.Values) (ids []string, next string) {
	b.t.Helper()
	var l listing[sink.Row]
	b.ask("GET", "/api/v1/activity?"+query.Encode(), "").is(http.StatusOK, &l)
	for _, r := range l.Rows {
		ids = append(ids, r.Event)
	}
	return ids, l.Next
}

func TestActivity(t *testing.T) {
	b := fed(t)
	f := func(query url.Values, want ...string) {
		t.Helper()
		if got, _ := b.events(query); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", query, got, want)
		}
	}
	at := func(d time.Duration) string { return day0.Add(-time.Hour + d).Format(time.RFC3339) }
	f(nil, "1-6", "1-5", "1-4", "1-3")
	f(url.Values{"source": {"acme"}}, "1-6", "1-5", "1-4", "1-3")
	f(url.Values{"source": {"other"}})
	f(url.Values{"status": {"booked"}}, "1-4", "1-3")
	f(url.Values{"status": {"booked,unqualified"}}, "1-5", "1-4", "1-3")
	f(url.Values{"call_id": {"c1"}}, "1-4", "1-3")
	f(url.Values{"call_id": {"c/2 ü"}}, "1-5")
	f(url.Values{"caller": {"+1 (212) 555-0123"}}, "1-5", "1-4", "1-3")
	f(url.Values{"since": {at(4 * time.Second)}}, "1-6", "1-5", "1-4")
	f(url.Values{"until": {at(4 * time.Second)}}, "1-3")
	f(url.Values{"since": {"59m55s"}}, "1-6", "1-5")
	f(url.Values{"since": {"1m"}})
	f(url.Values{"limit": {"1"}}, "1-6")
	b.ask("GET", "/api/v1/activity?since=1h&until=2h", "").fails(http.StatusBadRequest, "bad_request", "swap")
	b.ask("GET", "/api/v1/activity?after=x", "").fails(http.StatusBadRequest, "bad_request", `"x"`, "cursor")
}

func TestActivityPages(t *testing.T) {
	b := fed(t)
	var got []string
	after := ""
	for range 10 {
		ids, next := b.events(url.Values{"limit": {"3"}, "after": {after}})
		got = append(got, ids...)
		if after = next; after == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"1-6", "1-5", "1-4", "1-3"}) {
		t.Errorf("pages give %q", got)
	}
}

// TestFollow goes on from next until nothing is new, and sees each event once.
func TestFollow(t *testing.T) {
	b := fed(t)
	var got []string
	through := "0"
	for {
		ids, next := b.events(url.Values{"limit": {"3"}, "newer_than": {through}})
		if len(ids) == 0 {
			if next != through {
				t.Errorf("nothing new, and next goes from %s to %s", through, next)
			}
			break
		}
		got, through = append(got, ids...), next
	}
	if !slices.Equal(got, []string{"1-3", "1-4", "1-5", "1-6"}) {
		t.Errorf("following gives %q", got)
	}
}

func TestEvent(t *testing.T) {
	b := fed(t)
	var e struct {
		Event, Status, Payout, Value, Delta string
		CallID                              string `json:"call_id"`
		Request                             struct{ Method, Query, Peer string }
		Report                              struct {
			Payout string
			Extra  map[string]string
		}
		Candidates []sink.Candidate
		Revisions  []struct{ Status string }
		Postings   []struct{ Transfers []sink.Line }
	}
	b.ask("GET", "/api/v1/events/1-4", "").is(http.StatusOK, &e)
	if e.Event != "1-4" || e.Status != "booked" || e.CallID != "c1" || e.Payout != "60.00" || e.Value != "60.00" || e.Delta != "10.00" {
		t.Errorf("event %+v", e)
	}
	if e.Request.Method != "GET" || e.Request.Query != "call_id=c1&payout=60" || e.Request.Peer != "192.0.2.9" || e.Report.Payout != "60.00" || e.Report.Extra["note"] != "hello" {
		t.Errorf("request and report %+v", e)
	}
	if len(e.Candidates) != 1 || !e.Candidates[0].Fits || len(e.Revisions) != 1 || len(e.Postings) != 1 || len(e.Postings[0].Transfers) != 2 {
		t.Errorf("timeline %+v", e)
	}
	b.ask("GET", "/api/v1/events/1-6", "").is(http.StatusOK, &e) // parked
	b.ask("GET", "/api/v1/events/1-99", "").fails(http.StatusNotFound, "not_found", `"1-99"`, "GET /api/v1/activity")
	b.ask("GET", "/api/v1/events/1-1", "").fails(http.StatusNotFound, "not_found", `"1-1"`) // a call
}

func TestSummary(t *testing.T) {
	b := fed(t)
	var s sink.Summary
	b.ask("GET", "/api/v1/summary", "").is(http.StatusOK, &s)
	if s.Events != 4 || s.Matched != 3 || len(s.Money) != 1 || s.Money[0].Value.String() != "60.00" || s.Money[0].Share.String() != "48.00" {
		t.Errorf("summary %+v", s)
	}
	if want := day0.Add(-24 * time.Hour).UnixMicro(); int64(s.Since) != want {
		t.Errorf("since %d, want %d", s.Since, want)
	}
	b.ask("GET", "/api/v1/summary?since=1m", "").is(http.StatusOK, &s)
	if s.Events != 0 {
		t.Errorf("nothing came in the last minute: %+v", s)
	}
}

func TestQuery(t *testing.T) {
	b := fed(t)
	var table sink.Table
	b.ask("POST", "/api/v1/query", `{"sql":"SELECT status, count(*) AS n FROM activity GROUP BY status ORDER BY n DESC, status"}`).is(http.StatusOK, &table)
	if !slices.Equal(table.Columns, []string{"status", "n"}) || len(table.Rows) != 3 || table.Rows[0][0] != "booked" || table.Rows[0][1] != 2.0 || table.Truncated {
		t.Errorf("table %+v", table)
	}
	b.ask("POST", "/api/v1/query", `{"sql":"SELECT 1 UNION SELECT 2","limit":1}`).is(http.StatusOK, &table)
	if len(table.Rows) != 1 || !table.Truncated {
		t.Errorf("limited table %+v", table)
	}

	f := func(body string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/query", body).fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f(`{}`, "empty", "SELECT")
	f(`{"sql":"DELETE FROM verdict"}`, `"delete"`, "SELECT")
	f(`{"sql":"SELECT 1; DROP TABLE verdict"}`, "one statement")
	f(`{"sql":"SELECT * FROM nowhere"}`, "no such table: nowhere")
	f(`{"sql":"SELECT main.source.token_sealed FROM main.source"}`, "without main")
	f(`{"sql":"SELECT 1","limit":10001}`, "10001", "1 to 10000")
	f(`{"sql":"SELECT 1","limit":-1}`, "-1")
	f(`{"sql":"SELECT 1","rows":1}`, `"rows"`)
	f(`{"sql":"SELECT `+strings.Repeat("1+", sink.QueryTextBytes)+`1"}`, "65536")
	f(`{"sql":"SELECT token_sealed FROM source"}`, "token_sealed")
	f(`{"sql":"SELECT hash FROM source_secret"}`, "hash")
	f(`{"sql":"SELECT hash FROM access_key"}`, "hash")
	b.ask("GET", "/api/v1/activity", "").is(http.StatusOK, nil) // and the store is as it was
}

// TestQueriesWaitForTheirTurn: with all turns taken, a query waits as long as
// its client does, and no longer.
func TestQueriesWaitForTheirTurn(t *testing.T) {
	b := newBench(t)
	for range QueriesMax {
		b.console.queries <- struct{}{}
	}
	done := make(chan answer)
	go func() { done <- b.ask("POST", "/api/v1/query", `{"sql":"SELECT 1"}`) }()
	<-b.console.queries
	(<-done).is(http.StatusOK, nil)
}
