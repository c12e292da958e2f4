package signature

import (
	"fmt"
	"strings"
	"testing"
)

// inputOf gives the text that a scheme signs of a request, or the reason why none.
func inputOf(t testing.TB, s Spec, r *Request) string {
	t.Helper()
	v := compiled(t, s)
	u := v.runs.get(r, &Secrets{Current: []byte("KEY")}, testNow)
	defer v.runs.put(u)
	if why := u.bodyCounts(&v.schemes[0]); why != "" {
		return "!" + string(why)
	}
	p, why := u.build(&v.schemes[0], []byte("KEY"), false)
	if why != "" {
		return strings.TrimSuffix("!"+string(why)+" "+u.about, " ")
	}
	return string(p)
}

func hmacOf(input string) Spec {
	return Spec{Algorithm: "hmac-sha256", Input: input, Signature: Place{In: "header:X-Sig"}}
}

const formType = "application/x-www-form-urlencoded"

func TestTemplates(t *testing.T) {
	f := func(input, query, want string) {
		t.Helper()
		if got := inputOf(t, hmacOf(input), request("/p/a%20b/c?"+query, "", map[string]string{"X-One": "h1"})); got != want {
			t.Errorf("%s of %s: %q, want %q", input, query, got, want)
		}
	}
	f("{a}.{b}", "b=2&a=1", "1.2")
	f("{{{a}}}", "a=1", "{1}")
	f("{@secret}:{a}:{@secret}", "a=1", "KEY:1:KEY")
	f("{@method} {@host}{@path}|{a}", "a=1", "GET in.example.com/p/a%20b/c|1")
	f("{path:1}/{path:2}/{path:-1}/{path:-3}", "", "p/a b/c/p")
	f("{path:4|optional}{path:-4|optional}-", "", "-")
	f("{header:x-one}{header:X-Two|optional}", "", "h1")
	f("{header:X-Two}", "", "!field_missing X-Two")
	// absent and empty
	f("{a}", "b=1", "!field_missing a")
	f("{a}.", "a=", ".")
	f("{a}.", "a", ".")
	f("{a|required}.", "a=", "!field_missing a")
	f("{a|optional}.{b}", "b=1", ".1")
	f("{a|optional}", "b=1", "!field_missing") // a signature over nothing
	f("{a|skip_empty}.", "a=", ".")
	// percent signs that are none, and what is not UTF-8
	f("{a}", "a=100%", "100%")
	f("{a}", "a=100%zz%4", "100%zz%4")
	f("{a}", "a=1%2B1+1%25", "1+1 1%")
	f("{a}", "a=%c3%A9%ff", "é\xff")
	f("{a}", "%61=1", "1")
	f("{a[b]}", "a%5Bb%5D=1", "1")
	// repeated
	f("{a}", "a=1&a=1", "1")
	f("{a}", "a=1&a=2", "!field_repeated a")
	f("{a}", "a=1&A=2", "!field_repeated a")
	f("{a}", "a=&a=2", "!field_repeated a")
	f("{user}", "user=1&%55SER=2", "!field_repeated user")
	f("{k}", "k=1&%E2%84%AA=2", "!field_repeated k") // the Kelvin sign folds to k
	f("{a}", "A=1", "1")
	// transforms
	f("{a|int}", "a=100.1234", "100")
	f("{a|int}", "a=1e3", "!field_malformed a")
	f("{a|int}", "a=", "!field_malformed a")
	f("{a|trim|upper|lower}", "a=+xY\t", "xy")
	f("{a|urlencode|urlencode}", "a=x+y/~*", "x%2By%252F%257E%252A")
	f("{a|rawurlencode}", "a=x+y/~*", "x%20y%2F~%2A")
	f("{a|queryescape}", "a=x+y/~*", "x+y%2F~%2A")
	f("{a|formencode}", "a=x+y/~*!", "x+y%2F%7E*%21")
	f("{a|jsencode}", "a=x+y/~*!", "x%20y%2F~*!")
	f("{a|urldecode}", "a=%252B+", "+ ")
	f("{a|percentdecode}", "a=%2B%2541", "+A")
	f("{a|md5}", "a=x", "9dd4e461268c8034f5c8564e155c67a6")
	f("{a|base64}", "a=xyz!", "eHl6IQ==")
	f("{@secret|md5}{a}", "a=", "3b5949e0c26b87767a4752a276de9570")
	f("{@path|upper}", "", "/P/A%20B/C")
	f("{@sorted|md5}", "b=2&a=1", "ed04c91cf6f6ab5a01a31c0295c5da34")
}

func TestDecimals(t *testing.T) {
	f := func(word, in, want string) {
		t.Helper()
		tr, ok := transformOf(word)
		if !ok {
			t.Fatal(word)
		}
		got, ok := tr.append([]byte("<"), []byte(in))
		if !ok {
			got = []byte("<!")
		}
		if string(got) != "<"+want {
			t.Errorf("%s of %q: %q, want %q", word, in, got, want)
		}
	}
	f("int", "007.9", "7")
	f("int", "-0.5", "0")
	f("int", "-12.5", "-12")
	f("int", "+5", "5")
	f("int", ".5", "0")
	f("int", "5.", "5")
	f("int", strings.Repeat("9", 40)+".1", strings.Repeat("9", 40))
	for _, bad := range []string{"", ".", "-", "1,5", "1.2.3", " 1", "1 ", "0x1", "1e5", "٣", "NaN"} {
		f("int", bad, "!")
		f("fixed:2", bad, "!")
	}
	f("fixed:2", "1", "1.00")
	f("fixed:2", "1.005", "1.01")
	f("fixed:2", "-1.005", "-1.01")
	f("fixed:2", "1.00499", "1.00")
	f("fixed:2", "99.999", "100.00")
	f("fixed:0", "99.5", "100")
	f("fixed:0", "0.4", "0")
	f("fixed:2", "-0.001", "0.00")
	f("fixed:2", ".5", "0.50")
	f("fixed:2", "000.5", "0.50")
	f("fixed:12", "1", "1.000000000000")
}

func TestOrigins(t *testing.T) {
	f := func(input, query, contentType, body, want string) {
		t.Helper()
		r := request("/p?"+query, body, map[string]string{"Content-Type": contentType})
		if got := inputOf(t, hmacOf(input), r); got != want {
			t.Errorf("%s of %.40s and %.40s: %q, want %q", input, query, body, got, want)
		}
	}
	f("{a}", "", formType, "a=1+2", "1 2")
	f("{a}", "", "", "a=1", "1")
	f("{a}", "", "text/plain", "a=1", "!field_missing a")
	f("{a}", "", "text/plain", `{"a":1}`, "1")
	f("{a}", "", formType, `{"a":1}`, "1")
	f("{{a}}{[b}", "", formType, "[b=1", "{a}1")
	f("{query:a}", "", formType, "a=1", "!field_missing a")
	f("{form:a}", "a=1", "", "", "!field_missing a")
	f("{form:a}", "a=1", formType, "a=1", "1")
	f("{form:a}", "a=2", formType, "a=1", "!field_repeated a")
	f("{query:a}", "a=2", "application/json", `{"a":1}`, "!field_repeated a")
	f("{json:a.b.0.c}", "", "application/json", `{"a":{"b":[{"c":1.50}]}}`, "1.50")
	f("{json:a}", "", "application/vnd.x+json; charset=utf-8", `{"a":"\u00e9\ud83d\ude00\n"}`, "é😀\n")
	f("{a}{b}{c|optional}", "", "application/json", `{"a":true,"b":false,"c":null}`, "truefalse")
	f("{a}", "", "application/json", `{"a":1,"a":2}`, "!field_repeated a")
	f("{a}", "", "application/json", `{"a":1,"A":2}`, "!field_repeated a")
	f("{a.b}", "", "application/json", `{"a.b":1,"a":{"b":2}}`, "!field_repeated a.b")
	f("{a}", "", "application/json", `[{"a":1},{"a":1}]`, "1")
	f("{a}", "", "application/json", `[{"a":1},{"a":2}]`, "!field_repeated a")
	f("{a.0.0}", "", "application/json", `[{"a":[[7]]}]`, "7")
	for _, bad := range []string{`{"a":1`, `{"a":1}}`, `{a:1}`, `{"a":}`, `{"a":1,}`, `{"a":"\x"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`, "{\"a\":\"\n\"}", `{"a":"` + "\xff" + `"}`, `{"a":tru}`, `["`, `{"a`, `{"a":"\u12`} {
		f("{a}", "a=1", "application/json", bad, "!body_malformed")
	}
	f("{a}", "a=1", "application/json", strings.Repeat("[", 33)+strings.Repeat("]", 33), "!too_many")
	f("{a}", "a=1", "application/json", `{"`+strings.Repeat("x", NameBytesMax)+`":1}`, "!too_long")
	f("{a}", "a=1", "application/json", `{"b":[`+strings.Repeat("1,", FieldsMax)+`1]}`, "!too_many")
	f("{a}", strings.Repeat("b&", FieldsMax)+"a=1", "", "", "!too_many")
	f("{@body}", "", "text/plain", " \n", "!body_missing")
	f("{@body}{a}", "a=1", "text/plain", "", "1")
}

func TestSorted(t *testing.T) {
	f := func(s Sorted, query, want string) {
		t.Helper()
		spec := hmacOf("sorted")
		spec.Sorted = &s
		if got := inputOf(t, spec, request("/p?"+query, "", nil)); got != want {
			t.Errorf("%+v of %s: %q, want %q", s, query, got, want)
		}
	}
	empty, colon := "", ":"
	f(Sorted{}, "b=2&a=1&B=3", "!field_repeated b")
	f(Sorted{}, "b=2&a=1&C=3", "C=3&a=1&b=2")
	f(Sorted{}, "b=%26&a=1%3D", "a=1=&b=&")
	f(Sorted{Raw: true}, "b=%26+&a=1%3d", "a=1%3d&b=%26+")
	f(Sorted{By: "sent"}, "b=2&a=1", "b=2&a=1")
	f(Sorted{Keys: "urlencode", Values: "urlencode"}, "b%5B%5D=x%20y&a=1", "a=1&b%5B%5D=x+y")
	f(Sorted{Pair: "{value}", Join: &colon}, "b=2&a=1&c=", "1:2:")
	f(Sorted{Pair: "{value}", Join: &colon, Values: "skip_empty"}, "b=2&a=1&c=", "1:2")
	f(Sorted{Pair: "{key}{value}", Join: &empty}, "b=2&a=1", "a1b2")
	f(Sorted{Pair: "[{key}:{value}]", Join: &empty}, "b=2&a=1", "[a:1][b:2]")
	f(Sorted{Except: []string{"b"}}, "b=2&a=1", "a=1")
	f(Sorted{Only: []string{"b", "a"}}, "b=2&a=1&c=3", "a=1&b=2")
	f(Sorted{Only: []string{"b", "a"}, By: "listed"}, "b=2&a=1&c=3", "b=2&a=1")
	f(Sorted{Only: []string{"b", "a"}}, "b=2", "!field_missing a")
	f(Sorted{Only: []string{"b", "a"}, Values: "optional"}, "b=2", "b=2")
	f(Sorted{Only: []string{"b", "a"}, Fields: map[string]string{"a": "optional", "b": "int"}}, "b=2.5", "b=2")
	f(Sorted{Placeholders: map[string]string{"z_id": "a", "amount": "b"}, Pair: "{value}", Join: &colon}, "a=1&b=2", "2:1")
	f(Sorted{}, "a=1&a=1&b=2", "a=1&b=2")
	f(Sorted{}, "a=1&b=2&a=2", "!field_repeated a")
	f(Sorted{}, "", "!field_missing")
	f(Sorted{Values: "int"}, "a=x", "!field_malformed a")
	f(Sorted{Values: "required"}, "a=", "!field_missing a")
	var many strings.Builder
	for i := range SortedFieldsMax + 1 {
		fmt.Fprintf(&many, "f%d=1&", i)
	}
	f(Sorted{}, many.String(), "!too_many")
	spec := hmacOf("sorted")
	spec.Signature.In = "query:sig"
	if got := inputOf(t, spec, request("/p?b=2&sig=xyz&a=1", "", nil)); got != "a=1&b=2" {
		t.Errorf("%q holds the signature", got)
	}
	spec.Sorted = &Sorted{From: "params"}
	if got := inputOf(t, spec, request("/p?b=2", "a=1", map[string]string{"Content-Type": formType})); got != "a=1&b=2" {
		t.Errorf("query and form: %q", got)
	}
	spec.Sorted = &Sorted{From: "json"}
	if got := inputOf(t, spec, request("/p?b=2", `{"z":1,"c":{"d":"x"},"n":null}`, nil)); got != "c.d=x&z=1" {
		t.Errorf("JSON: %q", got)
	}
}

func TestURLs(t *testing.T) {
	f := func(in string, u URL, input, url, want string) {
		t.Helper()
		s := hmacOf(input)
		s.Signature.In, s.URL = in, &u
		if got := inputOf(t, s, request(url, "", nil)); got != want {
			t.Errorf("%s %+v of %s: %q, want %q", input, u, url, got, want)
		}
	}
	const base = "https://in.example.com"
	f("query:h", URL{}, "url", "/p?a=%20&b=2&h=x", base+"/p?a=%20&b=2")
	f("query:h", URL{}, "query", "/p?a=%20&b=2&h=x", "a=%20&b=2")
	f("query:h", URL{}, "url", "/p?h=x", base+"/p")
	f("query:h", URL{}, "url", "/p?a=1&h=x&k=1", "!tail_unsigned k")
	f("query:h", URL{Tail: []string{"k"}}, "url", "/p?a=1&h=x&k=1", base+"/p?a=1")
	f("query:h", URL{Tail: []string{"k"}}, "url", "/p?a=1&k=1", base+"/p?a=1") // before it is signed
	f("query:h", URL{Tail: []string{"k"}}, "url", "/p?k=1&a=1&h=x", base+"/p?k=1&a=1")
	f("query:h", URL{Cut: "out"}, "query", "/p?h=x&a=1", "a=1")
	f("query:h", URL{Cut: "out"}, "query", "/p?a=1&h=x&b=2", "a=1&b=2")
	f("query:h", URL{Cut: "out"}, "url", "/p?h=x", base+"/p")
	f("query:h", URL{}, "url", "/p?a=1&h=x&h=y", "!signature_malformed")
	f("query:h", URL{}, "url", "/p?a=1&%68=x", base+"/p?a=1")
	f("header:h", URL{}, "url", "/p?a=1&h=x", base+"/p?a=1&h=x")
	f("header:h", URL{}, "url", "/p?", base+"/p?")
	f("header:h", URL{Base: "http://x/"}, "url", "/p?a=%41", "http://x/p?a=%41")
	f("header:h", URL{Decode: "percent"}, "url", "/p?a=%41+", base+"/p?a=A+")
	f("header:h", URL{Decode: "form"}, "query", "/p?a=%41+", "a=A ")
}

func TestUnsignedBodies(t *testing.T) {
	f := func(unsigned bool, contentType, body string, want Reason) {
		t.Helper()
		s := system(t, "bitlabs")
		s.UnsignedBody = unsigned
		v, r, secrets, _, _ := signedSample(t, "bitlabs", &s)
		r.Method, r.ContentType, r.Body = "POST", contentType, []byte(body)
		if got := v.Verify(r, secrets, testNow); got.Reason != want {
			t.Errorf("%s %q: %+v, want %q", contentType, body, got, want)
		}
	}
	f(false, "", "", "")
	f(false, "", " \r\n", "")
	f(false, "application/json", "{}", "")
	f(false, "application/json", `{"a":null}`, "")
	f(false, "application/json", `{"a":1}`, BodyUnsigned)
	f(false, formType, "a=1", BodyUnsigned)
	f(false, "multipart/form-data; boundary=x", "--x--", BodyUnsigned) // a mapper of the source's own may read it
	f(false, "application/json", `{"a":`, BodyMalformed)
	f(true, "application/json", `{"a":1}`, "")
	f(true, "multipart/form-data; boundary=x", "--x--", "")
}
