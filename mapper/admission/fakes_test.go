//go:build linux

package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Children that are none, and what becomes of them: TestMain runs them.
const fakeArgument = "run-as-fake-child"

func fake(name string) []string { return []string{"/proc/self/exe", fakeArgument, name} }

func say(l line) {
	if err := json.NewEncoder(os.Stdout).Encode(l); err != nil {
		panic(err)
	}
}

var fakes = map[string]func(){
	"unknown command": func() { fmt.Fprintln(os.Stderr, "unexpected argument"); os.Exit(2) },
	"silent":          func() {},
	"garbage":         func() { say(line{Step: stepCompile}); fmt.Print("{\"verdict\":[") },
	"exit code":       func() { say(line{Step: stepVectors}); os.Exit(3) },
	"panic":           func() { say(line{Step: stepCompile}); panic("cannot happen") },
	"killed":          func() { say(line{Step: stepCompile}); kill9(os.Getpid()); time.Sleep(time.Minute) },
	"sleeping":        func() { say(line{Step: stepCompile}); time.Sleep(time.Minute) },
	"busy": func() { // for more than half of what it may
		say(line{Step: stepCompile})
		for cpuOfMine() < 600*time.Millisecond {
		}
		time.Sleep(time.Minute)
	},
	"talkative": func() {
		say(line{Step: stepVectors})
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<20)); err != nil {
				os.Exit(1)
			}
		}
	},
	"other module": func() { say(line{Verdict: &Verdict{Admitted: true, SHA256: "00"}}) },
	"own trouble":  func() { say(line{Error: "no space left on device"}); os.Exit(1) },
	"environment":  func() { say(line{Error: strings.Join(os.Environ(), " ")}) },
	"limits":       func() { say(line{Error: limitsOfMine()}) },
	"parent": func() { // a node that is killed while its child works
		_, err := Run(context.Background(), fake("sleeping"), request(guest{data: sold}))
		fmt.Fprintln(os.Stderr, err)
	},
}

func cpuOfMine() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func kill9(pid int) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		panic(err)
	}
}

func TestEveryWayToEnd(t *testing.T) {
	b := defaultBounds
	b.CPUSeconds, b.wall = 1, 4*time.Second
	refused := func(name, code, word string) {
		t.Helper()
		v, err := run(context.Background(), fake(name), request(guest{data: sold}), b)
		if err != nil || v.Admitted || len(v.Reasons) != 1 || v.Reasons[0].Code != code || !strings.Contains(v.Reasons[0].Text, word) {
			t.Errorf("%s: %+v, %v; want %s with %q", name, v, err, code, word)
		}
	}
	refused("garbage", CodeCompileCrashed, "said nothing")
	refused("exit code", CodeVectorsCrashed, "exit status 3")
	refused("panic", CodeCompileCrashed, "panic: cannot happen")
	refused("busy", CodeCompileSlow, "more than 4s")
	refused("talkative", CodeVectorsCrashed, "4194304 bytes")

	trouble := func(name, word string) {
		t.Helper()
		v, err := run(context.Background(), fake(name), request(guest{data: sold}), b)
		if v != nil || err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %+v, %v; want an error with %q", name, v, err, word)
		}
	}
	trouble("unknown command", "unexpected argument")
	trouble("silent", "did not begin")
	b.wall = 500 * time.Millisecond
	trouble("sleeping", "too busy")
	b.wall = 20 * time.Second
	trouble("killed", "push the module again")
	trouble("other module", "same binary")
	trouble("own trouble", "no space left on device")
	_, err := Run(context.Background(), []string{"/nowhere/tallyhook"}, request(guest{data: sold}))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/tallyhook") {
		t.Errorf("no binary: %v", err)
	}
	r := request(guest{data: sold})
	r.CacheDir = filepath.Join(t.TempDir(), "file", "cache")
	if err := os.WriteFile(filepath.Dir(r.CacheDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := Run(context.Background(), self, r); err == nil {
		t.Errorf("a cache folder that cannot be: %+v", v)
	}
}

func TestChildHasNoEnvironment(t *testing.T) {
	t.Setenv("TALLYHOOK_KEY", "canary")
	_, err := Run(context.Background(), fake("environment"), request(guest{data: sold}))
	if err == nil || err.Error() != "admit mapper: GOMAXPROCS=1 GOTRACEBACK=none" {
		t.Errorf("%v", err)
	}
}

// limitsOfMine sets the default limits and tells which hold then.
func limitsOfMine() string {
	before, err := mappedBytes()
	if err == nil {
		err = bind(defaultBounds)
	}
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, what := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_CPU, unix.RLIMIT_AS} {
		var l unix.Rlimit
		if err := unix.Getrlimit(what, &l); err != nil {
			return err.Error()
		}
		if what == unix.RLIMIT_AS {
			l.Cur, l.Max = (l.Cur-before)>>30, (l.Max-before)>>30
		}
		all = append(all, fmt.Sprint(l.Cur, "/", l.Max))
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return fmt.Sprint(all, 20-nice, err)
}

func TestChildLimitsItself(t *testing.T) {
	_, err := Run(context.Background(), fake("limits"), request(guest{data: sold}))
	if want := "admit mapper: [0/0 64/64 268435456/268435456 10/11 1/1] 10 <nil>"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A request that ends takes its child with it.
func TestCancelKills(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, fake("sleeping"), request(guest{data: sold}))
		done <- err
	}()
	pid := 0
	for pid == 0 {
		select {
		case err := <-done:
			t.Fatalf("it ended before it began: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		pid = childOf(t, os.Getpid())
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the child %d is still there: %v", pid, err)
	}
}

// A node that is killed leaves no child behind.
func TestNoOrphan(t *testing.T) {
	parent := exec.Command("/proc/self/exe", fakeArgument, "parent")
	parent.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for pid == 0 {
		pid = childOf(t, parent.Process.Pid)
		time.Sleep(5 * time.Millisecond)
	}
	kill9(parent.Process.Pid)
	if err := parent.Wait(); err == nil {
		t.Error("the parent ended by itself")
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			kill9(pid)
			t.Fatalf("the child %d outlives its parent", pid)
		}
	}
}

// alive reports whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}

// childOf finds a child of the process pid that is one of our fakes, 0 if there is none yet.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may be gone
		for _, number := range strings.Fields(string(text)) {
			line, _ := os.ReadFile("/proc/" + number + "/cmdline")
			if words := strings.Split(string(line), "\x00"); slices.Contains(words, fakeArgument) {
				child, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				return child
			}
		}
	}
	return 0
}
