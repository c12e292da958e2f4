package mapper

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

var writeAnew = flag.Bool("rewrite", false, "write what the built-in mapper says into testdata/contract")

// mappers are all ways to map; each must say the same of the shared corpus.
var mappers = map[string]func(t *testing.T, live *source.Live) batchMapper{
	"builtin": func(_ *testing.T, live *source.Live) batchMapper { return NewBuiltin(live) },
}

type batchMapper interface {
	Map(context.Context, *event.Batch) error
}

// A corpus file under testdata/contract is a run of sections, each headed by
// a line "-- NAME --":
//
//	source      JSON of a source.Spec; holds for the cases that follow
//	CASE        a request: METHOD ?QUERY, Content-Type if any, a blank line, the body.
//	            Lines before the method that start with # are comments.
//	reports     what must come out, one JSON object per event
type section struct{ name, text string }

func sections(t *testing.T, file string) (all []section) {
	t.Helper()
	p, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(name, " --") {
			all = append(all, section{name: strings.TrimSuffix(name, " --")})
			continue
		}
		if len(all) == 0 {
			t.Fatalf("%s: text before the first section", file)
		}
		all[len(all)-1].text += line
	}
	return all
}

// parse reads the text of a case.
func parse(t *testing.T, name, text string) (r request) {
	t.Helper()
	for strings.HasPrefix(text, "#") {
		_, text, _ = strings.Cut(text, "\n")
	}
	head, body, _ := strings.Cut(text, "\n\n")
	r.body = strings.TrimSuffix(body, "\n")
	for i, line := range strings.Split(strings.TrimSpace(head), "\n") {
		media, isType := strings.CutPrefix(line, "Content-Type: ")
		_, query, isQuery := strings.Cut(line, " ?")
		switch {
		case i == 0 && isQuery:
			r.query = query
		case i > 0 && isType:
			r.contentType = media
		case i > 0:
			t.Fatalf("%s: line %q is no Content-Type", name, line)
		}
	}
	return r
}

// reportLine is an event as the corpus has it. Absent is absent.
type reportLine struct {
	RefID         string       `json:"ref_id,omitempty"`
	CallID        string       `json:"call_id,omitempty"`
	NetworkCallID string       `json:"network_call_id,omitempty"`
	Caller        string       `json:"caller,omitempty"`
	CallerRaw     string       `json:"caller_raw,omitempty"`
	Duration      *int32       `json:"duration,omitempty"`
	StartedAt     *time.Time   `json:"started_at,omitempty"`
	Payout        string       `json:"payout,omitempty"`
	Currency      string       `json:"currency,omitempty"`
	Status        string       `json:"status,omitempty"`
	TransactionID string       `json:"transaction_id,omitempty"`
	Kind          string       `json:"kind,omitempty"`
	OccurredAt    *time.Time   `json:"occurred_at,omitempty"`
	Account       string       `json:"account,omitempty"`
	Reward        string       `json:"reward,omitempty"`
	Query         string       `json:"query,omitempty"`
	Key           bool         `json:"key,omitempty"`
	Extra         [][2]string  `json:"extra,omitempty"`
	Strong        bool         `json:"strong,omitempty"`
	Invalid       event.Reason `json:"invalid,omitempty"`
	Detail        *detailLine  `json:"detail,omitempty"`
	Failed        bool         `json:"failed,omitempty"`
}

type detailLine struct {
	Field string `json:"field,omitempty"`
	Got   string `json:"got,omitempty"`
	Limit int64  `json:"limit,omitempty"`
}

func lineOf(e *event.Event) string {
	r := &e.Report
	at := func(micros int64) *time.Time {
		if micros == 0 {
			return nil
		}
		t := time.UnixMicro(micros).UTC()
		return &t
	}
	l := reportLine{RefID: r.RefID, CallID: r.CallID, NetworkCallID: r.NetworkCallID, Caller: r.Caller, CallerRaw: r.CallerRaw,
		StartedAt: at(r.StartedAt), Currency: r.Payout.Currency, Status: r.Status, TransactionID: r.TransactionID,
		OccurredAt: at(r.OccurredAt), Account: r.Account, Query: r.Query, Key: r.Key != "", Strong: !e.Strong.IsZero(), Invalid: r.Invalid, Failed: r.Failed}
	if r.Duration.OK {
		l.Duration = &r.Duration.N
	}
	if r.HasPayout {
		l.Payout = r.Payout.Amount.String()
	}
	if r.HasReward {
		l.Reward = r.Reward.Amount.String() + " " + r.Reward.Currency
	}
	if r.Kind != event.Conversion {
		l.Kind = r.Kind.String()
	}
	for _, p := range r.Extra {
		l.Extra = append(l.Extra, [2]string{p.Name, p.Value})
	}
	if d := r.Detail; d != (event.Detail{}) {
		l.Detail = &detailLine{d.Field, d.Got, d.Limit}
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		panic(err)
	}
	return out.String()
}

func TestContract(t *testing.T) {
	files, err := filepath.Glob("testdata/contract/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for name, open := range mappers {
		t.Run(name, func(t *testing.T) {
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { contract(t, file, open) })
			}
		})
	}
}

func contract(t *testing.T, file string, open func(*testing.T, *source.Live) batchMapper) {
	all := sections(t, file)
	var m batchMapper
	var id string
	for i := 0; i < len(all); i++ {
		s := all[i]
		if s.name == "source" {
			var spec source.Spec
			if err := source.DecodeJSON([]byte(s.text), &spec); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			m, id = open(t, liveOf(compile(t, spec))), spec.ID
			continue
		}
		if i++; i == len(all) || all[i].name != "reports" || m == nil {
			t.Fatalf("%s: case %q needs a source before it and reports after it", file, s.name)
		}
		r := parse(t, s.name, s.text)
		r.source = id
		b := batchOf(t, r)
		if err := m.Map(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		var got string
		for j := range b.Events {
			got += lineOf(&b.Events[j])
		}
		if want := all[i].text; got != want && !*writeAnew {
			t.Errorf("%s:\n got %swant %s", s.name, got, want)
		}
		all[i].text = got
	}
	if *writeAnew {
		var out strings.Builder
		for _, s := range all {
			out.WriteString("-- " + s.name + " --\n" + s.text)
		}
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
