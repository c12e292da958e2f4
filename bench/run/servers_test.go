package run

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// Both loads together send every postback of the scripts once, each with its
// identity, and an identity twice only when the bytes are the same.
func TestServersCorpusSendsEveryPostbackOnce(t *testing.T) {
	s := &serversRun{streamRun: streamRun{bench: &bench{cfg: Config{Seed: 5}}, node: &node.Process{Config: node.Config{Ingest: "127.0.0.1:1"}}},
		base: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), scripts: 1000,
		paths: map[string][]string{replyVerdict: {"/a", "/b", "/c", "/d"}, replyAccepted: {"/a", "/b", "/c", "/d"}}}
	want := map[string]int{}
	gen := traffic.New(5, s.base, traffic.DefaultMix())
	var script traffic.Script
	repeats := 0
	for n := range s.scripts {
		gen.Script(n, &script)
		for _, st := range script.Steps {
			if st.Kind.Postback() {
				said := strings.Clone(st.Request.Query) + string(st.Request.Body) // the script reuses its bytes
				if want[said]++; want[said] > 1 {
					repeats++
				}
			}
		}
	}
	if repeats == 0 {
		t.Fatal("the traffic repeats nothing")
	}
	got, ids := map[string]int{}, map[string]string{}
	for _, c := range []*corpus{s.corpus(replyVerdict, 0, 600), s.corpus(replyAccepted, 600, 1000)} {
		for r := c.request(0); r != nil; r = c.request(0) {
			said, id := split(t, string(r))
			got[said]++
			if other, ok := ids[id]; ok && other != said {
				t.Fatalf("identity %s is that of %q and of %q", id, said, other)
			}
			ids[id] = said
		}
	}
	if len(got) != len(want) || len(ids) != len(want) {
		t.Errorf("%d different postbacks with %d identities, want %d", len(got), len(ids), len(want))
	}
	for said, n := range want {
		if got[said] != n {
			t.Fatalf("%q was sent %d times, want %d", said, got[said], n)
		}
	}
}

// split takes a rendered postback apart: query or body without its identity,
// and that.
func split(t *testing.T, request string) (said, id string) {
	t.Helper()
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	if body == "" {
		_, body, _ = strings.Cut(strings.SplitN(head, " ", 3)[1], "?")
	}
	before, id, ok := strings.Cut(body, "&"+identityField+"=")
	if !ok {
		if before, id, ok = strings.Cut(body, `,"`+identityField+`":"`); ok {
			before, id, ok = before+"}", id[:len(id)-2], strings.HasSuffix(id, `"}`)
		}
	}
	if !ok || len(id) != 16 {
		t.Fatalf("no identity in %q", request)
	}
	return before, id
}

func TestAnswersAreJudged(t *testing.T) {
	var a answers
	f := func(status int, body string, wantOK bool, wantAccepted, wantDecided int64) {
		t.Helper()
		ok := a.judge(status, []byte(body))
		if ok != wantOK || a.accepted.Load() != wantAccepted || a.decided.Load() != wantDecided {
			t.Errorf("%d %s: %t, %d accepted, %d decided", status, body, ok, a.accepted.Load(), a.decided.Load())
		}
	}
	f(200, `{"ok":true,"event":"1-1","status":"accepted"}`, true, 1, 0)
	f(200, `{"ok":true,"event":"1-2","status":"booked"}`, true, 1, 1)
	f(400, `{"ok":false,"event":"1-3","status":"invalid"}`, true, 1, 2)
	f(400, `{"ok":false,"error":"bad_request"}`, false, 1, 2)
	f(503, `{"ok":false,"error":"journal_unavailable"}`, false, 1, 2)
}

func TestProductionGoals(t *testing.T) {
	find := func(backend string, calls int, p99, each float64) Step {
		return Step{"match", fmt.Sprintf("Find/%s/%d", backend, calls), map[string]float64{"p99-ns/find": p99, "B/call": each}}
	}
	result := func(decided, cpu, intake, ledger, insert, times, perCall float64) *Result {
		return &Result{
			Servers: &Servers{Verdict: ServerPhase{DecidedPerSecond: decided, CPU: CPU{Node: cpu}}, Accepted: ServerPhase{Phase: Phase{IntakePerSecond: intake}}},
			Steps: []Step{{"sink", "Ledger/postgres", map[string]float64{"ratio": ledger}}, {"sink/clickhouse", "Insert", map[string]float64{"ratio": insert}},
				find("memory", 10_000, 100, 0), find("memory", 1_000_000, 100*times, perCall), find("redis", 10_000, 900, 0), find("redis", 1_000_000, 900*times, perCall)},
		}
	}
	for _, g := range result(21_000, 32, 73_000, 0.6, 0.8, 1.2, 200).productionGoals() {
		if !g.Met {
			t.Errorf("%+v", g)
		}
	}
	bad := result(20_000, 33, 72_000, 0.59, 0.79, 1.4, 351)
	if n := len(bad.productionGoals()); n != 9 {
		t.Errorf("%d goals, want 9", n)
	}
	for _, g := range slices.Concat(bad.productionGoals(), result(0, 0, 0, 0, 0, 0, 0).productionGoals()) {
		if g.Met {
			t.Errorf("%+v", g)
		}
	}
	if list := (&Result{Servers: &Servers{Note: "left out"}}).productionGoals(); len(list) != 0 {
		t.Errorf("goals of what was not measured: %+v", list)
	}
	// With ten million calls those count, not the million.
	bad.Steps = append(bad.Steps, find("memory", 10_000_000, 130, 199))
	if list := bad.indexGoals(); !list[0].Met || !list[1].Met || !strings.Contains(list[0].What, "10000000") {
		t.Errorf("%+v", list)
	}
}

func TestServersTable(t *testing.T) {
	render := func(s *Servers) string {
		return string((&Result{Servers: s}).Markdown())
	}
	text := render(&Servers{Versions: []string{"redis 8", "postgres 17"}, Verdict: ServerPhase{Decided: 41, SaidAccepted: 7}, Statuses: map[string]float64{"booked": 3, "a": 1}})
	for _, want := range []string{"| answered with the verdict, after the ledger's commit | 41 | 0 |", "| answered with accepted, after the journal's sync | 7 | 0 |", "redis 8, postgres 17", "a 1, booked 3."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := render(&Servers{Note: "left out: no Redis"}); !strings.Contains(text, "left out: no Redis") || strings.Contains(text, "CPU µs/event: Redis") {
		t.Errorf("%s", text)
	}
	if bytes.Contains((&Result{}).Markdown(), []byte("real Redis")) {
		t.Error("a table of what was not tried")
	}
}
