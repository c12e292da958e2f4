//go:build !race

package plugins

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/source"
)

// examples are the folders under examples and the languages that each has.
var examples = map[string][]string{
	"pairs":     {"as", "c", "go", "rust"},
	"calls":     {"go", "rust"},
	"cents":     {"as", "c"},
	"semicolon": {"as", "c"},
	"statuses":  {"c", "rust"},
	"xml":       {"go", "rust"},
}

// Every example, in every language, makes of its vectors what they say, twice:
// by a fresh instance and by one that has been used.
func TestExamples(t *testing.T) {
	entries, err := os.ReadDir("examples")
	if err != nil || len(entries) != len(examples) {
		t.Fatalf("examples: %d folders, the table has %d; %v", len(entries), len(examples), err)
	}
	for example, langs := range examples {
		t.Run(example, func(t *testing.T) {
			cases, err := vectors.ReadDir(filepath.Join("examples", example, "vectors"))
			if err != nil {
				t.Fatal(err)
			}
			if len(cases) < 6 {
				t.Errorf("%d vectors; an example has at least 6", len(cases))
			}
			all := modules(t, example)
			if len(all) != len(langs) {
				t.Errorf("%d languages, want %v", len(all), langs)
			}
			for _, lang := range langs {
				t.Run(lang, func(t *testing.T) { runVectors(t, open(t, example+"-"+lang, all[lang]), cases) })
			}
		})
	}
}

func runVectors(t *testing.T, g *guest, cases []vectors.Case) {
	var worst int64
	for turn := range 2 {
		for i := range cases {
			c := &cases[i]
			got, fuel := g.mapOne(t, c.Source, &c.Record)
			for _, d := range c.Differences(got) {
				t.Errorf("turn %d: %s: %s", turn+1, c.Name, d)
			}
			worst = max(worst, fuel)
		}
	}
	t.Logf("%d vectors; the dearest took %d units of fuel; memory %d pages", len(cases), worst, g.instance(t).Pages())
}

// The example pairs, in every language, says the same as the built-in mapper:
// of the corpus that the built-in one is tested with, of its own vectors, and of
// each name alone, in the query, in a form and in JSON.
func TestPairsAgreeWithBuiltin(t *testing.T) {
	cases := corpus(t)
	own, err := vectors.ReadDir("examples/pairs/vectors")
	if err != nil {
		t.Fatal(err)
	}
	cases = append(append(cases, own...), eachName(t)...)
	t.Logf("%d requests", len(cases))
	for lang, code := range modules(t, "pairs") {
		t.Run(lang, func(t *testing.T) {
			g := open(t, "pairs-"+lang, code)
			for i := range cases {
				c := &cases[i]
				got, _ := g.mapOne(t, c.Source, &c.Record)
				if diff := disagree(builtin(t, c), got); diff != "" {
					t.Errorf("%s: %s", c.Name, diff)
				}
			}
		})
	}
}

func builtin(t *testing.T, c *vectors.Case) []event.Event {
	t.Helper()
	b := new(event.Batch)
	if err := b.Add(c.Record.ID, c.Record.ReceivedAt, event.AppendRecord(nil, &c.Record)); err != nil {
		t.Fatal(err)
	}
	live := source.NewLive(source.NewDirectory([]*source.Source{c.Source}, 1))
	if err := mapper.NewBuiltin(live).Map(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	return b.Events
}

// disagree compares report by report. Where a rule that the host keeps for the
// built-in mapper is kept by the mapper itself, the reason is mapper_refused
// instead of one of the host's; both are invalid then.
func disagree(want, got []event.Event) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d reports, want %d", len(got), len(want))
	}
	for i := range want {
		w, g := vectors.WantOf(&want[i].Report), vectors.WantOf(&got[i].Report)
		own := g.Invalid == event.MapperRefused && slices.Contains([]event.Reason{event.BodyDuplicateKey, event.BodyMalformed, event.BodyTooManyKeys}, w.Invalid)
		if own {
			continue
		}
		if w.Invalid != "" { // it is not booked: the reason counts
			if w.Invalid != g.Invalid {
				return fmt.Sprintf("report %d: %s, want %s", i+1, g.String(), w.String())
			}
			continue
		}
		if w.String() != g.String() || want[i].Strong != got[i].Strong || want[i].Weak != got[i].Weak || want[i].Money != got[i].Money {
			return fmt.Sprintf("report %d: %s, want %s", i+1, g.String(), w.String())
		}
	}
	return ""
}

// corpus reads the cases of the built-in mapper's own corpus.
func corpus(t *testing.T) (cases []vectors.Case) {
	t.Helper()
	text := string(read(t, "../mapper/testdata/contract/generic.txt"))
	parts := strings.Split("\n"+text, "\n-- ")
	for _, part := range parts[1:] {
		name, request, _ := strings.Cut(part, " --\n")
		if name == "source" || name == "reports" {
			continue
		}
		cases = append(cases, caseOf(t, name, request))
	}
	if len(cases) < 20 {
		t.Fatalf("%d cases in the corpus", len(cases))
	}
	return cases
}

func caseOf(t *testing.T, name, request string) vectors.Case {
	t.Helper()
	c, err := vectors.ParseFile("corpus", []byte("-- request --\n"+strings.TrimSuffix(request, "\n")+"\n-- reports --\n{}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = name
	return c
}

// eachName makes a request of each name of the preset, in each place.
func eachName(t *testing.T) (cases []vectors.Case) {
	t.Helper()
	src, err := source.Compile(source.Spec{ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	values := map[source.Slot]string{source.SlotDuration: "7", source.SlotPayout: "7.25", source.SlotCurrency: "eur",
		source.SlotStartedAt: "1767323045", source.SlotOccurredAt: "1767323045", source.SlotCaller: "3055551234"}
	for slot, names := range src.Names {
		for _, name := range names {
			value := values[source.Slot(slot)]
			if value == "" {
				value = "v-" + name
			}
			pay := ""
			if source.Slot(slot) != source.SlotPayout {
				pay = "&payout=1"
			}
			form := strings.ToUpper(name) + "=" + value
			cases = append(cases, caseOf(t, name+" in the query", "GET ?"+form+pay),
				caseOf(t, name+" in a form", "POST ?"+pay+"\nContent-Type: application/x-www-form-urlencoded\n\n"+form),
				caseOf(t, name+" in JSON", "POST ?"+pay+"\nContent-Type: application/json\n\n{\""+name+"\":\""+value+"\"}"))
		}
	}
	return cases
}
