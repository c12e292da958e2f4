//go:build !race

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/plugins"
)

const mappersPage = "../../docs/mappers.md"

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(mappersPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What docs/mappers.md has a partner write is built and admitted, word by word,
// in each language.
func TestMappersPageWorks(t *testing.T) {
	tools, err := exec.Command("../../scripts/toolchains").CombinedOutput()
	page := readPage(t)
	files := regexp.MustCompile("(?s)`acme/([a-z./-]+)`[^\n]*:\n\n```[a-z]*\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(files) != 8 {
		t.Fatalf("the page has %d files, want four vectors and four sources", len(files))
	}
	for _, lang := range plugins.Langs() {
		t.Run(lang, func(t *testing.T) {
			if err != nil && lang != "go" {
				if os.Getenv("CI") == "true" {
					t.Fatalf("scripts/toolchains: %v\n%s", err, tools)
				}
				t.Skipf("SKIPPED: scripts/toolchains cannot get the compilers: %v\n%s", err, tools)
			}
			dir := filepath.Join(t.TempDir(), "acme")
			ours(t, "mapper", "new", "--lang", lang, dir)
			for _, old := range []string{"vectors/sale.txtar", "vectors/no-click.txtar"} {
				if err := os.Remove(filepath.Join(dir, old)); err != nil {
					t.Fatal(err)
				}
			}
			mark := filepath.Base(toolchainNamed(lang).mark)
			if lang == "go" {
				mark = "main.go"
			}
			for _, f := range files {
				if name := f[1]; name == mark || strings.HasPrefix(name, "vectors/") {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(f[2]), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if lang == "as" { // what npm ci would fetch
				asc := regexp.MustCompile(`(?m)^asc .* (\S+)/\.bin/asc$`).FindSubmatch(tools)
				if asc == nil {
					t.Fatalf("scripts/toolchains names no asc:\n%s", tools)
				}
				if err := os.Symlink(string(asc[1]), filepath.Join(dir, "node_modules")); err != nil {
					t.Fatal(err)
				}
			}
			ours(t, "mapper", "build", dir)
			said := ours(t, "mapper", "test", filepath.Join(dir, moduleFile), "--vectors", filepath.Join(dir, "vectors"))
			if strings.Count(said, " ok ") != 4 || !strings.Contains(said, "A node would admit it.") {
				t.Errorf("admission says\n%s", said)
			}
		})
	}
}

// ours runs a command line in a process of its own and wants it to succeed.
func ours(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tallyhook", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("tallyhook %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// Every code of a refusal stands on the page with its way out.
func TestMappersPageKnowsEveryRefusal(t *testing.T) {
	page := readPage(t)
	for room, prefix := range map[string]string{"admission": "Code", "rewrite": "Refuse", "wasm": "Bad"} {
		found := 0
		files, err := filepath.Glob("../../mapper/" + room + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
					return true
				}
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					code, _ := strconv.Unquote(lit.Value)
					if found++; !strings.Contains(page, "`"+code+"`") {
						t.Errorf("%s.%s: the page says nothing of `%s`", room, spec.Names[0].Name, code)
					}
				}
				return true
			})
		}
		if found < 10 {
			t.Errorf("%d codes found in mapper/%s", found, room)
		}
	}
}

// A build runs what the project's Makefile says, word by word.
func TestBuildRunsWhatTheMakefileSays(t *testing.T) {
	for i := range toolchains {
		tc := &toolchains[i]
		project, err := plugins.Project(tc.lang)
		if err != nil {
			t.Fatal(err)
		}
		makefile := strings.NewReplacer("\\\n", " ", "$@", moduleFile, "$(CLANG)", "clang", "$(WASM_LD)", "wasm-ld", "$(RUSTC)", "rustc",
			"$(ASC)", assemblyScriptFile, "'", "").Replace(string(project["Makefile"]))
		makefile = strings.Join(strings.Fields(makefile), " ")
		for _, s := range tc.steps {
			if line := strings.Join(append(append([]string{}, tc.env...), s.args...), " "); !strings.Contains(makefile, line) {
				t.Errorf("%s: its Makefile does not say\n%s\nbut\n%s", tc.name, line, makefile)
			}
		}
	}
}

func TestBuildSaysWhatIsMissing(t *testing.T) {
	f := func(lang string, parts ...string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), lang)
		tallyhook(t, "mapper", "new", "--lang", lang, dir).ends(0)
		tallyhook(t, "mapper", "build", dir).ends(exitFailed).complains(parts...)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv("RUSTC", "")
	f("c", "clang is not installed", "apt install clang lld")
	f("rust", "rustc is not installed", "rustup target add wasm32-unknown-unknown")
	f("as", "npm is not installed", "apt install nodejs npm")
	f("go", "go is not installed", "https://go.dev/dl")
	dir := t.TempDir()
	tallyhook(t, "mapper", "build", dir).ends(exitFailed).complains("holds none of go.mod, mapper.rs, mapper.c, mapper.ts")
	tallyhook(t, "mapper", "build", filepath.Join(dir, "nowhere")).ends(exitFailed).complains("tallyhook mapper new")
}

func TestNewProject(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my mapper")
	tallyhook(t, "mapper", "new", "--lang", "rust", dir).ends(0).
		says("a mapper in Rust", "tallyhook mapper build '"+dir+"'", "tallyhook mapper test '"+dir+"/mapper.wasm' --vectors '"+dir+"/vectors'", "--name NAME")
	for _, name := range []string{"mapper.rs", "tallyhook.rs", "vectors/sale.txtar"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	tallyhook(t, "mapper", "new", "--lang", "c", dir).ends(exitFailed).complains("is not empty")
	tallyhook(t, "mapper", "new", "--lang", "cobol", dir+"2").ends(exitUsage).complains("--lang")
	tallyhook(t, "mapper", "new", "--lang", "c", filepath.Join(dir, "mapper.rs")).ends(exitFailed)
}
