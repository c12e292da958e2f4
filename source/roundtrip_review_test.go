package source

import (
	"encoding/json"
	"reflect"
	"testing"
)

// What is shown of a source, defaults and preset filled in, is that source when
// it is applied again.
func TestFilledSpecIsTheSame(t *testing.T) {
	for _, name := range Presets() {
		first, err := Compile(Spec{ID: "s", Preset: name})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(first.Spec)
		if err != nil {
			t.Fatal(err)
		}
		for what, decode := range map[string]func([]byte, any) error{"json": DecodeJSON, "yaml": DecodeYAML} {
			var again Spec
			if err := decode(text, &again); err != nil {
				t.Fatalf("%s as %s: %v in %s", name, what, err, text)
			}
			second, err := Compile(again)
			if err != nil {
				t.Fatalf("%s as %s: %v", name, what, err)
			}
			second.Seen, second.Verifier, first.Seen = nil, first.Verifier, nil
			if !reflect.DeepEqual(first, second) {
				t.Errorf("%s as %s: %+v, want %+v", name, what, second, first)
			}
		}
	}
}

// An empty list says nothing: it does not take off what the preset asks for.
func TestEmptyListKeepsThePresets(t *testing.T) {
	f := func(text string) {
		t.Helper()
		var s Spec
		if err := DecodeJSON([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		src, err := Compile(s)
		if err != nil || len(src.Allow) != 1 || len(src.Spec.Methods) != 1 {
			t.Errorf("%s: %v, addresses %v, methods %v", text, err, src.Allow, src.Spec.Methods)
		}
	}
	f(`{"id":"s","name":"","preset":"pubscale"}`)
	f(`{"id":"s","name":"","preset":"pubscale","allow_ips":[],"methods":[]}`)
	f(`{"id":"s","name":"","preset":"pubscale","allow_ips":null,"methods":null}`)
}
