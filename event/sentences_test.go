package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// reasons lists the constants of type Reason in reason.go.
func reasons(t *testing.T) map[string]Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Reason{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Reason" {
			word, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all[v.Names[0].Name] = Reason(word)
		}
		return true
	})
	return all
}

func TestEveryReasonHasASentence(t *testing.T) {
	all := reasons(t)
	if len(all) < 40 {
		t.Fatalf("only %d reasons found in reason.go", len(all))
	}
	words := map[Reason]string{}
	for name, word := range all {
		if other, twice := words[word]; twice {
			t.Errorf("%s and %s are both %q", name, other, word)
		}
		words[word] = name
		if strings.Trim(string(word), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("%s: %q is no machine word", name, word)
		}
		text, ok := sentences[word]
		if !ok {
			t.Errorf("%s has no sentence", name)
		}
		if word != NoReason && (!strings.HasSuffix(text, ".") || text[:1] != strings.ToUpper(text[:1])) {
			t.Errorf("%s: %q is no sentence", name, text)
		}
	}
	for word := range sentences {
		if words[word] == "" {
			t.Errorf("a sentence for %q, which is no reason", word)
		}
	}
}

// Every brace stands for a part of Detail that is filled in.
func TestSentencesFillIn(t *testing.T) {
	d := Detail{Field: "FIELD", Got: "GOT", Call: "CALL", MissedBy: 71, Limit: 61, Others: 5, Of: "1-7", Would: "WOULD", Value: "VALUE"}
	fill := map[string]string{"{field}": "FIELD", "{got}": `"GOT"`, "{call}": "CALL", "{missed}": "71 s", "{limit}": "61",
		"{others}": "5", "{of}": "1-7", "{would}": "WOULD", "{value}": "VALUE"}
	for why, text := range sentences {
		got := Sentence(Unmatched, why, d)
		if strings.ContainsAny(got, "{}") {
			t.Errorf("%s: %q has braces left", why, got)
		}
		for brace, want := range fill {
			switch {
			case brace == "{limit}" && why == AmountOverCap:
				want = "0.000061"
			case brace == "{limit}" && (why == DurationOutsideTolerance || why == StartOutsideWindow):
				want = "61 s"
			}
			if strings.Contains(text, brace) && !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %s", why, got, want)
			}
		}
	}
}

func TestSentence(t *testing.T) {
	f := func(s Status, why Reason, d Detail, want string) {
		t.Helper()
		if got := Sentence(s, why, d); !strings.Contains(got, want) {
			t.Errorf("%s, %s: %q does not say %q", s, why, got, want)
		}
	}
	f(Ignored, TestPostback, Detail{Would: "parked"}, "would have been parked, and nothing")
	f(Booked, SeveralCandidates, Detail{Call: "c1", Others: 1, Field: "ref_id"}, "1 more calls carry the same ref_id")
	f(Unmatched, StartOutsideWindow, Detail{Call: "c1", Limit: 86400, MissedBy: 3661}, "window of 24h0m0s by 1h1m1s")
	f(Unmatched, DurationOutsideTolerance, Detail{Call: "c1", Limit: 60, MissedBy: 119}, "tolerance of 60 s by 119 s")
	f(Parked, NoCallFromCaller, Detail{Got: "+1"}, "Waiting for the call.")
	f(Held, AmountOverCap, Detail{Limit: int64(10_000 * Unit)}, "cap of 10000.00")
	f(Unmatched, NoSuchRef, Detail{Field: "ref_id", Got: "{call}", Call: "SECRET"}, `ref_id "{call}"`)
	f(Unmatched, NoSuchRef, Detail{Field: "ref_id", Got: "a\"\n\x00"}, `"a\"\n\x00"`)
	f(Unmatched, "of_a_later_version", Detail{}, "of a later version")
	if got := Sentence(Booked, NoReason, Detail{}); got != "" {
		t.Errorf("nothing to say: %q", got)
	}
}

func TestDetailJSON(t *testing.T) {
	want := Detail{Field: "f", Got: "\xff\"<", Call: "c", MissedBy: -1, Limit: 2, Others: 3, Of: "1-7", Would: "booked", Value: "5.00"}
	got, err := ParseDetail(want.JSON())
	if want.Got = "\ufffd\"<"; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if p := (Detail{}).JSON(); p != nil {
		t.Errorf("nothing to say: %s", p)
	}
	if got, err := ParseDetail(nil); err != nil || got != (Detail{}) {
		t.Errorf("nothing said: %+v, %v", got, err)
	}
	if _, err := ParseDetail([]byte("{")); err == nil {
		t.Error("half a detail: no error")
	}
}
