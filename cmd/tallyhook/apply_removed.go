package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// printRemoved says of each source how many of its settings go because the
// file does not name them: a file is the whole of a source, and one that was
// meant as a part of it strips the rest.
func printRemoved(w io.Writer, done *applied, file []byte) error {
	var named struct {
		Sources []map[string]any `json:"sources"`
	}
	if err := yaml.Unmarshal(file, &named); err != nil {
		return fmt.Errorf("read the file again: %w", err)
	}
	at := 0 // changes stand in the order of the file
	for _, ch := range done.Changes {
		if ch.Kind != "source" {
			continue
		}
		if at == len(named.Sources) {
			return nil
		}
		spec := named.Sources[at]
		at++
		n := removed(&ch, spec)
		if n == 0 {
			continue
		}
		show := "\"tallyhook source show " + quoteArg(ch.ID) + " --yaml\""
		of := plural(int64(n), "setting") + " of source " + printable(ch.ID)
		switch {
		case done.DryRun && n == 1:
			fmt.Fprintf(w, "%s is removed because the file does not name it; %s prints what is there\n", of, show)
		case done.DryRun:
			fmt.Fprintf(w, "%s are removed because the file does not name them; %s prints what is there\n", of, show)
		case n == 1:
			fmt.Fprintf(w, "%s was removed because the file does not name it: what it was stands above; %s prints what is there now\n", of, show)
		default:
			fmt.Fprintf(w, "%s were removed because the file does not name them: what they were stands above; %s prints what is there now\n", of, show)
		}
	}
	return nil
}

// removed counts the settings of an updated source that somebody had written
// and that the file leaves out: not those that the preset before had filled in.
func removed(ch *store.Change, spec map[string]any) (n int) {
	if ch.Action != store.Update {
		return 0
	}
	before := source.Spec{ID: ch.ID, Preset: textOf(spec, "preset"), Mapper: textOf(spec, "mapper")}
	for _, d := range ch.Diff {
		switch d.Field {
		case "preset":
			before.Preset = d.Old
		case "mapper":
			before.Mapper = d.Old
		}
	}
	unsaid := defaultsOf(before)
	if before.Preset != "generic" {
		delete(unsaid, "preset") // it was written, or it would be generic
	}
	delete(unsaid, "mapper")
	for _, d := range ch.Diff {
		if d.Old != "" && d.Old != "false" && d.Old != unsaid[d.Field] && !names(spec, d.Field) {
			n++
		}
	}
	return n
}

// names tells whether a source of the file says anything about a field.
func names(spec map[string]any, field string) bool {
	name, rest, deeper := strings.Cut(field, ".")
	for key, v := range spec {
		if !strings.EqualFold(key, name) {
			continue
		}
		part, object := v.(map[string]any)
		return !object || !deeper || names(part, rest)
	}
	return false
}

// textOf gives a text of a decoded object, "" when there is none.
func textOf(object map[string]any, key string) string {
	s, _ := object[key].(string)
	return s
}

// defaultsOf lists the fields of a source that says no more than spec, in the
// words of the API's diffs; none when that is no source.
func defaultsOf(spec source.Spec) map[string]string {
	fields := map[string]string{}
	src, err := source.Compile(spec)
	if err != nil {
		return fields
	}
	text, err := json.Marshal(src.Spec)
	if err != nil {
		return fields
	}
	var into func(name string, text json.RawMessage)
	into = func(name string, text json.RawMessage) {
		var object map[string]json.RawMessage
		var s string
		switch {
		case json.Unmarshal(text, &object) == nil:
			for key, v := range object {
				into(strings.TrimPrefix(name+"."+key, "."), v)
			}
		case json.Unmarshal(text, &s) == nil:
			fields[name] = s
		default:
			fields[name] = string(text)
		}
	}
	into("", text)
	return fields
}
