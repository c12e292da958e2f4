package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stand is a node in this process with what a command line needs to reach it.
type stand struct {
	t             *testing.T
	data          string
	listen, admin string
	stop          func()
}

func startStand(t *testing.T) *stand {
	t.Helper()
	dir := t.TempDir()
	s := &stand{t: t, data: filepath.Join(dir, "data")}
	file := filepath.Join(dir, "addresses.json")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var out, log lockedOutput
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--data", s.data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--addresses-file", file, "--log-level", "warn"}, &out, &log)
	}()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("the node ends with %d: %s", code, log.String())
			}
		case <-time.After(patience):
			t.Fatalf("the node does not stop: %s", log.String())
		}
	}
	t.Cleanup(s.stop)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if err == nil {
			var at addresses
			if err := json.Unmarshal(text, &at); err != nil {
				t.Fatal(err)
			}
			s.listen, s.admin = at.Listen, at.Admin
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node is not ready: %s%s", out.String(), log.String())
		}
	}
}

// tallyhook runs a command line against the node.
func (s *stand) tallyhook(args ...string) told {
	s.t.Helper()
	return tallyhook(s.t, append(args, "--data", s.data, "--listen", s.listen, "--admin", s.admin)...)
}

// post sends a postback and gives the id of its event.
func (s *stand) post(url, fields string, headers ...string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, url+"?"+fields, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var answer struct{ Event string }
	if err := json.Unmarshal(text, &answer); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return answer.Event
}

// field finds "name  value" in what a person reads.
func (o told) field(name string) string {
	o.t.Helper()
	m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(name) + `\s+(\S+)`).FindStringSubmatch(o.out)
	if m == nil {
		o.t.Fatalf("no %s in\n%s", name, o.out)
	}
	return m[1]
}

const standNetwork = `
buyers: [{id: acme, name: Acme}]
publishers: [{id: pub-7}, {id: pub-8}]
campaigns: [{id: hvac, assignments: [{publisher: pub-7, payout: percent 80}, {publisher: pub-8, payout: flat 5}]}]
`

// until runs a command again and again until its output holds part.
func (s *stand) until(part string, args ...string) told {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		o := s.tallyhook(args...)
		if strings.Contains(o.out, part) {
			return o
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%v never shows %q:\n%s%s", args, part, o.out, o.err)
		}
	}
}

// TestCommands walks through the commands as an operator does: first against a
// node, then, the same questions, against what it left behind.
func TestCommands(t *testing.T) {
	s := startStand(t)

	network := callsFile(t, "network.yaml", standNetwork)
	s.tallyhook("apply", "-f", network, "--dry-run").ends(0).says("+ campaign hvac\n    assignments.pub-7.payout  percent 80\n    assignments.pub-8.payout  flat 5\n",
		"Would create 4 and update 0; nothing was changed.")
	s.tallyhook("apply", "-f", network).ends(0).says("+ publisher pub-7", "Created 4, updated 0.")
	s.tallyhook("apply", "-f", network).ends(0).says("= 4 unchanged\nEverything is as the file says.")
	changed := callsFile(t, "changed.yaml", strings.Replace(strings.Replace(standNetwork, "percent 80", "percent 75", 1), ", {publisher: pub-8, payout: flat 5}", "", 1))
	s.tallyhook("apply", "-f", changed).ends(0).says("~ campaign hvac\n    assignments.pub-7.payout  percent 80 → percent 75\n    assignments.pub-8.payout  flat 5 → nothing\n", "= 3 unchanged", "Created 0, updated 1.")
	s.tallyhook("apply", "-f", network, "--json").ends(0).says(`"changed": 1`)
	faulty := callsFile(t, "faulty.yaml", "campaigns: [{id: x, assignments: [{publisher: pub-9, payout: percent 80}]}]")
	s.tallyhook("apply", "-f", faulty).ends(exitFailed).complains("faulty.yaml: campaigns[0].assignments[0].publisher", `did you mean "pub-7"?`)

	s.tallyhook("source", "create", "Acme Media", "--id", "acme", "--buyer", "acme", "--secret", "--tolerance", "90s", "--field", "payout=sum,total", "--per-token=-1").
		ends(0).says("source  acme\n", "url     http://"+s.listen+"/v1/postbacks/", "told this once", "X-Webhook-Secret")
	s.tallyhook("source", "create", "Acme Media", "--id", "acme").ends(exitFailed).complains(`source "acme" exists already`)
	s.tallyhook("source", "create", "X", "--field", "payout").ends(exitUsage).complains("--field")
	s.tallyhook("source", "create", "X", "--field", "payot=sum").ends(exitFailed).complains("payot")
	rotated := s.tallyhook("source", "rotate", "acme", "--secret", "--keep", "1h").ends(0).says("stays good for 1h")
	url, secret := rotated.field("url"), rotated.field("secret")
	s.tallyhook("source", "rotate", "acme").ends(exitUsage).complains("--token or --secret")
	s.tallyhook("source", "list").ends(0).says("ID ", "acme ", "Acme Media", "90s", "default")

	now := time.Now().UTC().Add(-5 * time.Minute).Format(time.RFC3339)
	calls := callsFile(t, "calls.csv", "call_id,ref_id,caller,started_at,duration,campaign,publisher,buyer\n"+
		"c1,r1,+13055551234,"+now+",120,hvac,pub-7,acme\nc2,r2,+13055551235,"+now+",300,hvac,pub-8,acme\nc3,,12,,,,,\n")
	s.tallyhook("calls", "import", calls).ends(exitFailed).says("3 calls: 2 accepted, 1 rejected").complains("line 4 (c3)")

	booked := s.post(url, "ref_id=r1&sum=50&caller_id=%2B13055551234&duration=90", "X-Webhook-Secret", secret)
	missed := s.post(url, "caller=%2B13055551235&duration=100&total=10&note=%1b%5b2Jx", "X-Webhook-Secret", secret)
	s.post(url, "ref_id=r1&sum=60")
	s.until(missed, "activity", "--json")

	s.tallyhook("event", booked).ends(0).says("Event "+booked+": booked", "found by ref id", "50.00 USD", "query   ref_id=r1&sum=50",
		"debit buyer:acme:receivable", "credit network:revenue", "credit publisher:pub-7:pending", "40.00 USD")
	o := s.tallyhook("event", missed).ends(0).says("Event "+missed+": parked (waits until ", "c2", "missed by 1m50s", "Nothing was posted.")
	if strings.Contains(o.out, "\x1b") {
		t.Errorf("the sender's escape sequence is printed: %q", o.out)
	}
	var whole struct{ Event, Status string }
	s.tallyhook("event", booked, "--json").ends(0).json(&whole)
	if whole.Event != booked || whole.Status != "booked" {
		t.Errorf("event %s as JSON is %+v", booked, whole)
	}
	s.tallyhook("event", "1-999999").ends(exitFailed).complains(`event "1-999999"`)
	s.tallyhook("event", "nonsense").ends(exitFailed).complains(`"nonsense"`)

	s.tallyhook("source", "show", "acme").ends(0).says("url ", s.listen, "fields.payout", "sum, total", "Refused of late", "401")
	s.tallyhook("source", "show", "acme", "--json").ends(0).says(`"refused": [`)
	s.tallyhook("source", "pause", "acme").ends(0).says("source acme is paused")
	s.until("paused", "source", "list")
	s.tallyhook("source", "resume", "acme").ends(0).says("source acme is live")
	s.tallyhook("source", "resume", "acmee").ends(exitFailed).complains(`did you mean "acme"?`)
	s.tallyhook("source", "delete", "default").ends(exitUsage).complains("--yes")
	s.tallyhook("source", "delete", "default", "--yes").ends(0).says("source default is deleted")

	askBooks(s, booked)
	s.stop()
	askBooks(s, booked)
	s.tallyhook("source", "show", "acme").ends(0).says("fields.payout").complains("no node answers at", "tallyhook.db itself")
	s.tallyhook("source", "pause", "acme").ends(0)
	s.tallyhook("calls", "import", calls).ends(exitFailed).complains("no node answers at " + s.listen)
	verifyCopy(s)
}

// askBooks asks what must have the same answer with a node and without one.
func askBooks(s *stand, booked string) {
	s.t.Helper()
	s.tallyhook("activity").ends(0).says("RECEIVED (UTC)", booked, "booked", "+13055551234", "50.00")
	s.tallyhook("activity", "--status", "booked", "--json").ends(0).says(`"event":"` + booked + `"`)
	s.tallyhook("activity", "--status", "boked").ends(exitFailed).complains("boked")
	s.tallyhook("activity", "--caller", "+19999999999").ends(0).complains("no events fit")
	s.tallyhook("calls", "show", "c1").ends(0).says("publisher_share      40.00", "value_from_postback  yes")
	s.tallyhook("ledger", "balances").ends(0).says("ACCOUNT", "buyer:acme:receivable", "publisher:pub-7:pending", "40.00")
	s.tallyhook("ledger", "balances", "--account", "network:revenue", "--json").ends(0).says(`"balance":"50.00"`)
	s.tallyhook("ledger", "transfers", "--call-id", "c1").ends(0).says("network:publisher_cost", booked, "conversion")
	s.tallyhook("ledger", "transfers", "--call-id", "c1", "--limit", "1").ends(0).complains("there are more: --after ")
	s.tallyhook("ledger", "transfers", "--call-id", "c2").ends(0).complains("nothing is booked")
	s.tallyhook("ledger", "verify").ends(0).says("CHECK", "I1 ", "I9 ", "The books hold: 8 checks")
	s.tallyhook("ledger", "verify", "--json").ends(0).says(`"id": "I1"`, `"ok": true`)
	s.tallyhook("journal", "list").ends(0).says("FILE", ".seg", "live")
	s.tallyhook("journal", "list", "--json").ends(0).says(`"first_seq":1,`)
	s.tallyhook("journal", "verify").ends(0).says("The journal of stream 1 is whole")
	s.tallyhook("journal", "verify", "--json").ends(0).says(`"ok": true`)
	s.tallyhook("query", "SELECT event, status, delta_micros FROM activity WHERE status = 'booked'").ends(0).says("event  status  delta_micros\n", booked)
	s.tallyhook("query", "SELECT 1 AS a, 'x' AS a, NULL AS b", "--json").ends(0).says(`{"a":1,"a":"x","b":null}` + "\n")
	s.tallyhook("query", "SELECT change_seq FROM activity", "--limit", "1").ends(0).complains("more than these 1 rows")
	s.tallyhook("query", "DELETE FROM verdict").ends(exitFailed).complains("query")
}

// verifyCopy verifies the books on a copy without any key, and once more when
// a row of it was changed.
func verifyCopy(s *stand) {
	s.t.Helper()
	dir := s.t.TempDir()
	text, err := os.ReadFile(filepath.Join(s.data, "tallyhook.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(dir, "tallyhook.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	tallyhook(s.t, "ledger", "verify", "--data", dir).ends(0).says("The books hold")
	spoil(s.t, path, `UPDATE balance SET debits = debits + 1 WHERE account = (SELECT id FROM account WHERE kind = 'buyer_receivable')`)
	tallyhook(s.t, "ledger", "verify", "--data", dir).ends(exitFailed).says("FAILS").complains("I2 does not hold: currency USD")
	var found struct{ Checks []struct{ OK bool } }
	tallyhook(s.t, "ledger", "verify", "--data", dir, "--json").ends(exitFailed).json(&found)
	if len(found.Checks) != 8 {
		s.t.Errorf("%d checks", len(found.Checks))
	}
}

// A damaged journal is named with file and place.
func TestJournalVerifyNamesTheDamage(t *testing.T) {
	s := startStand(t)
	for i := range 3 {
		s.tallyhook("calls", "import", callsFile(t, "c.ndjson", fmt.Sprintf("{\"call_id\":\"c%d\",\"caller\":\"+13055551234\"}\n", i))).ends(0)
	}
	s.stop()
	files, err := filepath.Glob(filepath.Join(s.data, "journal", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), "c0")
	if at < 0 {
		t.Fatal("the first call is not in the first segment")
	}
	text[at] ^= 0xff
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.tallyhook("journal", "verify").ends(exitFailed).complains(filepath.Base(files[0]), "damaged at offset ")
	s.tallyhook("journal", "verify", "--json").ends(exitFailed).says(`"ok": false`, `"fault": "`)
}

// The demo plays into a node of its own and proves its books.
func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := tallyhook(t, "demo", "--calls", "60", "--seed", "7", "--fast").ends(0)
	o.says("A node runs on", "matched", "The books say the same, to the last digit.", "The books hold: 8 checks", "Some events", "its folder is removed")
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "tallyhook-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	tallyhook(t, "demo", "--calls", "0").ends(exitUsage).complains("--calls 0")
}

// What --keep leaves answers the commands that it names.
func TestDemoKeeps(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := tallyhook(t, "demo", "--calls", "60", "--fast", "--keep").ends(0)
	commands := regexp.MustCompile(`(?m)^ +tallyhook ((?:event|activity|ledger) .*)$`).FindAllStringSubmatch(o.out, -1)
	if len(commands) < 3 {
		t.Fatalf("%d commands in\n%s", len(commands), o.out)
	}
	for _, c := range commands {
		tallyhook(t, strings.Fields(c[1])...).ends(0)
	}
}

func TestBareHandlerAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := freeAddress(t)
	var out, errOut lockedOutput
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"bench", "bare", "--listen", addr}, &out, &errOut) }()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Post("http://"+addr+"/", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("answers %s", resp.Status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("does not answer: %v %s", err, errOut.String())
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("ends with %d: %s", code, errOut.String())
	}
}
