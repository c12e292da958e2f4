package main

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallyhook/tallyhook/bench/services"
)

// TestMapperStories plays the files in testdata/mapper as TestStories does its
// own. They have the same commands, and
//
//	hex FILE OUT   writes the bytes that FILE spells in hexadecimal digits; # begins a remark
//
// EXAMPLES is the folder of the SDKs' examples, KEY the file of the operator's
// key. Go builds with the cache of who runs the test.
func TestMapperStories(t *testing.T) { playMapperStories(t, "testdata/mapper", nil) }

// TestMapperStoriesOnServers plays them on a Postgres, a Redis and a
// ClickHouse, which only the environment names.
func TestMapperStoriesOnServers(t *testing.T) {
	index := services.Redis(t).URL
	playMapperStories(t, "testdata/mapper", func(t testing.TB, set func(name, value string)) {
		set("TALLYHOOK_STORE", services.Postgres(t))
		set("TALLYHOOK_INDEX", index)
		set("TALLYHOOK_ACTIVITY", services.ClickHouse(t))
	})
}

func playMapperStories(t *testing.T, dir string, backends func(t testing.TB, set func(name, value string))) {
	examples, err := filepath.Abs("../../plugins/examples")
	if err != nil {
		t.Fatal(err)
	}
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache, modules, _ := strings.Cut(strings.TrimSpace(string(caches)), "\n")
	testscript.Run(t, testscript.Params{Dir: dir, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			if backends != nil {
				backends(e.T().(testing.TB), e.Setenv)
			}
			e.Values[runningKey{}] = new(running)
			data := filepath.Join(e.WorkDir, "data")
			for name, value := range map[string]string{"DATA": data, "KEY": filepath.Join(data, "admin.key"), "EXAMPLES": examples,
				"GOCACHE": cache, "GOMODCACHE": modules, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0",
				"NOW": time.Now().UTC().Format(time.RFC3339)} {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": startNode, "halt": stopNode, "send": send, "api": api, "calls": calls, "times": times, "remember": remember,
			"hex": spelled, "until": until,
		}})
}

func spelled(ts *testscript.TestScript, neg bool, args []string) {
	var digits strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	code, err := hex.DecodeString(digits.String())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), code, 0o644))
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || (args[1] != "tallyhook" && args[1] != "send") {
		ts.Fatalf("usage: until TEXT tallyhook … or until TEXT send …")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		said := ""
		if args[1] == "send" {
			method, url, headers, body := request(ts, args[2:])
			status, h, text := exchange(ts, method, url, headers, body)
			if said = string(text); strings.Contains(said, args[0]) {
				show(ts, status, h, text)
			}
		} else if err := ts.Exec(args[1], args[2:]...); err == nil {
			said = ts.ReadFile("stdout")
		}
		if strings.Contains(said, args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never prints %q:\n%s", args[1:], args[0], said)
		}
	}
}
