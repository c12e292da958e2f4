package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/source"
)

func TestCallHeads(t *testing.T) {
	good := func(heads string, want ...string) {
		t.Helper()
		have, err := callHeads(strings.Split(heads, ","))
		if err != nil || strings.Join(have, ",") != strings.Join(want, ",") {
			t.Errorf("callHeads(%q) = %v, %v; want %v", heads, have, err, want)
		}
	}
	bad := func(heads string, parts ...string) {
		t.Helper()
		_, err := callHeads(strings.Split(heads, ","))
		for _, p := range parts {
			if err == nil || !strings.Contains(err.Error(), p) {
				t.Errorf("callHeads(%q) says %v, want %q in it", heads, err, p)
			}
		}
	}
	good("call_id", "call_id")
	good("Call_ID, CALLER ,Started_At", "call_id", "caller", "started_at")
	good("call_id,network_ids.Ringba,NETWORK_IDS.other", "call_id", "network_ids.Ringba", "network_ids.other")
	bad("call_id,callr", `column "callr" is not known`, `did you mean "caller"?`)
	bad("call_id,network_id.ringba", `column "network_id.ringba" is not known`)
	bad("call_id,network_ids.", `"network_ids." is not known`)
	bad("call_id,zzzzzzzz", "is not known: a call has call_id, ref_id", "network_ids.NAME")
	bad("call_id,caller,Caller", `"caller" is there twice`)
	bad("caller,duration", "no column call_id")
	bad("call_id;caller;duration", "separated by commas")
	bad("call_id\tcaller", "separated by commas")
}

// readCalls reads everything: calls as "LINE JSON", faults as "LINE !why".
func readCalls(r callReader) (list []string, err error) {
	for {
		line, call, err := r.next()
		var bad *lineFault
		switch {
		case err == io.EOF:
			return list, nil
		case errors.As(err, &bad):
			list = append(list, fmt.Sprintf("%d !%s", line, bad.why))
		case err != nil:
			return list, fmt.Errorf("line %d: %w", line, err)
		default:
			list = append(list, fmt.Sprintf("%d %s", line, call))
		}
	}
}

func TestCSVBecomesCalls(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		r, err := newCSVCalls(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		have, err := readCalls(r)
		if err != nil || strings.Join(have, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q gives\n%s\n%v, want\n%s", text, strings.Join(have, "\n"), err, strings.Join(want, "\n"))
		}
	}
	f("call_id,caller,duration,qualified\nc1,+13055551234,90,yes\n", `2 {"call_id":"c1","caller":"+13055551234","duration":90,"qualified":true}`)
	f("\xef\xbb\xbfcall_id,duration\r\nc1,007\r\n\r\nc2,0", `2 {"call_id":"c1","duration":7}`, `4 {"call_id":"c2","duration":0}`)
	f("call_id,caller,duration\nc1,,\n", `2 {"call_id":"c1"}`)
	f("call_id,duration,qualified\nc1,1m30s,maybe\nc2,-5,FALSE\nc3,000,1\n", `2 {"call_id":"c1","duration":"1m30s","qualified":"maybe"}`,
		`3 {"call_id":"c2","duration":"-5","qualified":false}`, `4 {"call_id":"c3","duration":0,"qualified":true}`)
	f("network_ids.Ringba,call_id,network_ids.x\nR1,c1,\nR2,c2,X2\n,c3,\n", `2 {"call_id":"c1","network_ids":{"Ringba":"R1"}}`,
		`3 {"call_id":"c2","network_ids":{"Ringba":"R2","x":"X2"}}`, `4 {"call_id":"c3"}`)
	f("call_id,campaign\nc1,\"two\nlines, \"\"quoted\"\"\"\nc2,x\n", `2 {"call_id":"c1","campaign":"two\nlines, \"quoted\""}`, `4 {"call_id":"c2","campaign":"x"}`)
	f("call_id,campaign\nc1\nc2,a,b\nc3,x\n", "2 !1 fields: the heads name 2", "3 !3 fields: the heads name 2", `4 {"call_id":"c3","campaign":"x"}`)
	f("call_id,campaign\nc1,\"x\"y\"\"\nc2,x\n", "2 !not CSV: "+`extraneous or missing " in quoted-field`, `3 {"call_id":"c2","campaign":"x"}`)
	f("call_id,campaign\nc1,caf\xe9\nc2,x\n", "2 !not valid UTF-8: save the file as UTF-8", `3 {"call_id":"c2","campaign":"x"}`)
	f("call_id,campaign\nc1,"+strings.Repeat("x", lineBytesMax)+"\nc2,x\n", "2 !the line is longer than 64 KiB", `3 {"call_id":"c2","campaign":"x"}`)
	f("call_id,campaign\nc1,"+strings.Repeat("x", 10*lineBytesMax), "2 !the line is longer than 64 KiB")
}

// What CSV becomes is what the intake reads.
func TestCSVCallsAreRead(t *testing.T) {
	r, err := newCSVCalls(strings.NewReader("CALL_ID,ref_id,key,caller,started_at,ended_at,duration,campaign,publisher,buyer,qualified,network_ids.ringba\n" +
		"c1,r1,k1,(305) 555-1234,2026-03-01T12:00:00Z,2026-03-01T12:01:30Z,90,hvac,pub,acme,true,RGB1\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ingest.DecodeCall(text, source.DefaultRegion)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if c.CallID != "c1" || c.RefID != "r1" || c.Key != "k1" || c.Caller != "+13055551234" || c.Duration.N != 90 || c.Campaign != "hvac" ||
		c.Publisher != "pub" || c.Buyer != "acme" || c.EndedAt-c.StartedAt != 90_000_000 || len(c.NetworkIDs) != 1 || c.NetworkIDs[0].Value != "RGB1" {
		t.Errorf("%s is read as %+v", text, c)
	}
}

func TestCSVThatEndsTheImport(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		r, err := newCSVCalls(strings.NewReader(text))
		if err == nil {
			_, err = readCalls(r)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q ends with %v, want %q", text, err, want)
		}
	}
	f("", "the file is empty")
	f("call_id\n\"c1\nc2\n", "line 2: a quoted field does not end: close its quote")
	f("call_id\n\"c1\n"+strings.Repeat("x\n", lineBytesMax), "line 2: a quoted field does not end within 64 KiB")
}

func TestJSONLines(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		have, err := readCalls(&jsonCalls{lines: newLineReader(strings.NewReader(text))})
		if err != nil {
			have = append(have, "error "+err.Error())
		}
		if strings.Join(have, "\n") != strings.Join(want, "\n") {
			t.Errorf("%.60q gives\n%.200s\nwant\n%.200s", text, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
	f("{\"call_id\":\"a\"}\r\n\n  {\"call_id\":\"b\"}", `1 {"call_id":"a"}`, `3 {"call_id":"b"}`)
	f("not json\n", "1 not json") // the intake says what is wrong with it
	f("[{\"call_id\":\"a\"}]\n", "error line 1: the file is one JSON array: write one call a line, for example with jq -c '.[]'")
	f(strings.Repeat("x", lineBytesMax)+"\ny", "1 "+strings.Repeat("x", lineBytesMax), "2 y")
	f(strings.Repeat("x", lineBytesMax+1)+"\ny", "1 !the line is longer than 64 KiB", "2 y")
	f(strings.Repeat("x", 3*lineBytesMax)+"\ny", "1 !the line is longer than 64 KiB", "2 y")
}

// fakeIntake answers calls as the intake does: a call named bad… is rejected.
type fakeIntake struct {
	t       *testing.T
	refuse  []func(http.ResponseWriter) // for the first requests, in turn
	batches [][]string
}

func (f *fakeIntake) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/calls" || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "Bearer "+canaryKey {
		f.t.Errorf("asked %s %s %v", r.Method, r.URL.Path, r.Header)
	}
	if len(f.refuse) > 0 {
		refuse := f.refuse[0]
		f.refuse = f.refuse[1:]
		refuse(w)
		return
	}
	var batch []string
	var faults []string
	rejected := 0
	in := bufio.NewScanner(r.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		batch = append(batch, in.Text())
		if strings.Contains(in.Text(), `"bad`) {
			if rejected++; rejected <= 100 {
				faults = append(faults, fmt.Sprintf(`{"line":%d,"call_id":"bad","error":"wrong_type","message":"No good: %s"}`, len(batch), strings.Trim(in.Text()[12:], `"}`)))
			}
		}
	}
	f.batches = append(f.batches, batch)
	if rejected == len(batch) {
		w.WriteHeader(http.StatusBadRequest)
	}
	fmt.Fprintf(w, `{"ok":%t,"accepted":%d,"rejected":%d,"errors":[%s]}`, rejected < len(batch), len(batch)-rejected, rejected, strings.Join(faults, ","))
}

func callsFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func numberedCalls(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "{\"call_id\":%q}\n", n)
	}
	return b.String()
}

func TestImportSendsBatches(t *testing.T) {
	in := &fakeIntake{t: t}
	addr := fakeNode(t, in.serve)
	dir := folderWithKey(t)
	file := callsFile(t, "calls.ndjson", numberedCalls("a", "b", "bad-3", "d", "bad-5")+"\n"+strings.Repeat("x", lineBytesMax+1)+"\n"+numberedCalls("g"))
	o := tallyhook(t, "calls", "import", file, "--batch", "2", "--data", dir, "--listen", addr).ends(exitFailed)
	o.says("7 calls: 4 accepted, 3 rejected, in ")
	o.complains("line 3 (bad): No good: bad-3\n", "line 5 (bad): No good: bad-5\n", "line 7: the line is longer than 64 KiB\n", "tallyhook: of 7 calls, 3 rejected")
	if have := fmt.Sprint(in.batches); have != `[[{"call_id":"a"} {"call_id":"b"}] [{"call_id":"bad-3"} {"call_id":"d"}] [{"call_id":"bad-5"} {"call_id":"g"}]]` {
		t.Errorf("batches are %s", have)
	}
	in.batches = nil
	var summary imported
	tallyhook(t, "calls", "import", file, "--json", "--resume-from", "4", "--data", dir, "--listen", addr).ends(exitFailed).json(&summary)
	if have := fmt.Sprint(in.batches); have != `[[{"call_id":"d"} {"call_id":"bad-5"} {"call_id":"g"}]]` {
		t.Errorf("from line 4 on, batches are %s", have)
	}
	if summary.Calls != 4 || summary.Accepted != 2 || summary.Rejected != 2 || len(summary.Errors) != 2 || summary.Errors[1].Line != 5 {
		t.Errorf("summary %+v", summary)
	}
}

func TestImportShowsTheFirstRejections(t *testing.T) {
	in := &fakeIntake{t: t}
	addr := fakeNode(t, in.serve)
	var names []string
	for i := range 150 {
		names = append(names, fmt.Sprintf("bad-%d", i))
	}
	o := tallyhook(t, "calls", "import", callsFile(t, "calls.jsonl", numberedCalls(names...)), "--data", folderWithKey(t), "--listen", addr).ends(exitFailed)
	o.says("150 calls: 0 accepted, 150 rejected").complains("line 20 (bad)", "and 130 lines more rejected")
	if strings.Contains(o.err, "line 21 ") {
		t.Error("more than the first 20 are shown")
	}
}

func TestImportTriesAgain(t *testing.T) {
	in := &fakeIntake{t: t, refuse: []func(http.ResponseWriter){
		func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"ok":false,"error":"rate_limited","message":"Slow down."}`)
		},
		func(w http.ResponseWriter) { // gone in the middle of an answer
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
				conn.Close()
			}
		},
	}}
	addr := fakeNode(t, in.serve)
	o := tallyhook(t, "calls", "import", callsFile(t, "calls.ndjson", numberedCalls("a")), "--data", folderWithKey(t), "--listen", addr).ends(0)
	o.says("1 call: 1 accepted, 0 rejected").complains("429 Too Many Requests: Slow down.; trying again in 1s", "broke off")
	if len(in.batches) != 1 {
		t.Errorf("%d batches got through", len(in.batches))
	}
}

func TestImportStopsAndTellsWhereToGoOn(t *testing.T) {
	refused := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprint(w, `{"ok":false,"error":"too_large","message":"Too large."}`)
	}
	in := &fakeIntake{t: t}
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		if len(in.batches) == 1 {
			refused(w)
			return
		}
		in.serve(w, r)
	})
	dir := folderWithKey(t)
	tallyhook(t, "calls", "import", callsFile(t, "c.ndjson", numberedCalls("a", "b", "c")), "--batch", "2", "--data", dir, "--listen", addr).ends(exitFailed).
		says("2 accepted").complains("413 Request Entity Too Large: Too large.", "go on with --resume-from 3")
}

func TestImportThatCannotBegin(t *testing.T) {
	dir := folderWithKey(t)
	unauthorized := fakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"ok":false,"error":"unauthorized","message":"Unauthorized."}`)
	})
	other := fakeNode(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	calls := callsFile(t, "c.ndjson", numberedCalls("a"))
	f := func(code int, file, addr string, parts ...string) {
		t.Helper()
		tallyhook(t, "calls", "import", file, "--data", dir, "--listen", addr).ends(code).complains(parts...)
	}
	f(exitFailed, calls, unauthorized, "does not know the key in", "--admin-key-file")
	f(exitFailed, calls, other, "not as Tallyhook does", "--listen")
	f(exitFailed, calls, freeAddress(t), "no node answers at", "tallyhook serve")
	f(exitFailed, callsFile(t, "none.ndjson", "\n\n"), unauthorized, "the file holds no calls")
	f(exitFailed, filepath.Join(dir, "nothing.csv"), unauthorized, "nothing.csv")
	f(exitFailed, callsFile(t, "calls.csv", "call_id,durations\n"), unauthorized, `"durations" is not known: did you mean "duration"?`)
	f(exitUsage, callsFile(t, "calls.txt", "x"), unauthorized, "--format")
	tallyhook(t, "calls", "import", calls, "--batch", "0", "--data", dir).ends(exitUsage).complains("--batch 0")
	tallyhook(t, "calls", "import", calls, "--resume-from", "0", "--data", dir).ends(exitUsage).complains("--resume-from 0")
}

// A dry run reads every line as the intake would, without a node or a key.
func TestImportDryRun(t *testing.T) {
	file := callsFile(t, "calls.csv", "call_id,caller,duration\nc1,+13055551234,90\n,+13055551234,90\nc3,12,1m\n")
	tallyhook(t, "calls", "import", file, "--dry-run", "--data", t.TempDir()).ends(exitFailed).
		says("3 calls: 1 good, 2 rejected").complains("line 3: The call has no call_id", "line 4 (c3): The caller")
}

// A file much larger than a batch is never held in memory.
func TestImportIsBounded(t *testing.T) {
	line := `{"call_id":"` + strings.Repeat("x", 50_000) + `"}` + "\n"
	var sizes []int
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sizes = append(sizes, len(body))
		fmt.Fprintf(w, `{"ok":true,"accepted":%d,"rejected":0,"errors":[]}`, bytes.Count(body, []byte("\n")))
	})
	tallyhook(t, "calls", "import", callsFile(t, "c.ndjson", strings.Repeat(line, 200)), "--data", folderWithKey(t), "--listen", addr).ends(0).says("200 calls: 200 accepted")
	if len(sizes) < 3 {
		t.Errorf("10 MB were sent in %d requests", len(sizes))
	}
	for _, n := range sizes {
		if n > batchBytesMax+lineBytesMax {
			t.Errorf("a request of %d bytes", n)
		}
	}
}

// Whatever a file holds, reading it ends, and what is sent is JSON on one line.
func FuzzCSVCalls(f *testing.F) {
	f.Add([]byte("call_id,caller,duration,network_ids.x\nc1,+1305,90,R\n"))
	f.Add([]byte("\xef\xbb\xbfCALL_ID,campaign\r\n\"c\n1\",\"x\"\"y\"\r\n"))
	f.Add([]byte("call_id\n\"\n"))
	f.Add([]byte("call_id,qualified\n\xff,1\nx,\x00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := newCSVCalls(bytes.NewReader(text))
		if err != nil {
			return
		}
		before := 0
		for {
			line, call, err := r.next()
			var bad *lineFault
			if errors.As(err, &bad) {
				continue
			}
			if err != nil {
				return
			}
			if line <= before || !json.Valid(call) || bytes.ContainsAny(call, "\r\n") {
				t.Fatalf("line %d after %d: %q", line, before, call)
			}
			before = line
		}
	})
}
