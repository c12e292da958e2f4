// Package deploy is what an operator starts Tallyhook with: image, compose
// file, unit, settings, balancer, alerts. It has no code. Its tests hold these
// files against the product: every setting, command and metric that they name
// is one that the program knows, every file that they name is there, and every
// alert has its section in docs/operations.md.
package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// program is what the program says of itself: it is built once and asked.
var program struct {
	env      []string // variables that serve reads
	settings []string // flags of serve, which are the keys of the settings file
	commands []string // "store migrate"
}

func TestMain(m *testing.M) {
	if err := askProgram(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func askProgram() error {
	dir, err := os.MkdirTemp("", "tallyhook-deploy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "tallyhook")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/tallyhook").CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	ask := func(args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Dir, cmd.Env = dir, []string{} // no settings of whoever runs this
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("tallyhook %s: %w", strings.Join(args, " "), err)
		}
		return string(out), nil
	}
	serve, err := ask("serve", "--help")
	if err != nil {
		return err
	}
	all, err := ask("--help")
	if err != nil {
		return err
	}
	program.env = firsts(regexp.MustCompile(`\$(TALLYHOOK_[A-Z_]+)`), serve)
	program.settings = firsts(regexp.MustCompile(`(?m)^ +(?:-., )?--([a-z-]+)`), serve)
	_, list, _ := strings.Cut(all, "Commands:")
	program.commands = firsts(regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)(?:  |$)`), list)
	return nil
}

// firsts gives the first group of every match, each once.
func firsts(re *regexp.Regexp, text string) (list []string) {
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(list, m[1]) {
			list = append(list, m[1])
		}
	}
	return list
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// decode reads a YAML file into v; unknown and double keys are faults.
func decode(t *testing.T, name string, v any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, name)), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func there(t *testing.T, path, who string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s names %s: %v", who, path, err)
	}
}

// TestProgramSaysWhatItKnows keeps the other tests from comparing with nothing.
func TestProgramSaysWhatItKnows(t *testing.T) {
	for _, c := range []struct {
		what string
		have []string
		want string
	}{
		{"variables", program.env, "TALLYHOOK_TRUSTED_PROXIES"},
		{"settings", program.settings, "journal-retain"},
		{"commands", program.commands, "ledger verify"},
		{"commands", program.commands, "serve"},
	} {
		if !slices.Contains(c.have, c.want) {
			t.Errorf("%s %v lack %s: has the form of --help changed?", c.what, c.have, c.want)
		}
	}
}

func TestSettingsFileNamesSettings(t *testing.T) {
	text := read(t, "tallyhook.yaml")
	// What is commented out has to be right as well: it is there to be uncommented.
	text = regexp.MustCompile(`(?m)^# ([a-z-]+: \S+)$`).ReplaceAllString(text, "$1")
	var settings map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &settings); err != nil {
		t.Fatal(err)
	}
	for key := range settings {
		if !slices.Contains(program.settings, key) {
			t.Errorf("tallyhook.yaml sets %q, which serve does not know: %v", key, program.settings)
		}
	}
	for _, key := range []string{"data", "key-file", "store", "index", "activity", "admin", "journal-max-mb", "hash-callers"} {
		if _, ok := settings[key]; !ok {
			t.Errorf("tallyhook.yaml does not speak of %q", key)
		}
	}
}

// stopSeconds is how long a node may take to stop, by its own constants.
func stopSeconds(t *testing.T) int {
	t.Helper()
	sum := 0
	for _, name := range []string{"drainTimeMax", "stopTimeMax"} {
		var seconds int
		for _, file := range glob(t, "../cmd/tallyhook/*.go") {
			if m := regexp.MustCompile(name + `\s*=\s*(\d+) \* time\.Second`).FindStringSubmatch(read(t, file)); m != nil {
				fmt.Sscan(m[1], &seconds)
			}
		}
		if seconds == 0 {
			t.Fatalf("no constant %s in cmd/tallyhook: how long may a node take to stop?", name)
		}
		sum += seconds
	}
	return sum
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v files, %v", pattern, len(files), err)
	}
	return files
}
