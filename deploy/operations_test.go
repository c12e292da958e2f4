package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const operations = "../docs/operations.md"

// headings gives the words of every heading and its anchor, as GitHub makes it.
func headings(text string) map[string]string {
	list := map[string]string{}
	for _, h := range firsts(regexp.MustCompile(`(?m)^#+ (.+)$`), regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h), "")
		list[strings.ReplaceAll(anchor, " ", "-")] = h
	}
	return list
}

// blocks gives the fenced blocks whose info string is info.
func blocks(text, info string) []string {
	return firsts(regexp.MustCompile("(?ms)^ *```"+regexp.QuoteMeta(info)+"\n(.*?)^ *```$"), text)
}

func TestEveryAlertHasItsSection(t *testing.T) {
	have := headings(read(t, operations))
	named := map[string]bool{}
	for _, r := range readAlerts(t) {
		named[r.Alert] = true
		if have[strings.ToLower(r.Alert)] != r.Alert {
			t.Errorf("docs/operations.md has no section %s", r.Alert)
		}
	}
	for _, h := range have {
		if strings.HasPrefix(h, "Tallyhook") && !named[h] {
			t.Errorf("docs/operations.md has a section %s, which is no alert", h)
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	text := read(t, operations)
	have := headings(text)
	for _, link := range firsts(regexp.MustCompile(`\]\(([^)]+)\)`), text) {
		if anchor, ok := strings.CutPrefix(link, "#"); ok {
			if _, ok := have[anchor]; !ok {
				t.Errorf("docs/operations.md links to #%s, which is no heading", anchor)
			}
			continue
		}
		there(t, filepath.Join("../docs", link), "docs/operations.md")
	}
	for _, path := range firsts(regexp.MustCompile("`(deploy/[a-z.-]+)"), text) {
		there(t, "../"+path, "docs/operations.md")
	}
}

// TestEverySettingIsExplained holds the table of settings against serve.
func TestEverySettingIsExplained(t *testing.T) {
	_, section, _ := strings.Cut(read(t, operations), "\n## Settings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	explained := firsts(regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|"), section)
	for _, name := range program.settings {
		if name != "help" && name != "version" && !slices.Contains(explained, name) {
			t.Errorf("docs/operations.md does not explain the setting %s", name)
		}
	}
	for _, name := range explained {
		if !slices.Contains(program.settings, name) {
			t.Errorf("docs/operations.md explains %s, which is no setting", name)
		}
	}
}

// TestCommandsExist: what is to be typed can be typed.
func TestCommandsExist(t *testing.T) {
	text := read(t, operations) + read(t, "compose.yaml")
	typed := firsts(regexp.MustCompile("(?:[`/]|^|\\n *)tallyhook ([a-z]+(?: [a-z]+)?)"), text)
	if len(typed) < 10 {
		t.Fatalf("only %v are to be typed", typed)
	}
	for _, command := range typed {
		first, _, _ := strings.Cut(command, " ")
		if !slices.Contains(program.commands, command) && !slices.Contains(program.commands, first) {
			t.Errorf("%q is no command: %v", "tallyhook "+command, program.commands)
		}
	}
}

func TestMetricsExist(t *testing.T) {
	shown := shownMetrics(t)
	for _, name := range firsts(regexp.MustCompile("`(tallyhook_[a-z_]+)`"), read(t, operations)) {
		if !slices.Contains(shown, name) {
			t.Errorf("docs/operations.md speaks of %s, which no node shows", name)
		}
	}
}

// TestQuickStartReads: the blocks are one script that bash can read, and it
// stops what it starts. That it works is shown where the servers are.
func TestQuickStartReads(t *testing.T) {
	list := blocks(read(t, operations), "sh quickstart")
	if len(list) < 5 {
		t.Fatalf("%d blocks of the quick start", len(list))
	}
	script := strings.Join(list, "\n")
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash cannot read the quick start: %v\n%s", err, out)
	}
	for _, variable := range []string{"$REDIS_URL", "$POSTGRES_URL", "$CLICKHOUSE_URL"} {
		if !strings.Contains(script, variable) {
			t.Errorf("the quick start does not use %s", variable)
		}
	}
	started := len(regexp.MustCompile(`(?m)^node [ab] `).FindAllString(script, -1))
	ended := strings.Count(script, `"$NODE_A"`) + strings.Count(script, `"$NODE_B"`)
	if started != 3 || ended != 6 {
		t.Errorf("the quick start starts %d nodes and ends or awaits them %d times: want 3 and 6", started, ended)
	}
}
