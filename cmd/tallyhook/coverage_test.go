package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const coveragePage = "../../docs/coverage.md"

var coverageRef = regexp.MustCompile("`([a-z0-9_/]+(?:\\.go)?): ([^`]+)`")

// Every claim in docs/coverage.md names a test that exists, and every step of
// the stories of senders' descriptions stands there.
func TestCoverageNamesTests(t *testing.T) {
	text, err := os.ReadFile(coveragePage)
	if err != nil {
		t.Fatal(err)
	}
	var stories []string
	files, err := filepath.Glob("testdata/story/seed_*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		stories = append(stories, strings.TrimSuffix(filepath.Base(f), ".txtar"))
	}
	steps := map[string][]string{}
	for _, name := range stories {
		steps[name] = stepsOf(t, name)
	}
	named := map[string]bool{}
	claims := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || len(cells) < 3 || strings.TrimSpace(cells[0]) == "claim" {
			continue
		}
		claims++
		refs := coverageRef.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(refs) == 0 {
			t.Errorf("no test is named for: %s", cells[0])
		}
		for _, ref := range refs {
			if strings.HasSuffix(ref[1], ".go") {
				if !hasTest(t, ref[1], ref[2]) {
					t.Errorf("%s has no %s", ref[1], ref[2])
				}
				continue
			}
			i := slices.IndexFunc(steps[ref[1]], func(step string) bool { return strings.HasPrefix(step, ref[2]) })
			if i < 0 {
				t.Errorf("%s has no step that begins with %q", ref[1], ref[2])
				continue
			}
			named[ref[1]+steps[ref[1]][i]] = true
		}
	}
	if len(stories) != 4 || claims < 50 {
		t.Errorf("%d stories and %d claims were found", len(stories), claims)
	}
	for name, list := range steps {
		for _, step := range list[1:] { // the first says whose story it is
			if !named[name+step] {
				t.Errorf("%s does not name this step of %s: %s", coveragePage, name, step)
			}
		}
	}
}

// stepsOf gives the first line of each comment of a story.
func stepsOf(t *testing.T, name string) (steps []string) {
	text, err := os.ReadFile("testdata/story/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "-- ") {
			break
		}
		comment, ok := strings.CutPrefix(line, "# ")
		if ok && !within {
			steps = append(steps, strings.TrimSpace(comment))
		}
		within = ok
	}
	return steps
}

func hasTest(t *testing.T, file, name string) bool {
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Error(err)
		return false
	}
	return strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)")
}
