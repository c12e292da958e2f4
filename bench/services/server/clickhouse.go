package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// clickhouseRecipe is the ClickHouse engine, a library, behind the HTTP server
// of bench/engine.
type clickhouseRecipe struct {
	program string // the server's binary
	library string // libchdb.so
	port    int
}

func newClickHouseRecipe(ctx context.Context, library string, port int) (*clickhouseRecipe, error) {
	program, err := buildEngine(ctx)
	return &clickhouseRecipe{program: program, library: library, port: port}, err
}

func (r *clickhouseRecipe) prepare(string) error { return nil }

func (r *clickhouseRecipe) command(dir string) command {
	return command{end: syscall.SIGKILL, argv: []string{r.program,
		"-listen", "127.0.0.1:" + strconv.Itoa(r.port), "-library", r.library, "-data", filepath.Join(dir, "data")}}
}

func (r *clickhouseRecipe) url() string { return fmt.Sprintf("http://127.0.0.1:%d/default", r.port) }

// buildEngine builds the server of bench/engine from this checkout. It keeps
// the binary that is there if it is the same, because a running one may not be
// written to.
func buildEngine(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := sharedDir(root, ClickHouse)
	if err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "build.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	program := filepath.Join(dir, "engine")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program+".new", "./bench/cmd/engine")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the engine's server: %w\n%s", err, out)
	}
	old, _ := os.ReadFile(program) // none yet, or not readable: take the new one
	made, err := os.ReadFile(program + ".new")
	if err != nil {
		return "", err
	}
	if bytes.Equal(old, made) {
		return program, os.Remove(program + ".new")
	}
	return program, os.Rename(program+".new", program)
}

// Root is the folder of the checkout that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above it: run this inside the checkout")
		}
		dir = parent
	}
}
