package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

type alertFile struct {
	Groups []struct {
		Name  string      `json:"name"`
		Rules []alertRule `json:"rules"`
	} `json:"groups"`
}

type alertRule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readAlerts(t *testing.T) (list []alertRule) {
	t.Helper()
	var file alertFile
	decode(t, "prometheus-alerts.yaml", &file)
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// shownMetrics lists every metric that the console's source declares, from the
// names that its collectors are made with, not from comments.
func shownMetrics(t *testing.T) (list []string) {
	t.Helper()
	for _, file := range append(glob(t, "../console/*.go"), "../cmd/tallyhook/node_mapper_metrics.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text := read(t, file)
		for _, name := range firsts(regexp.MustCompile(`\bdesc\("([a-z_]+)"`), text) {
			list = append(list, "tallyhook_"+name)
		}
		for _, name := range firsts(regexp.MustCompile(`\bmapperDesc\("([a-z_]+)"`), text) {
			list = append(list, "tallyhook_mapper_"+name)
		}
		list = append(list, firsts(regexp.MustCompile(`Name: "(tallyhook_[a-z_]+)"`), text)...)
	}
	if len(list) < 20 {
		t.Fatalf("the console shows %d metrics only: has the way they are declared changed?", len(list))
	}
	return list
}

func TestAlerts(t *testing.T) {
	shown := shownMetrics(t)
	seen := map[string]bool{}
	for _, r := range readAlerts(t) {
		if seen[r.Alert] || !regexp.MustCompile(`^Tallyhook[A-Z][A-Za-z]+$`).MatchString(r.Alert) {
			t.Errorf("%s: want a name of its own that begins with Tallyhook", r.Alert)
		}
		seen[r.Alert] = true
		if !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q: want page or ticket", r.Alert, r.Labels["severity"])
		}
		if r.For != "" {
			if _, err := time.ParseDuration(r.For); err != nil {
				t.Errorf("%s: for: %v", r.Alert, err)
			}
		}
		if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want || r.Annotations["summary"] == "" {
			t.Errorf("%s: annotations %v: want a summary and the runbook %s", r.Alert, r.Annotations, want)
		}
		for _, brackets := range []string{"()", "{}", "[]"} {
			if strings.Count(r.Expr, brackets[:1]) != strings.Count(r.Expr, brackets[1:]) {
				t.Errorf("%s: %s do not close: %s", r.Alert, brackets, r.Expr)
			}
		}
		for _, name := range firsts(regexp.MustCompile(`\b(tallyhook_[a-z_]+)`), r.Expr) {
			if !slices.Contains(shown, strings.TrimSuffix(name, "_bucket")) {
				t.Errorf("%s reads %s, which no node shows", r.Alert, name)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no alerts")
	}
}

// TestAlertsAskForStatusesThatExist: one that is misspelt never fires.
func TestAlertsAskForStatusesThatExist(t *testing.T) {
	asked := 0
	for _, r := range readAlerts(t) {
		for _, status := range firsts(regexp.MustCompile(`status!?="([a-z]+)"`), r.Expr) {
			asked++
			if _, err := event.ParseStatus(status); err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
		}
	}
	if asked == 0 {
		t.Error("no alert asks for a status")
	}
}
