//go:build !race

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/console"
)

const sendersPages = "../../docs/senders/"

// What a page of docs/senders has a newcomer type does what the page says,
// command by command: each line of output that it shows comes, in its order,
// with … for whatever stands there.
func TestSendersPagesWork(t *testing.T) {
	pages, err := filepath.Glob(sendersPages + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				walk(t, page)
			})
		}
	}
}

// pageCommand is a command of a page with the lines that the page shows of its output.
type pageCommand struct {
	command string
	shown   []string
}

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

func walk(t *testing.T, page string) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var list []pageCommand
	for _, block := range consoleBlock.FindAllSubmatch(text, -1) {
		list = append(list, commandsOf(t, string(block[1]))...)
	}
	if len(list) < 3 {
		t.Fatalf("%d commands found", len(list))
	}
	w := &walker{}
	defer w.end()
	for _, c := range list {
		if env, ok := strings.CutSuffix(c.command, "make run"); ok {
			w.start(t, strings.Fields(env))
			continue
		}
		if w.shell == nil { // a short page, for a node that runs already
			w.start(t, nil)
		}
		w.do(t, c)
	}
}

// commandsOf reads a block: a command stands behind "$ " and ends where bash
// says that it is whole.
func commandsOf(t *testing.T, block string) (list []pageCommand) {
	whole := true
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		last := len(list) - 1
		switch text, ok := strings.CutPrefix(line, "$ "); {
		case ok && whole:
			list = append(list, pageCommand{command: text})
		case !whole:
			list[last].command += "\n" + line
		case last < 0:
			t.Fatalf("%q stands before any command", line)
		default:
			list[last].shown = append(list[last].shown, line)
			continue
		}
		command := list[len(list)-1].command
		check := exec.Command("bash", "-n")
		check.Stdin = strings.NewReader(command + "\n")
		said, err := check.CombinedOutput()
		whole = err == nil && len(said) == 0 && !strings.HasSuffix(command, `\`)
	}
	if !whole {
		t.Fatalf("the block's last command is not whole:\n%s", block)
	}
	return list
}

// walker is a newcomer: a folder, a node and a shell in it.
type walker struct {
	node, shell *exec.Cmd
	at          addresses
	key         string
	in          io.WriteCloser
	out         *bufio.Reader
}

func (w *walker) start(t *testing.T, env []string) {
	dir := t.TempDir()
	self, err := exec.LookPath("tallyhook")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "tallyhook")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "addresses.json")
	w.node = exec.Command("./bin/tallyhook", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--addresses-file", file)
	w.node.Dir, w.node.Env = dir, append(os.Environ(), env...)
	if err := w.node.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil {
			if err := json.Unmarshal(text, &w.at); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node is not ready after %s", patience)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "data", "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	w.key = strings.TrimSpace(string(key))
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte("silent\nshow-error\n"), 0o644); err != nil { // as on a terminal
		t.Fatal(err)
	}
	w.shell = exec.Command("bash")
	w.shell.Dir, w.shell.Env = dir, append(os.Environ(), "CURL_HOME="+dir, "TALLYHOOK_LISTEN="+w.at.Listen, "TALLYHOOK_ADMIN="+w.at.Admin)
	if w.in, err = w.shell.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.shell.Start(); err != nil {
		t.Fatal(err)
	}
}

func (w *walker) end() {
	for _, cmd := range []*exec.Cmd{w.shell, w.node} {
		if cmd != nil && cmd.Process != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}

// do types a command and compares what comes.
func (w *walker) do(t *testing.T, c pageCommand) {
	const end = "@end@"
	fmt.Fprintf(w.in, "{ %s\n} 2>&1; echo %s\n", w.here(c.command), end)
	var said []string
	for {
		line, err := w.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the shell ends at %s: %v", c.command, err)
		}
		if line = strings.TrimRight(line, "\n"); line == end {
			break
		}
		said = append(said, w.decided(t, line))
	}
	w.settled(t)
	rest := said
	for _, want := range c.shown {
		if want == "" || want == "…" {
			continue
		}
		fits := looseLine(w.here(want))
		for len(rest) > 0 && !fits.MatchString(strings.Join(strings.Fields(rest[0]), " ")) {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Fatalf("$ %s\nprints\n%s\nand the page shows\n%s\nwhere this line does not come: %s", c.command, strings.Join(said, "\n"), strings.Join(c.shown, "\n"), want)
		}
		rest = rest[1:]
	}
	if text := strings.Join(said, "\n"); len(c.shown) == 0 && strings.Contains(text, "tallyhook: ") {
		t.Fatalf("$ %s\nfails:\n%s", c.command, text)
	}
}

// here puts the node's addresses in place of the page's.
func (w *walker) here(text string) string {
	return strings.ReplaceAll(text, "127.0.0.1:8080", w.at.Listen)
}

// looseLine matches a line of a page: … is anything, blanks are of any width.
func looseLine(line string) *regexp.Regexp {
	line = regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
	return regexp.MustCompile("^" + strings.ReplaceAll(line, "…", ".*") + "$")
}

func (w *walker) ask(t *testing.T, path string, into any) (status int) {
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.at.apiURL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(bytes.TrimSpace(text), into); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode
}

// settled waits until all that came is decided.
func (w *walker) settled(t *testing.T) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var s console.NodeStatus
		if w.ask(t, "/status", &s); s.Pipeline.LagRecords == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d records have no verdict after %s", s.Pipeline.LagRecords, patience)
		}
	}
}

// decided gives, for an answer that did not wait for its verdict, the one that
// a faster machine gives.
func (w *walker) decided(t *testing.T, line string) string {
	m := acceptedAnswer.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	w.settled(t)
	d := new(decision)
	if status := w.ask(t, "/events/"+m[1], d); status != http.StatusOK {
		t.Fatalf("event %s is decided, and asked for it the API answers %d", m[1], status)
	}
	text, err := json.Marshal(d.answer())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
