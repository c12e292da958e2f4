//go:build !race

package plugins

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// The committed modules are what plugins/build makes of the committed sources.
func TestRebuiltBitForBit(t *testing.T) {
	needToolchains(t)
	dir := t.TempDir()
	if out, err := exec.Command("./build", dir).CombinedOutput(); err != nil {
		t.Fatalf("plugins/build: %v\n%s", err, out)
	}
	committed, err := filepath.Glob("examples/*/*.wasm")
	if err != nil || len(committed) == 0 {
		t.Fatalf("no committed modules: %v", err)
	}
	for _, file := range committed {
		rel, err := filepath.Rel("examples", file)
		if err != nil {
			t.Fatal(err)
		}
		want, got := read(t, file), read(t, filepath.Join(dir, rel))
		t.Logf("%6d bytes  %s", len(want), rel)
		if !bytes.Equal(want, got) {
			versions, _ := toolchains()
			t.Errorf("%s: plugins/build makes other bytes (%d, committed are %d): run it and commit them, unless a compiler here is not of the version that is pinned:\n%s",
				rel, len(got), len(want), versions)
		}
	}
	built, err := filepath.Glob(filepath.Join(dir, "*", "*.wasm"))
	if err != nil || len(built) != len(committed) {
		t.Errorf("plugins/build makes %d modules, %d are committed; %v", len(built), len(committed), err)
	}
}

// A new project of every language builds with make alone and passes its own
// vectors.
func TestTemplates(t *testing.T) {
	for _, lang := range Langs() {
		t.Run(lang, func(t *testing.T) {
			if lang != "go" {
				needToolchains(t)
			}
			dir := project(t, lang)
			cmd := exec.Command("make", append([]string{"mapper.wasm"}, toolsOf(t, lang)...)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("make: %v\n%s", err, out)
			}
			cases, err := vectors.ReadDir(filepath.Join(dir, "vectors"))
			if err != nil {
				t.Fatal(err)
			}
			if len(cases) < 2 {
				t.Errorf("%d vectors", len(cases))
			}
			runVectors(t, open(t, "template-"+lang, read(t, filepath.Join(dir, "mapper.wasm"))), cases)
		})
	}
}

// project writes a language's project into a folder.
func project(t *testing.T, lang string) (dir string) {
	t.Helper()
	files, err := Project(lang)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"Makefile", "README.md", ".gitignore"} {
		if files[want] == nil {
			t.Errorf("%s: no %s", lang, want)
		}
	}
	return dir
}

// toolsOf names the compilers to a project's Makefile: those of scripts/toolchains,
// as a rustup may stand before Debian's rustc, and no second copy of npm's.
func toolsOf(t *testing.T, lang string) (args []string) {
	t.Helper()
	if lang == "go" {
		return nil
	}
	variables := map[string]string{"clang": "CLANG", "wasm-ld": "WASM_LD", "rustc": "RUSTC", "asc": "ASC"}
	out, err := toolchains()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && variables[f[0]] != "" {
			args = append(args, variables[f[0]]+"="+f[2])
		}
	}
	return args
}

// A new Go project's own test passes, and its SDK is the package that our
// examples are built with.
func TestGoTemplateTestsItself(t *testing.T) {
	cmd := exec.Command("go", "test", "./...")
	cmd.Dir = project(t, "go")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go test: %v\n%s", err, out)
	}
}

func TestSDK(t *testing.T) {
	f := func(lang string, want ...string) {
		t.Helper()
		sdk, err := SDK(lang)
		if err != nil {
			t.Fatal(err)
		}
		if Template(lang) == nil {
			t.Errorf("%s: no template", lang)
		}
		for _, name := range want {
			if _, err := fs.Stat(sdk, name); err != nil {
				t.Errorf("%s: %v", lang, err)
			}
		}
	}
	f("go", "tallyhook.go", "text.go")
	f("rust", "tallyhook.rs")
	f("c", "tallyhook.h")
	f("as", "tallyhook.ts", "package.json", "package-lock.json")
	if _, err := SDK("zig"); err == nil || !strings.Contains(fmt.Sprint(err), "have as, c, go, rust") || Template("zig") != nil {
		t.Errorf("SDK of a language without one: %v", err)
	}
}
