package clickhouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services"
)

const analyticsDoc = "../../docs/analytics.md"

var (
	question = regexp.MustCompile(`(?m)^### (\d+)\. .+$`)
	sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)\n```")
)

// documented gives the queries of docs/analytics.md by the number of their
// question; a question's second query is 3.2.
func documented(t testing.TB) (names []string, queries map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(analyticsDoc))
	if err != nil {
		t.Fatal(err)
	}
	queries = map[string]string{}
	heads := question.FindAllStringSubmatchIndex(string(text), -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		number := string(text[h[2]:h[3]])
		if number != fmt.Sprint(i+1) {
			t.Errorf("question %d has the number %s", i+1, number)
		}
		blocks := sqlBlock.FindAllStringSubmatch(string(text[h[1]:end]), -1)
		if len(blocks) == 0 {
			t.Errorf("question %s has no query", number)
		}
		for k, b := range blocks {
			name := number
			if k > 0 {
				name = fmt.Sprintf("%s.%d", number, k+1)
			}
			names, queries[name] = append(names, name), b[1]
		}
	}
	if all := strings.Count(string(text), "```sql"); all != len(queries) {
		t.Errorf("%d queries in the document, %d of them under a question", all, len(queries))
	}
	return names, queries
}

// Every question of docs/analytics.md has the known answer over a small
// network, in the order of testdata/analytics.txt.
func TestAnalytics(t *testing.T) {
	t.Parallel()
	names, queries := documented(t)
	if len(names) < 20 {
		t.Fatalf("%d queries are documented", len(names))
	}
	want := answers(t)
	w := sqliteWorld(t)
	w.network()
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	for _, name := range names {
		answer, known := want[name]
		if !known {
			t.Errorf("question %s has no expected answer", name)
		}
		delete(want, name)
		if got := table(t, s, queries[name]); got != answer {
			t.Errorf("question %s gives\n%s\nwant\n%s", name, got, answer)
		}
	}
	for name := range want {
		t.Errorf("there is an answer to %s and no such question", name)
	}
}

// answers reads testdata/analytics.txt: a line "## NAME", then the rows.
func answers(t testing.TB) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/analytics.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, part := range strings.Split("\n"+string(text), "\n## ")[1:] {
		name, rows, _ := strings.Cut(part, "\n")
		list[name] = strings.TrimSpace(rows)
	}
	return list
}
