package mappers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// Compiled are the languages whose example is committed built.
var Compiled = []string{"c", "rust", "as"}

// LangGo is the one whose example is built by BuildGo.
const LangGo = "go"

// Example reads the example "pairs" in one of Compiled.
func Example(root, lang string) ([]byte, error) {
	return os.ReadFile(filepath.Join(root, "plugins", "examples", "pairs", "pairs-"+lang+".wasm"))
}

// BuildGo builds the example in Go into dir and gives its path.
func BuildGo(ctx context.Context, root, dir string) (string, error) {
	out := filepath.Join(dir, "pairs-go.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, "./plugins/examples/pairs/go")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the example in Go: %w\n%s", err, text)
	}
	return out, nil
}

// module reads the example in a language, as it is pushed.
func (c *Config) module(lang string) ([]byte, error) {
	if lang == LangGo {
		return os.ReadFile(c.Go)
	}
	return Example(c.Root, lang)
}

// langs are those that can be measured.
func (c *Config) langs() []string {
	if c.Go == "" {
		return Compiled
	}
	return append(append([]string{}, Compiled...), LangGo)
}

// counted rewrites a module as a node does.
func counted(code []byte) ([]byte, error) {
	out, _, err := rewrite.Rewrite(code, rewrite.Default())
	return out, err
}
