package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/store"
)

type applyCmd struct {
	File   string `short:"f" required:"" help:"Network file, YAML or JSON; - is standard input." placeholder:"FILE"`
	DryRun bool   `help:"Only show what would change."`
	JSON   bool   `help:"Print the API's answer as JSON."`
}

// applied is the API's answer.
type applied struct {
	DryRun  bool           `json:"dry_run"`
	Changed int            `json:"changed"`
	Changes []store.Change `json:"changes"`
}

func (p applyCmd) Run(a *app) error {
	name, text, err := readSmall(p.File, console.BodyBytesMax)
	if err != nil {
		return err
	}
	path := "/api/v1/apply"
	if p.DryRun {
		path += "?dry_run=true"
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.ask(a.ctx, http.MethodPost, path, "application/yaml", text, &raw); err != nil {
			return ofFile(name, err)
		}
		if p.JSON {
			return a.printJSON(raw)
		}
		var done applied
		if err := json.Unmarshal(raw, &done); err != nil {
			return err
		}
		printChanges(a.out, &done)
		if err := printRemoved(a.out, &done, text); err != nil {
			return err
		}
		return a.printCareOfChanged(c, &done)
	})
}

// ofFile puts what the API says of its body into the words of the file that it
// was.
func ofFile(name string, err error) error {
	var said *apiError
	if !errors.As(err, &said) || said.Code != "bad_request" {
		return err
	}
	e := *said
	e.Message = strings.TrimPrefix(e.Message, "the body cannot be read: ")
	if rest, ok := strings.CutPrefix(e.Message, "the body "); ok {
		e.Message = "the file " + rest
	}
	e.Message = strings.Replace(e.Message, " is a JSON ", " is a ", 1)
	return fmt.Errorf("%s: %w", name, &e)
}

// careMax bounds of how many changed sources is told what is weak in them.
const careMax = 20

// printCareOfChanged says of each source that was made or changed what its
// operator should know, as source create does.
func (a *app) printCareOfChanged(c *client, done *applied) error {
	if done.DryRun {
		return nil
	}
	told := 0
	for _, ch := range done.Changes {
		if ch.Kind != "source" || ch.Action == store.Unchanged {
			continue
		}
		if told++; told > careMax {
			fmt.Fprintln(a.out, "More sources changed: \"tallyhook source show ID\" tells of each what is weak in it.")
			return nil
		}
		var raw json.RawMessage
		if err := c.get(a.ctx, sourcePath(ch.ID), nil, &raw); err != nil {
			return fmt.Errorf("the file is applied, but source %q cannot be looked at: %w", ch.ID, err)
		}
		var src handedOut
		if err := json.Unmarshal(raw, &src); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "\nsource  %s\n", printable(src.ID))
		a.printCare(&src)
		if err := a.printOwnCurrency(raw); err != nil {
			return err
		}
	}
	return nil
}

// readSmall reads a file, or standard input for "-", of up to most bytes; name
// is what to call it.
func readSmall(path string, most int) (name string, text []byte, err error) {
	f := os.Stdin
	name = "standard input"
	if path != "-" {
		name = path
		if f, err = os.Open(path); err != nil {
			return name, nil, err
		}
		defer f.Close()
	}
	text, err = io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(text) > most {
		err = errors.New("it is too large")
	}
	if err != nil {
		return name, nil, fmt.Errorf("read %s: %w: at most %d KiB", name, err, most>>10)
	}
	return name, text, nil
}

// printChanges writes what an apply did, or would do:
//
//   - publisher pub-7
//     ~ source acme
//     match.window  24h → 48h
//     = 3 unchanged
func printChanges(w io.Writer, done *applied) {
	count := map[store.Action]int{}
	var urls []string
	for _, ch := range done.Changes {
		count[ch.Action]++
		switch ch.Action {
		case store.Create:
			fmt.Fprintf(w, "+ %s %s\n", ch.Kind, printable(ch.ID))
			if ch.Kind == "source" && !done.DryRun {
				urls = append(urls, ch.ID)
			}
		case store.Update:
			fmt.Fprintf(w, "~ %s %s\n", ch.Kind, printable(ch.ID))
		default:
			continue
		}
		printDiff(w, &ch)
	}
	if n := count[store.Unchanged]; n > 0 {
		fmt.Fprintf(w, "= %d unchanged\n", n)
	}
	switch {
	case len(done.Changes) == 0:
		fmt.Fprintln(w, "The file names nothing.")
	case done.Changed == 0:
		fmt.Fprintln(w, "Everything is as the file says.")
	case done.DryRun:
		fmt.Fprintf(w, "Would create %d and update %d; nothing was changed.\n", count[store.Create], count[store.Update])
	default:
		fmt.Fprintf(w, "Created %d, updated %d.\n", count[store.Create], count[store.Update])
	}
	for _, id := range urls {
		fmt.Fprintf(w, "The URL to hand out: tallyhook source show %s\n", quoteArg(id))
	}
}

// printDiff writes the changed fields of one object. Of a new one only what a
// person has to check is told: who is paid what.
func printDiff(w io.Writer, ch *store.Change) {
	var fields []store.FieldDiff
	width := 0
	for _, d := range ch.Diff {
		if ch.Action == store.Create && !strings.HasPrefix(d.Field, "assignments.") {
			continue
		}
		fields = append(fields, d)
		width = max(width, len([]rune(printable(d.Field))))
	}
	for _, d := range fields {
		fmt.Fprintf(w, "    %-*s  ", width, printable(d.Field))
		switch {
		case d.Old == "":
			fmt.Fprintf(w, "%s\n", printable(d.New))
		case d.New == "":
			fmt.Fprintf(w, "%s → nothing\n", printable(d.Old))
		default:
			fmt.Fprintf(w, "%s → %s\n", printable(d.Old), printable(d.New))
		}
	}
}
