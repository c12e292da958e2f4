package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instructions reads a Dockerfile: comments are dropped, continued lines joined.
func instructions(text string) (list []string) {
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			list = append(list, line)
		}
	}
	return list
}

func TestImage(t *testing.T) {
	list := instructions(read(t, "Dockerfile"))
	last := -1 // where the stage begins that is shipped
	for i, line := range list {
		if strings.HasPrefix(line, "FROM ") {
			last = i
		}
	}
	if last < 1 || list[last] != "FROM scratch" {
		t.Fatalf("the last stage is %q: want FROM scratch after one that builds", list[max(last, 0)])
	}
	shipped := list[last:]
	for _, want := range []string{`^USER [1-9][0-9]*:[1-9][0-9]*$`, `^VOLUME /data$`, `^ENTRYPOINT \["/tallyhook"\]$`, `/etc/ssl/certs/ca-certificates\.crt$`, `^ENV ZONEINFO=/usr/share/zoneinfo\.zip`, `^LABEL org\.opencontainers\.image\.title=`} {
		if !slices.ContainsFunc(shipped, regexp.MustCompile(want).MatchString) {
			t.Errorf("the image lacks %s", want)
		}
	}
	owner := ""
	for _, line := range shipped {
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "USER":
			owner = rest
		case "RUN":
			t.Errorf("%q: there is no shell in the image", line)
		case "CMD", "HEALTHCHECK":
			_, argv, _ := strings.Cut(line, "[")
			var words []string
			if err := json.Unmarshal([]byte("["+argv), &words); err != nil {
				t.Errorf("%q: want the form of a JSON list, there is no shell: %v", line, err)
				continue
			}
			if command := words[len(words)-1]; !slices.Contains(program.commands, command) {
				t.Errorf("%q runs %q, which is no command: %v", line, command, program.commands)
			}
		}
	}
	for _, line := range shipped {
		if from := regexp.MustCompile(`--chown=(\S+)`).FindStringSubmatch(line); from != nil && from[1] != owner {
			t.Errorf("%q: the image runs as %s, who could not write there", line, owner)
		}
	}
	for _, name := range firsts(regexp.MustCompile(`(TALLYHOOK_[A-Z_]+)=`), strings.Join(list, "\n")) {
		if !slices.Contains(program.env, name) {
			t.Errorf("the image sets %s, which the program does not know", name)
		}
	}
}

func TestImageBuildsWithTheGoOfTheModule(t *testing.T) {
	want := firsts(regexp.MustCompile(`(?m)^go (\d+\.\d+)`), read(t, "../go.mod"))
	have := firsts(regexp.MustCompile(`golang:(\d+\.\d+)`), read(t, "Dockerfile"))
	if len(want) != 1 || !slices.Equal(have, want) {
		t.Errorf("the image is built with Go %v, go.mod wants %v", have, want)
	}
}

// TestContextHoldsWhatTheBuildNeeds: Dockerfile.dockerignore leaves out no file
// that is compiled or embedded.
func TestContextHoldsWhatTheBuildNeeds(t *testing.T) {
	var left []*regexp.Regexp
	for line := range strings.Lines(read(t, "Dockerfile.dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern := regexp.QuoteMeta(line)
		pattern = strings.ReplaceAll(pattern, `\*\*/`, `(.*/)?`)
		pattern = strings.ReplaceAll(pattern, `\*`, `[^/]*`)
		left = append(left, regexp.MustCompile(`^`+pattern+`(/.*)?$`))
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,GoFiles,EmbedFiles", "./cmd/tallyhook")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"go.mod", "go.sum"}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			Dir                 string
			GoFiles, EmbedFiles []string
		}
		if err := d.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		dir, err := filepath.Rel(root, pkg.Dir)
		if err != nil || strings.HasPrefix(dir, "..") {
			continue // not ours
		}
		for _, f := range slices.Concat(pkg.GoFiles, pkg.EmbedFiles) {
			files = append(files, filepath.Join(dir, f))
		}
	}
	if len(files) < 50 {
		t.Fatalf("the build needs %d files only: has the form of go list changed?", len(files))
	}
	for _, f := range files {
		for _, re := range left {
			if re.MatchString(f) {
				t.Errorf("the build needs %s, which Dockerfile.dockerignore leaves out (%s)", f, re)
			}
		}
	}
	for _, secret := range []string{"deploy/secrets/node.yaml", "data/secret.key", "run/a/admin.key", ".git/config"} {
		if !slices.ContainsFunc(left, func(re *regexp.Regexp) bool { return re.MatchString(secret) }) {
			t.Errorf("%s would go into the build's context", secret)
		}
	}
}
