package admission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// drainMax is how long the pipes of a killed child may stay open.
const drainMax = 2 * time.Second

// Run judges r in a child process and returns when that has ended. exe is the
// command line that runs Child, for example /proc/self/exe and an argument.
//
// A child takes up to a processor and a gigabyte, so callers let few run at
// once. An error means that the module could not be judged, and may be tried
// again: ctx has ended, there is no child to be had, the cache folder cannot
// be written.
func Run(ctx context.Context, exe []string, r Request) (*Verdict, error) {
	return run(ctx, exe, r, defaultBounds)
}

func run(ctx context.Context, exe []string, r Request, b bounds) (*Verdict, error) {
	if len(exe) == 0 || r.FuelMax < FuelMin {
		panic(fmt.Sprintf("bug: admission with command %q and %d units of fuel", exe, r.FuelMax))
	}
	v := newVerdict(r.Code)
	if v.sizes(&r); len(v.Reasons) > 0 {
		return v, nil
	}
	keep := r.CacheDir
	folder, err := stage(keep)
	if err != nil {
		return nil, fmt.Errorf("admit mapper: %w", err)
	}
	defer os.RemoveAll(folder)
	r.CacheDir = folder

	e, err := spawn(ctx, exe, &r, b)
	if err != nil {
		return nil, fmt.Errorf("admit mapper: %w", err)
	}
	a := decode(e.out)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("admit mapper: %w", ctx.Err())
	case a.err != "":
		return nil, fmt.Errorf("admit mapper: %s", a.err)
	case a.verdict == nil:
		if err := v.ended(a.step, e, b); err != nil {
			return nil, fmt.Errorf("admit mapper: %w", err)
		}
		return v, nil
	case a.verdict.SHA256 != v.SHA256:
		return nil, fmt.Errorf("admit mapper: the child speaks of module %.64q, not of %s; run the same binary as child", a.verdict.SHA256, v.SHA256)
	}
	if a.verdict.Admitted && keep != "" {
		if err := publish(folder, keep); err != nil {
			return nil, fmt.Errorf("admit mapper: %w", err)
		}
	}
	return a.verdict, nil
}

// ending is how a child ended and what it left.
type ending struct {
	out, err  []byte
	state     *os.ProcessState
	wall      bool // it was killed for its time on the wall clock
	oversized bool // it wrote more than it may
}

// spawn runs a child to its end.
func spawn(ctx context.Context, exe []string, r *Request, b bounds) (*ending, error) {
	in, err := encode(r, b)
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, b.wall)
	defer cancel()
	// The child dies with the thread that made it, so that a killed node
	// leaves none behind: the thread has to stay as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	stdout, stderr := &bounded{most: answerBytesMax}, &bounded{most: 16 << 10, rest: true}
	cmd := exec.CommandContext(timed, exe[0], exe[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, stdout, stderr
	// Nothing of ours is handed down: the environment holds secrets.
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return kill(cmd.Process) }
	cmd.WaitDelay = drainMax
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the child %s: %w", strings.Join(exe, " "), err)
	}
	err = cmd.Wait()
	if cmd.ProcessState == nil {
		return nil, fmt.Errorf("wait for the child: %w", err)
	}
	return &ending{out: stdout.bytes, err: stderr.bytes, state: cmd.ProcessState, oversized: stdout.over,
		wall: errors.Is(timed.Err(), context.DeadlineExceeded) && !cmd.ProcessState.Success()}, nil
}

var errTooMuch = errors.New("more output than a child may write")

// bounded keeps the first bytes of a stream. What follows is an error, which
// breaks the pipe, or is dropped when rest is set.
type bounded struct {
	bytes []byte
	most  int
	rest  bool
	over  bool // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.most-len(b.bytes))
	b.bytes = append(b.bytes, p[:n]...)
	if b.over = b.over || n < len(p); b.over && !b.rest {
		return n, errTooMuch
	}
	return len(p), nil
}
