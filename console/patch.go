package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
)

// patch is the body of a PATCH of a source: a JSON merge patch (RFC 7396) of
// its spec. What is absent keeps, null goes back to the default, objects merge
// and everything else replaces.
type patch struct {
	spec        map[string]any
	dropSecrets bool // "secret": false, on a source that has one
}

// shown are the keys of a source that are not part of its spec. A client may
// send back what it was shown; it cannot change them this way.
var shown = []string{"id", "url", "secret", "secret_value", "secrets_until", "created_at", "updated_at",
	"paste_url", "paste_fill", "public_keys", "awaits_secret", "verified", "guesses", "signed_fields", "weak"}

// parsePatch reads a patch of the source that is shown as now.
func parsePatch(text []byte, now sourceView) (*patch, error) {
	var spec map[string]any
	if err := unmarshal(text, &spec); err != nil {
		return nil, badBody(err)
	}
	if spec == nil {
		return nil, badRequest("the body is null: send a JSON object with what shall change, for example {\"paused\":true}")
	}
	if err := lowerKeys(spec); err != nil {
		return nil, err
	}
	p := &patch{spec: spec}
	have := asMap(now)
	for _, key := range shown {
		want, given := spec[key]
		if !given {
			continue
		}
		delete(spec, key)
		switch {
		case reflect.DeepEqual(want, have[key]):
		case key == "secret" && want == false:
			p.dropSecrets = true
		case key == "secret" && want == true:
			return nil, badRequest("secret true: this source asks for none yet; POST …/rotate with {\"what\":\"secret\"} makes one and tells it")
		case key == "id":
			return nil, badRequest("id: the id of source %q stays; make a new source for another id", now.ID)
		default:
			return nil, badRequest("%s cannot be set: leave it out; it is %s", key, whose[key])
		}
	}
	// Unknown keys are told before anything is merged, so that the nearest
	// known one is looked for among the patch's own words.
	if err := source.DecodeJSON(mustMarshal(spec), new(source.Spec)); err != nil {
		return nil, badBody(err)
	}
	return p, nil
}

// whose says where the value of a shown key comes from.
var whose = map[string]string{
	"url":           "made from the source's token, which POST …/rotate renews",
	"secret":        "true or false",
	"secret_value":  "told once by the request that makes a secret",
	"secrets_until": "set by POST …/rotate",
	"created_at":    "set by the store",
	"updated_at":    "set by the store, and this source has changed since you read it",
	"paste_url":     "made from the source's URL and its preset",
	"paste_fill":    "what the preset leaves to be filled in",
	"public_keys":   "changed by POST and DELETE …/keys",
	"awaits_secret": "true until POST …/secrets or …/keys has set what signatures are checked with",
	"verified":      "what is known of the preset",
	"guesses":       "what is known of the preset",
	"signed_fields": "what the source's signature covers",
	"weak":          "what the source's signature leaves open",
}

// merge puts the patch into s; see store.Objects.ChangeSource.
func (p *patch) merge(s *source.Spec) error {
	whole := asMap(*s)
	if _, object := p.spec["reply"].(map[string]any); object {
		// A bare mode is short for an object that holds it.
		if mode, bare := whole["reply"].(string); bare {
			whole["reply"] = map[string]any{"mode": mode}
		}
	}
	mergeInto(whole, p.spec)
	var next source.Spec
	if err := source.DecodeJSON(mustMarshal(whole), &next); err != nil {
		return badBody(err)
	}
	*s = next
	return nil
}

func mergeInto(whole, patch map[string]any) {
	for key, value := range patch {
		change, isObject := value.(map[string]any)
		if value == nil {
			delete(whole, key)
			continue
		}
		if !isObject {
			whole[key] = value
			continue
		}
		part, ok := whole[key].(map[string]any)
		if !ok {
			part = map[string]any{}
			whole[key] = part
		}
		mergeInto(part, change)
	}
}

// lowerKeys makes all keys lower case, as all of a spec's are, so that a key
// is one key however it is written.
func lowerKeys(m map[string]any) error {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		value, low := m[key], strings.ToLower(key)
		if low != key {
			if _, twice := m[low]; twice {
				return badRequest("key %q stands there twice, written differently: give it once", clip(low))
			}
			delete(m, key)
			m[low] = value
		}
		if inner, ok := value.(map[string]any); ok {
			if err := lowerKeys(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// asMap gives v as its JSON reads.
func asMap(v any) map[string]any {
	var m map[string]any
	if err := unmarshal(mustMarshal(v), &m); err != nil {
		panic("bug: own JSON does not decode: " + err.Error())
	}
	return m
}

// unmarshal keeps numbers as they are written.
func unmarshal(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is text after the end of the JSON object")
	}
	return nil
}

func mustMarshal(v any) []byte {
	p, err := json.Marshal(v)
	if err != nil {
		panic("bug: own value does not encode: " + err.Error())
	}
	return p
}
