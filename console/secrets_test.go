package console

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSecretsStayIn plays every route, also wrongly, with tokens, secrets and
// keys about, and looks for them in the log, the metrics and the errors.
func TestSecretsStayIn(t *testing.T) {
	b := fed(t)
	made := b.create(`{"id":"x","secret":true}`)
	b.create(`{"id":"z","secret":"given-secret-canary","signature":{"algorithm":"hmac-sha256","input":"body","signature":{"in":"header:s"}}}`)
	secrets := []string{b.key, made.SecretValue, tokenOf(made.URL), "given-secret-canary", "set-secret-canary", "wrong-key-canary", "query-canary", "path-canary", "body-canary", "sql-canary"}
	for _, rt := range b.console.routes() {
		if strings.HasPrefix(rt.path, "/debug/pprof/") {
			continue // profiles take their time; nothing of a request is in them
		}
		path := strings.NewReplacer("{id}", "path-canary", "{call_id}", "path-canary", "{name}", "path-canary", "{n}", "path-canary", "{$}", "").Replace(rt.path)
		for _, body := range []string{"", `{"body-canary":1}`, `{"what":"token","sql":"SELECT 'sql-canary' FROM sql_canary"}`,
			`{"secret":"set-secret-canary"}`, `{"secret":"set-secret-canary\n"}`, `{"id":"k","key":"set-secret-canary-as-a-key"}`} {
			b.send(rt.method, path, body, "Authorization", "Bearer wrong-key-canary")
			b.ask(rt.method, path+"?key=query-canary", body)
			b.ask(rt.method, path, body)
			b.ask(rt.method, strings.Replace(path, "path-canary", "x", 1), body)
			b.ask(rt.method, strings.Replace(path, "path-canary", "z", 1), body)
		}
	}
	b.create(`{"id":"y"}`)
	rotated := b.ask("POST", "/api/v1/sources/y/rotate", `{"what":"secret"}`).is(http.StatusOK, nil).Body.String()
	for _, v := range regexp.MustCompile(`"secret_value":"([^"]+)"|postbacks/([^"]+)"`).FindAllStringSubmatch(rotated, -1) {
		secrets = append(secrets, v[1]+v[2])
	}
	b.refuses = errWorld
	failed := b.ask("POST", "/api/v1/sources/y/rotate", `{"what":"secret"}`).Body.String()
	b.db.Close()
	for _, rt := range b.console.routes() {
		failed += b.ask(rt.method, at(rt.path), `{"what":"secret"}`).Body.String()
	}
	metrics := b.send("GET", "/metrics", "").Body.String()
	for _, s := range secrets {
		if len(s) < 10 {
			t.Fatalf("secret %q is too short to look for", s)
		}
		for place, text := range map[string]string{"log": b.log.String(), "metrics": metrics, "errors": failed} {
			if strings.Contains(text, s) {
				t.Errorf("the %s holds %q", place, s)
			}
		}
	}
	if !strings.Contains(b.log.String(), "admin request failed") {
		t.Error("nothing was logged: the test looks at an empty log")
	}
}

// TestPageMakesNoMarkup reads the page's scripts: nothing that came from
// outside may become markup, a URL or code.
func TestPageMakesNoMarkup(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|createContextualFragment|DOMParser|` +
		`\beval\b|new Function|setTimeout\(\s*["'` + "`" + `]|setAttribute|javascript:|\.href\b|\.src\b|\.action\b|location\b|localStorage|\bcookie\b|postMessage|import\(|https?://|importScripts`)
	for _, name := range []string{"web/app.js", "web/view.js"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if hit := forbidden.Find(text); hit != nil {
			t.Errorf("%s uses %s", name, hit)
		}
	}
	html, err := os.ReadFile("web/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if hit := regexp.MustCompile(`(?i)<script(?: type="module" src="/assets/app\.js")?>\s*[^<\s]|<style|\son[a-z]+=|\sstyle=|https?://|javascript:`).Find(html); hit != nil {
		t.Errorf("index.html holds %s", hit)
	}
	b := newBench(t)
	for _, asset := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllSubmatch(html, -1) {
		b.send("GET", string(asset[1]), "").is(http.StatusOK, nil)
	}
}

// TestPageFindsItsParts: every id that the script looks for is in the page.
func TestPageFindsItsParts(t *testing.T) {
	html, err := os.ReadFile("web/index.html")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("web/app.js")
	if err != nil {
		t.Fatal(err)
	}
	ids := regexp.MustCompile(`\$\("([a-z-]+)"\)`).FindAllSubmatch(script, -1)
	if len(ids) < 10 {
		t.Fatalf("only %d ids found", len(ids))
	}
	for _, id := range ids {
		if !strings.Contains(string(html), `id="`+string(id[1])+`"`) {
			t.Errorf("the page has no %s", id[1])
		}
	}
}
