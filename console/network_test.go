package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

const networkYAML = `
buyers: [{id: acme, name: Acme}]
publishers: [{id: pub-7}, {id: pub-8}]
campaigns:
  - id: roofing
    assignments:
      - {publisher: pub-7, payout: percent 80}
      - {publisher: pub-8, payout: "*0.8-1"}
sources: [{id: acme, buyer: acme}]
`

type applied struct {
	DryRun  bool           `json:"dry_run"`
	Changed int            `json:"changed"`
	Changes []store.Change `json:"changes"`
}

func TestApply(t *testing.T) {
	b := newBench(t)
	f := func(query, body string, changed int, told int) applied {
		t.Helper()
		was := b.changes
		var got applied
		b.ask("POST", "/api/v1/apply"+query, body, "Content-Type", "application/yaml").is(http.StatusOK, &got)
		if got.Changed != changed || got.DryRun != (query == "?dry_run=true") || b.changes-was != told {
			t.Errorf("%+v: want %d changed, the node told %d times, not %d", got, changed, told, b.changes-was)
		}
		return got
	}
	if got := f("?dry_run=true", networkYAML, 5, 0); len(got.Changes) != 5 || got.Changes[3].Action != store.Create || got.Changes[3].ID != "roofing" {
		t.Errorf("changes %+v", got.Changes)
	}
	var campaigns listing[store.Campaign]
	if b.ask("GET", "/api/v1/campaigns", "").is(http.StatusOK, &campaigns); len(campaigns.Rows) != 0 {
		t.Errorf("a dry run made %+v", campaigns.Rows)
	}
	f("", networkYAML, 5, 1)
	f("", networkYAML, 0, 0)
	got := f("?dry_run=false", strings.Replace(networkYAML, "percent 80", "percent 75", 1), 1, 1)
	want := store.FieldDiff{Field: "assignments.pub-7.payout", Old: "percent 80", New: "percent 75"}
	if c := got.Changes[3]; c.Action != store.Update || len(c.Diff) != 1 || c.Diff[0] != want {
		t.Errorf("change %+v", c)
	}
	b.ask("GET", "/api/v1/campaigns", "").is(http.StatusOK, &campaigns)
	if len(campaigns.Rows) != 1 || len(campaigns.Rows[0].Assignments) != 2 || campaigns.Rows[0].Assignments[0].Payout != "percent 75" {
		t.Errorf("campaigns %+v", campaigns.Rows)
	}
	f("", "buyers: []", 0, 0)
	var got2 applied
	b.ask("POST", "/api/v1/apply", `{"buyers":[{"id":"b2"}]}`).is(http.StatusOK, &got2)
	if got2.Changed != 1 || got2.Changes[0].Kind != "buyer" {
		t.Errorf("as JSON: %+v", got2)
	}
}

func TestApplyRefused(t *testing.T) {
	b := newBench(t)
	f := func(body string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/apply", body, "Content-Type", "application/yaml").fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f("", "empty")
	f(" \n", "empty")
	f("campains: []", `"campains"`, `"campaigns"`)
	f("buyers: [", "line 1")
	f("buyers: 5", "buyers", "JSON number", "want a list")
	f("campaigns: [{id: c, assignments: [{publisher: pub-9, payout: half}]}]\npublishers: [{id: pub-7}]",
		"campaigns[0].assignments[0].publisher", `"pub-9"`, `did you mean "pub-7"?`, `"half"`, "percent 80")
	f("buyers: [{id: a}, {id: a}]", `"a"`, "already")
	b.ask("POST", "/api/v1/apply", "buyers: []", "Content-Type", "text/plain").
		fails(http.StatusUnsupportedMediaType, "content_type_unsupported", "text/plain", "application/yaml")
	b.ask("POST", "/api/v1/apply", "# "+strings.Repeat("x", BodyBytesMax), "Content-Type", "application/yaml").
		fails(http.StatusRequestEntityTooLarge, "body_too_large")
	if b.changes != 0 {
		t.Errorf("the node was told %d times", b.changes)
	}
}

func TestParties(t *testing.T) {
	b := newBench(t)
	b.ask("POST", "/api/v1/apply", networkYAML, "Content-Type", "application/yaml").is(http.StatusOK, nil)
	var l listing[store.Party]
	b.ask("GET", "/api/v1/publishers?limit=1", "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].ID != "pub-7" || l.Next != "pub-7" {
		t.Errorf("page one %+v", l)
	}
	b.ask("GET", "/api/v1/publishers?limit=1&after="+l.Next, "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].ID != "pub-8" || l.Next != "" {
		t.Errorf("page two %+v", l)
	}
	b.ask("GET", "/api/v1/buyers", "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].Name != "Acme" {
		t.Errorf("buyers %+v", l)
	}
}
