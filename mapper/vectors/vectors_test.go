package vectors

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

const nested = `Two calls in one body.
-- source --
currency: EUR
constants: {status: sold}
identity: transaction_id
match: {default_region: GB}
-- request --
POST ?token=1&x=a%20b
Content-Type: application/json
X-Request-ID: r1
:received: 2026-07-01T14:00:00.25+02:00
:peer: 203.0.113.9
:test: true

{"calls":[
{"id":"c1"}]}
-- reports --
{"call_id":"c1","payout":"12.50","duration":90,"extra":{"a":"1"}}
{"call_id":"c2","payout":3,"started_at":"2026-07-01T12:00:00+02:00","kind":"adjustment"}
`

func parseFile(t *testing.T, text string) Case {
	t.Helper()
	c, err := ParseFile("one", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseFile(t *testing.T) {
	c := parseFile(t, nested)
	want := event.Record{ID: event.ID{Stream: 1, Seq: 1}, ReceivedAt: 1782907200250000, Kind: event.RecordPostback, Flags: event.FlagTest, Source: "vector",
		Method: "POST", Query: "token=1&x=a%20b", ContentType: "application/json", Peer: "203.0.113.9",
		Headers: []event.Pair{{Name: "x-request-id", Value: "r1"}}, Body: []byte("{\"calls\":[\n{\"id\":\"c1\"}]}")}
	if !reflect.DeepEqual(c.Record, want) {
		t.Errorf("got  %+v\nwant %+v", c.Record, want)
	}
	if c.Text != "Two calls in one body." || c.Source.Policy.Currency != "EUR" || c.Source.Region != "GB" || c.Source.Spec.Identity != "transaction_id" {
		t.Errorf("text %q, source %+v", c.Text, c.Source.Spec)
	}
	reports := []Want{
		{Fields: map[string]string{"call_id": "c1", "payout": "12.50", "duration": "90"}, Extra: map[string]string{"a": "1"}},
		{Fields: map[string]string{"call_id": "c2", "payout": "3.00", "started_at": "2026-07-01T10:00:00Z", "kind": "adjustment"}},
	}
	if !reflect.DeepEqual(c.Want, reports) {
		t.Errorf("got %+v\nwant %+v", c.Want, reports)
	}
}

func TestRequestDefaults(t *testing.T) {
	f := func(request string, method, query, body string) {
		t.Helper()
		r := parseFile(t, "-- request --\n"+request+"-- reports --\n{}\n").Record
		if r.Method != method || r.Query != query || string(r.Body) != body || r.Peer != "192.0.2.1" || r.ReceivedAt != DefaultReceivedAt || r.Flags != 0 {
			t.Errorf("%q: %+v", request, r)
		}
	}
	f("GET\n", "GET", "", "")
	f("GET ?\n", "GET", "", "")
	f("GET ?a=b c\n", "GET", "a=b c", "")
	f("POST\n\nbody\n", "POST", "", "body")
	f("POST\n\n\nbody\n\n", "POST", "", "\nbody\n")
	f("POST\r\nContent-Type: text/plain\r\n\r\nbody\n", "POST", "", "body")
	f("POST\n-- body.base64 --\nAA\nECgD8=\n", "POST", "", "\x00\x01\x02\x80?")
}

func TestParseRefuses(t *testing.T) {
	f := func(text string, words ...string) {
		t.Helper()
		_, err := ParseFile("one", []byte(text))
		for _, w := range append(words, "vector one") {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want it to say %q", text, err, w)
			}
		}
	}
	request := func(head, word string) {
		t.Helper()
		f("-- request --\n"+head+"\n-- reports --\n{}\n", word)
	}
	report := func(lines, word string) {
		t.Helper()
		f("-- request --\nGET\n-- reports --\n"+lines+"\n", word)
	}
	f("", "no request")
	f("-- reports --\n{}\n", "no request")
	f("-- request --\nGET\n", "reports: none")
	f("-- requets --\nGET\n", `did you mean "request"`)
	f("-- request --\nGET\n-- request --\nGET\n", "twice")
	f("-- source --\ncurency: EUR\n-- request --\nGET\n-- reports --\n{}\n", `did you mean "currency"`)
	f("-- source --\ncurrency: E\n-- request --\nGET\n-- reports --\n{}\n", `currency "E"`)
	f("-- request --\nPOST\n\na\n-- body.base64 --\nAA==\n-- reports --\n{}\n", "body already")
	f("-- request --\nPOST\n-- body.base64 --\n!\n-- reports --\n{}\n", "base64")
	request("get", "METHOD")
	request("GET /path", "METHOD")
	request("GET ?a\nno header", "Name: value")
	request("GET ?a\nbad name: x", "header's name")
	request("GET\n:received: yesterday", ":received")
	request("GET\n:test: perhaps", ":test")
	request("GET\n"+strings.Repeat("a: b\n", 65), "64 headers")
	report("{", "report 1")
	report("null", "report 1")
	report("[]", "report 1")
	report("{}\n{\"payot\":1}", `report 2: field "payot" is not known: did you mean "payout"`)
	report(`{"what_is_this_field":1}`, "extra")
	report(`{"payout":"$1"}`, `payout: "$1"`)
	report(`{"payout":[1]}`, "payout: want a text")
	report(`{"duration":1.5}`, "whole seconds")
	report(`{"duration":-1}`, "whole seconds")
	report(`{"started_at":"noon"}`, "started_at")
	report(`{"kind":"refund"}`, "kind")
	report(`{"extra":1}`, "extra: want an object")
	report(`{"ignored":false}`, "ignored")
	report(`{"ignored":true,"payout":1}`, "nothing beside it")
	report("{\"ignored\":true}\n{}", "alone")
	report(`{"got":"x"}`, "needs invalid")
	report(`{"invalid":""}`, "want a reason")
	report(strings.Repeat("{}\n", 257), "more than 256 reports")
}

func TestArchive(t *testing.T) {
	second := "-- request --\nGET ?a=1\n-- reports --\n{\"ignored\":true}\n"
	a, b := parseFile(t, nested), parseFile(t, second)
	b.Name = "two"
	archive := Archive([]Case{a, b})
	cases, err := Parse(archive)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cases, []Case{a, b}) {
		t.Errorf("got %+v", cases)
	}
	if got := string(cases[0].File()); got != nested {
		t.Errorf("file: %s", got)
	}
	if got := string(cases[1].File()); got != second {
		t.Errorf("file: %s", got)
	}
}

func TestArchiveLimits(t *testing.T) {
	f := func(archive, word string) {
		t.Helper()
		if _, err := Parse([]byte(archive)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, want it to say %q", err, word)
		}
	}
	one := "-- %s/request --\nGET\n-- %[1]s/reports --\n{}\n"
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, one, fmt.Sprintf("c%d", i))
		}
		return b.String()
	}
	f("-- request --\nGET\n", "want NAME/request")
	for _, name := range []string{"", "A", "..", "-a", "a b", "a/b", strings.Repeat("a", 65)} {
		f(fmt.Sprintf(one, name), "vector")
	}
	f(many(501), "more than 500 cases")
	f(strings.Repeat("x", ArchiveBytesMax+1), "at most 1048576")
	if cases, err := Parse([]byte(many(500))); err != nil || len(cases) != 500 {
		t.Errorf("%d cases, %v", len(cases), err)
	}
	if cases, err := Parse(nil); err != nil || len(cases) != 0 {
		t.Errorf("nothing: %d cases, %v", len(cases), err)
	}
}

// What New writes reads as what was captured, whatever is in it.
func TestNew(t *testing.T) {
	f := func(rec event.Record) {
		t.Helper()
		rec.ID, rec.Kind, rec.Source = event.ID{Stream: 1, Seq: 1}, event.RecordPostback, "vector"
		w := Want{Fields: map[string]string{"kind": "conversion", "ref_id": "r\u2028\"", "payout": "1.00"}, Extra: map[string]string{"b": "2", "a": "1"}}
		c, err := New("captured", "as it came", "currency: EUR", &rec, []Want{w})
		if err != nil {
			t.Fatalf("%+v: %v", rec, err)
		}
		if !reflect.DeepEqual(c.Record, rec) {
			t.Errorf("got  %+v\nwant %+v", c.Record, rec)
		}
		again, err := Parse(Archive([]Case{c}))
		if err != nil || !reflect.DeepEqual(again, []Case{c}) {
			t.Errorf("%+v, %v", again, err)
		}
		delete(w.Fields, "kind") // is the default
		if !reflect.DeepEqual(c.Want, []Want{w}) || c.Text != "as it came" || c.Source.Policy.Currency != "EUR" {
			t.Errorf("%+v", c)
		}
	}
	at := DefaultReceivedAt
	f(event.Record{Method: "GET", ReceivedAt: at, Peer: DefaultPeer})
	f(event.Record{Method: "GET", ReceivedAt: 1782907200250001, Peer: "2001:db8::1", Query: "a=%20&b", Flags: event.FlagTest})
	f(event.Record{Method: "POST", ReceivedAt: at, Peer: DefaultPeer, ContentType: "text/xml; charset=utf-8",
		Headers: []event.Pair{{Name: "user-agent", Value: "x: y"}, {Name: "a", Value: ""}, {Name: "a", Value: "2"}}, Body: []byte("<a>\n\n<b/>\n</a>\n")})
	for _, body := range []string{"\n", "x", "a;b;c\n-- request --\nmore", "-- x --", "\xff\xfe", "a\r\nb", "a\x00b", "ключ=значение"} {
		f(event.Record{Method: "POST", ReceivedAt: at, Peer: DefaultPeer, Body: []byte(body)})
	}
}

func TestNewLeavesOutWhatCannotStand(t *testing.T) {
	rec := event.Record{Method: "GET", Query: "a\nb", ReceivedAt: DefaultReceivedAt, Headers: []event.Pair{{Name: "a b", Value: "1"}, {Name: "c", Value: "1\n-- reports --"}, {Name: "d", Value: "1"}}}
	c, err := New("captured", "", "", &rec, []Want{{Ignored: true}})
	if err != nil || c.Record.Query != "" || !reflect.DeepEqual(c.Record.Headers, []event.Pair{{Name: "d", Value: "1"}}) {
		t.Errorf("%+v, %v", c.Record, err)
	}
	if _, err := New("captured", "-- request --", "", &rec, []Want{{Ignored: true}}); err == nil {
		t.Error("a text that reads as a section was taken")
	}
}

func TestDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vectors")
	a := parseFile(t, nested)
	b := a
	a.Name, b.Name = "b", "a"
	if err := WriteDir(dir, []Case{a, b}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases, err := ReadDir(dir)
	if err != nil || !reflect.DeepEqual(cases, []Case{b, a}) {
		t.Errorf("%+v, %v", cases, err)
	}
	if err := WriteDir(dir, []Case{a}); err == nil {
		t.Error("a file was written over")
	}
	if _, err := ReadDir(t.TempDir()); err == nil {
		t.Error("a folder without cases was taken")
	}
	if err := os.WriteFile(filepath.Join(dir, "Bad.txtar"), []byte(nested), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(dir); err == nil || !strings.Contains(err.Error(), "Bad.txtar") {
		t.Errorf("%v, want it to name the file", err)
	}
}

func FuzzParse(f *testing.F) {
	c, err := ParseFile("one", []byte(nested))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Archive([]Case{c}))
	f.Add([]byte("-- a/request --\nPOST\n-- a/body.base64 --\nAAEC\n-- a/reports --\n{\"invalid\":\"mapper_refused\",\"got\":\"x\",\"limit\":7}\n"))
	f.Add([]byte("-- a/request --\nGET\n-- b/request --\nGET\n-- a/reports --\n{\"ignored\":true}\n-- b/reports --\n{\"payout\":1e3}"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		cases, err := Parse(archive)
		if err != nil {
			return
		}
		text := Archive(cases)
		again, err := Parse(text)
		if err != nil || !bytes.Equal(Archive(again), text) {
			t.Fatalf("what was read and written does not read the same: %v", err)
		}
		for i := range cases {
			c := &cases[i]
			remade, err := New(c.Name, "", "", &c.Record, c.Want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(remade.Record.Body, c.Record.Body) || !reflect.DeepEqual(remade.Record.Headers, c.Record.Headers) {
				t.Fatalf("made again: %+v, want %+v", remade.Record, c.Record)
			}
			c.Differences(nil)
		}
	})
}
