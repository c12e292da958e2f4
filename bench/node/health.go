package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Health is what a node says of itself on /readyz.
type Health struct {
	OK    bool              `json:"ok"`
	Parts map[string]string `json:"parts"` // "ok", or what is wrong with it
}

// Degraded says what is wrong with a part that a node can do without for a
// while, "" when nothing is or no such part is named.
func (h Health) Degraded(part string) string {
	if text := h.Parts[part]; text != "ok" {
		return strings.TrimPrefix(text, "degraded: ")
	}
	return ""
}

// Health asks /readyz.
func (a *API) Health(ctx context.Context) (h Health, err error) {
	resp, err := a.open(ctx, "/readyz")
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return h, fmt.Errorf("/readyz answers %s and no JSON: %w", resp.Status, err)
	}
	return h, nil
}

// Metrics asks /metrics: name and labels, as they stand there, to value.
func (a *API) Metrics(ctx context.Context) (map[string]float64, error) {
	resp, err := a.open(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	m, in := map[string]float64{}, bufio.NewScanner(resp.Body)
	for in.Scan() {
		if strings.HasPrefix(in.Text(), "#") {
			continue
		}
		at := strings.LastIndexByte(in.Text(), ' ')
		if at < 0 {
			return nil, fmt.Errorf("/metrics holds the line %q, want a name and a value", in.Text())
		}
		v, err := strconv.ParseFloat(in.Text()[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("/metrics holds the line %q: %w", in.Text(), err)
		}
		m[in.Text()[:at]] = v
	}
	return m, in.Err()
}

func (a *API) open(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.addr+path, nil)
	if err != nil {
		return nil, err
	}
	return a.client.Do(r)
}
