// Package vectors reads, writes and judges the test cases of a partner's
// mapper: a request as it came, and the reports that it stands for.
//
// A case is a text file NAME.txtar that people write and review:
//
//	What the case is about, in free text.
//	-- source --                        optional; YAML, the settings of the source that matter here:
//	currency: EUR                       currency, constants, identity, match.default_region, …
//	-- request --
//	POST ?token=1                       the method, then the query as it was on the wire
//	Content-Type: application/json      headers, one on each line
//	:received: 2026-07-01T12:00:00Z     beside the headers: when it came (2026-01-01 when not said),
//	:peer: 203.0.113.9                  from where (192.0.2.1 when not said),
//	:test: true                         and that it is a test postback
//	                                    a blank line, then the body; its last line break is the file's
//	{"calls":[{"id":"c1","cents":1250}]}
//	-- body.base64 --                   instead of that body, when it cannot stand in a text file
//	-- reports --
//	{"call_id":"c1","payout":"12.50"}   one JSON object a report; or {"invalid":"payout_unreadable"},
//	                                    or {"ignored":true}
//
// Many cases travel as one archive, in which every section bears its case's
// name: "-- NAME/request --"; the free text becomes "-- NAME/text --".
package vectors

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of the cases of one mapper.
const (
	CasesMax        = 500
	ArchiveBytesMax = 1 << 20
	NameBytesMax    = 64
)

// nameForm is what a case may be called: it is a file's name on every system
// and part of a section's.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// Sections of a case, in the order in which they are written.
const (
	sectionText    = "text"
	sectionSource  = "source"
	sectionRequest = "request"
	sectionBody    = "body.base64"
	sectionReports = "reports"
)

var sectionNames = []string{sectionText, sectionSource, sectionRequest, sectionBody, sectionReports}

// Case is one request and what has to come of it. It owns all its memory.
type Case struct {
	Name   string
	Text   string         // what a person says of it
	Source *source.Source // compiled from the source section
	Record event.Record   // the request; its Source is Source's id
	Want   []Want         // what has to come out, in order

	sections map[string]string // as they stand in the file
}

// Parse reads an archive. Errors name the case and the offending line.
func Parse(archive []byte) ([]Case, error) {
	if len(archive) > ArchiveBytesMax {
		return nil, fmt.Errorf("vectors of %d bytes: at most %d; leave out cases that show nothing new", len(archive), ArchiveBytesMax)
	}
	var cases []Case
	at := map[string]int{}
	_, all := split(string(archive))
	for _, s := range all {
		name, section, ok := strings.Cut(s.name, "/")
		if !ok {
			return nil, fmt.Errorf("vectors: section %q: want NAME/request, NAME/reports and the like", cut(s.name))
		}
		i, known := at[name]
		if !known {
			if len(cases) == CasesMax {
				return nil, fmt.Errorf("vectors: more than %d cases; leave out those that show nothing new", CasesMax)
			}
			i = len(cases)
			at[name], cases = i, append(cases, Case{Name: name, sections: map[string]string{}})
		}
		if err := cases[i].put(section, s.text); err != nil {
			return nil, err
		}
	}
	for i := range cases {
		if err := cases[i].compile(); err != nil {
			return nil, err
		}
	}
	return cases, nil
}

// Archive writes cases as Parse reads them.
func Archive(cases []Case) []byte {
	var all []section
	for i := range cases {
		all = cases[i].list(all, cases[i].Name+"/", sectionNames)
	}
	return join("", all)
}

// ParseFile reads the content of the file NAME.txtar.
func ParseFile(name string, text []byte) (Case, error) {
	c := Case{Name: name, sections: map[string]string{}}
	if len(text) > ArchiveBytesMax {
		return c, fmt.Errorf("vector %s: %d bytes: at most %d", cut(name), len(text), ArchiveBytesMax)
	}
	head, all := split(string(text))
	if head != "" {
		all = append([]section{{"", head}}, all...)
	}
	for _, s := range all {
		switch s.name {
		case "":
			s.name = sectionText
		case sectionText:
			return c, c.fail("section text: the free text stands at the head of the file, without a name")
		}
		if err := c.put(s.name, s.text); err != nil {
			return c, err
		}
	}
	return c, c.compile()
}

// File is the content of the case's own file, as ParseFile reads it.
func (c *Case) File() []byte {
	return join(c.sections[sectionText], c.list(nil, "", sectionNames[1:]))
}

// list appends those sections of c that hold something.
func (c *Case) list(all []section, prefix string, names []string) []section {
	for _, name := range names {
		if text := c.sections[name]; text != "" {
			all = append(all, section{prefix + name, text})
		}
	}
	return all
}

// put keeps the text of a section.
func (c *Case) put(section, text string) error {
	if len(c.Name) > NameBytesMax || !nameForm.MatchString(c.Name) {
		return fmt.Errorf("vector %q: want a name of 1 to %d of a-z, 0-9, dot, dash and underscore, starting with a letter or digit", cut(c.Name), NameBytesMax)
	}
	if !slices.Contains(sectionNames, section) {
		if near := source.Nearest(section, sectionNames); near != "" {
			return c.fail("section %q is not known: did you mean %q?", cut(section), near)
		}
		return c.fail("section %q is not known: have source, request, body.base64 and reports", cut(section))
	}
	if _, twice := c.sections[section]; twice {
		return c.fail("section %s stands there twice", section)
	}
	c.sections[section] = text
	return nil
}

// compile makes the case of its sections.
func (c *Case) compile() error {
	c.Text = strings.TrimSpace(c.sections[sectionText])
	spec := source.Spec{ID: "vector"}
	if text := c.sections[sectionSource]; strings.TrimSpace(text) != "" {
		if err := source.DecodeYAML([]byte(text), &spec); err != nil {
			return c.fail("source: %w", err)
		}
	}
	src, err := source.Compile(spec)
	if err != nil {
		return c.fail("%w", err)
	}
	c.Source = src
	if c.sections[sectionRequest] == "" {
		return c.fail("no request: write -- request --, then for example GET ?ref_id=a")
	}
	if err := readRequest(&c.Record, c.sections[sectionRequest]); err != nil {
		return c.fail("request: %w", err)
	}
	c.Record.Source = src.Spec.ID
	if err := c.body64(); err != nil {
		return c.fail("body.base64: %w", err)
	}
	if c.Want, err = readReports(c.sections[sectionReports]); err != nil {
		return c.fail("reports: %w", err)
	}
	return nil
}

func (c *Case) body64() error {
	text, ok := c.sections[sectionBody]
	if !ok {
		return nil
	}
	if len(c.Record.Body) > 0 {
		return errors.New("the request has a body already; leave one of them out")
	}
	body, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return err
	}
	c.Record.Body = body
	return nil
}

func (c *Case) fail(format string, args ...any) error {
	return fmt.Errorf("vector %s: %w", c.Name, fmt.Errorf(format, args...))
}

// cut shortens an offending value for a person to read.
func cut(s string) string {
	const bytesMax = 120
	if len(s) <= bytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:bytesMax], "") + "…"
}
