package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

func TestVectorsFromActivity(t *testing.T) {
	b := fed(t)
	cases := func(query string) []vectors.Case {
		t.Helper()
		a := b.ask("GET", "/api/v1/sources/acme/vectors"+query, "").is(http.StatusOK, nil)
		list, err := vectors.Parse(a.Body.Bytes())
		if err != nil {
			t.Fatalf("%v in\n%s", err, a.Body)
		}
		return list
	}
	all := cases("")
	if one := cases("?last=1"); len(one) != 1 || one[0].Name != all[0].Name {
		t.Errorf("the last one of %d is %+v", len(all), one)
	}
	found := false
	for _, c := range all {
		if c.Record.Query != "call_id=c1&payout=60" {
			continue
		}
		found = true
		if w := c.Want[0]; len(c.Want) != 1 || w.Fields["call_id"] != "c1" || w.Fields["payout"] != "60.00" || w.Extra["note"] != "hello" ||
			c.Record.Method != "GET" || c.Record.Peer != "192.0.2.9" || len(c.Record.Headers) != 1 || !strings.HasPrefix(c.Text, "Postback ") {
			t.Errorf("case %+v", c)
		}
	}
	if !found {
		t.Errorf("the postback is not among %d cases", len(all))
	}
	b.ask("GET", "/api/v1/sources/acme/vectors?last=0", "").fails(http.StatusBadRequest, "bad_request", `last "0"`)
	b.ask("GET", "/api/v1/sources/acm/vectors", "").fails(http.StatusNotFound, "not_found", `did you mean "acme"?`)
	b.create(`{"id":"quiet"}`)
	b.ask("GET", "/api/v1/sources/quiet/vectors", "").fails(http.StatusNotFound, "not_found", `"quiet"`, "send one")
}

// TestVectorsOfSeveralReports: a record of several events is one case, with
// the settings that matter, and one that a mapper could not read says so.
func TestVectorsOfSeveralReports(t *testing.T) {
	b := fed(t)
	b.ask("PATCH", "/api/v1/sources/acme", `{"currency":"EUR","match":{"default_region":"GB"},"constants":{"status":"ok"}}`).is(http.StatusOK, nil)
	f := newFeed(t, b)
	f.id.Seq++
	batch := new(event.Batch)
	rec := event.Record{Kind: event.RecordPostback, Source: "acme", Method: "POST", ContentType: "application/json", Peer: "192.0.2.9", Body: []byte(`{"calls":[1,2,3]}`)}
	if err := batch.Add(f.id, f.at.UnixMicro(), event.AppendRecord(nil, &rec)); err != nil {
		t.Fatal(err)
	}
	for n, call := range []string{"c1", "none", ""} {
		e := batch.NewEvent(&batch.Records[0], n)
		e.Report = event.Report{CallID: call}
		if call == "" {
			e.Report.Invalid = event.FieldMissing
		}
		e.Policy, e.Mapper = f.policy, "acme@1"
		event.Identify(e, "acme", "", nil)
	}
	batch.Watermark = f.at.UnixMicro()
	if _, err := f.ledger.Post(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	list, err := vectors.Parse(b.ask("GET", "/api/v1/sources/acme/vectors?last=1", "").is(http.StatusOK, nil).Body.Bytes())
	if err != nil || len(list) != 1 {
		t.Fatalf("%d cases, %v", len(list), err)
	}
	c := list[0]
	if len(c.Want) != 3 || c.Want[0].Fields["call_id"] != "c1" || c.Want[1].Fields["call_id"] != "none" || c.Want[2].Invalid != event.FieldMissing || string(c.Record.Body) != `{"calls":[1,2,3]}` {
		t.Errorf("case %+v", c)
	}
	if s := c.Source; s.Policy.Currency != "EUR" || s.Region != "GB" || s.Spec.Constants["status"] != "ok" {
		t.Errorf("settings %+v", s.Spec)
	}
}
