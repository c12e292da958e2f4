package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
)

// printSourceFile writes a source as a file for apply: what has to be written
// for it to come to the same, and neither URL nor secret.
func (a *app) printSourceFile(shown json.RawMessage) error {
	members, err := written(shown)
	if err != nil {
		return err
	}
	lead := "  - "
	fmt.Fprintln(a.out, "sources:")
	for _, name := range specKeys() {
		v, ok := members[name]
		if !ok {
			continue
		}
		text, err := yaml.Marshal(map[string]any{name: v})
		if err != nil {
			return fmt.Errorf("write %s as YAML: %w", name, err)
		}
		for line := range strings.Lines(string(text)) {
			fmt.Fprint(a.out, lead, line)
			lead = "    "
		}
	}
	return nil
}

// specKeys are the keys of a source's specification in their order.
func specKeys() (keys []string) {
	for f := range reflect.TypeFor[source.Spec]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, name)
	}
	return keys
}

// written gives of a source that is shown with everything filled in the members
// without which it would be another one.
func written(shown json.RawMessage) (map[string]any, error) {
	var all map[string]any
	if err := decodeNumbers(shown, &all); err != nil {
		return nil, fmt.Errorf("a source cannot be read: %w", err)
	}
	keys := specKeys()
	maps.DeleteFunc(all, func(key string, _ any) bool { return !slices.Contains(keys, key) })
	want, ok := filled(all)
	if !ok {
		return all, nil // it no longer compiles: shown as it is stored, so that it can be mended
	}
	thin(all, all, want, "id")
	return all, nil
}

// thin takes off inner, which is whole or a part of it, each member without
// which whole still comes to want. A part goes as one or is thinned itself.
func thin(whole, inner map[string]any, want, keep string) {
	for _, key := range slices.Sorted(maps.Keys(inner)) {
		if key == keep {
			continue
		}
		v := inner[key]
		delete(inner, key)
		if got, ok := filled(whole); ok && got == want {
			continue
		}
		inner[key] = v
		// A signature is taken from a preset whole, so it is written whole.
		if part, ok := v.(map[string]any); ok && key != "signature" {
			thin(whole, part, want, "")
		}
	}
}

// filled is what a specification comes to, as JSON.
func filled(spec map[string]any) (string, bool) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", false
	}
	var s source.Spec
	if err := source.DecodeJSON(text, &s); err != nil {
		return "", false
	}
	src, err := source.Compile(s)
	if err != nil {
		return "", false
	}
	text, err = json.Marshal(src.Spec)
	return string(text), err == nil
}
