package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// Runs with partners' mappers. The examples of plugins/examples/pairs say of
// generic names what the built-in mapper says, in three languages, so that the
// verifier's model judges sources that name one as it judges all others.
const (
	pairsFolder = "../../plugins/examples/pairs"
	acme        = "acme" // the mapper that the verifier's sources name
)

// Limits of waiting for mappers.
const (
	pushMax    = 2 * time.Minute  // for the answer to a push, admission included
	inForceMax = 30 * time.Second // from a version's activation until every node maps by it
)

// newLone starts a node on its own disk alone: SQLite, memory, no servers.
func newLone(t testing.TB, bin string, size Size) *world {
	t.Helper()
	w := emptyWorld(t, bin, size)
	w.activity.Server = new(services.Server) // views, which no URL reaches
	m := w.add()
	m.cfg.Args = []string{"--node-name", m.name}
	w.restart(m)
	var err error
	if w.key, err = m.Key(); err != nil {
		t.Fatal(err)
	}
	w.introduce(m)
	return w
}

// atRest stops a lone node; its ledger must verify without it.
func (w *world) atRest() {
	w.Helper()
	m := w.nodes[0]
	w.stop(m)
	cmd, err := node.Command(w.Context(), w.bin, m.cfg.Data, "ledger", "verify")
	if err != nil {
		w.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Errorf("tallyhook ledger verify: %v\n%s", err, out)
	}
}

// sourceID is the verifier's source of a buyer.
func sourceID(buyer string) string { return "verify-" + buyer }

// verified are all of them.
func verified() (ids []string) {
	for _, buyer := range traffic.Buyers {
		ids = append(ids, sourceID(buyer))
	}
	return ids
}

// names has sources map by a mapper from now on.
func (w *world) names(mapper, fallback string, sources ...string) {
	w.Helper()
	for _, id := range sources {
		spec := map[string]any{"mapper": mapper}
		if fallback != "" {
			spec["mapper_fallback"] = fallback
		}
		if err := w.nodes[0].api.Do(w.Context(), http.MethodPatch, "/api/v1/sources/"+id, spec, new(struct{})); err != nil {
			w.Fatal(err)
		}
	}
}

// versionSeen is a version as the admin API shows it.
type versionSeen struct {
	Version int    `json:"version"`
	State   string `json:"state"`
}

// mapperSeen is a mapper as the admin API shows it.
type mapperSeen struct {
	Active   int           `json:"active"`
	Previous int           `json:"previous"`
	Shadow   int           `json:"shadow"`
	Versions []versionSeen `json:"versions"`
}

// pairsCode gives the example in a language: c, rust, as.
func (w *world) pairsCode(lang string) []byte {
	w.Helper()
	code, err := os.ReadFile(filepath.Join(pairsFolder, "pairs-"+lang+".wasm"))
	if err != nil {
		w.Fatal(err)
	}
	return code
}

// pairsVectors is its vectors as they are pushed.
func (w *world) pairsVectors() []byte {
	w.Helper()
	cases, err := vectors.ReadDir(filepath.Join(pairsFolder, "vectors"))
	if err != nil {
		w.Fatal(err)
	}
	return vectors.Archive(cases)
}

// push pushes a module to a node and gives the version that it has become, which
// is there to be activated when err is nil.
func (w *world) push(m *member, name string, code, archive []byte) (v versionSeen, err error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, part := range []struct {
		name string
		text []byte
	}{{"module", code}, {"vectors", archive}} {
		to, err := form.CreateFormFile(part.name, part.name)
		if err == nil {
			_, err = to.Write(part.text)
		}
		if err != nil {
			return v, err
		}
	}
	if err := form.Close(); err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(w.Context(), pushMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.cfg.Admin+mapperPath(name, "versions"), &body)
	if err != nil {
		return v, err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+w.key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return v, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return v, err
	}
	if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
		return v, fmt.Errorf("push of mapper %s: status %d: %s", name, res.StatusCode, text)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("push of mapper %s: %w", name, err)
	}
	return v, nil
}

// pushed pushes a module that must be admitted, as the version of that number.
func (w *world) pushed(name string, number int, code, archive []byte) {
	w.Helper()
	begin := time.Now()
	v, err := w.push(w.nodes[0], name, code, archive)
	if err != nil {
		w.Fatal(err)
	}
	if v.Version != number || v.State != "admitted" {
		w.Fatalf("push of mapper %s gives version %d, %s; want %d, admitted", name, v.Version, v.State, number)
	}
	w.say("%s@%d is admitted after %s", name, number, time.Since(begin).Round(time.Millisecond))
}

func mapperPath(name, rest string) string {
	return "/api/v1/mappers/" + url.PathEscape(name) + "/" + rest
}

// inForce waits until every node maps by a version.
func (w *world) inForce(name string, version int) {
	w.Helper()
	w.until(inForceMax, fmt.Sprintf("%s@%d is in force everywhere", name, version), func(ctx context.Context) error {
		for _, m := range w.living() {
			if v, err := w.mapperMetric(ctx, m, "ready", name, "active", version); err != nil || v != 1 {
				return fmt.Errorf("%s: ready is %g, %v", m.name, v, err)
			}
		}
		return nil
	})
}

// mapperMetric gives a metric of a version; role is "" where it has none.
func (w *world) mapperMetric(ctx context.Context, m *member, metric, name, role string, version int) (float64, error) {
	metrics, err := m.api.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	if role != "" {
		role = fmt.Sprintf("role=%q,", role)
	}
	return metrics[fmt.Sprintf("tallyhook_mapper_%s{mapper=%q,%sversion=\"%d\"}", metric, name, role, version)], nil
}
