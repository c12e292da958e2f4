package console

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
	"github.com/tallyhook/tallyhook/store"
)

// verifyRequest says step by step whether a source would take a captured
// request for its sender's. Nothing is kept of it.
func (c *Console) verifyRequest(w http.ResponseWriter, r *request) error {
	at, err := moment(r.query, "at", c.cfg.Now())
	if err != nil {
		return err
	}
	if at.IsZero() {
		at = c.cfg.Now()
	}
	text, _, err := body(w, r.Request, "text/plain")
	if err != nil {
		return err
	}
	got, err := parseCapture(text)
	if err != nil {
		return err
	}
	info, err := c.cfg.Objects.GetSource(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	src, err := c.cfg.Objects.CompiledSource(r.Context(), info.ID)
	if err != nil {
		return err
	}
	got.aim(string(info.Token))
	steps := c.explain(src, &info, got, at)
	writeJSON(w, http.StatusOK, struct {
		OK    bool             `json:"ok"`
		Steps []signature.Step `json:"steps"`
	}{steps[len(steps)-1].OK, steps})
	return nil
}

// explain ends with the step that says whether the request is taken.
func (c *Console) explain(src *source.Source, info *store.SourceInfo, got *capture, at time.Time) []signature.Step {
	if allowed := src.Spec.Methods; len(allowed) > 0 && !slices.Contains(allowed, got.method) {
		return []signature.Step{{Name: "method", Text: fmt.Sprintf("%s is not taken: the source takes %s", clip(got.method), strings.Join(allowed, ", "))},
			{Name: "result", Text: "it is refused before its signature is looked at"}}
	}
	switch {
	case src.Verifier == nil:
		return []signature.Step{shownSecret(src, got)}
	case src.Spec.SignatureOptional && !info.Secret && len(info.PublicKeys) == 0:
		return []signature.Step{{Name: "result", OK: true, Text: "no secret is set, and the source takes unsigned requests until one is"}}
	}
	secrets := *src.Signing
	secrets.Mask = []string{string(info.Token)}
	return got.explain(src.Verifier, &secrets, c.cfg.SignedBase, at)
}

// shownSecret judges a request to a source without a signature.
func shownSecret(src *source.Source, got *capture) signature.Step {
	secret, ok := got.header("x-webhook-secret")
	switch {
	case len(src.Secrets) == 0:
		return signature.Step{Name: "result", OK: true, Text: "the source has neither signature nor secret: whoever knows its URL may send"}
	case !ok:
		return signature.Step{Name: "result", Text: "the source asks for its secret in the header X-Webhook-Secret, and there is none"}
	case !slices.Contains(src.Secrets, source.HashToken([]byte(secret))):
		return signature.Step{Name: "result", Text: "the secret in the header X-Webhook-Secret is no live one of the source"}
	}
	return signature.Step{Name: "result", OK: true, Text: "the secret in the header X-Webhook-Secret is good"}
}

// capture is a request as somebody copied it from a log or a terminal:
//
//	POST /v1/postbacks/TOKEN?a=1 HTTP/1.1     or just ?a=1
//	Host: in.example.com
//	X-Signature: …
//
//	body
type capture struct {
	method, target string
	scheme, host   string
	headers        [][2]string // names in lower case
	body           []byte
	lineEnd        bool // the body's last line end may be that of the file
}

const captureHeadersMax = 200

// parseCapture reads a captured request. Line ends may be of either kind.
// Errors do not repeat what stands in a header.
func parseCapture(text []byte) (*capture, error) {
	line, rest := cutLine(bytes.TrimLeft(text, "\r\n"))
	words := strings.Fields(line)
	got := &capture{method: http.MethodGet}
	switch {
	case len(words) == 1 && strings.ContainsAny(words[0][:1], "/?h"):
		got.target = words[0]
	case len(words) == 2 || len(words) == 3 && strings.HasPrefix(words[2], "HTTP/"):
		got.method, got.target = strings.ToUpper(words[0]), words[1]
	default:
		return nil, badRequest("the first line has %d words: want METHOD TARGET, such as GET /v1/postbacks/…?payout=1, or just ?payout=1", len(words))
	}
	var err error
	if got.body, err = got.readHeaders(rest); err != nil {
		return nil, err
	}
	return got, got.readBody()
}

// cutLine takes the first line off text.
func cutLine(text []byte) (line string, rest []byte) {
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimSuffix(head, []byte("\r"))), rest
}

func (g *capture) readHeaders(text []byte) (body []byte, err error) {
	for n := 1; len(text) > 0; n++ {
		var line string
		if line, text = cutLine(text); line == "" {
			return text, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, badRequest("header %d has no NAME: in front: an empty line parts headers and body", n)
		}
		if n > captureHeadersMax {
			return nil, badRequest("more than %d headers: is this one request?", captureHeadersMax)
		}
		g.headers = append(g.headers, [2]string{strings.ToLower(name), strings.TrimSpace(value)})
	}
	return nil, nil
}

// readBody bounds the body by what its headers say of it.
func (g *capture) readBody() error {
	if _, chunked := g.header("transfer-encoding"); chunked {
		return badRequest("Transfer-Encoding: a body in chunks is signed as a whole: put its bytes together and leave the header out")
	}
	text, ok := g.header("content-length")
	if !ok {
		g.lineEnd = bytes.HasSuffix(g.body, []byte("\n"))
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > len(g.body) {
		return badRequest("Content-Length %q: the body has %d bytes: was it captured whole?", clip(text), len(g.body))
	}
	g.body = g.body[:n]
	return nil
}

// header gives a header's value as signature.Request wants it.
func (g *capture) header(name string) (value string, ok bool) {
	var all []string
	for _, h := range g.headers {
		if strings.EqualFold(h[0], name) {
			all = append(all, h[1])
		}
	}
	return strings.Join(all, ", "), all != nil
}

// aim makes the target that of a source's own URL where it names none, or one
// whose token was masked.
func (g *capture) aim(token string) {
	g.host, _ = g.header("host")
	g.scheme, _ = g.header("x-forwarded-proto")
	for _, scheme := range [...]string{"https", "http"} {
		if after, ok := strings.CutPrefix(g.target, scheme+"://"); ok {
			host, path, _ := strings.Cut(after, "/")
			g.scheme, g.host, g.target = scheme, host, "/"+path
		}
	}
	if strings.HasPrefix(g.target, "?") {
		g.target = postbackPath + token + g.target
	}
	if after, ok := strings.CutPrefix(g.target, postbackPath+"***"); ok {
		g.target = postbackPath + token + after
	}
}

// explain tries what a copied text leaves open: which scheme the sender called,
// and whether a line end is the body's or the file's. What passes is told, else
// the first explanation.
func (g *capture) explain(v *signature.Verifier, secrets *signature.Secrets, base string, at time.Time) []signature.Step {
	type way struct {
		scheme string
		body   []byte
		note   string
	}
	ways := []way{{g.scheme, g.body, ""}}
	if g.scheme == "" && base == "" && slices.ContainsFunc(v.SignedFields(), func(f string) bool { return f == "url" }) {
		ways = append(ways, way{"http", g.body, "the URL is taken to begin with http://"})
	}
	if g.lineEnd {
		cut := bytes.TrimSuffix(bytes.TrimSuffix(g.body, []byte("\n")), []byte("\r"))
		for _, w := range slices.Clone(ways) {
			ways = append(ways, way{w.scheme, cut, strings.TrimPrefix(w.note+"; the last line end is taken to be the file's, not the body's", "; ")})
		}
	}
	var first []signature.Step
	for _, w := range ways {
		kind, _ := g.header("content-type")
		r := &signature.Request{Method: g.method, URL: g.target, Scheme: w.scheme, Host: g.host, PublicBase: base, ContentType: kind, Header: g.header, Body: w.body}
		steps := v.Explain(r, secrets, at)
		if w.note != "" {
			steps = slices.Insert(steps, 0, signature.Step{Name: "request", OK: true, Text: w.note})
		}
		if steps[len(steps)-1].OK {
			return steps
		}
		if first == nil {
			first = steps
		}
	}
	return first
}
