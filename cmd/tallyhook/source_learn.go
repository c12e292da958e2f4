package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/tallyhook/tallyhook/source/learn"
)

type sourceLearnCmd struct {
	ID     string   `arg:"" help:"Id of the source."`
	Secret string   `env:"-" help:"The sender's secret, to find how requests are signed: @FILE, or - for standard input." placeholder:"@FILE"`
	Status []string `sep:"none" env:"-" help:"What a word in the sender's status means: reversal=VOID; kinds are conversion, reversal, adjustment and ignore. Repeatable." placeholder:"KIND=WORD"`
	Apply  bool     `env:"-" help:"Change the source as proposed; a secret that fits becomes its own."`
	JSON   bool     `help:"Print the proposal as JSON."`
}

// lesson is what the API proposes.
type lesson struct {
	Source       string          `json:"source"`
	Requests     int64           `json:"requests"`
	Reports      int64           `json:"reports"`
	Preset       string          `json:"preset"`
	Findings     []learn.Finding `json:"findings"`
	Diff         string          `json:"diff"`
	Applied      bool            `json:"applied"`
	SecretStored bool            `json:"secret_stored"`
}

func (s sourceLearnCmd) Run(a *app) error {
	body := map[string]any{}
	if s.Apply {
		body["apply"] = true
	}
	if s.Secret != "" {
		if s.Secret != "-" && !strings.HasPrefix(s.Secret, "@") {
			return usagef("--secret: want @FILE, or - for standard input: on the command line others could read it")
		}
		text, err := secretFrom("--secret", s.Secret)
		if err != nil {
			return err
		}
		body["secret"] = text
	}
	if len(s.Status) > 0 {
		words, err := s.words()
		if err != nil {
			return err
		}
		body["statuses"] = words
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		err := c.send(a.ctx, http.MethodPost, sourcePath(s.ID)+"/learn", body, &raw)
		var no *apiError
		if refusedAs(err, "not_found") && asAPI(err, &no) && strings.Contains(no.Message, "learn from") {
			fmt.Fprintf(a.out, "Nothing has come to source %s yet: have its sender send one request to its URL (\"tallyhook source show %s\" names it), then learn again. One that is refused will do.\n", s.ID, quoteArg(s.ID))
			return nil
		}
		if err != nil {
			return err
		}
		if s.JSON {
			return a.printJSON(raw)
		}
		var l lesson
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("the proposal for source %s cannot be read: %w", s.ID, err)
		}
		return a.printLesson(&l)
	})
}

// words gives what --status says, by kind.
func (s sourceLearnCmd) words() (map[string][]string, error) {
	words := map[string][]string{}
	for _, text := range s.Status {
		kind, word, ok := strings.Cut(text, "=")
		if !ok || kind == "" || word == "" {
			return nil, usagef("--status %q: want KIND=WORD, for example reversal=VOID", text)
		}
		words[kind] = append(words[kind], word)
	}
	return words, nil
}

var lessonColumns = []column{
	{head: "WHAT", path: "what"},
	{head: "STATE", path: "state", show: stateWords},
	{head: "PROPOSED", path: "proposed"},
	{head: "SEEN", path: "seen", right: true},
	{head: "OF", path: "of", right: true},
	{head: "EXAMPLE", path: "example"},
	{head: "WHY", path: "why", sentence: true},
}

func stateWords(v any) string {
	switch learn.State(text(v)) {
	case learn.AsIs:
		return "as it is"
	case learn.Proposed:
		return "change"
	case learn.Open:
		return "yours to choose"
	case learn.Note:
		return "to know"
	}
	return text(v)
}

func (a *app) printLesson(l *lesson) error {
	fmt.Fprintf(a.out, "Learnt from %s with %s.\n\n", plural(l.Requests, "request"), plural(l.Reports, "report"))
	var rows []json.RawMessage
	for _, f := range l.Findings {
		raw, err := json.Marshal(f)
		if err != nil {
			return err
		}
		rows = append(rows, raw)
	}
	if err := a.showRows(newTable(a.out, lessonColumns), rows, false); err != nil {
		return err
	}
	a.printCandidates(l)
	if l.Diff == "" {
		fmt.Fprintln(a.out, "\nNothing is to be changed.")
	} else {
		fmt.Fprintln(a.out)
	}
	for line := range strings.Lines(l.Diff) {
		fmt.Fprintln(a.out, printable(strings.TrimRight(line, "\n")))
	}
	switch {
	case l.Applied && l.SecretStored:
		fmt.Fprintf(a.out, "\nSource %s is changed, and has the secret from now on.\n", l.Source)
	case l.Applied:
		fmt.Fprintf(a.out, "\nSource %s is changed from now on.\n", l.Source)
	case l.SecretStored:
		fmt.Fprintf(a.out, "\nSource %s has the secret from now on.\n", l.Source)
	case l.Diff != "":
		fmt.Fprintln(a.out, "\nTo change the source so, say the same with --apply.")
	}
	if l.Applied || l.SecretStored {
		a.printLeftOpen(l)
	}
	return nil
}

// printLeftOpen says what was not changed, and what follows from it.
func (a *app) printLeftOpen(l *lesson) {
	head := "\nLeft open:"
	for _, f := range l.Findings {
		if f.State != learn.Open {
			continue
		}
		what := f.What
		if f.What == "field" {
			what += " " + f.Proposed
		}
		if head != "" {
			fmt.Fprintln(a.out, head)
			head = ""
		}
		fmt.Fprintf(a.out, "  %s: %s\n", printable(what), printable(f.Why))
	}
}

// printCandidates lists what open findings may be.
func (a *app) printCandidates(l *lesson) {
	for _, f := range l.Findings {
		if len(f.Candidates) == 0 {
			continue
		}
		fmt.Fprintf(a.out, "\n%s may be\n", printable(f.What))
		for _, c := range f.Candidates {
			fmt.Fprintf(a.out, "  %s", printable(c.Name))
			if c.Example != "" {
				fmt.Fprintf(a.out, ", for example %s", printable(c.Example))
			}
			fmt.Fprintf(a.out, ", seen %s\n", plural(int64(c.Seen), "time"))
		}
	}
}

func asAPI(err error, out **apiError) bool {
	e, ok := err.(*apiError)
	*out = e
	return ok
}
