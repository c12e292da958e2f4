package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// toolchain is how a language's projects become modules. Its steps are what
// their Makefile says, word by word.
type toolchain struct {
	lang, name string
	mark       string   // a file that only projects of it have
	env        []string // of the steps
	steps      []step
	install    map[string]string // program → how to get it
}

// step is one command of a build. It is left out when the file unless is there.
type step struct {
	unless string
	args   []string
}

// moduleFile is what every build leaves in its project's folder.
const moduleFile = "mapper.wasm"

const (
	rustTarget         = "wasm32-unknown-unknown"
	assemblyScriptFile = "node_modules/.bin/asc"
)

var toolchains = []toolchain{
	{lang: "go", name: "Go", mark: "go.mod", env: []string{"GOOS=wasip1", "GOARCH=wasm"},
		steps:   []step{{args: []string{"go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", moduleFile, "."}}},
		install: map[string]string{"go": "install Go 1.24 or later from https://go.dev/dl"}},
	{lang: "rust", name: "Rust", mark: "mapper.rs",
		steps: []step{{args: []string{"rustc", "--edition", "2021", "--crate-name", "mapper", "--crate-type", "cdylib", "--target", rustTarget, "-C", "opt-level=3", "-C", "lto=fat",
			"-C", "panic=abort", "-C", "target-feature=+bulk-memory", "-C", "link-args=-z stack-size=16384 --strip-all", "mapper.rs", "-o", moduleFile}}},
		install: map[string]string{"rustc": "install Rust from https://rustup.rs, then \"rustup target add " + rustTarget + "\"; on Debian \"apt install rustc libstd-rust-dev-wasm32\""}},
	{lang: "c", name: "C", mark: "mapper.c",
		steps: []step{
			{args: []string{"clang", "-O2", "--target=wasm32", "-mbulk-memory", "-ffreestanding", "-fno-builtin", "-Wall", "-Wextra", "-Wno-unused-function", "-c", "mapper.c", "-o", "mapper.o"}},
			{args: []string{"wasm-ld", "mapper.o", "-o", moduleFile, "--no-entry", "--stack-first", "-z", "stack-size=16384", "--strip-all"}}},
		install: map[string]string{"clang": "install LLVM 14 or later; on Debian \"apt install clang lld\"", "wasm-ld": "install LLVM 14 or later; on Debian \"apt install lld\""}},
	{lang: "as", name: "AssemblyScript", mark: "mapper.ts",
		steps: []step{
			{unless: assemblyScriptFile, args: []string{"npm", "ci", "--no-audit", "--no-fund"}},
			{args: []string{assemblyScriptFile, "mapper.ts", "-O3", "--runtime", "stub", "--use", "abort=", "-o", moduleFile}}},
		install: map[string]string{"npm": "install Node.js 18 or later from https://nodejs.org; on Debian \"apt install nodejs npm\""}},
}

type mapperBuildCmd struct {
	Dir string `arg:"" default:"." help:"Folder of the project, as \"tallyhook mapper new\" made it."`
}

func (m mapperBuildCmd) Run(a *app) error {
	tc, err := toolchainOf(m.Dir)
	if err != nil {
		return err
	}
	for _, step := range tc.steps {
		if _, err := os.Stat(filepath.Join(m.Dir, step.unless)); step.unless != "" && err == nil {
			continue
		}
		if err := tc.run(a.ctx, m.Dir, step.args, a.errOut); err != nil {
			return err
		}
	}
	out := filepath.Join(m.Dir, moduleFile)
	built, err := os.Stat(out)
	if err != nil {
		return fmt.Errorf("the build left no module: %w", err)
	}
	fmt.Fprintf(a.out, "%s: %s bytes\n", out, count(built.Size()))
	return nil
}

// toolchainOf tells by its files what a project is written in.
func toolchainOf(dir string) (*toolchain, error) {
	for i := range toolchains {
		if _, err := os.Stat(filepath.Join(dir, toolchains[i].mark)); err == nil {
			return &toolchains[i], nil
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%w; \"tallyhook mapper new --lang LANG %s\" makes a project there", err, quoteArg(dir))
	}
	marks := make([]string, len(toolchains))
	for i, tc := range toolchains {
		marks[i] = tc.mark
	}
	return nil, fmt.Errorf("%s holds none of %s: name the folder of a project, \"tallyhook mapper new\" makes one", dir, strings.Join(marks, ", "))
}

// run runs one step in the project's folder and shows it, as it could be typed.
func (tc *toolchain) run(ctx context.Context, dir string, args []string, told io.Writer) error {
	program, err := tc.find(ctx, args[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(told, typed(tc.env, program, args[1:]))
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, told, told
	cmd.Env = append(os.Environ(), tc.env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w; it says above what to mend", args[0], err)
	}
	return nil
}

func typed(env []string, program string, args []string) string {
	words := slices.Clone(env)
	for _, w := range append([]string{program}, args...) {
		words = append(words, quoteArg(w))
	}
	return strings.Join(words, " ")
}

// find looks a program up, or says how to get it.
func (tc *toolchain) find(ctx context.Context, name string) (string, error) {
	if name == "rustc" {
		return tc.findRust(ctx)
	}
	if strings.Contains(name, "/") { // of the project's own, made by the step before
		return name, nil
	}
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("%s is not installed: %s", name, tc.install[name])
	}
	return name, nil
}

// findRust gives the first compiler of the path that has what the target
// needs: where rustup and a package of the system stand beside each other, it
// is often the second. RUSTC goes before both.
func (tc *toolchain) findRust(ctx context.Context) (string, error) {
	found := os.Getenv("RUSTC")
	if found != "" {
		return found, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "rustc")
		if _, err := exec.LookPath(path); err != nil {
			continue
		}
		found = path
		libs, err := exec.CommandContext(ctx, path, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(libs))); err == nil {
			return path, nil
		}
	}
	if found == "" {
		return "", errors.New("rustc is not installed: " + tc.install["rustc"])
	}
	return "", fmt.Errorf("%s does not compile to %s: %s", found, rustTarget, tc.install["rustc"])
}
