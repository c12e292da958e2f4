package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running process and everything that it started.
type process struct {
	pid  int
	end  syscall.Signal
	done chan struct{}
	err  error // set before done is closed
}

// startProcess starts a process that dies with this one, in a group of its
// own, so that an interrupt typed at a terminal leaves the end to us. What it
// says is appended to the file log.
func startProcess(c command, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = filepath.Dir(log)
	become(cmd, c.identity)
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = c.end
	p := &process{end: c.end, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel takes the end of the starting thread for the parent's
		// death, so this thread stays until the process has ended.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- errors.Join(err, out.Close())
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// become lets cmd run as another user; nil leaves it with ours.
func become(cmd *exec.Cmd, who *identity) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if who != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stopTimeout is longer than the 5 s after which PostgreSQL itself kills what
// does not follow.
const stopTimeout = 10 * time.Second

// stop sends the end signal, also to a frozen process, and waits.
func (p *process) stop() error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.pid, p.end); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if err := p.thaw(); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		p.kill()
		return nil
	}
}

// kill ends every process for certain and waits for the first one.
func (p *process) kill() {
	for _, pid := range p.tree() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
	}
	<-p.done
}

// freeze stops the first process before it looks for the others, so that none
// is started meanwhile.
func (p *process) freeze() error {
	if !p.alive() {
		return errors.New("freeze: the server does not run")
	}
	if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	return p.signalAll(syscall.SIGSTOP)
}

// thaw wakes the first process last: it never sees a child that still stands.
func (p *process) thaw() error { return p.signalAll(syscall.SIGCONT) }

func (p *process) signalAll(s syscall.Signal) error {
	for _, pid := range slices.Backward(p.tree()) {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %d to process %d: %w", s, pid, err)
		}
	}
	return nil
}

// tree lists the process and its descendants, parents first. The process group
// will not do: each backend of PostgreSQL opens a session of its own.
func (p *process) tree() []int {
	if !p.alive() {
		return nil
	}
	children := childrenOf()
	tree := []int{p.pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// childrenOf reads who started whom from /proc.
func childrenOf() map[int][]int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name, which may hold anything) state parent …
		_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}

// detach gives cmd a session of its own: it outlives this process and hears
// nothing of its terminal.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// terminate asks a keeper to end.
func terminate(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }

func ownedByUs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
