// Package node runs a Tallyhook binary as a process of its own: start it, wait
// until it is ready, stop it or kill it, and learn what it said last. The
// crash test and the bench stand on it.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to start and where.
type Config struct {
	Binary string
	Data   string   // data folder
	Ingest string   // host:port
	Admin  string   // host:port
	Args   []string // more flags of serve
	Log    string   // file that everything it says is appended to; "" is none
}

// Process is one running node.
type Process struct {
	Config
	cmd     *exec.Cmd
	started time.Time
	said    tail
	exited  chan struct{}
	err     error // set before exited is closed
}

// Start starts a node and does not wait for it. It is killed when ctx is done.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	args := append([]string{"serve", "--listen", cfg.Ingest, "--admin", cfg.Admin}, cfg.Args...)
	cmd, err := Command(ctx, cfg.Binary, cfg.Data, args...)
	if err != nil {
		return nil, err
	}
	p := &Process{Config: cfg, cmd: cmd, started: time.Now(), exited: make(chan struct{})}
	var said io.Writer = &p.said
	var log *os.File
	if cfg.Log != "" {
		if log, err = os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("start node: %w", err)
		}
		said = io.MultiWriter(&p.said, log)
	}
	p.cmd.Stdout, p.cmd.Stderr = said, said
	err = startTied(p.cmd, func(err error) {
		p.err = err
		log.Close()
		close(p.exited)
	})
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("start node: %w", err)
	}
	return p, nil
}

// Command prepares a subcommand of binary on a data folder. It runs beside that
// folder and without TALLYHOOK_ variables, so that neither the settings of
// whoever runs this nor those of a test get in.
func Command(ctx context.Context, binary, data string, args ...string) (*exec.Cmd, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return nil, err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, append(args, "--data", data)...)
	cmd.Dir = filepath.Dir(data)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TALLYHOOK_") })
	return cmd, nil
}

const readyPoll = 2 * time.Millisecond

// Ready waits until the node says that it is ready, and gives the time since
// its start.
func (p *Process) Ready(ctx context.Context, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.Admin+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(p.started), nil
			}
			err = fmt.Errorf("readyz answers %s", resp.Status)
		}
		select {
		case <-p.exited:
			return 0, fmt.Errorf("node ended before it was ready: %w; it said:\n%s", p.exit(), p.said.String())
		case <-ctx.Done():
			return 0, fmt.Errorf("node is not ready after %s: %w", limit, err)
		case <-time.After(readyPoll):
		}
	}
}

// Exited is closed when the process has ended, for whatever reason.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Said gives the last of what the node wrote.
func (p *Process) Said() string { return p.said.String() }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Key reads the admin key that the node made on its first start.
func (p *Process) Key() (string, error) {
	key, err := os.ReadFile(p.KeyFile())
	return strings.TrimSpace(string(key)), err
}

// KeyFile is where the admin key is.
func (p *Process) KeyFile() string { return filepath.Join(p.Data, "admin.key") }

// ExitCode is what the node ended with, -1 for a signal; it waits for the end.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the node with SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // fails only when it has ended already
	<-p.exited
}

// Stop asks the node to end and waits. An exit code other than 0, or none
// within limit, is an error; it is gone afterwards in any case.
func (p *Process) Stop(limit time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop node: %w", err)
	}
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("node did not stop within %s and was killed; it said:\n%s", limit, p.said.String())
	}
	if p.err != nil {
		return fmt.Errorf("node stopped badly: %w; it said:\n%s", p.err, p.said.String())
	}
	return nil
}

// exit says how the process ended.
func (p *Process) exit() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit code 0")
}

// FreeAddr gives a loopback address that nobody listened on a moment ago.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Build compiles a package below the module's root into dir.
func Build(ctx context.Context, root, dir, pkg string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
