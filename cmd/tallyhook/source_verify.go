package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

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
		if !found.OK {
			return errors.New("the request does not pass: its sender would be answered 401")
		}
		return nil
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
	}
	return text, nil
}
