package clickhouse_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/bench/services"
)

const grafanaDir = "../../deploy/grafana"

type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Query, Definition string }
	}
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ Type, UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		RawSQL     string `json:"rawSql"`
		QueryType  string
		Datasource struct{ Type, UID string }
	}
}

// macros are what Grafana's ClickHouse data source replaces, for a range that
// holds the network of the fixture, and all its sources.
var macros = []struct {
	re   *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`\$__timeFilter\((\w+)\)`), `$1 >= toDateTime(1772409600) AND $1 <= toDateTime(1772668800)`},
	{regexp.MustCompile(`\$__dateFilter\((\w+)\)`), `$1 >= toDate('2026-03-02') AND $1 <= toDate('2026-03-04')`},
	{regexp.MustCompile(`\$__timeInterval\((\w+)\)`), `toStartOfInterval(toDateTime($1), INTERVAL 600 second)`},
	{regexp.MustCompile(`\$\{source:singlequote\}`), `'acme-main','zen-ringba','old-src','lux-src'`},
}

// readable is what panels may read: the documented views, and names.
var readable = []string{"activity", "activity_revisions", "activity_per_minute", "money_per_hour", "latency_per_minute", "mapper_versions",
	"source_names", "buyer_names", "publisher_names", "campaign_names"}

var readsFrom = regexp.MustCompile(`(?i)\b(?:FROM|JOIN)\s+([a-z_.]+)`)

func dashboards(t *testing.T) (list []dashboard) {
	t.Helper()
	files, err := filepath.Glob(grafanaDir + "/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		list = append(list, d)
	}
	return list
}

// Every panel's query runs on the engine, reads documented views only, and
// shows something of the fixture, in the form that its panel draws.
func TestGrafanaPanels(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(analyticsDoc)
	if err != nil {
		t.Fatal(err)
	}
	w := sqliteWorld(t)
	w.network()
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	f := func(name, query string, series bool) {
		t.Helper()
		for _, from := range readsFrom.FindAllStringSubmatch(query, -1) {
			if !slices.Contains(readable, from[1]) || !strings.Contains(string(doc), "`"+from[1]+"`") {
				t.Errorf("%s reads %s, which is no documented view", name, from[1])
			}
		}
		for _, m := range macros {
			query = m.re.ReplaceAllString(query, m.text)
		}
		if strings.ContainsAny(query, "$") {
			t.Errorf("%s: the test does not know a macro of %s", name, query)
		}
		got, err := ask(t, s, query, 1000)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if len(got.Rows) == 0 {
			t.Errorf("%s shows nothing of the fixture", name)
		}
		if series && (got.Columns[0] != "time" || !strings.Contains(query, "ORDER BY time")) {
			t.Errorf("%s is no series: it has %v", name, got.Columns)
		}
	}
	for _, d := range dashboards(t) {
		for _, v := range d.Templating.List {
			f(d.Title+", variable "+v.Name, v.Query, false)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				f(d.Title+", "+p.Title, target.RawSQL, p.Type == "timeseries")
			}
		}
	}
}

// Panels have ids of their own, do not overlap, and ask the data source that
// is provisioned.
func TestGrafanaLayout(t *testing.T) {
	t.Parallel()
	var sources struct {
		Datasources []struct{ UID, Type string }
	}
	text, err := os.ReadFile(grafanaDir + "/provisioning/datasources/tallyhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &sources); err != nil || len(sources.Datasources) != 1 {
		t.Fatalf("%+v, %v", sources, err)
	}
	text, err = os.ReadFile(grafanaDir + "/provisioning/dashboards/tallyhook.yaml")
	if err != nil || yaml.Unmarshal(text, &struct{}{}) != nil || !strings.Contains(string(text), "/etc/grafana/dashboards") {
		t.Errorf("provisioning of dashboards: %s, %v", text, err)
	}
	want := sources.Datasources[0]
	for _, d := range dashboards(t) {
		ids, cells := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Datasource.UID != want.UID || p.Datasource.Type != want.Type || len(p.Targets) == 0 {
				t.Errorf("%s: id %d, data source %+v, %d queries", p.Title, p.ID, p.Datasource, len(p.Targets))
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				if target.Datasource.UID != want.UID || (target.QueryType == "timeseries") != (p.Type == "timeseries") {
					t.Errorf("%s: its query goes to %+v as %s", p.Title, target.Datasource, target.QueryType)
				}
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s lies over %q or the edge", p.Title, other)
					}
					cells[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}
