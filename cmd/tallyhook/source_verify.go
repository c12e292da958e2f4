package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/tallyhook/tallyhook/console"
)

type sourceVerifyCmd struct {
	ID   string `arg:"" help:"Id of the source."`
	File string `arg:"" help:"The captured request: first line, headers, an empty line, the body; - is stdin. The first line may be just ?QUERY."`
	At   string `help:"When it came, for signatures that end: a time such as 2026-11-20T08:00:00Z, or 2h for that long ago. Default: now." placeholder:"WHEN"`
	JSON bool   `help:"Print JSON."`
}

// Run ends with an exit code other than 0 when the request does not pass.
func (s sourceVerifyCmd) Run(a *app) error {
	text, err := readCapture(s.File)
	if err != nil {
		return err
	}
	path := sourcePath(s.ID) + "/verify-request"
	if s.At != "" {
		path += "?" + url.Values{"at": {s.At}}.Encode()
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.ask(a.ctx, http.MethodPost, path, "text/plain", text, &raw); err != nil {
			return err
		}
		var found struct {
			OK    bool `json:"ok"`
			Steps []struct {
				Name string `json:"name"`
				OK   bool   `json:"ok"`
				Text string `json:"text"`
			} `json:"steps"`
		}
		if err := json.Unmarshal(raw, &found); err != nil {
			return err
		}
		if s.JSON {
			if err := a.printJSON(raw); err != nil {
				return err
			}
		} else {
			for _, step := range found.Steps {
				mark := "ok"
				if !step.OK {
					mark = "NO"
				}
				fmt.Fprintf(a.out, "%s  %-11s %s\n", mark, printable(step.Name), printable(step.Text))
			}
		}
		if found.OK {
			return nil
		}
		for _, step := range found.Steps {
			if step.Name == "method" && !step.OK {
				return errors.New("the request does not pass: its method is none of the source's methods, and its sender would be answered 405 before anything is checked")
			}
		}
		return errors.New("the request does not pass: its sender would be answered 401")
	})
}

func readCapture(file string) ([]byte, error) {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, console.BodyBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the captured request: %w", err)
	case len(text) > console.BodyBytesMax:
		return nil, usagef("%s has more than %d bytes: is it one request?", file, console.BodyBytesMax)
	case !looksCaptured(text):
		return nil, usagef("%s does not begin like an HTTP request: want METHOD TARGET first, such as GET /v1/postbacks/…?payout=1, or just ?payout=1, then headers, an empty line and the body", file)
	}
	return text, nil
}

// looksCaptured tells whether a text begins as a request does.
func looksCaptured(text []byte) bool {
	line, _, _ := strings.Cut(strings.TrimLeft(string(text), "\r\n"), "\n")
	words := strings.Fields(line)
	if len(words) > 1 {
		words = words[1:]
	}
	if len(words) == 0 {
		return false
	}
	for _, head := range [...]string{"/", "?", "http://", "https://"} {
		if strings.HasPrefix(words[0], head) {
			return true
		}
	}
	return false
}
