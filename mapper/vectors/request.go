package vectors

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// What a case's request has when its file does not say.
const (
	DefaultReceivedAt int64 = 1_767_225_600_000_000 // 2026-01-01T00:00:00Z, in microseconds
	DefaultPeer             = "192.0.2.1"
)

// Limits of a request.
const (
	headersMax     = 64
	methodBytesMax = 16
)

// readRequest fills rec from the text of a request section.
func readRequest(rec *event.Record, text string) error {
	*rec = event.Record{ID: event.ID{Stream: 1, Seq: 1}, ReceivedAt: DefaultReceivedAt, Kind: event.RecordPostback, Peer: DefaultPeer}
	line, rest := nextLine(text)
	method, query, _ := strings.Cut(line, " ")
	query, isQuery := strings.CutPrefix(strings.TrimSpace(query), "?")
	if !isMethod(method) || query != "" && !isQuery {
		return fmt.Errorf("line %q: want METHOD or METHOD ?QUERY, for example POST ?token=1", cut(line))
	}
	rec.Method, rec.Query = method, query
	for rest != "" {
		if line, rest = nextLine(rest); line == "" {
			break
		}
		if err := readHeader(rec, line); err != nil {
			return err
		}
	}
	if body := strings.TrimSuffix(rest, "\n"); body != "" {
		rec.Body = []byte(body)
	}
	return nil
}

// nextLine cuts the first line off, whichever way it is ended.
func nextLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func readHeader(rec *event.Record, line string) error {
	colon := strings.IndexByte(line[1:], ':') + 1 // the names of ours begin with one
	if colon == 0 {
		return fmt.Errorf("line %q: want Name: value, and a blank line before the body", cut(line))
	}
	name, value := strings.ToLower(line[:colon]), strings.TrimSpace(line[colon+1:])
	switch name {
	case ":received":
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return fmt.Errorf(":received %q: want a time such as 2026-07-01T12:00:00Z", cut(value))
		}
		rec.ReceivedAt = at.UnixMicro()
	case ":peer":
		rec.Peer = value
	case ":test":
		if value != "true" && value != "false" {
			return fmt.Errorf(":test %q: want true or false", cut(value))
		}
		if value == "true" {
			rec.Flags |= event.FlagTest
		}
	case "content-type":
		rec.ContentType = value
	default:
		if !isToken(name) {
			return fmt.Errorf("line %q: %q is no header's name", cut(line), cut(name))
		}
		if len(rec.Headers) == headersMax {
			return fmt.Errorf("more than %d headers", headersMax)
		}
		rec.Headers = append(rec.Headers, event.Pair{Name: name, Value: value})
	}
	return nil
}

func isMethod(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return s != "" && len(s) <= methodBytesMax
}

// isToken reports whether s may be the name of a header.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// New makes a case of a captured request, so that its file may be kept and
// reviewed: settings is the YAML of the source section, "" for none. Whatever
// is secret in rec the caller has taken out before; headers that cannot stand
// on a line are left out. rec's memory is not kept.
func New(name, text, settings string, rec *event.Record, want []Want) (Case, error) {
	c := Case{Name: name, sections: map[string]string{}}
	request := requestHead(rec)
	if body := string(rec.Body); body != "" && !plain(body) {
		encoded := base64.StdEncoding.EncodeToString(rec.Body) + "\n"
		if err := c.put(sectionBody, encoded); err != nil {
			return c, err
		}
	} else if body != "" {
		request += "\n" + body + "\n"
	}
	var reports strings.Builder
	for i := range want {
		reports.WriteString(want[i].String() + "\n")
	}
	for _, s := range [][2]string{{sectionText, text}, {sectionSource, settings}, {sectionRequest, request}, {sectionReports, reports.String()}} {
		if s[1] == "" {
			continue
		}
		if s[1] = strings.TrimSuffix(s[1], "\n") + "\n"; !whole(s[1]) {
			return c, c.fail("section %s holds a line that reads as the head of a section", s[0])
		}
		if err := c.put(s[0], s[1]); err != nil {
			return c, err
		}
	}
	return c, c.compile()
}

func requestHead(rec *event.Record) string {
	var b strings.Builder
	b.WriteString(rec.Method)
	if query := strings.TrimSpace(rec.Query); query != "" && !strings.ContainsAny(query, "\r\n") {
		b.WriteString(" ?" + query)
	}
	b.WriteByte('\n')
	line := func(name, value string) {
		if !strings.ContainsAny(value, "\r\n") && utf8.ValidString(value) {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	if rec.ContentType != "" {
		line("Content-Type", rec.ContentType)
	}
	for _, h := range rec.Headers[:min(len(rec.Headers), headersMax)] {
		if isToken(h.Name) && !strings.EqualFold(h.Name, "content-type") {
			line(h.Name, h.Value)
		}
	}
	if rec.ReceivedAt != 0 && rec.ReceivedAt != DefaultReceivedAt {
		line(":received", string(event.AppendTime(nil, rec.ReceivedAt)))
	}
	if rec.Peer != "" && rec.Peer != DefaultPeer {
		line(":peer", rec.Peer)
	}
	if rec.Flags&event.FlagTest != 0 {
		line(":test", "true")
	}
	return b.String()
}

// plain reports whether a body can stand in a text file and be read back.
func plain(body string) bool {
	for i := range len(body) {
		if c := body[i]; c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return false // a carriage return too: editors and version control change those
		}
	}
	return utf8.ValidString(body) && whole(body+"\n")
}
