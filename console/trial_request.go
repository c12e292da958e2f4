package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// Limits of what a trial is given.
const (
	trialSetMax        = 100
	trialValueBytesMax = 1024
	trialNameBytesMax  = 128
)

// trial is one request as a source's sender would make it.
type trial struct {
	src   *source.Source
	token string
	base  string
	now   time.Time

	method  string
	path    string // behind the source's URL
	params  []trialParam
	headers []event.Pair
	inBody  string       // "form" or "json", "" for the query
	tail    []trialParam // of the query of a request with a body: the signature
	keyed   bool         // its call key counts as one of ours
	remarks []string     // on what is sent though the source reads nothing from it
	signed  bool
	proof   string // the signature, which would be as good at the URL without /test
}

// trialParam is one parameter: its name at the sender, the macro that fills it,
// and its value once it has one.
type trialParam struct {
	name, macro, value string
	set                bool
	inPath             bool
}

// build fills the sender's template with what was set, and with plausible
// values where something is needed and nothing was set.
func (t *trial) build(set map[string]string, method string) error {
	if len(set) > trialSetMax {
		return badRequest("set: %d values: at most %d", len(set), trialSetMax)
	}
	preset, err := source.PresetOf(t.src.Spec.Preset)
	if err != nil {
		return err
	}
	t.template(preset)
	if err := t.choose(method); err != nil {
		return err
	}
	left, spelled := map[string]string{}, map[string]string{}
	for _, name := range sortedNames(set) {
		value := set[name]
		if len(value) > trialValueBytesMax {
			return badRequest("set %q: a value of %d bytes: at most %d", clip(name), len(value), trialValueBytesMax)
		}
		left[strings.ToLower(name)], spelled[strings.ToLower(name)] = value, name
	}
	t.take(left)
	if err := t.takeUnread(left, spelled, preset); err != nil {
		return err
	}
	t.nests()
	t.keyed = t.src.Spec.SetValue && !slices.ContainsFunc(t.params, func(p trialParam) bool { return p.set && p.slot(t.src) == source.SlotKey })
	t.samples()
	t.sampleHeaders()
	t.intoPath()
	t.params = slices.DeleteFunc(t.params, func(p trialParam) bool { return !p.set || p.inPath })
	return nil
}

// choose settles method and place of the parameters: as the signature wants it,
// else as the source takes it.
func (t *trial) choose(method string) error {
	s, allowed := t.src.Spec.Signature, t.src.Spec.Methods
	if s != nil {
		switch {
		case s.Input == "body" || strings.Contains(s.Input, "{@body}") || strings.Contains(s.Input, "{json:") || strings.HasPrefix(s.Signature.In, "json:") || s.Sorted != nil && s.Sorted.From == "json":
			t.inBody = "json"
		case strings.Contains(s.Input, "{form:") || strings.HasPrefix(s.Signature.In, "form:") || s.Sorted != nil && s.Sorted.From == "form":
			t.inBody = "form"
		}
	}
	switch t.method = strings.ToUpper(method); {
	case t.method != "":
	case t.inBody != "" && (len(allowed) == 0 || slices.Contains(allowed, http.MethodPost)):
		t.method = http.MethodPost
	case len(allowed) > 0:
		t.method = allowed[0]
	default:
		t.method = http.MethodGet
	}
	known := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodHead}
	if len(allowed) > 0 {
		known = allowed
	}
	if !slices.Contains(known, t.method) {
		return badRequest("method %q: this source takes %s", clip(method), strings.Join(known, ", "))
	}
	bare := t.method == http.MethodGet || t.method == http.MethodHead
	switch {
	case bare && t.inBody != "":
		return badRequest("method %s: the sender signs what stands in the body: try POST", t.method)
	case !bare && t.inBody == "" && !t.signsQuery():
		t.inBody = "form"
	}
	return nil
}

// nests has a body that may be either be JSON where a name is a path.
func (t *trial) nests() {
	s := t.src.Spec.Signature
	signed := s != nil && (strings.Contains(s.Input, "{form:") || strings.HasPrefix(s.Signature.In, "form:") || s.Sorted != nil && s.Sorted.From != "json")
	if t.inBody == "form" && !signed && slices.ContainsFunc(t.params, func(p trialParam) bool { return p.set && strings.Contains(p.name, ".") }) {
		t.inBody = "json"
	}
}

// signsQuery reports whether parameters have to stand in the query to be signed.
func (t *trial) signsQuery() bool {
	s := t.src.Spec.Signature
	return s != nil && (strings.HasPrefix(s.Signature.In, "query:") || s.Input == "url" || s.Input == "query" ||
		strings.Contains(s.Input, "{@url}") || strings.Contains(s.Input, "{@query}") || s.Sorted != nil && (s.Sorted.From == "" || s.Sorted.From == "query"))
}

func (t *trial) isSignature(name string) bool {
	s := t.src.Spec.Signature
	if s == nil {
		return false
	}
	_, in, ok := strings.Cut(s.Signature.In, ":")
	if !ok {
		in = s.Signature.In
	}
	return strings.EqualFold(in, name)
}

// target is the request target as in the request line.
func (t *trial) target() string {
	path := "/v1/postbacks/" + t.token + t.path
	if query := t.query(); query != "" {
		return path + "?" + query
	}
	return path
}

func (t *trial) query() string {
	if t.inBody != "" {
		return encoded(t.tail)
	}
	return encoded(t.params)
}

// encoded writes parameters in their order.
func encoded(params []trialParam) string {
	var b strings.Builder
	for _, p := range params {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}

func (t *trial) body() (contentType string, body []byte) {
	switch t.inBody {
	case "form":
		return "application/x-www-form-urlencoded", []byte(encoded(t.params))
	case "json":
		whole := map[string]any{}
		for _, p := range t.params {
			nest(whole, strings.Split(p.name, "."), p.value)
		}
		text, err := json.Marshal(whole)
		if err != nil {
			panic("bug: a trial's body does not encode: " + err.Error())
		}
		return "application/json", text
	}
	return "", nil
}

// nest puts a value under a dotted name. Where a part of it is taken by a
// value, the rest of the name stays dotted beside it.
func nest(into map[string]any, path []string, value string) {
	if len(path) > 1 {
		inner, ok := into[path[0]].(map[string]any)
		if !ok && into[path[0]] == nil {
			inner, ok = map[string]any{}, true
			into[path[0]] = inner
		}
		if ok {
			nest(inner, path[1:], value)
			return
		}
	}
	into[strings.Join(path, ".")] = value
}

// request is what the verifier sees.
func (t *trial) request() *signature.Request {
	contentType, body := t.body()
	return &signature.Request{Method: t.method, URL: t.target(), PublicBase: strings.TrimRight(t.base, "/"), ContentType: contentType, Body: body,
		Header: func(name string) (string, bool) {
			for _, h := range t.headers {
				if strings.EqualFold(h.Name, name) {
					return h.Value, true
				}
			}
			return "", false
		}}
}

// record is the request as the journal takes it: a test, from nowhere. What
// carries a secret as a whole is left out, as the intake leaves it out.
func (t *trial) record() *event.Record {
	contentType, body := t.body()
	rec := &event.Record{Kind: event.RecordPostback, Flags: event.FlagTest, Source: t.src.Spec.ID, Method: t.method, Query: t.query(),
		ContentType: contentType, Body: body}
	for _, h := range t.headers {
		if !strings.EqualFold(h.Name, "Authorization") && !event.SecretHeader(h.Name) || h.Name == event.HeaderCallID {
			rec.Headers = append(rec.Headers, h)
		}
	}
	if t.keyed {
		rec.Flags |= event.FlagKeyed
	}
	return rec
}

// shown writes the request for people, without what is secret in it.
func (t *trial) shown() string {
	var b strings.Builder
	line := t.path + "/test"
	if q := t.query(); q != "" {
		line += "?" + string(event.RedactQuery(nil, q))
	}
	fmt.Fprintf(&b, "%s %s/v1/postbacks/%s%s\n", t.method, strings.TrimRight(t.base, "/"), event.Redacted, line)
	contentType, body := t.body()
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\n", contentType)
	}
	for _, h := range t.headers {
		if h.Name == event.HeaderCallID {
			continue
		}
		value := h.Value
		if strings.EqualFold(h.Name, "Authorization") || event.SecretHeader(h.Name) {
			value = event.Redacted
		}
		fmt.Fprintf(&b, "%s: %s\n", h.Name, value)
	}
	if len(body) > 0 {
		text := string(body)
		b.WriteString("\n" + string(event.RedactorOf(contentType, text)(nil, text)) + "\n")
	}
	return t.hide(b.String())
}

// hide takes the source's secrets, its token and the signature out of a text.
func (t *trial) hide(text string) string {
	own := t.secrets()
	for _, s := range []string{t.token, string(own.Current), string(own.Previous), t.proof} {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if form != "" {
				text = strings.ReplaceAll(text, form, event.Redacted)
			}
		}
	}
	return text
}
