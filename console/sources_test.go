package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func TestCreateSource(t *testing.T) {
	b := newBench(t)
	a := b.ask("POST", "/api/v1/sources", `{"name":"Acme Media","buyer":"acme","fields":{"ref_id":["my_ref"]},"limits":{"profile":"strict"}}`)
	var v sourceView
	a.is(http.StatusCreated, &v)
	if v.ID != "acme-media" || v.Preset != "generic" || v.Limits.PerTokenPerMin != source.StrictPerTokenPerMin || v.Secret || v.SecretValue != "" {
		t.Errorf("answer %s", a.Body)
	}
	if a.Header().Get("Location") != "/api/v1/sources/acme-media" {
		t.Errorf("Location %q", a.Header().Get("Location"))
	}
	token, ok := strings.CutPrefix(v.URL, "http://127.0.0.1:8080/v1/postbacks/")
	if s := b.live().ByToken(source.HashToken([]byte(token))); !ok || s == nil || s.Spec.ID != "acme-media" {
		t.Errorf("nothing listens at %s", v.URL)
	}
	if b.changes != 1 {
		t.Errorf("the node was told %d times", b.changes)
	}
	var audit listing[store.AuditRow]
	b.ask("GET", "/api/v1/audit", "").is(http.StatusOK, &audit)
	if len(audit.Rows) != 2 || audit.Rows[0].Actor != "admin@192.0.2.1" || audit.Rows[0].Object != "source/acme-media" {
		t.Errorf("audit %+v", audit.Rows)
	}
}

func TestSecretIsToldOnce(t *testing.T) {
	b := newBench(t)
	v := b.create(`{"id":"acme","secret":true}`)
	s := b.live().ByID("acme")
	if !v.Secret || len(s.Secrets) != 1 || source.HashToken([]byte(v.SecretValue)) != s.Secrets[0] {
		t.Fatalf("the secret told is not the one asked for: %+v", v.Secret)
	}
	for _, path := range []string{"/api/v1/sources", "/api/v1/sources/acme", "/api/v1/audit", "/api/v1/status", "/metrics"} {
		if a := b.ask("GET", path, ""); strings.Contains(a.Body.String(), v.SecretValue) || strings.Contains(a.Body.String(), "secret_value") {
			t.Errorf("%s tells the secret", path)
		}
	}
}

func TestCreateSourceRefused(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	f := func(body string, status int, code string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/sources", body, "Content-Type", "application/json").fails(status, code, parts...)
	}
	bad := func(body string, parts ...string) {
		t.Helper()
		f(body, http.StatusBadRequest, "bad_request", parts...)
	}
	f(`{"id":"acme"}`, http.StatusConflict, "exists", `"acme"`, "another id")
	bad(``, "empty")
	bad(`{`, "cut short")
	bad(`{"id":"x"} {}`, "after the end")
	bad(`{"id":"x",}`, "byte 11")
	bad(`[]`, "JSON array", "want an object")
	bad(`{"id":"x","pausd":true}`, `"pausd"`, `did you mean "paused"?`)
	bad(`{"id":"x","zzzzzzzzzz":true}`, `"zzzzzzzzzz"`)
	bad(`{"id":"x","url":"http://x"}`, `"url"`)
	bad(`{"id":"x","paused":"yes"}`, "paused", "JSON string", "want true or false")
	bad(`{"id":"x","limits":{"per_ip_per_min":"5"}}`, "limits.per_ip_per_min", "want a whole number")
	bad(`{"id":"x","fields":{"payot":["x"]}}`, `"payot"`, `did you mean "payout"?`)
	bad(`{"id":"X!"}`, `"X!"`, "a-z")
	bad(`{"name":"!!!"}`, `"!!!"`, "set the id")
	bad(`{"id":"x","preset":"acme"}`, `"acme"`, "generic")
	bad(`{"id":"x","match":{"window":"soon"}}`, `"soon"`, "24h")
	bad(`{"id":"x","reply":{"mode":"never"}}`, `"never"`, "verdict or accepted")
	if b.changes != 1 || b.live().Live() != 1 {
		t.Errorf("something was changed: %d times, %d sources", b.changes, b.live().Live())
	}

	large := `{"id":"x","name":"` + strings.Repeat("x", BodyBytesMax) + `"}`
	f(large, http.StatusRequestEntityTooLarge, "body_too_large", "1048576 bytes")
	b.ask("POST", "/api/v1/sources", `{"id":"X!"}`, "Content-Type", "application/x-www-form-urlencoded").
		fails(http.StatusBadRequest, "bad_request", "X!") // curl -d: read as JSON
	b.ask("POST", "/api/v1/sources", `{"id":"x"}`, "Content-Type", "text/plain").
		fails(http.StatusUnsupportedMediaType, "content_type_unsupported", "text/plain", "application/json")
	b.ask("POST", "/api/v1/sources", `{"id":"x"}`, "Content-Type", ";;").fails(http.StatusUnsupportedMediaType, "content_type_unsupported")
}

func TestUnknownSource(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	for _, ask := range [][3]string{{"GET", "acmee", ""}, {"PATCH", "acmee", "{}"}, {"DELETE", "acmee", ""}, {"POST", "acmee/rotate", `{"what":"token"}`},
		{"POST", "acmee/rotate", `{"what":"secret"}`}, {"GET", "acmee/refused", ""}} {
		b.ask(ask[0], "/api/v1/sources/"+ask[1], ask[2]).
			fails(http.StatusNotFound, "not_found", `"acmee"`, `did you mean "acme"?`, "GET /api/v1/sources lists them")
	}
	if b.changes != 1 {
		t.Errorf("the node was told %d times", b.changes)
	}
}

func TestListSources(t *testing.T) {
	b := newBench(t)
	var none listing[sourceView]
	if a := b.ask("GET", "/api/v1/sources", "").is(http.StatusOK, &none); strings.Contains(a.Body.String(), "null") {
		t.Errorf("an empty list is %s", a.Body)
	}
	for i := range 7 {
		b.create(fmt.Sprintf(`{"id":"s%d"}`, i))
	}
	var got []string
	after, pages := "", 0
	for {
		var l listing[sourceView]
		b.ask("GET", "/api/v1/sources?limit=3&after="+after, "").is(http.StatusOK, &l)
		for _, v := range l.Rows {
			got = append(got, v.ID)
		}
		pages++
		if after = l.Next; after == "" {
			break
		}
	}
	if pages != 3 || strings.Join(got, " ") != "s0 s1 s2 s3 s4 s5 s6" {
		t.Errorf("%d pages: %v", pages, got)
	}
}

func TestPatchSource(t *testing.T) {
	b, n := newBench(t), 0
	// f patches a source made of spec and compares some of its keys.
	f := func(spec, patch, want string) {
		t.Helper()
		n++
		id := fmt.Sprint("x", n)
		b.create(strings.Replace(spec, `"id":"x"`, `"id":"`+id+`"`, 1))
		var have map[string]any
		b.ask("PATCH", "/api/v1/sources/"+id, patch).is(http.StatusOK, &have)
		var wanted map[string]any
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatal(err)
		}
		for key, value := range wanted {
			if fmt.Sprint(have[key]) != fmt.Sprint(value) {
				t.Errorf("%s, patched with %s: %s is %v, want %v", spec, patch, key, have[key], value)
			}
		}
	}
	f(`{"id":"x","name":"X","buyer":"b"}`, `{"paused":true}`, `{"paused":true,"name":"X","buyer":"b"}`)
	f(`{"id":"x","paused":true}`, `{"paused":false}`, `{"paused":false}`)
	f(`{"id":"x","buyer":"b"}`, `{"buyer":null}`, `{"buyer":null}`)
	f(`{"id":"x","buyer":"b"}`, `{}`, `{"buyer":"b"}`)
	f(`{"id":"x","match":{"window":"48h"}}`, `{"match":{"duration_tolerance":"90s"}}`,
		`{"match":{"window":"48h","duration_tolerance":"90s","default_region":"US"}}`)
	f(`{"id":"x","match":{"window":"48h"}}`, `{"match":{"window":null}}`, `{"match":{"window":"24h","duration_tolerance":"60s","default_region":"US"}}`)
	f(`{"id":"x","match":{"window":"48h","default_region":"GB"}}`, `{"match":null}`, `{"match":{"window":"24h","duration_tolerance":"60s","default_region":"US"}}`)
	f(`{"id":"x"}`, `{"limits":{"profile":"strict"}}`, `{"limits":{"per_ip_per_min":50,"per_token_per_min":200,"profile":"strict"}}`)
	f(`{"id":"x","fields":{"ref_id":["a"],"payout":["b"]}}`, `{"fields":{"ref_id":["c","d"]}}`, `{"fields":{"ref_id":["c","d"],"payout":["b"]}}`)
	f(`{"id":"x","fields":{"ref_id":["a"],"payout":["b"]}}`, `{"fields":{"ref_id":null}}`, `{"fields":{"payout":["b"]}}`)
	f(`{"id":"x","reply":"accepted"}`, `{"reply":{"classes":{"accepted":{"body":"OK"}}}}`, `{"reply":{"mode":"accepted","classes":{"accepted":{"body":"OK","content_type":"text/plain; charset=utf-8"}}}}`)
	f(`{"id":"x","reply":{"mode":"accepted","classes":{"ok":{"body":"1"}}}}`, `{"reply":"verdict"}`, `{"reply":"verdict"}`)
	f(`{"id":"x"}`, `{"PAUSED":true}`, `{"paused":true}`)
	f(`{"id":"x"}`, `{"amount_max":"12345678.123456"}`, `{"amount_max":"12345678.123456"}`)
}

func TestPatchRefused(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x","buyer":"b"}`)
	f := func(patch string, parts ...string) {
		t.Helper()
		b.ask("PATCH", "/api/v1/sources/x", patch, "Content-Type", "application/json").fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f(``, "empty")
	f(`null`, "null", "paused")
	f(`7`, "JSON number", "want an object")
	f(`{"pausd":true}`, `"pausd"`, `"paused"`)
	f(`{"pausd":null}`, `"pausd"`, `"paused"`)
	f(`{"match":{"windw":"1h"}}`, `"windw"`, `"window"`)
	f(`{"paused":1}`, "paused", "true or false")
	f(`{"paused":true,"Paused":false}`, `"paused"`, "twice")
	f(`{"id":"y"}`, "id", `"x"`)
	f(`{"url":"http://other/v1/postbacks/t"}`, "url", "rotate")
	f(`{"secret":true}`, "secret", "rotate")
	f(`{"secret":"abc"}`, "secret", "true or false")
	f(`{"secret_value":"abc"}`, "secret_value", "once")
	f(`{"updated_at":"2020-01-01T00:00:00Z"}`, "updated_at", "since you read it")
	f(`{"currency":"dollars!"}`, `"DOLLARS!"`, "3 to 12")
	f(`{"paused":true} true`, "after the end")
	if s := b.live().ByID("x").Spec; s.Paused || s.Buyer != "b" {
		t.Errorf("a refused patch changed %+v", s)
	}
}

// TestPatchBack sends back what GET showed: nothing changes, and what is
// changed in it does.
func TestPatchBack(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x","secret":true,"fields":{"payout":["amt"]}}`)
	shown := b.ask("GET", "/api/v1/sources/x", "").Body.String()
	var before, after listing[store.AuditRow]
	b.ask("GET", "/api/v1/audit", "").is(http.StatusOK, &before)
	if a := b.ask("PATCH", "/api/v1/sources/x", shown).is(http.StatusOK, nil); a.Body.String() != shown {
		t.Errorf("sent back:\n%sgives:\n%s", shown, a.Body)
	}
	b.ask("GET", "/api/v1/audit", "").is(http.StatusOK, &after)
	if len(after.Rows) != len(before.Rows) {
		t.Errorf("nothing changed, and the audit has %+v", after.Rows[0])
	}
	b.ask("PATCH", "/api/v1/sources/x", strings.Replace(shown, `"paused":false`, `"paused":true`, 1)).is(http.StatusOK, nil)
	if !b.live().ByID("x").Spec.Paused {
		t.Error("not paused")
	}
}

func TestPatchDropsSecret(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x","secret":true}`)
	var v sourceView
	b.ask("PATCH", "/api/v1/sources/x", `{"secret":false,"paused":true}`).is(http.StatusOK, &v)
	if s := b.live().ByID("x"); v.Secret || !v.Paused || len(s.Secrets) != 0 {
		t.Errorf("view %+v, %d secrets", v.Secret, len(s.Secrets))
	}
}

func TestDeleteSource(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x"}`)
	if a := b.ask("DELETE", "/api/v1/sources/x", "").is(http.StatusNoContent, nil); a.Body.Len() != 0 {
		t.Errorf("body %q", a.Body)
	}
	b.ask("GET", "/api/v1/sources/x", "").fails(http.StatusNotFound, "not_found", `"x"`)
	b.ask("POST", "/api/v1/sources", `{"id":"x"}`).fails(http.StatusConflict, "exists", "deleted")
	if b.changes != 2 {
		t.Errorf("the node was told %d times", b.changes)
	}
}

func TestRotate(t *testing.T) {
	b := newBench(t)
	made := b.create(`{"id":"x","secret":true}`)
	var v sourceView
	b.ask("POST", "/api/v1/sources/x/rotate", `{"what":"token"}`).is(http.StatusOK, &v)
	old, renewed := b.live().ByToken(source.HashToken([]byte(tokenOf(made.URL)))), b.live().ByToken(source.HashToken([]byte(tokenOf(v.URL))))
	if old != nil || renewed == nil || v.SecretValue != "" || !v.Secret {
		t.Errorf("old token works: %t, new one: %t, secret told: %t", old != nil, renewed != nil, v.SecretValue != "")
	}

	b.ask("POST", "/api/v1/sources/x/rotate", `{"what":"secret","keep":"2h"}`).is(http.StatusOK, &v)
	if n := len(b.live().ByID("x").Secrets); n != 2 || v.SecretValue == "" || v.SecretValue == made.SecretValue || !v.SecretsUntil.Equal(day0.Add(2*time.Hour)) {
		t.Errorf("%d live secrets until %s", n, v.SecretsUntil)
	}
	b.ask("POST", "/api/v1/sources/x/rotate", `{"what":"secret"}`).is(http.StatusOK, &v)
	if !v.SecretsUntil.Equal(day0.Add(store.SecretKeepDefault)) {
		t.Errorf("without keep the old secret lives until %s", v.SecretsUntil)
	}
	b.ask("POST", "/api/v1/sources/x/rotate", `{"what":"secret","keep":"0s"}`).is(http.StatusOK, &v)
	if s := b.live().ByID("x"); len(s.Secrets) != 1 || s.Secrets[0] != source.HashToken([]byte(v.SecretValue)) {
		t.Errorf("%d live secrets after keep 0s", len(s.Secrets))
	}
	if b.changes != 5 {
		t.Errorf("the node was told %d times", b.changes)
	}

	f := func(body string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/sources/x/rotate", body).fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f(`{}`, `what ""`, "token or secret")
	f(`{"what":"tokens"}`, `"tokens"`)
	f(`{"what":"token","keep":"1h"}`, "keep", "1h", "secrets")
	f(`{"what":"secret","keep":"99999h"}`, "keep", "744h")
	f(`{"what":"secret","keep":"-1h"}`, `"-1h"`)
	f(`{"what":"secret","kep":"1h"}`, `"kep"`, `"keep"`)
}

func TestRefused(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x"}`)
	var l listing[Refusal]
	if a := b.ask("GET", "/api/v1/sources/x/refused", "").is(http.StatusOK, &l); strings.Contains(a.Body.String(), "null") {
		t.Errorf("an empty list is %s", a.Body)
	}
	b.node.refused["x"] = []Refusal{{At: day0, Peer: "192.0.2.9", Method: "GET", Status: 401, Reason: "secret_missing", Query: "payout=1&key=***"}}
	b.ask("GET", "/api/v1/sources/x/refused", "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0] != b.node.refused["x"][0] {
		t.Errorf("rows %+v", l.Rows)
	}
}

// TestChangeStandsWhenNodeCannotFollow: the change is in the store, and the
// answer says both that and that it is not in force.
func TestChangeStandsWhenNodeCannotFollow(t *testing.T) {
	b := newBench(t)
	b.refuses = errWorld
	b.ask("POST", "/api/v1/sources", `{"id":"x","secret":true}`).fails(http.StatusServiceUnavailable, "not_in_force", "stored", "rotate the secret of source x")
	b.ask("PATCH", "/api/v1/sources/x", `{"paused":true}`).fails(http.StatusServiceUnavailable, "not_in_force", "stored")
	if s := b.live().ByID("x"); s == nil || !s.Spec.Paused {
		t.Errorf("the change is lost")
	}
	if !strings.Contains(b.log.String(), "canary-in-cause") {
		t.Errorf("the log does not name the cause: %s", b.log)
	}
}
