package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// DecodeJSON reads one JSON value into v and refuses unknown keys, naming the
// nearest known one, and anything after the value.
func DecodeJSON(p []byte, v any) error {
	if err := strict(p, v); err != nil {
		return err
	}
	return nil
}

// DecodeYAML reads YAML into v by way of JSON, so that json tags and the
// rules of DecodeJSON hold for files too.
func DecodeYAML(p []byte, v any) error {
	j, err := yaml.YAMLToJSONStrict(p)
	if err != nil {
		return err
	}
	return strict(j, v)
}

func strict(p []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if _, rest, ok := strings.Cut(err.Error(), "unknown field "); ok {
			key := strings.Trim(rest, `"`)
			if near := Nearest(key, jsonKeys(reflect.TypeOf(v), nil, 0)); near != "" {
				return fmt.Errorf("unknown key %q: did you mean %q?", key, near)
			}
			return fmt.Errorf("unknown key %q", key)
		}
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("text after the end of the JSON value")
	}
	return nil
}

// jsonKeys lists the keys that a value of type t may have at any depth.
func jsonKeys(t reflect.Type, keys []string, depth int) []string {
	switch {
	case depth > 6:
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return jsonKeys(t.Elem(), keys, depth+1)
	case t.Kind() == reflect.Struct:
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				keys = append(keys, name)
			}
			keys = jsonKeys(f.Type, keys, depth+1)
		}
	}
	return keys
}

// Nearest returns the known word that is fewest edits from word, or "" when
// none is near: at most a third of its letters, two at least.
func Nearest(word string, known []string) string {
	best, dist := "", max(2, len(word)/3)+1
	for _, k := range known {
		if max(len(k)-len(word), len(word)-len(k)) >= dist {
			continue // at least that many edits: do not count them, word may be long
		}
		if d := edits(strings.ToLower(word), k); d < dist {
			best, dist = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diag, row[j] = row[j], min(row[j]+1, row[j-1]+1, diag+cost)
		}
	}
	return row[len(b)]
}
