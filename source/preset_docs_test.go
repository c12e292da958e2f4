package source_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

const sendersPage = "../docs/senders/README.md"

// The page holds the table of all presets between these two lines.
const (
	tableBegins = "<!-- presets: written by go test ./source -run TestTableOfSenders -rewrite -->\n"
	tableEnds   = "<!-- end of presets -->\n"
)

func TestTableOfSenders(t *testing.T) {
	page, err := os.ReadFile(sendersPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begun := strings.Cut(string(page), tableBegins)
	_, tail, ended := strings.Cut(rest, tableEnds)
	if !begun || !ended {
		t.Fatalf("%s has no table between %q and %q", sendersPage, tableBegins, tableEnds)
	}
	want := head + tableBegins + tableOfSenders(t) + tableEnds + tail
	if *writeAnew {
		if err := os.WriteFile(sendersPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Errorf("the table in %s is out of date: go test ./source -run TestTableOfSenders -rewrite", sendersPage)
	}
}

func tableOfSenders(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n| sender | preset | verified | signature | identity | reply | retries within |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, name := range source.Presets() {
		p, src := preset(t, name)
		sender, verified := p.Title, "yes"
		if p.Docs != "" {
			sender = "[" + p.Title + "](" + p.Docs + ")"
		}
		if !p.Verified {
			verified = fmt.Sprintf("no: %s guessed", counted(len(p.Guesses), "thing"))
		}
		page := "`" + name + "`"
		if _, err := os.Stat("../docs/senders/" + name + ".md"); err == nil {
			page = "[" + page + "](" + name + ".md)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", sender, page, verified, signs(src), words(src.Spec.Identity), replies(src.Spec.Reply), horizon(p))
	}
	return b.String() + "\n"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// signs says how requests are told from those of others.
func signs(src *source.Source) string {
	var parts []string
	if src.Verifier != nil {
		how := src.Spec.Signature.Algorithm
		switch weak := src.Verifier.Weak(); {
		case how == "secret":
			how = "secret in `" + src.Spec.Signature.Signature.In + "`"
		case weak != "":
			how += ", weak"
		}
		if src.Spec.SignatureOptional {
			how += ", optional"
		}
		parts = append(parts, how)
	}
	if src.Spec.SetValue {
		parts = append(parts, "key of each call")
	}
	if len(src.Allow) > 0 {
		parts = append(parts, "addresses")
	}
	if len(parts) == 0 {
		return "none: the URL"
	}
	return strings.Join(parts, "; ")
}

func words(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

func replies(r source.ReplySpec) string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(r.Classes)) {
		a := r.Classes[class]
		said := fmt.Sprint(a.Status)
		if a.Status == 0 {
			said = ""
		}
		if a.Body != "" {
			said = strings.TrimSpace(said + " `" + a.Body + "`")
		}
		if class != "accepted" { // as ok
			parts = append(parts, class+" "+said)
		}
	}
	if len(parts) == 0 {
		return "JSON"
	}
	return strings.Join(parts, "; ")
}

// horizon is for how long the sender repeats, as far as that is known.
func horizon(p *source.Preset) string {
	if p.Source.DedupeWindow == 0 {
		return "–"
	}
	if d := time.Duration(p.Source.DedupeWindow); d >= time.Hour {
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d min", int(time.Duration(p.Source.DedupeWindow).Minutes()))
}

// TestPagesOfSenders: every page is reached from the first, every link between
// them leads somewhere, and a page is named like its preset.
func TestPagesOfSenders(t *testing.T) {
	entries, err := os.ReadDir("../docs/senders")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	linked := map[string]bool{}
	for _, e := range entries {
		text, err := os.ReadFile("../docs/senders/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat("../docs/senders/" + m[1]); err != nil {
				t.Errorf("%s links to %s: %v", e.Name(), m[1], err)
			}
			if e.Name() == "README.md" {
				linked[m[1]] = true
			}
		}
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".md")
		if name == "README" {
			continue
		}
		if !linked[e.Name()] {
			t.Errorf("README.md does not link to %s", e.Name())
		}
		if !slices.Contains(source.Presets(), name) {
			t.Errorf("%s is no preset's page", e.Name())
		}
	}
}
