package source_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

var writeAnew = flag.Bool("rewrite", false, "write what becomes of the requests into testdata/senders")

// A file testdata/senders/NAME.txtar shows the preset NAME at work, section by
// section, each headed by a line "-- WORD --". What stands before the first is
// a comment.
//
//	source         YAML of a source.Spec, over the preset, for what follows
//	secret         of the sender
//	key ID         a public key of the sender
//	base           what stands before the path in the URL that the sender calls
//	now            Unix seconds, of schemes with a timestamp
//	request NAME   METHOD TARGET, headers, a blank line, the body
//	becomes        of the request before: signature, identities as numbers that
//	               are equal where the ledger sees one event, and the report
type example struct {
	t       *testing.T
	src     *source.Source
	spec    source.Spec
	secrets signature.Secrets
	base    string
	now     time.Time
	ids     map[event.Digest]int
}

func TestExamplesOfSenders(t *testing.T) {
	files, err := filepath.Glob("testdata/senders/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			p, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			x := &example{t: t, spec: source.Spec{ID: "s", Preset: name}, ids: map[event.Digest]int{}}
			x.secrets.Keys = map[string]signature.PublicKey{}
			if got := x.run(string(p)); *writeAnew {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(p) {
				t.Errorf("%s says otherwise; this is what becomes of its requests:\n%s", file, got)
			}
		})
	}
}

var sectionHead = regexp.MustCompile(`(?m)^-- (\w+)(?: (.+))? --\n`)

// run gives text with its sections "becomes" as they come out.
func (x *example) run(text string) string {
	heads := sectionHead.FindAllStringSubmatchIndex(text, -1)
	if len(heads) == 0 {
		x.t.Fatal("no sections")
	}
	out := text[:heads[0][0]]
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		word, name, body := text[h[2]:h[3]], "", text[h[1]:end]
		if h[4] >= 0 {
			name = text[h[4]:h[5]]
		}
		if word == "becomes" {
			continue
		}
		out += text[h[0]:end]
		if word == "request" {
			out += "-- becomes --\n" + x.becomes(name, body)
		} else {
			x.set(word, name, strings.TrimSpace(body))
		}
	}
	return out
}

func (x *example) set(word, name, body string) {
	x.t.Helper()
	var err error
	switch word {
	case "source":
		x.spec, x.src = source.Spec{ID: "s", Preset: x.spec.Preset}, nil
		err = source.DecodeYAML([]byte(body), &x.spec)
	case "secret":
		x.secrets.Current = []byte(body)
	case "key":
		x.secrets.Keys[name], err = signature.ParsePublicKey(body)
	case "base":
		x.base = body
	case "now":
		var seconds int64
		seconds, err = strconv.ParseInt(body, 10, 64)
		x.now = time.Unix(seconds, 0)
	default:
		err = fmt.Errorf("section %q is not known", word)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// sent is a request as an example writes it.
type sent struct {
	method, target string
	header         http.Header
	body           string
}

func (x *example) parse(name, text string) (r sent) {
	x.t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	var ok bool
	if r.method, r.target, ok = strings.Cut(lines[0], " "); !ok {
		x.t.Fatalf("%s: %q is no METHOD TARGET", name, lines[0])
	}
	r.header, r.body = http.Header{}, strings.TrimSuffix(body, "\n")
	for _, line := range lines[1:] {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			x.t.Fatalf("%s: %q is no header", name, line)
		}
		r.header.Add(key, value)
	}
	return r
}

// becomes does to one request what ingest and mapper do.
func (x *example) becomes(name, text string) string {
	x.t.Helper()
	if x.src == nil {
		var err error
		if x.src, err = source.Compile(x.spec); err != nil {
			x.t.Fatal(err)
		}
	}
	r := x.parse(name, text)
	if methods := x.src.Spec.Methods; len(methods) > 0 && !slices.Contains(methods, r.method) {
		return "refused: its method\n"
	}
	verdict, ok := x.verified(r)
	out := "signature: " + verdict + "\n"
	if !ok {
		return out
	}
	for i, e := range x.mapped(r) {
		if i > 0 {
			out += "\n"
		}
		out += x.told(&e)
	}
	return out
}

// verified says whether ingest would let a request through.
func (x *example) verified(r sent) (why string, ok bool) {
	if x.src.Verifier == nil {
		return "none asked for", true
	}
	if len(x.secrets.Current) == 0 && len(x.secrets.Keys) == 0 && x.src.Spec.SignatureOptional {
		return "optional, and the source has no secret", true
	}
	got := x.src.Verifier.Verify(&signature.Request{
		Method: r.method, URL: r.target, PublicBase: x.base, ContentType: r.header.Get("Content-Type"), Body: []byte(r.body),
		Header: func(name string) (string, bool) {
			v := r.header.Values(name)
			return strings.Join(v, ", "), len(v) > 0
		},
	}, &x.secrets, x.now)
	if !got.OK {
		return strings.TrimSpace("refused, " + string(got.Reason) + " " + got.Field), false
	}
	return "good", true
}

var setValuePath = regexp.MustCompile(`^(/v1/postbacks/[^/]+)?/calls/([^/]+)/set_value$`)

func (x *example) mapped(r sent) []event.Event {
	x.t.Helper()
	path, query, _ := strings.Cut(r.target, "?")
	rec := event.Record{Kind: event.RecordPostback, Source: "s", Method: r.method, Query: query, ContentType: r.header.Get("Content-Type"), Body: []byte(r.body)}
	if m := setValuePath.FindStringSubmatch(path); m != nil {
		rec.Headers = []event.Pair{{Name: event.HeaderCallID, Value: m[2]}}
		if m[1] == "" {
			rec.Flags = event.FlagKeyed
		}
	}
	b := new(event.Batch)
	if err := b.Add(event.ID{Stream: 1, Seq: 1}, 1_000_000, event.AppendRecord(nil, &rec)); err != nil {
		x.t.Fatal(err)
	}
	live := source.NewLive(source.NewDirectory([]*source.Source{x.src}, 1))
	if err := mapper.NewBuiltin(live).Map(context.Background(), b); err != nil {
		x.t.Fatal(err)
	}
	return b.Events
}

// told writes what the mapper made of a request.
func (x *example) told(ev *event.Event) (out string) {
	if !ev.Strong.IsZero() {
		out += fmt.Sprintf("identity: %d\n", x.number(ev.Strong))
	}
	if !ev.Reverses.IsZero() {
		out += fmt.Sprintf("takes back: %d\n", x.number(ev.Reverses))
	}
	switch r := &ev.Report; {
	case r.Dropped:
		out += fmt.Sprintf("ignored: %s\n", r.Invalid)
	case r.Invalid != "":
		out += fmt.Sprintf("invalid: %s %s\n", r.Invalid, r.Detail.Field)
	}
	// Over several lines and with sorted keys, for people to read.
	var report map[string]any
	if err := json.Unmarshal(event.AppendReportJSON(nil, &ev.Report), &report); err != nil {
		x.t.Fatal(err)
	}
	var pretty strings.Builder
	e := json.NewEncoder(&pretty)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(report); err != nil {
		x.t.Fatal(err)
	}
	return out + pretty.String()
}

func (x *example) number(d event.Digest) int {
	if x.ids[d] == 0 {
		x.ids[d] = len(x.ids) + 1
	}
	return x.ids[d]
}
