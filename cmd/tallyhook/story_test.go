package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// TestMain lets the test binary be the real program: stories run "tallyhook"
// as processes of their own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tallyhook": main})
}

// TestStories plays the files in testdata/story against a node that is a
// process of its own, over HTTP. Besides testscript's commands they have
//
//	node [FLAG…]                 starts a node; sets INTAKE, ADMIN, URL (of source default)
//	halt [KILL]                  stops it by SIGTERM and wants exit code 0, or by SIGKILL
//	send METHOD URL [-h NAME:VALUE]… [BODY]   one request, decided; prints status, headers, body. BODY @FILE reads a file
//	until TEXT tallyhook …       runs a command of ours again and again until it prints TEXT
//	until TEXT send …            the same with a request and its answer's body
//	api METHOD PATH [BODY]       the same to the admin API with the operator's key
//	calls BODY                   POST /v1/calls with that key, decided
//	times N COMMAND…             runs send N times and prints how often each status came
//	remember NAME REGEXP         sets NAME to the first group in the last output
//	digest NAME …                sets NAME to what a sender signs with
func TestStories(t *testing.T) { playStories(t, nil) }

// TestStoriesOnServers plays the same stories, unchanged, on a Postgres, a
// Redis and a ClickHouse, which only the environment names.
func TestStoriesOnServers(t *testing.T) {
	index := services.Redis(t).URL
	playStories(t, func(t testing.TB, set func(name, value string)) {
		set("TALLYHOOK_STORE", services.Postgres(t))
		set("TALLYHOOK_INDEX", index)
		set("TALLYHOOK_ACTIVITY", services.ClickHouse(t))
	})
}

func playStories(t *testing.T, backends func(t testing.TB, set func(name, value string))) {
	files, err := filepath.Glob("testdata/story/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if backends != nil { // what is said of the embedded store's own file
		files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), "embedded_") })
	}
	testscript.Run(t, testscript.Params{Files: files, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			if backends != nil {
				backends(e.T().(testing.TB), e.Setenv)
			}
			e.Values[runningKey{}] = new(running)
			e.Setenv("DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("NOW", time.Now().UTC().Format(time.RFC3339))
			e.Setenv("AGO2M", time.Now().UTC().Add(-2*time.Minute).Format(time.RFC3339))
			e.Setenv("AGO23H", time.Now().UTC().Add(-23*time.Hour).Format(time.RFC3339))
			e.Setenv("AGO25H", time.Now().UTC().Add(-25*time.Hour).Format(time.RFC3339))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": startNode, "halt": stopNode, "send": send, "api": api, "calls": calls, "times": times, "remember": remember,
			"until": until, "digest": digest,
		}})
}

// patience is how long a story waits for what has to happen at last.
const patience = time.Minute

// running is a story's node; cmd is nil while none runs.
type running struct{ cmd *exec.Cmd }

type runningKey struct{}

func nodeOf(ts *testscript.TestScript) *running { return ts.Value(runningKey{}).(*running) }

func startNode(ts *testscript.TestScript, neg bool, args []string) {
	file := filepath.Join(ts.Getenv("WORK"), "addresses.json")
	os.Remove(file)
	self, err := exec.LookPath("tallyhook")
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"serve", "--data", ts.Getenv("DATA"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--addresses-file", file}, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = os.Environ()
	for _, name := range []string{"TALLYHOOK_STORE", "TALLYHOOK_INDEX", "TALLYHOOK_ACTIVITY"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	log, err := os.Create(filepath.Join(ts.Getenv("WORK"), "node.log"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	r := nodeOf(ts)
	r.cmd = cmd
	ts.Defer(func() {
		if r.cmd == cmd {
			cmd.Process.Kill()
			cmd.Wait()
		}
		log.Close()
	})
	var at addresses
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil {
			ts.Check(json.Unmarshal(text, &at))
			break
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			ts.Fatalf("the node is not ready after %s:\n%s", patience, text)
		}
	}
	ts.Setenv("INTAKE", "http://"+at.Listen)
	ts.Setenv("ADMIN", "http://"+at.Admin)
	ts.Setenv("TALLYHOOK_ADMIN", at.Admin)
	ts.Setenv("TALLYHOOK_LISTEN", at.Listen)
	ts.Setenv("TALLYHOOK_DATA", ts.Getenv("DATA"))
	settle(ts, at)
	var src struct{ URL string }
	ts.Check(json.Unmarshal(bytes.TrimSpace(ask(ts, "GET", at.apiURL("/sources/default"), key(ts), "")), &src))
	ts.Setenv("URL", src.URL)
}

// settle waits, on servers, until a new node has made its tables there and
// holds what it needs: a story is about what comes after.
func settle(ts *testscript.TestScript, at addresses) {
	if ts.Getenv("TALLYHOOK_STORE") == "" {
		return
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var s console.NodeStatus
		ts.Check(json.Unmarshal(bytes.TrimSpace(ask(ts, "GET", at.apiURL("/status"), key(ts), "")), &s))
		if s.Index.Complete && s.Shipping.Holding {
			return
		}
	}
	ts.Fatalf("the node is not at work on its servers after %s", patience)
}

func (a addresses) apiURL(path string) string { return "http://" + a.Admin + "/api/v1" + path }

func key(ts *testscript.TestScript) []string {
	text, err := os.ReadFile(filepath.Join(ts.Getenv("DATA"), "admin.key"))
	ts.Check(err)
	return []string{"Authorization: Bearer " + strings.TrimSpace(string(text))}
}

func stopNode(ts *testscript.TestScript, neg bool, args []string) {
	r := nodeOf(ts)
	cmd := r.cmd
	if cmd == nil {
		ts.Fatalf("no node runs")
	}
	r.cmd = nil
	signal := os.Signal(syscall.SIGTERM)
	if len(args) > 0 {
		signal = os.Kill
	}
	ts.Check(cmd.Process.Signal(signal))
	if err := cmd.Wait(); err != nil && len(args) == 0 {
		text, _ := os.ReadFile(filepath.Join(ts.Getenv("WORK"), "node.log"))
		ts.Fatalf("the node stopped with %v:\n%s", err, text)
	}
}

// ask sends one request and gives the answer's body.
func ask(ts *testscript.TestScript, method, url string, headers []string, body string) []byte {
	_, _, text := exchange(ts, method, url, headers, body)
	return text
}

func exchange(ts *testscript.TestScript, method, url string, headers []string, body string) (int, http.Header, []byte) {
	if name, ok := strings.CutPrefix(body, "@"); ok {
		body = ts.ReadFile(name)
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	ts.Check(err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	return res.StatusCode, res.Header, text
}

func show(ts *testscript.TestScript, status int, h http.Header, body []byte) {
	fmt.Fprintln(ts.Stdout(), status)
	if after := h.Get("Retry-After"); after != "" {
		fmt.Fprintln(ts.Stdout(), "Retry-After:", after)
	}
	fmt.Fprintln(ts.Stdout(), string(body))
}

// request reads the arguments of send.
func request(ts *testscript.TestScript, args []string) (method, url string, headers []string, body string) {
	if len(args) < 2 {
		ts.Fatalf("usage: send METHOD URL [-h NAME:VALUE]… [BODY]")
	}
	method, url, args = args[0], args[1], args[2:]
	for len(args) > 1 && args[0] == "-h" {
		headers, args = append(headers, args[1]), args[2:]
	}
	if len(args) > 0 {
		body = args[0]
	}
	return method, url, headers, body
}

// send also waits until the node has decided what it took: a story is about
// what it decides, not about how fast.
func send(ts *testscript.TestScript, neg bool, args []string) {
	method, url, headers, body := request(ts, args)
	status, h, text := exchange(ts, method, url, headers, body)
	if status == http.StatusOK && strings.HasPrefix(url, ts.Getenv("INTAKE")) && decided(ts) {
		status, text = lateVerdict(ts, status, text)
	}
	show(ts, status, h, text)
}

// decided waits until everything on disk has its verdict. It gives false for a
// node that decides nothing.
func decided(ts *testscript.TestScript) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var s console.NodeStatus
		ts.Check(json.Unmarshal(bytes.TrimSpace(ask(ts, "GET", ts.Getenv("ADMIN")+"/api/v1/status", key(ts), "")), &s))
		if s.Pipeline.Paused || s.Pipeline.LagRecords == 0 {
			return !s.Pipeline.Paused
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%d records have no verdict after %s", s.Pipeline.LagRecords, patience)
		}
	}
}

var acceptedAnswer = regexp.MustCompile(`^{"ok":true,"event":"(\d+-\d+)","status":"accepted"}$`)

// lateVerdict gives, for an answer to a sender that was kept waiting for the
// verdict no longer than a sender is, the one that a faster node gives.
func lateVerdict(ts *testscript.TestScript, status int, answer []byte) (int, []byte) {
	m := acceptedAnswer.FindSubmatch(answer)
	if m == nil {
		return status, answer
	}
	id := string(m[1])
	first := verdictOf(ts, id)
	if first == nil {
		ts.Fatalf("event %s is decided and has no verdict", id)
	}
	var src source.Spec
	ts.Check(json.Unmarshal(ask(ts, "GET", ts.Getenv("ADMIN")+"/api/v1/sources/"+first.Source, key(ts), ""), &src))
	if src.Reply.Mode == source.ReplyAccepted {
		return status, answer
	}
	list, ok := []any{first.answer()}, first.Status != event.Invalid.String()
	for n := 1; ; n++ { // the reports of one request are committed together
		next := verdictOf(ts, fmt.Sprintf("%s.%d", id, n))
		if next == nil {
			break
		}
		list, ok = append(list, next.answer()), ok || next.Status != event.Invalid.String()
	}
	if !ok {
		status = http.StatusBadRequest
	}
	var out any = list[0]
	if len(list) > 1 {
		out = struct {
			OK     bool   `json:"ok"`
			Event  string `json:"event"`
			Events []any  `json:"events"`
		}{ok, id, list}
	}
	text, err := json.Marshal(out)
	ts.Check(err)
	return status, text
}

// decision is what the API tells of an event that an answer tells as well.
type decision struct {
	Event    string
	Source   string
	Status   string
	Reason   string
	Text     string  `json:"reason_text"`
	CallID   *string `json:"call_id"`
	Value    *string
	Currency *string
}

// verdictOf asks for an event, nil if it has no verdict.
func verdictOf(ts *testscript.TestScript, id string) *decision {
	status, _, text := exchange(ts, "GET", ts.Getenv("ADMIN")+"/api/v1/events/"+id, key(ts), "")
	if status == http.StatusNotFound {
		return nil
	}
	d := new(decision)
	ts.Check(json.Unmarshal(text, d))
	return d
}

// answer is the event as a node's answer has it.
func (d *decision) answer() any {
	a := struct {
		OK       bool    `json:"ok"`
		Event    string  `json:"event"`
		Status   string  `json:"status"`
		CallID   *string `json:"call_id,omitempty"`
		Value    *string `json:"value,omitempty"`
		Currency *string `json:"currency,omitempty"`
		Reason   string  `json:"reason,omitempty"`
		Message  string  `json:"message,omitempty"`
	}{OK: d.Status != event.Invalid.String(), Event: d.Event, Status: d.Status, CallID: d.CallID, Reason: d.Reason}
	if d.CallID != nil && d.Currency != nil {
		a.Value, a.Currency = d.Value, d.Currency
	}
	if d.Reason != "" {
		a.Message = d.Text
	}
	return a
}

func api(ts *testscript.TestScript, neg bool, args []string) {
	method, path, headers, body := request(ts, args)
	if body != "" {
		headers = append(headers, "Content-Type: application/json")
	}
	status, h, text := exchange(ts, method, ts.Getenv("ADMIN")+"/api/v1"+path, append(headers, key(ts)...), body)
	show(ts, status, h, text)
}

func calls(ts *testscript.TestScript, neg bool, args []string) {
	status, h, text := exchange(ts, "POST", ts.Getenv("INTAKE")+"/v1/calls", key(ts), args[0])
	decided(ts)
	show(ts, status, h, text)
}

func times(ts *testscript.TestScript, neg bool, args []string) {
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil || args[1] != "send" {
		ts.Fatalf("usage: times N send …")
	}
	method, url, headers, body := request(ts, args[2:])
	counts := map[int]int{}
	for range n {
		status, _, _ := exchange(ts, method, url, headers, body)
		counts[status]++
	}
	fmt.Fprintln(ts.Stdout(), counts)
}

func remember(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("%s does not match with a group in\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}
