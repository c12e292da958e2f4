package store

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/tallyhook/tallyhook/source"
)

// FieldDiff is one changed field of an object: its dotted name and its text
// before and after, "" when it was or is absent.
type FieldDiff struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// diffFields lists by name what differs between two sets of fields.
func diffFields(old, new map[string]string) []FieldDiff {
	all := maps.Clone(old)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, new)
	var diff []FieldDiff
	for _, f := range slices.Sorted(maps.Keys(all)) {
		if old[f] != new[f] {
			diff = append(diff, FieldDiff{Field: f, Old: old[f], New: new[f]})
		}
	}
	return diff
}

// specFields flattens a spec to dotted names, as the wire has them. Lists are
// one field, written as JSON.
func specFields(spec source.Spec) (map[string]string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	return fields, flatten("", text, fields)
}

func flatten(name string, text json.RawMessage, into map[string]string) error {
	switch text[0] {
	case '{':
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		if name != "" {
			name += "."
		}
		for key, value := range object {
			if err := flatten(name+key, value, into); err != nil {
				return err
			}
		}
		return nil
	case '"':
		var s string
		err := json.Unmarshal(text, &s)
		into[name] = s
		return err
	default:
		into[name] = string(text)
		return nil
	}
}
