package vectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Want is one report that has to come out.
type Want struct {
	Ignored bool              // the mapper drops the postback
	Invalid event.Reason      // the report cannot be read, for this reason
	Fields  map[string]string // name of a field, as in the reports of the API, to its value in our notation; "" is absent
	Extra   map[string]string // nil when nothing is said of it
}

// callerRaw may stand in a line, as it does in recorded reports, and is not
// compared: it is the sender's notation of the caller, not ours.
const callerRaw = "caller_raw"

// readReports reads the lines of a reports section.
func readReports(text string) ([]Want, error) {
	var all []Want
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		var line map[string]any
		err := d.Decode(&line)
		if err == io.EOF {
			break
		}
		var w Want
		if err == nil && line == nil {
			err = fmt.Errorf("want a JSON object")
		}
		if err == nil {
			w, err = wantOf(line)
		}
		if err != nil {
			return nil, fmt.Errorf("report %d: %w", len(all)+1, err)
		}
		if len(all) == event.ReportsMax {
			return nil, fmt.Errorf("more than %d reports: one request holds no more", event.ReportsMax)
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf(`none: write -- reports --, then one JSON object a line, or {"invalid":"reason"}, or {"ignored":true}`)
	}
	if len(all) > 1 && slices.ContainsFunc(all, func(w Want) bool { return w.Ignored }) {
		return nil, fmt.Errorf(`{"ignored":true} stands alone: a mapper drops the whole postback`)
	}
	return all, nil
}

// ParseWant reads one line of a reports section, for example a report as the
// verdict log keeps it.
func ParseWant(line []byte) (Want, error) {
	all, err := readReports(string(line))
	if err != nil {
		return Want{}, err
	}
	if len(all) > 1 {
		return Want{}, fmt.Errorf("%d reports where one is wanted", len(all))
	}
	return all[0], nil
}

// WantOf is what came out, as what has to come out from now on.
func WantOf(r *event.Report) Want {
	if r.Dropped {
		return Want{Ignored: true}
	}
	w := Want{Invalid: r.Invalid, Fields: map[string]string{}}
	list := fields
	if w.Invalid != "" {
		list = faultFields
	}
	for _, f := range list {
		if v := f.got(r); v != "" {
			w.Fields[f.name] = v
		}
	}
	if w.Invalid == "" && len(r.Extra) > 0 {
		w.Extra = extraOf(r)
	}
	return w
}

func wantOf(line map[string]any) (w Want, err error) {
	w.Fields = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(line)) {
		value := line[name]
		switch {
		case value == nil || name == callerRaw:
		case name == "ignored":
			if w.Ignored, _ = value.(bool); !w.Ignored {
				return w, fmt.Errorf("ignored: want true, or leave it out")
			}
		case name == "extra":
			err = w.extra(value)
		default:
			err = w.field(name, value)
		}
		if err != nil {
			return w, err
		}
	}
	if w.Ignored && len(w.Fields)+len(w.Extra)+len(w.Invalid) > 0 {
		return w, fmt.Errorf(`{"ignored":true} has nothing beside it`)
	}
	if w.Invalid == "" {
		for _, f := range faultFields {
			if _, has := w.Fields[f.name]; has {
				return w, fmt.Errorf("%s says more of an invalid report: it needs invalid beside it", f.name)
			}
		}
	}
	return w, nil
}

func (w *Want) field(name string, value any) error {
	text, err := textOf(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if name == "invalid" {
		w.Invalid = event.Reason(text)
		if text == "" {
			return fmt.Errorf("invalid: want a reason such as payout_unreadable")
		}
		return nil
	}
	for _, list := range [][]field{fields, faultFields} {
		i := slices.IndexFunc(list, func(f field) bool { return f.name == name })
		if i < 0 {
			continue
		}
		if text != "" && list[i].read != nil {
			if text, err = list[i].read(text); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		w.Fields[name] = text
		return nil
	}
	known := []string{"invalid", "ignored", "extra", callerRaw}
	for _, f := range slices.Concat(fields, faultFields) {
		known = append(known, f.name)
	}
	if near := source.Nearest(name, known); near != "" {
		return fmt.Errorf("field %q is not known: did you mean %q?", cut(name), near)
	}
	return fmt.Errorf("field %q is not known; what a mapper gives under names of its own stands in extra", cut(name))
}

func (w *Want) extra(value any) error {
	all, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("extra: want an object of texts")
	}
	w.Extra = map[string]string{}
	for name, v := range all {
		text, err := textOf(v)
		if err != nil {
			return fmt.Errorf("extra.%s: %w", cut(name), err)
		}
		w.Extra[name] = text
	}
	return nil
}

func textOf(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("want a text or a number")
}

// String is w as a line of a reports section, without the line break.
func (w *Want) String() string {
	if w.Ignored {
		return `{"ignored":true}`
	}
	dst := []byte{'{'}
	member := func(name, value string) {
		if len(dst) > 1 && dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = event.AppendJSONString(append(event.AppendJSONString(dst, name), ':'), value)
	}
	if w.Invalid != "" {
		member("invalid", string(w.Invalid))
	}
	for _, f := range slices.Concat(faultFields, fields) {
		if v, named := w.Fields[f.name]; named && (f.name != "kind" || v != event.Conversion.String()) {
			member(f.name, v)
		}
	}
	if w.Extra != nil {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, `"extra":{`...)
		for _, name := range slices.Sorted(maps.Keys(w.Extra)) {
			member(name, w.Extra[name])
		}
		dst = append(dst, '}')
	}
	return string(bytes.TrimSpace(append(dst, '}')))
}
