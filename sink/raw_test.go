package sink_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

func newRaw(t testing.TB) *sink.Raw {
	t.Helper()
	raw, err := sink.NewRaw()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// roundTrip encodes r and reads it back.
func roundTrip(t testing.TB, r *event.Record) *sink.Request {
	t.Helper()
	q, err := sink.ParseRaw(newRaw(t).Append(nil, r))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestRawRedactsQuery(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := roundTrip(t, &event.Record{Query: in}).Query; got != want {
			t.Errorf("query %q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("caller=%2B15551234567&payout=50.00&&x=", "caller=%2B15551234567&payout=50.00&&x=")
	f("key=abc&revenue=5", "key=***&revenue=5")
	f("revenue=5&KEY=abc", "revenue=5&KEY=***")
	f("api_key=a&apikey=b&API-Key=c&apiKey=d&x=e", "api_key=***&apikey=***&API-Key=***&apiKey=***&x=e")
	f("api%5Fkey=a&%73ecret=b&x=1", "api%5Fkey=***&%73ecret=***&x=1")
	f("signature=a%20b+c=&x=1", "signature=***&x=1")
	f("sig=a;b&x=1", "sig=***&x=1")
	f("x=1;secret=a&y=2", "x=1;secret=***&y=2")
	f("secret=", "secret=")
	f("secret", "secret")
	f("data[hash]=a&data.hmac=b&key[0]=c&webhookSecret=d&auth_token=e", "data[hash]=***&data.hmac=***&key[0]=***&webhookSecret=***&auth_token=***")
	f("token=tx-9&keyword=a&monkey=b&key_count=3&design=c&hashtag=d&author=e", "token=tx-9&keyword=a&monkey=b&key_count=3&design=c&hashtag=d&author=e")
	f("back=https://x.example/?a=1&access_token=s", "back=https://x.example/?a=1&access_token=***")
	f("back=https%3A%2F%2Fx%3Fapi_key%3Ds&a=1", "back=https%3A%2F%2Fx%3Fapi_key***&a=1")
	f("p=%7B%22key%22%3A%22s%22%7D&a=1", "p=%7B%22key***&a=1")
	f("note=the%20key%20is+lost", "note=the%20key%20is+lost")
}

func TestRawRedactsBody(t *testing.T) {
	f := func(contentType, in, want string) {
		t.Helper()
		if got := string(roundTrip(t, &event.Record{ContentType: contentType, Body: []byte(in)}).Body); got != want {
			t.Errorf("%s body %s:\n got %s\nwant %s", contentType, in, got, want)
		}
	}
	form, js := "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	f(form, "password=p&payout=5", "password=***&payout=5")
	f("", "hmac=p&payout=5", "hmac=***&payout=5")
	f(js, `{"payout": 50.10, "caller":"+1555"}`, `{"payout": 50.10, "caller":"+1555"}`)
	f(js, ` {"secret" : "s\"x" , "payout":1e2}`, ` {"secret" : "***" , "payout":1e2}`)
	f(form, `{"secret":"s"}`, `{"secret":"***"}`)
	f(js, `[{"a":{"Api_Key":12345,"b":[1,{"sig":"s"}]}},{"signature":null,"key":""}]`, `[{"a":{"Api_Key":"***","b":[1,{"sig":"***"}]}},{"signature":null,"key":""}]`)
	f(js, `{"authorization":{"user":"u","list":["}",1]},"payout":2}`, `{"authorization":"***","payout":2}`)
	f(js, `{"\u0073ecret":"s","x":"key: 5"}`, `{"\u0073ecret":"***","x":"key: 5"}`)
	f(js, `{"url":"https://x/?api_key=s&b=1","payout":2}`, `{"url":"https://x/?api_key=***&b=1","payout":2}`)
	f(js, `{"inner":"{\"secret\":\"s\"}","payout":2}`, `{"inner":"{\"secret***","payout":2}`)
	f(js, `{"payout":2,"secret":"s`, `{"payout":2,"secret***`)
	f(js, `{"payout":"2,"secret":"s"}`, `{"payout":"2,"secret***`)
	f(js, `{'payout':2,'token':1}`, `{'payout':2,'token':1}`)
	f("text/xml", `<r><payout>2</payout><password>s</password></r>`, `<r><payout>2</payout><password>***</password></r>`)
	f("multipart/form-data; boundary=b", "--b\r\nname=\"payout\"\r\n\r\n5\r\n--b\r\nname=\"sig\"\r\n\r\ns", "--b\r\nname=\"payout\"\r\n\r\n5\r\n--b\r\nname=\"sig***")
}

func TestRawRedactsHeaders(t *testing.T) {
	q := roundTrip(t, &event.Record{Headers: []event.Pair{{Name: "X-Webhook-Secret", Value: "s"}, {Name: "Cookie", Value: "s"}, {Name: "User-Agent", Value: "curl/8"},
		{Name: "X-Hub-Signature-256", Value: "s"}, {Name: "Referer", Value: "https://x/?key=s&a=1"}, {Name: "Authorization", Value: "Bearer s"}}})
	want := []event.Pair{{Name: "X-Webhook-Secret", Value: "***"}, {Name: "Cookie", Value: "***"}, {Name: "User-Agent", Value: "curl/8"},
		{Name: "X-Hub-Signature-256", Value: "***"}, {Name: "Referer", Value: "https://x/?key=***&a=1"}, {Name: "Authorization", Value: "***"}}
	if !reflect.DeepEqual(q.Headers, want) {
		t.Errorf("got %v, want %v", q.Headers, want)
	}
}

func TestRawKeepsNoBodyOfCalls(t *testing.T) {
	call := event.AppendCall(nil, &event.Call{CallID: "c1", Key: "canary"})
	if q := roundTrip(t, &event.Record{Kind: event.RecordCalls, Method: "POST", Body: call}); len(q.Body) > 0 || q.Method != "POST" {
		t.Errorf("got body %q of a record of calls, method %q", q.Body, q.Method)
	}
}

func TestRawBounds(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<14)
	r := &event.Record{Method: "POST", Query: long, Body: []byte(long)}
	for range 100 {
		r.Headers = append(r.Headers, event.Pair{Name: "X-A", Value: "v"})
	}
	p := newRaw(t).Append([]byte("before"), r)
	if !bytes.HasPrefix(p, []byte("before")) {
		t.Fatalf("what was in dst is gone: %q", p[:6])
	}
	q, err := sink.ParseRaw(p[6:])
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Body) != sink.RawBodyBytesMax || !q.BodyCut || len(q.Query) != sink.RawTextBytesMax || len(q.Headers) != sink.RawHeadersMax {
		t.Errorf("got body %d (cut %v), query %d, headers %d", len(q.Body), q.BodyCut, len(q.Query), len(q.Headers))
	}
	if len(p) > 4096 {
		t.Errorf("a request that repeats itself takes %d bytes: it was not compressed", len(p))
	}
}

// TestRawKeepsItsFormat reads what the first build wrote.
func TestRawKeepsItsFormat(t *testing.T) {
	f := func(kept string) {
		t.Helper()
		q, err := sink.ParseRaw([]byte(kept))
		if err != nil {
			t.Fatal(err)
		}
		want := &sink.Request{Method: "POST", Query: "a=1", ContentType: "text/plain", Peer: "::1", Headers: []event.Pair{{Name: "A", Value: "b"}}, Body: []byte("xyz"), BodyCut: true}
		if !reflect.DeepEqual(q, want) {
			t.Errorf("%q is %+v, want %+v", kept, q, want)
		}
	}
	const fields = "\x04POST\x03a=1\x0atext/plain\x03::1\x01\x01A\x01b\x03xyz"
	f("\x01\x02" + fields)
	f("\x01\x03\x21\x80" + fields) // an S2 block of one literal
	for n := range len(fields) {
		if q, err := sink.ParseRaw([]byte("\x01\x02" + fields[:n])); err == nil {
			t.Errorf("cut short after %d bytes it is %+v", n, q)
		}
	}
}

func TestRequestJSON(t *testing.T) {
	f := func(q sink.Request, want string) {
		t.Helper()
		p, err := json.Marshal(&q)
		if err != nil || string(p) != want {
			t.Errorf("got %s, %v\nwant %s", p, err, want)
		}
	}
	f(sink.Request{}, `{"method":"","query":"","content_type":"","headers":{},"peer":"","body":""}`)
	f(sink.Request{Method: "POST", Query: "a=1", ContentType: "text/plain", Peer: "::1", Body: []byte("é\""), BodyCut: true,
		Headers: []event.Pair{{Name: "B", Value: "1"}, {Name: "A", Value: "2"}, {Name: "b", Value: "3"}}},
		`{"method":"POST","query":"a=1","content_type":"text/plain","headers":{"B":"1, 3","A":"2"},"peer":"::1","body":"é\"","body_cut":true}`)
	f(sink.Request{Body: []byte{0xff, 0}}, `{"method":"","query":"","content_type":"","headers":{},"peer":"","body_base64":"/wA="}`)
}

func smallGET() *event.Record {
	return &event.Record{Method: "GET", Query: "caller=%2B15551234567&duration=125&payout=50.00&ref_id=abcdef0123456789&status=approved&campaign=roofing&ts=1763700000", Peer: "203.0.113.9",
		Headers: []event.Pair{{Name: "User-Agent", Value: "Go-http-client/1.1"}}}
}

func TestRawAllocatesNothing(t *testing.T) {
	raw, r, dst := newRaw(t), smallGET(), make([]byte, 0, 8192)
	post := &event.Record{Method: "POST", ContentType: "application/json", Body: []byte(`{"caller":"+15551234567","payout":"50.00","data":{"duration":125,"note":"` + strings.Repeat("words ", 100) + `"}}`)}
	for name, r := range map[string]*event.Record{"get": r, "post, compressed": post} {
		if n := testing.AllocsPerRun(100, func() { dst = raw.Append(dst[:0], r) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzParseRaw(f *testing.F) {
	raw := newRaw(f)
	f.Add(raw.Append(nil, smallGET()))
	f.Add(raw.Append(nil, &event.Record{Body: bytes.Repeat([]byte("a=1&"), 500)}))
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0x7f, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		q, err := sink.ParseRaw(p)
		if err != nil {
			return
		}
		if _, err := json.Marshal(q); err != nil {
			t.Errorf("read but not shown: %v", err)
		}
	})
}

// FuzzRawKeeps: what no name makes a secret comes back byte for byte.
func FuzzRawKeeps(f *testing.F) {
	f.Add("GET", "a=1&b=2", "text/plain", "h", "v", []byte("x"))
	f.Add("POST", "", "application/json", "", "", []byte(`{"a":[1,"b?c=d"],"é":null}`))
	raw := newRaw(f)
	f.Fuzz(func(t *testing.T, method, query, contentType, name, value string, body []byte) {
		r := &event.Record{Method: method, Query: query, ContentType: contentType, Peer: "::1", Headers: []event.Pair{{Name: name, Value: value}}, Body: body}
		q, err := sink.ParseRaw(raw.Append(nil, r))
		if err != nil {
			t.Fatal(err)
		}
		all := query + name + value + string(body)
		if strings.Contains(q.Query+q.Headers[0].Value+string(q.Body), "***") && !strings.Contains(all, "***") {
			return // something sounded like a secret; FuzzRawHides has those
		}
		got := &event.Record{Method: q.Method, Query: q.Query, ContentType: q.ContentType, Peer: q.Peer, Headers: q.Headers, Body: q.Body}
		if r.Body == nil {
			r.Body = []byte{}
		}
		if len(query) <= sink.RawTextBytesMax && len(value) <= sink.RawTextBytesMax && !strings.Contains(all, "***") && !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, want %+v", got, r)
		}
	})
}

// FuzzRawHides: a value behind a secret's name never survives, whatever stands
// around it.
func FuzzRawHides(f *testing.F) {
	names := []string{"secret", "key", "api_key", "apikey", "signature", "sig", "hash", "hmac", "password", "access_token", "auth_token", "authorization", "X-Webhook-Secret", "apiKey", "Client Secret"}
	const canary = "CANARYcanary"
	f.Add(uint8(0), "a=1", "b=2")
	f.Add(uint8(7), `x":[{"y`, `z`)
	f.Add(uint8(3), `"`, `\`)
	raw := newRaw(f)
	f.Fuzz(func(t *testing.T, pick uint8, before, after string) {
		if strings.Contains(before+after, canary[:3]) || len(before) > 4096 || len(after) > 4096 {
			return
		}
		name := names[int(pick)%len(names)]
		js := func(v any) string {
			p, _ := json.Marshal(v)
			return string(p)
		}
		nested := js([]any{before, map[string]any{"b" + after: before, "z": map[string]any{name: canary, after: 1}}, after})
		form := url.Values{name: {canary}, "x": {nested, before}}.Encode()
		for kind, r := range map[string]*event.Record{
			"query":     {Query: before + "&" + url.QueryEscape(name) + "=" + canary + "&" + after},
			"form":      {Body: []byte(form), ContentType: "application/x-www-form-urlencoded"},
			"json":      {Body: []byte(nested), ContentType: "application/json"},
			"json deep": {Body: []byte(js(map[string]any{name: []any{map[string]any{"v": canary}, after}}))},
			"json cut":  {Body: []byte(nested)[:max(0, len(nested)-2)]},
			"xml":       {Body: []byte("<r><" + name + ">" + canary + "</" + name + "></r>")},
			"header":    {Headers: []event.Pair{{Name: name, Value: canary}}},
		} {
			q, err := sink.ParseRaw(raw.Append(nil, r))
			if err != nil {
				t.Fatal(err)
			}
			text := js(q)
			if strings.Contains(text, canary) {
				t.Errorf("%s: %q survived in %s", kind, name, text)
			}
		}
	})
}

func BenchmarkRaw(b *testing.B) {
	raw, dst := newRaw(b), make([]byte, 0, 8192)
	json600 := []byte(`{"caller":"+15551234567","payout":"50.00","duration":125,"ref_id":"abcdef0123456789","data":{"note":"` + strings.Repeat("some words of 8e1f ", 25) + `"}}`)
	for _, c := range []struct {
		name string
		r    *event.Record
	}{
		{"get150", smallGET()},
		{"json300", &event.Record{Method: "POST", ContentType: "application/json", Body: append(json600[:300:300], `"}}`...)}},
		{"json300secret", &event.Record{Method: "POST", ContentType: "application/json", Body: append([]byte(`{"api_key":"abcdef",`), append(json600[1:300:300], `"}}`...)...)}},
		{"json600", &event.Record{Method: "POST", ContentType: "application/json", Body: json600}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = raw.Append(dst[:0], c.r)
			}
			b.ReportMetric(float64(len(dst)), "B")
		})
	}
}
