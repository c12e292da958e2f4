package source

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// object checks an object's members and mends them.
func (r *reader) object(object map[string]any, t reflect.Type, at spot) error {
	known := jsonFields(t)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		i := slices.IndexFunc(known, func(f jsonField) bool { return strings.EqualFold(f.name, name) })
		if i < 0 {
			return r.unknown(name, t, at)
		}
		inner, err := r.value(object[name], known[i].t, known[i].name, at.key(known[i].name))
		if err != nil {
			return err
		}
		object[name] = inner
	}
	return nil
}

// unknown says of a key that an object of type t has not what may have been
// meant: one of its own, one that belongs elsewhere, or one like those.
func (r *reader) unknown(name string, t reflect.Type, at spot) error {
	fault := fmt.Sprintf("unknown key %q", brief(name))
	if place := at.String(); place != "" {
		fault = place + ": " + fault
	}
	low := strings.ToLower(name)
	if path := pathTo(low, t, nil); path != nil {
		return fmt.Errorf("%s: %s", fault, belongs(path, t == deref(r.top)))
	}
	var near []string
	for _, f := range jsonFields(t) {
		near = append(near, f.name)
	}
	if meant := Nearest(name, near); meant != "" {
		return fmt.Errorf("%s: did you mean %q?", fault, meant)
	}
	if path := pathTo(low, r.top, nil); path != nil {
		return fmt.Errorf("%s: %s", fault, belongs(path, true))
	}
	if meant := Nearest(name, jsonKeys(r.top, nil, 0)); meant != "" {
		return fmt.Errorf("%s: did you mean %q?", fault, meant)
	}
	return errors.New(fault)
}

// belongs says where a key stands that was written elsewhere. Its path names
// lists with brackets: sources[], match.
func belongs(path []string, fromTop bool) string {
	if len(path) == 0 {
		return "it belongs to the top"
	}
	if list, ok := strings.CutSuffix(path[0], "[]"); ok && fromTop {
		at := ""
		if len(path) > 1 {
			at = ", in " + strings.Join(path[1:], ".")
		}
		return fmt.Sprintf("it belongs to a %s: put it under \"%s: - id: …\"%s", strings.TrimSuffix(list, "s"), list, at)
	}
	return fmt.Sprintf("it belongs to %s: put it below that", strings.Join(path, "."))
}

// keysDepthMax bounds looking for keys: a signature's type holds itself.
const keysDepthMax = 6

// pathTo finds a key in t, breadth before depth, and gives the keys above it;
// nil when t has it nowhere.
func pathTo(key string, t reflect.Type, above []string) []string {
	if t = deref(t); t.Kind() != reflect.Struct || len(above) > keysDepthMax {
		return nil
	}
	fields := jsonFields(t)
	if slices.ContainsFunc(fields, func(f jsonField) bool { return f.name == key }) {
		return append([]string{}, above...)
	}
	var best []string
	for _, f := range slices.Backward(fields) { // of two at one depth the last: sources go before buyers
		name, inner := f.name, deref(f.t)
		if inner.Kind() == reflect.Slice {
			name, inner = name+"[]", deref(inner.Elem())
		}
		if path := pathTo(key, inner, append(slices.Clone(above), name)); path != nil && (best == nil || len(path) < len(best)) {
			best = path
		}
	}
	return best
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// jsonField is a member that an object of a type may have.
type jsonField struct {
	name string
	t    reflect.Type
}

// jsonFields lists a struct's members, those of embedded ones among them.
func jsonFields(t reflect.Type) (list []jsonField) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name != "":
			list = append(list, jsonField{name, f.Type})
		case f.Anonymous && deref(f.Type).Kind() == reflect.Struct:
			list = append(list, jsonFields(deref(f.Type))...)
		case f.IsExported():
			list = append(list, jsonField{f.Name, f.Type})
		}
	}
	return list
}

// jsonKeys lists the keys that a value of type t may have at any depth.
func jsonKeys(t reflect.Type, keys []string, depth int) []string {
	switch {
	case depth > keysDepthMax:
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return jsonKeys(t.Elem(), keys, depth+1)
	case t.Kind() == reflect.Struct:
		for _, f := range jsonFields(t) {
			keys = jsonKeys(f.t, append(keys, f.name), depth+1)
		}
	}
	return keys
}
