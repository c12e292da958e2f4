package source

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// reader walks a decoded text beside the type that it was meant for. It turns
// money that was written as a number into text, by the number's own digits, and
// says of the first other thing that does not fit where it stands, in words.
//
//	sources: [{id: acme, match: {window: 3}}]
//	└ source "acme": match.window is the number 3: want a duration such as 3s or 10m
type reader struct {
	yaml   []byte // the file's text; nil for JSON
	top    reflect.Type
	exacts map[string]bool // by key
	mended bool
}

// spot is where a value stands: the object that it belongs to, for people, and
// the keys below that.
type spot struct{ object, path string }

func (s spot) key(name string) spot {
	if s.path != "" {
		name = s.path + "." + name
	}
	return spot{s.object, name}
}

func (s spot) String() string {
	switch {
	case s.object == "":
		return s.path
	case s.path == "":
		return s.object
	}
	return s.object + ": " + s.path
}

// errPlain says that the decoder's own error does.
var errPlain = errors.New("the decoder's error says it")

var (
	amountType   = reflect.TypeFor[event.Amount]()
	durationType = reflect.TypeFor[Duration]()
	spanType     = reflect.TypeFor[event.TextSpan]()
	replyType    = reflect.TypeFor[ReplySpec]()
	textReader   = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonReader   = reflect.TypeFor[json.Unmarshaler]()
	moneyTexts   = []string{"amount_max", "daily_max", "rate"} // keys of texts that hold an amount
)

// explain gives p with its money mended, nil when there was none to mend, or
// what is wrong with p; nil and nil leave that to the decoder.
func (r *reader) explain(p []byte, t reflect.Type) (mended []byte, why error) {
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil || d.More() {
		return nil, nil
	}
	r.top = t
	tree, why = r.value(tree, t, "", spot{})
	if errors.Is(why, errPlain) || why == nil && !r.mended {
		return nil, nil
	}
	if why != nil {
		return nil, why
	}
	mended, err := json.Marshal(tree)
	if err != nil {
		return nil, nil
	}
	return mended, nil
}

// value checks what stands under key at a place against t and gives it mended.
func (r *reader) value(v any, t reflect.Type, key string, at spot) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	number, isNumber := v.(json.Number)
	switch {
	case v == nil:
		return v, nil
	case isNumber && (t == amountType || t.Kind() == reflect.String && slices.Contains(moneyTexts, strings.ToLower(key))):
		if !r.exact(key) {
			return nil, fmt.Errorf("%s is the number %s: write an amount as a plain decimal, or in quotes: \"25.00\"", at, number)
		}
		r.mended = true
		return r.value(number.String(), t, key, at)
	case isNumber && (t == durationType || t == spanType):
		return nil, fmt.Errorf("%s is the number %s: want a duration such as 3s or 10m", at, number)
	case t == replyType:
		if _, object := v.(map[string]any); !object {
			return v, nil
		}
	case reflect.PointerTo(t).Implements(textReader):
		return v, r.text(v, t, at)
	case reflect.PointerTo(t).Implements(jsonReader):
		return v, nil
	}
	return r.plain(v, t, key, at)
}

// text tries a value on a type that reads its own text.
func (r *reader) text(v any, t reflect.Type, at spot) error {
	s, ok := v.(string)
	if !ok {
		return r.unfit(v, "text", at)
	}
	err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
	switch {
	case err == nil:
		return nil
	case t == amountType:
		return fmt.Errorf("%s %q: %w", at, s, err)
	}
	return fmt.Errorf("%s: %w", at, err)
}

func (r *reader) plain(v any, t reflect.Type, key string, at spot) (any, error) {
	switch t.Kind() {
	case reflect.Struct:
		object, ok := v.(map[string]any)
		if !ok {
			return nil, r.unfit(v, "keys below it", at)
		}
		return v, r.object(object, t, at)
	case reflect.Map:
		object, ok := v.(map[string]any)
		if !ok {
			return nil, r.unfit(v, "keys below it", at)
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			inner, err := r.value(object[name], t.Elem(), name, at.key(name))
			if err != nil {
				return nil, err
			}
			object[name] = inner
		}
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return nil, r.unfit(v, "a list", at)
		}
		for i := range list {
			inner, err := r.value(list[i], t.Elem(), key, member(key, list[i], i, at))
			if err != nil {
				return nil, err
			}
			list[i] = inner
		}
	case reflect.String:
		if _, ok := v.(string); !ok {
			return nil, r.unfit(v, "text", at)
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return nil, r.unfit(v, "true or false", at)
		}
	case reflect.Int, reflect.Int64:
		if n, ok := v.(json.Number); !ok || strings.ContainsAny(n.String(), ".eE") {
			return nil, r.unfit(v, "a whole number", at)
		}
	}
	return v, nil
}

// member is the place of a list's entry: an object of its own by its id.
func member(key string, v any, i int, at spot) spot {
	if object, ok := v.(map[string]any); ok && at.object == "" {
		for _, name := range [...]string{"id", "name"} {
			if id, ok := object[name].(string); ok {
				return spot{object: fmt.Sprintf("%s %q", strings.TrimSuffix(key, "s"), brief(id))}
			}
		}
	}
	return spot{at.object, fmt.Sprintf("%s[%d]", at.path, i)}
}

// unfit says that a value is of the wrong kind. Of JSON the decoder says it, and
// of what stands outside any object too.
func (r *reader) unfit(v any, want string, at spot) error {
	if r.yaml == nil || at.object == "" {
		return errPlain
	}
	is, quoted := "", ""
	switch v := v.(type) {
	case json.Number:
		is, quoted = "the number "+v.String(), v.String()
	case bool:
		is, quoted = fmt.Sprint(v), fmt.Sprint(v)
	case string:
		is = fmt.Sprintf("the text %q", brief(v))
	case []any:
		is = "a list"
	default:
		is = "a section"
	}
	if want == "text" && quoted != "" {
		return fmt.Errorf("%s is %s: want text, write it in quotes: %q", at, is, quoted)
	}
	return fmt.Errorf("%s is %s: want %s", at, is, want)
}

// brief bounds what a message repeats.
func brief(s string) string {
	const bytesMax = 64
	if len(s) > bytesMax {
		return strings.ToValidUTF8(s[:bytesMax], "") + "…"
	}
	return s
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// exact tells whether numbers under key have come through as written. JSON's
// have. YAML's parser reads 0100 as 64 and makes floats of decimals, which keep
// fifteen digits; so each that the file has under key must be plainly one of those.
func (r *reader) exact(key string) bool {
	if r.yaml == nil {
		return true
	}
	is, asked := r.exacts[key]
	if !asked {
		is = plainly(r.yaml, key)
		if r.exacts == nil {
			r.exacts = map[string]bool{}
		}
		r.exacts[key] = is
	}
	return is
}

func plainly(file []byte, key string) bool {
	const digitsMax = 15
	written := regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(key)+`["']?\s*:\s*([-+.&*!0-9][^\s,}\]#]*)`).FindAllSubmatch(file, -1)
	for _, m := range written {
		if !decimal.Match(m[1]) || len(bytes.Trim(m[1], "-"))-bytes.Count(m[1], []byte(".")) > digitsMax {
			return false
		}
	}
	return len(written) > 0
}
