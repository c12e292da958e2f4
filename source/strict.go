package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// DecodeJSON reads one JSON value into v and refuses unknown keys, naming the
// nearest known one or the place where the key belongs, and anything after the
// value. Money that is written as a number is read by its own digits.
func DecodeJSON(p []byte, v any) error { return strict(p, v) }

// DecodeYAML reads YAML into v by way of JSON, so that json tags and the
// rules of DecodeJSON hold for files too. Errors name the object of the file
// that they are about.
func DecodeYAML(p []byte, v any) error {
	j, err := yaml.YAMLToJSONStrict(p)
	if err != nil {
		return err
	}
	return decodeOr(j, v, &reader{yaml: p})
}

func strict(p []byte, v any) error { return decodeOr(p, v, new(reader)) }

// decodeOr decodes p, and only when that fails looks for what r would mend and
// for a better word on what is wrong.
func decodeOr(p []byte, v any, r *reader) error {
	err := decodeOne(p, v)
	if err == nil {
		return nil
	}
	mended, why := r.explain(p, reflect.TypeOf(v))
	switch {
	case why != nil:
		return why
	case mended == nil:
		return err
	}
	return decodeOne(mended, v)
}

func decodeOne(p []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("text after the end of the JSON value")
	}
	return nil
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
