package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// healthTimeMax is how long a node may take to say how it is.
const healthTimeMax = 3 * time.Second

// healthCmd is for who has no curl: containers' and supervisors' checks.
type healthCmd struct {
	JSON bool `help:"Print the answer of /readyz."`
}

func (h healthCmd) Run(a *app) error {
	ctx, cancel := context.WithTimeout(a.ctx, healthTimeMax)
	defer cancel()
	addr := reachable(a.opt.Admin)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", addr, err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", addr, withoutURL(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", addr, withoutURL(err))
	}
	if h.JSON {
		fmt.Fprintf(a.out, "%s", text)
	}
	var answer struct {
		Parts map[string]string `json:"parts"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Parts == nil {
		return fmt.Errorf("%s answers %s but not as Tallyhook does: name the admin address of a node with --admin", addr, resp.Status)
	}
	for _, part := range slices.Sorted(maps.Keys(answer.Parts)) {
		if !h.JSON {
			fmt.Fprintf(a.out, "%-10s %s\n", part, answer.Parts[part])
		}
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the node at %s cannot take in postbacks", addr)
	}
	return nil
}
