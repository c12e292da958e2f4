package console

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// checkParams parses the query and refuses parameters that the route does not
// know, doubled ones and such that do not decode: a misspelt filter must not
// answer with everything.
func checkParams(r *http.Request, known []string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query string does not decode: encode its values as in a form")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, unknownParam(name, known)
		}
		if len(values) > 1 {
			return nil, badRequest("parameter %q is given %d times: give it once", name, len(values))
		}
	}
	return q, nil
}

func unknownParam(name string, known []string) error {
	name = clip(name)
	if len(known) == 0 {
		return badRequest("parameter %q is not known: this takes none", name)
	}
	if near := source.Nearest(name, known); near != "" {
		return badRequest("parameter %q is not known: did you mean %q?", name, near)
	}
	return badRequest("parameter %q is not known: have %s", name, strings.Join(known, ", "))
}

// clip bounds what an error repeats of outside text.
func clip(s string) string {
	const bytesMax = 64
	if len(s) > bytesMax {
		return strings.ToValidUTF8(s[:bytesMax], "") + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// number reads an optional whole number between least and most.
func number(q url.Values, name string, def, least, most int64) (int64, error) {
	text := q.Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequest("%s %q: want a whole number from %d to %d", name, clip(text), least, most)
	}
	return n, nil
}

// page reads limit and after.
func page(q url.Values) (after string, limit int, err error) {
	n, err := number(q, "limit", ListRowsDefault, 1, ListRowsMax)
	return q.Get("after"), int(n), err
}

// truth reads an optional yes or no; absent is no.
func truth(q url.Values, name string) (bool, error) {
	switch text := q.Get(name); text {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	default:
		return false, badRequest("%s %q: want true or false", name, clip(text))
	}
}

// moment reads an optional time: RFC 3339, or a duration such as 24h for that
// long ago. Absent is the zero time.
func moment(q url.Values, name string, now time.Time) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, badRequest("%s %q: want a time such as 2026-11-20T08:00:00Z, or 24h for that long ago (write + as %%2B in an offset)", name, clip(text))
}

// body reads the whole body, up to BodyBytesMax, of one of the given content
// types; none at all counts as the first, and so does a form's, which is what
// curl -d says of any body (a form could be sent across sites, but not with a
// key in a header). It returns the type that came.
func body(w http.ResponseWriter, r *http.Request, types ...string) ([]byte, string, error) {
	kind := types[0]
	if header := r.Header.Get("Content-Type"); header != "" {
		media, _, err := mime.ParseMediaType(header)
		if err == nil && media == "application/x-www-form-urlencoded" {
			media = types[0]
		}
		if err != nil || !slices.Contains(types, media) {
			return nil, "", refuse(http.StatusUnsupportedMediaType, "content_type_unsupported",
				"content type %q: send %s", clip(header), strings.Join(types, " or "))
		}
		kind = media
	}
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, "", refuse(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than %d bytes: split it", BodyBytesMax)
	case err != nil:
		return nil, "", &failure{status: http.StatusBadRequest, code: "bad_request", message: "the body ended early: send it again", cause: err}
	}
	return p, kind, nil
}

// decodeJSON reads a JSON body into v, refusing unknown keys.
func decodeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	p, _, err := body(w, r, "application/json")
	if err != nil {
		return err
	}
	return decode(p, v)
}

func decode(p []byte, v any) error {
	if err := source.DecodeJSON(p, v); err != nil {
		return badBody(err)
	}
	return nil
}

// badBody says to a person why a body cannot be read.
func badBody(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return badRequest("the body is empty: send an object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body is cut short: it is not a whole JSON value")
	case errors.As(err, &kind) && kind.Field == "":
		return badRequest("the body is a JSON %s: want %s", kind.Value, wanted(kind.Type.Kind()))
	case errors.As(err, &kind):
		return badRequest("%s is a JSON %s: want %s", kind.Field, kind.Value, wanted(kind.Type.Kind()))
	case errors.As(err, &syntax):
		return badRequest("the body is not valid JSON at byte %d: %s", syntax.Offset, syntax)
	}
	return badRequest("the body cannot be read: %s", err)
}

func wanted(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	}
	return "a whole number"
}
