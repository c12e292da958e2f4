package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canaryKey = "tk_canary-key-never-shown"

// folderWithKey is a data folder that holds an admin key and no store.
func folderWithKey(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.key"), []byte(canaryKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// freeAddress is one where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fakeNode serves h where an admin API or an intake would be.
func fakeNode(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// told is what a command left behind.
type told struct {
	t        *testing.T
	code     int
	out, err string
}

// tallyhook runs a command line in this process. Whatever happens, no key is told.
func tallyhook(t *testing.T, args ...string) told {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, &out, &errOut)
	if all := out.String() + errOut.String(); strings.Contains(all, canaryKey) {
		t.Errorf("%v tells the key: %s", args, all)
	}
	return told{t, code, out.String(), errOut.String()}
}

// ends demands an exit code.
func (o told) ends(code int) told {
	o.t.Helper()
	if o.code != code {
		o.t.Fatalf("exit code %d, want %d\n%s%s", o.code, code, o.out, o.err)
	}
	return o
}

// says demands parts of standard output, complains of standard error.
func (o told) says(parts ...string) told { o.t.Helper(); return o.holds("output", o.out, parts) }
func (o told) complains(parts ...string) told {
	o.t.Helper()
	return o.holds("complaint", o.err, parts)
}
func (o told) holds(where, text string, parts []string) told {
	o.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			o.t.Errorf("%s lacks %q:\n%s", where, p, text)
		}
	}
	return o
}

// json reads standard output into v.
func (o told) json(v any) told {
	o.t.Helper()
	if err := json.Unmarshal([]byte(o.out), v); err != nil {
		o.t.Fatalf("%q is not JSON: %v", o.out, err)
	}
	return o
}

func TestWhatTheNodeRefusesIsTold(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		parts  []string
	}{
		"its own sentence":       {409, `{"ok":false,"error":"exists","message":"source \"a\" exists already: choose another id"}`, []string{`tallyhook: source "a" exists already: choose another id`}},
		"an unknown key":         {401, `{"ok":false,"error":"key_unknown","message":"unknown"}`, []string{"does not know the key in", "admin.key", "another node may own that address", "--admin-key-file"}},
		"another program's page": {404, `<html>nginx</html>`, []string{"answers 404 Not Found but not as Tallyhook does", "--admin"}},
		"a redirect":             {302, ``, []string{"answers 302 Found but not as Tallyhook does"}},
		"no JSON":                {200, `hello`, []string{"cannot be read"}},
	}
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+canaryKey {
					t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
				}
				w.Header().Set("Location", "http://192.0.2.1/")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			tallyhook(t, "source", "list", "--data", folderWithKey(t), "--admin", addr).ends(exitFailed).complains(c.parts...)
		})
	}
}

func TestWithoutNodeAndStore(t *testing.T) {
	dir, addr := folderWithKey(t), freeAddress(t)
	tallyhook(t, "activity", "--data", dir, "--admin", addr).ends(exitFailed).
		complains("no node answers at "+addr, "there is no store at "+filepath.Join(dir, "tallyhook.db"), "tallyhook serve", "--data")
	tallyhook(t, "ledger", "verify", "--data", dir).ends(exitFailed).complains("there is no store at", "--data")
	tallyhook(t, "journal", "verify", "--data", dir).ends(exitFailed).complains("there is no journal in " + filepath.Join(dir, "journal"))
	if _, err := os.Stat(filepath.Join(dir, "tallyhook.db")); err == nil {
		t.Error("asking made a store")
	}
}

func TestKeyFile(t *testing.T) {
	addr := fakeNode(t, func(http.ResponseWriter, *http.Request) { t.Error("asked without a key") })
	dir := t.TempDir()
	tallyhook(t, "activity", "--data", dir, "--admin", addr).ends(exitFailed).complains("admin.key is missing", "--admin-key-file")
	for name, text := range map[string]string{"empty": "", "two lines": canaryKey + "\n" + canaryKey, "binary": canaryKey + "\x00", "long": strings.Repeat("k", keyBytesMax+1)} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			tallyhook(t, "activity", "--data", dir, "--admin", addr, "--admin-key-file", file).ends(exitFailed).complains("does not hold a key", file)
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte{' '}, 1<<20)
		for range answerBytesMax>>20 + 2 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	tallyhook(t, "activity", "--data", folderWithKey(t), "--admin", addr).ends(exitFailed).complains("larger than 64 MiB", "--limit")
}

func TestListingTurnsPages(t *testing.T) {
	var asked []string
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("after")+"/"+r.URL.Query().Get("limit"))
		pages := map[string]string{
			"":   `{"rows":[{"id":"a"},{"id":"b"}],"next":"p2"}`,
			"p2": `{"rows":[{"id":"c"}],"next":"p3"}`,
			"p3": `{"rows":[],"next":""}`,
		}
		fmt.Fprint(w, pages[r.URL.Query().Get("after")])
	})
	f := func(wantAsked, wantOut, wantErr string, args ...string) {
		t.Helper()
		asked = nil
		o := tallyhook(t, append([]string{"source", "list", "--json", "--data", folderWithKey(t), "--admin", addr}, args...)...).ends(0)
		if have := strings.Join(asked, " "); have != wantAsked {
			t.Errorf("%v asks %s, want %s", args, have, wantAsked)
		}
		if o.out != wantOut {
			t.Errorf("%v prints %q, want %q", args, o.out, wantOut)
		}
		if o.err != wantErr {
			t.Errorf("%v notes %q, want %q", args, o.err, wantErr)
		}
	}
	f("/2", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n", "there are more: --after p2 goes on, --all shows all\n", "--limit", "2")
	f("/3 p2/1", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", "there are more: --after p3 goes on, --all shows all\n", "--limit", "3")
	f("/1000 p2/1000 p3/1000", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", "", "--all")
	f("p3/50", "", "there are no sources: \"tallyhook source create NAME\" makes one\n", "--after", "p3")
	tallyhook(t, "source", "list", "--limit", "0", "--data", folderWithKey(t), "--admin", addr).ends(exitUsage).complains("--limit 0")
}
