package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func rowsOf(t *testing.T, lines ...string) []map[string]any {
	t.Helper()
	raw := make([]json.RawMessage, len(lines))
	for i, l := range lines {
		raw[i] = json.RawMessage(l)
	}
	rows, err := decodeRows(raw)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

var testColumns = []column{
	{head: "WHO", path: "who"},
	{head: "N", path: "n", right: true},
	{head: "MONEY", path: "sum.amount", money: true},
	{head: "WHY", path: "why"},
}

func TestTableAligns(t *testing.T) {
	var out bytes.Buffer
	tab := newTable(&out, testColumns)
	err := tab.add(rowsOf(t,
		`{"who":"a","n":12345678901234567,"sum":{"amount":"1.00"},"why":"x"}`,
		`{"who":"größer","n":2,"sum":{"amount":"-1234.567891"},"why":null}`,
		`{"who":null,"n":null,"why":true}`))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"WHO                     N         MONEY  WHY",
		"a       12345678901234567      1.00      x",
		"größer                  2  -1234.567891",
		"                                         yes",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("have\n%s\nwant\n%s", out.String(), want)
	}
}

// Pages of one listing stay in the same columns.
func TestTableKeepsItsWidths(t *testing.T) {
	var out bytes.Buffer
	tab := newTable(&out, testColumns)
	for _, row := range []string{`{"who":"a long name","n":1,"sum":{"amount":"10.00"},"why":"x"}`, `{"who":"b","n":1,"sum":{"amount":"2.00"},"why":"y"}`} {
		if err := tab.add(rowsOf(t, row)); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || strings.Index(lines[0], "WHY") != strings.IndexByte(lines[2], 'y') || strings.IndexByte(lines[1], 'x') != strings.IndexByte(lines[2], 'y') {
		t.Errorf("columns move:\n%s", out.String())
	}
}

func TestTableIsCutToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	tab := &table{out: &out, cols: testColumns, width: 30}
	if err := tab.add(rowsOf(t, `{"who":"a","n":1,"sum":{"amount":"1.00"},"why":"a sentence that does not end soon"}`)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 30 {
			t.Errorf("%d characters: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "a sentenc") || !strings.Contains(out.String(), "…") {
		t.Errorf("%q is not cut with an ellipsis", out.String())
	}
}

// What senders wrote cannot steer the terminal of who reads it.
func TestPrintable(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if have := printable(in); have != want {
			t.Errorf("printable(%q) = %q, want %q", in, have, want)
		}
	}
	f("", "")
	f("plain, größer, 電話", "plain, größer, 電話")
	f("\x1b[2Jgone", `\x1b[2Jgone`)
	f("a\nb\tc\r", `a\nb\tc\r`)
	f("\u202eabc", `\u202eabc`)
	f("\xff\xfe", `\xff\xfe`)
	f("\ufffd", "\ufffd")
	f("\u009b31m", `\u009b31m`)
}

func TestFlattenKeepsOrder(t *testing.T) {
	list, err := flatten(json.RawMessage(`{"z":1,"a":{"y":"v","b":{"c":[1,"two"]}},"n":null,"t":true,"e":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	printMembers(&out, "", list)
	want := "z      1\na.y    v\na.b.c  1, two\nt      yes\n"
	if out.String() != want {
		t.Errorf("have %q, want %q", out.String(), want)
	}
	for _, bad := range []string{``, `{`, `{"a":`, `{"a":{"b"`} {
		if _, err := flatten(json.RawMessage(bad)); err == nil {
			t.Errorf("flatten(%q) takes what is no object", bad)
		}
	}
}

func TestWithMember(t *testing.T) {
	f := func(object, want string) {
		t.Helper()
		if have := string(withMember(json.RawMessage(object), "m", []int{1})); have != want {
			t.Errorf("withMember(%q) = %s, want %s", object, have, want)
		}
	}
	f(`{"a":1}`, `{"a":1,"m":[1]}`)
	f("{\"a\":{}}\n", `{"a":{},"m":[1]}`)
	f(`{}`, `{"m":[1]}`)
}

func TestCountQuoteFold(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1234567: "1,234,567"} {
		if have := count(n); have != want {
			t.Errorf("count(%d) = %s, want %s", n, have, want)
		}
	}
	for in, want := range map[string]string{"acme": "acme", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "/tmp/x-1": "/tmp/x-1"} {
		if have := quoteArg(in); have != want {
			t.Errorf("quoteArg(%q) = %s, want %s", in, have, want)
		}
	}
	if have := strings.Join(fold("one two three four", 9), "|"); have != "one two|three|four" {
		t.Errorf("fold gives %s", have)
	}
}
