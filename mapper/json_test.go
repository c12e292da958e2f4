package mapper

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func TestScanner(t *testing.T) {
	s := scanner{seed: 7}
	good := func(doc string) {
		t.Helper()
		if _, f := s.document([]byte(doc)); f.reason != "" {
			t.Errorf("%.80q: refused, %s %+v", doc, f.reason, f.detail)
		}
		if !json.Valid([]byte(doc)) {
			t.Errorf("%.80q: encoding/json refuses it", doc)
		}
	}
	bad := func(doc string, want event.Reason) {
		t.Helper()
		if _, f := s.document([]byte(doc)); f.reason != want {
			t.Errorf("%.80q: %s %+v, want %s", doc, f.reason, f.detail, want)
		}
	}
	for _, doc := range []string{`{}`, `[]`, ` [ { } , 1 ] `, `"x"`, `-0.5e+10`, `0`, `1E400`, `{"a":{"a":{"A":1}},"b":[{"a":1},{"a":2}]}`, `"\ud83d\ude00"`, `{"":1}`,
		`{"a":"\u0000\"\\\/\b\f\n\r\té"}`, strings.Repeat("[", DepthMax) + strings.Repeat("]", DepthMax), "\t\r\n{}\n", `[true,false,null]`, `"` + "\x7f" + `"`} {
		good(doc)
	}
	for _, doc := range []string{"", " ", `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`, `01`, `-`, `1.`, `.5`, `+1`, `1e`, `1e+`, `0x1`, `NaN`, `nul`, `nulll`,
		`trUe`, `"a`, "\"a\nb\"", `"\x"`, `"\u12"`, `"\u12g4"`, `{} {}`, `{}x`, "{}\x00", `[1 2]`, `{"a":1 "b":2}`, "\ufeff{}", `{"a":1}/**/`, `[1}`, "\x00", `"\`} {
		bad(doc, event.BodyMalformed)
		if json.Valid([]byte(doc)) {
			t.Errorf("%q: encoding/json accepts it", doc)
		}
	}
	for _, doc := range []string{"\"\xff\"", "{\"\xc3\x28\":1}", `"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `"\ud800\n"`, "\"\xed\xa0\x80\"", "\"\xf8\""} {
		bad(doc, event.BodyNotUTF8)
	}
	for _, doc := range []string{`{"a":1,"a":1}`, `{"payout":1,"PAYOUT":999}`, `{"a":1,"\u0061":2}`, `{"\u0041":1,"b":0,"a":2}`, `{"é":1,"É":2}`, `{"k":1,"` + "\u212a" + `":2}`,
		`[{"x":{"s":1,"\u017f":2}}]`, `{"":1,"":2}`} {
		bad(doc, event.BodyDuplicateKey)
	}
	for _, open := range []string{"[", `{"a":`, `[{"a":`} {
		bad(strings.Repeat(open, DepthMax+1), event.BodyTooDeep)
		bad(strings.Repeat(open, BodyBytesMax/len(open)), event.BodyTooDeep)
	}
	var object, report strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&object, `,"%d":1`, i)
		if i < KeysMax {
			fmt.Fprintf(&report, `,"%d":1`, i)
		}
	}
	keys := func(list string) string { return "{" + list[1:] + "}" }
	bad(keys(object.String())[:BodyBytesMax], event.BodyTooManyKeys)
	bad(keys(object.String()), event.BodyMalformed) // too long
	bad(`{"a":[`+strings.Repeat("1,", KeysMax)+`1]}`, event.BodyTooManyKeys)
	good(keys(report.String()))
	good("[" + keys(report.String()) + "," + keys(report.String()) + "]")
}

// flat is what a decoder makes of a document: the reports' fields, in order.
func flat(t testing.TB, w *worker, doc string, decoder func(string) tokens) (out string) {
	b := w.b
	b.Reset()
	fillBatch(t, b, []request{{contentType: jsonType, body: doc}})
	top, f := w.scan.document([]byte(doc))
	if f.reason != "" {
		return "refused"
	}
	w.fields, w.shared, w.whole, w.part = w.fields[:0], 0, fault{}, fault{}
	if err := w.reports(&b.Records[0], top, decoder(doc)); err != nil {
		return "error " + err.Error()
	}
	for i := range b.Events {
		r := &b.Events[i].Report
		out += fmt.Sprintf("%d %q %q\n", i, r.Extra, r.Invalid)
	}
	return out
}

func stdTokens(doc string) tokens {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	return d
}

func builtTokens(doc string) tokens { return newDecoder(strings.NewReader(doc)) }

var jsonSeeds = []string{
	`{"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc123"}`,
	`{"data":{"items":[{"price":1.50},{"price":-2e3}],"ok":true,"none":null},"t":"\u00e9\ud83d\ude00\"\\"}`,
	`[{"a":1},{"a":2},3,[4],"x",null]`, `[[[[[[]]]]]]`, `{"a":1,"A":2}`, `{"a":123456789012345678901234567890.123e-400}`,
	`{"":{"":""}}`, "{\"a\":\"\x00\"}", `{"a":1}x`, `{"a":1e}`, `"\ud800"`, `{"a":"` + strings.Repeat(`\u0041`, 200) + `"}`,
	`{"` + strings.Repeat("k", 600) + `":1,"b":"` + strings.Repeat("v", 600) + `"}`, strings.Repeat(`{"a":`, 40), `{"a":0.1,"b":-0,"c":1E+2}`,
}

// bareWorker wants no field: everything is extra.
func bareWorker(t testing.TB) *worker {
	w := testWorker(t, source.Spec{})
	w.src = &source.Source{Spec: source.Spec{ID: "bare"}}
	w.table = w.tableOf(w.src)
	return w
}

// agree holds the decoder that is built in against encoding/json, over what the
// mapper makes of their tokens, and the scanner against the grammar of both.
func agree(t *testing.T, w *worker, doc string) (accepted bool) {
	_, fault := w.scan.document([]byte(doc))
	valid := json.Valid([]byte(doc))
	if (fault.reason == "") && !valid || fault.reason == event.BodyMalformed && valid && len(doc) <= BodyBytesMax {
		t.Fatalf("%q: scanner %q %+v, valid %v", doc, fault.reason, fault.detail, valid)
	}
	if built, std := flat(t, w, doc, builtTokens), flat(t, w, doc, stdTokens); built != std || strings.HasPrefix(built, "error") {
		t.Fatalf("%q:\nbuilt in %s\nstandard %s", doc, built, std)
	}
	return fault.reason == ""
}

func FuzzJSON(f *testing.F) {
	for _, s := range jsonSeeds {
		f.Add(s)
	}
	w := bareWorker(f)
	f.Fuzz(func(t *testing.T, doc string) {
		agree(t, w, doc)
		robust(t, w.m, request{query: "ref_id=a", body: doc, contentType: jsonType})
	})
}

// Random documents, half of them damaged in a byte or two.
func TestDecodersAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	w := bareWorker(t)
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	text := func() string {
		return `"` + pick("", "a", "payout", "B", `\u0062`, "é", `\n`) + pick("", "1", "x.y", `\ud83d\ude00`, "😀", `\"`, `\u0000`, strings.Repeat("z", 600)) + `"`
	}
	var value func(depth int) string
	value = func(depth int) string {
		switch n := r.IntN(9); {
		case n < 2 && depth > 0:
			var members []string
			for i := range r.IntN(5) {
				members = append(members, fmt.Sprintf("%s%s:%s%s", strings.TrimSuffix(text(), `"`), fmt.Sprint(i, `"`), pick("", " "), value(depth-1)))
			}
			return "{" + strings.Join(members, pick(",", ", ", ",\n")) + "}"
		case n < 4 && depth > 0:
			var members []string
			for range r.IntN(5) {
				members = append(members, value(depth-1))
			}
			return "[" + strings.Join(members, ",") + "]"
		case n < 6:
			return pick("0", "-0", "50", "50.25", "1e9", "-1.5E-400", "12345678901234567890.1234567890")
		case n < 7:
			return pick("true", "false", "null")
		}
		return text()
	}
	accepted := 0
	for i := range 6000 {
		doc := []byte(pick(value(4), "["+value(3)+","+value(3)+"]"))
		if i%2 == 0 {
			for range 1 + r.IntN(2) {
				doc[r.IntN(len(doc))] = "{}[]\",:\\0e-. \x00\xff\x1fux"[r.IntN(18)]
			}
		}
		if agree(t, w, string(doc)) {
			accepted++
		}
	}
	if accepted < 3000 {
		t.Errorf("only %d documents were accepted", accepted)
	}
}

// A decoder that fails after the scanner let a document through spoils that record alone.
func TestDecoderErrorIsAFault(t *testing.T) {
	w := testWorker(t, source.Spec{})
	if got := flat(t, w, `[{"payout":1},{"payout":2}]`, func(string) tokens { return stdTokens(`[{"payout":1},{"pay`) }); !strings.HasPrefix(got, "error") {
		t.Errorf("%s, want an error", got)
	}
	if got := flat(t, w, `{"payout":1}`, func(string) tokens { return stdTokens(`[1`) }); !strings.HasPrefix(got, "error") {
		t.Errorf("%s, want an error", got)
	}
}
