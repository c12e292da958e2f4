package console

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// at fills in a route's path with names of nothing.
func at(path string) string {
	return strings.NewReplacer("{id}", "1-1", "{call_id}", "c", "{name}", "m", "{n}", "1", "{$}", "").Replace(path)
}

// TestKeys asks every route of the table without a key, with a wrong one and
// with a good one.
func TestKeys(t *testing.T) {
	b := newBench(t)
	open := []string{"GET /healthz", "GET /readyz", "GET /metrics", "GET /api/v1/openapi.yaml",
		"GET /{$}", "GET /assets/app.js", "GET /assets/view.js", "GET /assets/style.css", "GET /assets/mark.svg"}
	for _, rt := range b.console.routes() {
		name := rt.method + " " + rt.path
		switch rt.path { // the shortest that they take
		case "/debug/pprof/profile":
			rt.path += "?seconds=1"
		case "/debug/pprof/trace":
			rt.path += "?seconds=0.01"
		}
		if rt.open != slices.Contains(open, name) {
			t.Errorf("%s: open %t", name, rt.open)
		}
		for _, key := range []string{"", "Bearer", "Bearer ", "Bearer tk_wrong", "Bearer " + b.key + "x", "Bearer " + b.key[:len(b.key)-1],
			"Basic " + b.key, b.key, "Bearer " + strings.ToUpper(b.key)} {
			a := b.send(rt.method, at(rt.path), "", "Authorization", key)
			if rt.open {
				if a.Code == http.StatusUnauthorized {
					t.Errorf("%s asks for a key", name)
				}
				continue
			}
			if a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") == "" || a.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s with %q: %d %s", name, strings.ReplaceAll(key, b.key, "KEY"), a.Code, a.Body)
			}
		}
		if a := b.ask(rt.method, at(rt.path), ""); a.Code == http.StatusUnauthorized || a.Code == http.StatusForbidden {
			t.Errorf("%s refuses the good key: %s", name, a.Body)
		}
	}
}

func TestKeyOfUnknownRole(t *testing.T) {
	b := newBench(t)
	if _, err := b.db.Write.Exec(`UPDATE access_key SET role = 'auditor'`); err != nil {
		t.Fatal(err)
	}
	b.ask("GET", "/api/v1/sources", "").fails(http.StatusForbidden, "role_unknown", `"admin"`, `"auditor"`)
}

func TestKeyThatEnded(t *testing.T) {
	b := newBench(t)
	b.ask("GET", "/api/v1/sources", "").is(http.StatusOK, nil)
	if err := b.objects.DeleteKey(t.Context(), "test", 1); err != nil {
		t.Fatal(err)
	}
	b.ask("GET", "/api/v1/sources", "").fails(http.StatusUnauthorized, "key_unknown", "admin.key")
}

func TestKeyLookUpFails(t *testing.T) {
	b := newBench(t)
	b.db.Close()
	b.ask("GET", "/api/v1/sources", "").fails(http.StatusInternalServerError, "internal", "log")
	if !strings.Contains(b.log.String(), "look up a key") {
		t.Errorf("the log does not say why: %s", b.log)
	}
}

// TestTimeRunsOut: whatever a database calls it, a request that took too long
// or whose client has gone is not an internal error.
func TestTimeRunsOut(t *testing.T) {
	b := newBench(t)
	f := func(ctx context.Context, status int, code string) {
		t.Helper()
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/activity", nil)
		r.Header.Set("Authorization", "Bearer "+b.key)
		w := httptest.NewRecorder()
		b.console.Handler().ServeHTTP(w, r)
		answer{t, w}.fails(status, code)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f(gone, statusGone, "cancelled")
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	f(late, http.StatusServiceUnavailable, "timed_out")
}

func TestOtherPathsAndMethods(t *testing.T) {
	b := newBench(t)
	f := func(method, path, allow string) {
		t.Helper()
		a := b.ask(method, path, "")
		if allow == "" {
			a.fails(http.StatusNotFound, "not_found", "openapi.yaml")
			return
		}
		a.fails(http.StatusMethodNotAllowed, "method_not_allowed", method, allow)
		if got := a.Header().Get("Allow"); got != allow {
			t.Errorf("%s %s: Allow %q, want %q", method, path, got, allow)
		}
	}
	f("GET", "/api/v1/nothing", "")
	f("GET", "/api/v1/", "")
	f("POST", "/index.php", "")
	f("PUT", "/api/v1/sources", "GET, HEAD, POST")
	f("POST", "/api/v1/sources/acme", "DELETE, GET, HEAD, PATCH")
	f("GET", "/api/v1/sources/acme/rotate", "POST")
	f("DELETE", "/api/v1/ledger/balances", "GET, HEAD")
	f("POST", "/healthz", "GET, HEAD")
	f("POST", "/", "GET, HEAD")
	if a := b.ask("HEAD", "/healthz", ""); a.Code != http.StatusOK {
		t.Errorf("HEAD /healthz: %d", a.Code)
	}
}

func TestParameters(t *testing.T) {
	b := newBench(t)
	f := func(path string, parts ...string) {
		t.Helper()
		b.ask("GET", path, "").fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f("/api/v1/sources?limt=5", `"limt"`, `did you mean "limit"?`)
	f("/api/v1/sources?zzzzzzzz=5", `"zzzzzzzz"`, "have limit, after")
	f("/api/v1/status?limit=5", `"limit"`, "takes none")
	f("/api/v1/sources?limit=5&limit=6", `"limit"`, "2 times")
	f("/api/v1/sources?limit=%zz", "does not decode")
	f("/api/v1/sources?limit=0", `limit "0"`, "1 to 1000")
	f("/api/v1/sources?limit=1001", `limit "1001"`)
	f("/api/v1/sources?limit=ten", `limit "ten"`)
	f("/api/v1/audit?after=x", `"x"`, "page before")
	f("/api/v1/sources/x?key=secret-canary", `"key"`, "takes none")
	f("/api/v1/activity?status=bokked", `"bokked"`, "booked")
	f("/api/v1/activity?since=yesterday", `since "yesterday"`, "24h")
	f("/api/v1/activity?until=-5m", `until "-5m"`)
	f("/api/v1/activity?newer_than=x", `newer_than "x"`)
	f("/api/v1/activity?newer_than=1&after=2", "one of them")
	f("/api/v1/summary?since=1", `since "1"`)
	f("/api/v1/events/abc", `"abc"`, "STREAM-SEQ")
	b.ask("POST", "/api/v1/apply?dry_run=maybe", "{}").fails(http.StatusBadRequest, "bad_request", `dry_run "maybe"`, "true or false")
	long := strings.Repeat("x", 5000)
	if a := b.ask("GET", "/api/v1/sources?"+long+"=1", ""); a.Body.Len() > 400 {
		t.Errorf("a long name is repeated whole: %d bytes", a.Body.Len())
	}
}

func TestHeaders(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/assets/app.js", "/api/v1/sources", "/api/v1/nothing", "/healthz", "/metrics"} {
		h := b.ask("GET", path, "").Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Security-Policy": contentPolicy} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if h.Get("Content-Type") == "" {
			t.Errorf("%s has no content type", path)
		}
	}
	if strings.Contains(contentPolicy, "unsafe") || !strings.HasPrefix(contentPolicy, "default-src 'none'") {
		t.Errorf("the content policy is loose: %s", contentPolicy)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	b := newBench(t)
	b.node.panics = true
	a := b.ask("GET", "/api/v1/status", "")
	a.fails(http.StatusInternalServerError, "internal", "log")
	if strings.Contains(a.Body.String(), "canary") {
		t.Errorf("the answer tells the panic: %s", a.Body)
	}
	if log := b.log.String(); !strings.Contains(log, "panicked") || !strings.Contains(log, "/api/v1/status") {
		t.Errorf("the log does not: %s", log)
	}
	b.node.panics = false
	b.ask("GET", "/api/v1/status", "").is(http.StatusOK, nil)
}

func TestServerLimits(t *testing.T) {
	s := newBench(t).console.Server()
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
	srv := httptest.NewUnstartedServer(s.Handler)
	srv.Config = s
	srv.Start()
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("over a connection: %s", resp.Status)
	}
}

// errorCodes lists the machine codes in the package's source, sorted.
func errorCodes(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok {
			if code, err := strconv.Unquote(lit.Value); err == nil {
				codes = append(codes, code)
			}
		}
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "refuse" && len(n.Args) > 1 {
					add(n.Args[1])
				}
			case *ast.KeyValueExpr:
				if name, ok := n.Key.(*ast.Ident); ok && name.Name == "code" {
					add(n.Value)
				}
			}
			return true
		})
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func checkJSON(t *testing.T, schema *openapi3.Schema, text []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Errorf("%q is not JSON: %v", text, err)
		return
	}
	if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s: %v", text, err)
	}
}
