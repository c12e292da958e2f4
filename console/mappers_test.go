package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

// fakeAdmitter refuses modules that hold "bad" and admits others.
type fakeAdmitter struct {
	mu    sync.Mutex
	tiers []string      // of each admission, in order
	gate  chan struct{} // when not nil, an admission takes one token from it
	err   error
	panic bool
}

func (f *fakeAdmitter) Admit(ctx context.Context, up store.MapperUpload, tier string) (json.RawMessage, bool, int64, error) {
	f.mu.Lock()
	f.tiers = append(f.tiers, tier)
	f.mu.Unlock()
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return nil, false, 0, ctx.Err()
		}
	}
	switch {
	case f.panic:
		panic("admitter broke")
	case f.err != nil:
		return nil, false, 0, f.err
	case bytes.Contains(up.Code, []byte("bad")):
		return json.RawMessage(`{"admitted":false,"reasons":[{"code":"too_bad","text":"function 17 is bad: make it good"}]}`), false, 0, nil
	}
	return json.RawMessage(`{"admitted":true,"reasons":null,"fuel_limit":200000}`), true, 200_000, nil
}

func (f *fakeAdmitter) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.tiers)
}

// form is a multipart body of pairs of name and content, and its type.
func form(t *testing.T, parts ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		p, err := w.CreateFormFile(parts[i], parts[i]+".bin")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(p, parts[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// push sends a module with a key.
func (b *bench) push(key, name, query string, parts ...string) answer {
	b.t.Helper()
	body, contentType := form(b.t, parts...)
	return b.send("POST", "/api/v1/mappers/"+name+"/versions"+query, body, "Authorization", "Bearer "+key, "Content-Type", contentType)
}

func TestPushActivateRollback(t *testing.T) {
	b := newBench(t)
	var v store.MapperVersion
	b.push(b.key, "acme", "", "module", "one", "vectors", "-- a --\n", "config", "{}").is(http.StatusCreated, &v)
	if v.Mapper != "acme" || v.Version != 1 || v.State != store.MapperAdmitted || v.FuelLimit != 200_000 || v.Bytes != 3 || !v.HasConfig || v.VectorsBytes != 8 || v.PushedBy != "admin@192.0.2.1" {
		t.Errorf("version %+v", v)
	}
	b.push(b.key, "acme", "", "config", "{}", "vectors", "-- a --\n", "module", "one").is(http.StatusOK, &v)
	if v.Version != 1 || b.admits.count() != 1 {
		t.Errorf("the same bytes gave version %d after %d admissions", v.Version, b.admits.count())
	}
	b.ask("POST", "/api/v1/sources", `{"id":"x","mapper":"acme"}`).fails(http.StatusBadRequest, "bad_request", "acme", "no active version", "tallyhook mapper activate acme")
	var m store.MapperInfo
	changes := b.changes
	b.ask("POST", "/api/v1/mappers/acme/activate", `{"version":1}`).is(http.StatusOK, &m)
	if m.Active != 1 || m.Previous != 0 || b.changes != changes+1 {
		t.Errorf("mapper %+v, the node was told %d times", m, b.changes-changes)
	}
	b.create(`{"id":"x","mapper":"acme"}`)
	b.push(b.key, "acme", "", "module", "two").is(http.StatusCreated, &v)
	b.ask("POST", "/api/v1/mappers/acme/shadow", `{"version":2}`).is(http.StatusOK, &m)
	if m.Shadow != 2 || len(m.Sources) != 1 {
		t.Errorf("mapper %+v", m)
	}
	b.ask("POST", "/api/v1/mappers/acme/shadow", `{"version":0}`).is(http.StatusOK, nil)
	b.ask("POST", "/api/v1/mappers/acme/activate", `{"version":2}`).is(http.StatusOK, nil)
	b.ask("POST", "/api/v1/mappers/acme/rollback", ``).is(http.StatusOK, &m)
	if m.Active != 1 {
		t.Errorf("after the roll-back %+v", m)
	}
	b.ask("POST", "/api/v1/mappers/acme/rollback", `{}`).fails(http.StatusConflict, "conflict", "activate one")

	var d store.MapperDetail
	b.ask("GET", "/api/v1/mappers/acme", "").is(http.StatusOK, &d)
	if len(d.Versions) != 2 || d.Versions[0].Version != 2 || d.Versions[0].State != store.MapperRetired || d.Versions[0].Verdict != nil {
		t.Errorf("detail %+v", d)
	}
	b.ask("GET", "/api/v1/mappers/acme/versions/2", "").is(http.StatusOK, &v)
	if !strings.Contains(string(v.Verdict), "fuel_limit") {
		t.Errorf("verdict %s", v.Verdict)
	}
	if a := b.ask("GET", "/api/v1/mappers/acme/versions/2/module", "").is(http.StatusOK, nil); a.Body.String() != "two" || a.Header().Get("Content-Type") != "application/wasm" {
		t.Errorf("module %q", a.Body)
	}
	if err := b.objects.AddShadowCounts(t.Context(), []store.ShadowCount{{Mapper: "acme", Active: 1, Candidate: 2, Field: "payout", Same: 3, Different: 1, Example: "12.50 became 1250"}}); err != nil {
		t.Fatal(err)
	}
	var shadow listing[store.ShadowCount]
	b.ask("GET", "/api/v1/mappers/acme/shadow", "").is(http.StatusOK, &shadow)
	if len(shadow.Rows) != 1 || shadow.Rows[0].Different != 1 {
		t.Errorf("shadow %+v", shadow.Rows)
	}
}

func TestPushUnderTier(t *testing.T) {
	b := newBench(t)
	b.push(b.key, "acme", "", "module", "one").is(http.StatusCreated, nil)
	b.ask("PATCH", "/api/v1/mappers/acme", `{"tier":"huge"}`).fails(http.StatusBadRequest, "bad_request", `"huge"`, "large")
	b.ask("PATCH", "/api/v1/mappers/acme", `{"tier":"large"}`).is(http.StatusOK, nil)
	var v store.MapperVersion
	b.push(b.key, "acme", "", "module", "one").is(http.StatusCreated, &v)
	b.push(b.key, "acme", "?dry_run=1", "module", "three").is(http.StatusOK, nil)
	if got := strings.Join(b.admits.tiers, " "); got != "standard large large" || v.Version != 2 || v.Tier != store.TierLarge {
		t.Errorf("admitted as %s, version %+v", got, v)
	}
}

func TestPushRefused(t *testing.T) {
	b := newBench(t)
	var r refusal
	b.push(b.key, "acme", "", "module", "bad one").is(http.StatusUnprocessableEntity, &r)
	if r.Error != "mapper_refused" || !strings.Contains(r.Message, "function 17") || r.Version == nil || r.Version.State != store.MapperRefused || !strings.Contains(string(r.Verdict), "too_bad") {
		t.Errorf("refusal %+v", r)
	}
	b.ask("POST", "/api/v1/mappers/acme/activate", `{"version":1}`).fails(http.StatusConflict, "conflict", "acme@1", "refused", "push a mended")
	b.ask("GET", "/api/v1/mappers/acme/versions/1/module", "").fails(http.StatusConflict, "conflict", "not kept")
	b.ask("GET", "/api/v1/mappers/acme/versions/2", "").fails(http.StatusNotFound, "not_found", "acme", "newest is 1")
	b.ask("GET", "/api/v1/mappers/acm", "").fails(http.StatusNotFound, "not_found", `did you mean "acme"?`)
	b.ask("GET", "/api/v1/mappers/acme/versions/x", "").fails(http.StatusBadRequest, "bad_request", `"x"`)
	b.ask("POST", "/api/v1/mappers/acme/activate", `{}`).fails(http.StatusBadRequest, "bad_request", "version is missing")
	b.ask("POST", "/api/v1/mappers/acme/activate", `{"version":0}`).fails(http.StatusBadRequest, "bad_request", "version 0")

	f := func(status int, code, name string, parts []string, want ...string) {
		t.Helper()
		b.push(b.key, name, "", parts...).fails(status, code, want...)
	}
	f(http.StatusBadRequest, "bad_request", "Acme!", []string{"module", "x"}, `"Acme!"`)
	f(http.StatusBadRequest, "bad_request", "acme@2", []string{"module", "x"}, "leave out the @2")
	f(http.StatusBadRequest, "bad_request", "acme", nil, "no part module")
	f(http.StatusBadRequest, "bad_request", "acme", []string{"module", ""}, "empty")
	f(http.StatusBadRequest, "bad_request", "acme", []string{"modul", "x"}, `"modul"`, "have module")
	f(http.StatusBadRequest, "bad_request", "acme", []string{"module", "x", "module", "y"}, "twice")
	f(http.StatusRequestEntityTooLarge, "body_too_large", "acme", []string{"module", strings.Repeat("x", store.MapperModuleBytesMax+1)}, "module")
	f(http.StatusRequestEntityTooLarge, "body_too_large", "acme", []string{"module", "x", "vectors", strings.Repeat("x", store.MapperVectorsBytesMax+1)}, "vectors")
	f(http.StatusRequestEntityTooLarge, "body_too_large", "acme", []string{"module", "x", "config", strings.Repeat("x", store.MapperConfigBytesMax+1)}, "config")
	f(http.StatusRequestEntityTooLarge, "body_too_large", "acme", []string{"module", strings.Repeat("x", uploadBytesMax)}, "module")
	b.ask("POST", "/api/v1/mappers/acme/versions", `{}`).fails(http.StatusUnsupportedMediaType, "content_type_unsupported", "multipart/form-data")
	b.ask("POST", "/api/v1/mappers/acme/versions", "--x\r\nContent-Disp", "Content-Type", "multipart/form-data; boundary=x").fails(http.StatusBadRequest, "bad_request", "ended early")
	b.push(b.key, "acme", "?dry_run=1", "module", "bad one").is(http.StatusUnprocessableEntity, &r)
	if n := b.admits.count(); n != 2 {
		t.Errorf("%d admissions", n)
	}
	if len(b.console.admissions.places) != 0 || len(b.console.admissions.running) != 0 {
		t.Error("a refused push keeps its place")
	}
	b.push(b.key, "acme", "", "module", strings.Repeat("x", store.MapperModuleBytesMax)).is(http.StatusCreated, nil)
}

func TestDryRunKeepsNothing(t *testing.T) {
	b := newBench(t)
	a := b.push(b.key, "new", "?dry_run=1", "module", "one").is(http.StatusOK, nil)
	if !strings.Contains(a.Body.String(), `"admitted":true`) {
		t.Error(a.Body)
	}
	b.ask("GET", "/api/v1/mappers/new", "").fails(http.StatusNotFound, "not_found")
	if b.changes != 0 {
		t.Error("the node was told")
	}
}

// TestAdmissionFails: the version stays uploaded, and the same push takes it up.
func TestAdmissionFails(t *testing.T) {
	b := newBench(t)
	b.admits.err = errWorld
	b.push(b.key, "acme", "", "module", "one").fails(http.StatusServiceUnavailable, "admission_failed", "acme@1", "push the same module again")
	b.push(b.key, "acme", "?dry_run=1", "module", "one").fails(http.StatusServiceUnavailable, "admission_failed")
	b.admits.err, b.admits.panic = nil, true
	b.push(b.key, "acme", "", "module", "one").fails(http.StatusInternalServerError, "internal")
	b.admits.panic = false
	b.ask("POST", "/api/v1/mappers/acme/activate", `{"version":1}`).fails(http.StatusConflict, "conflict", "not admitted", "push the same module again")
	var v store.MapperVersion
	b.push(b.key, "acme", "", "module", "one").is(http.StatusCreated, &v)
	if v.Version != 1 || v.State != store.MapperAdmitted {
		t.Errorf("version %+v", v)
	}
	if len(b.console.admissions.places) != 0 || len(b.console.admissions.running) != 0 || len(b.console.admissions.jobs) != 0 {
		t.Error("a place is still taken")
	}
	if !strings.Contains(b.log.String(), "canary-in-cause") || !strings.Contains(b.log.String(), "panicked") {
		t.Error("the log does not name the causes")
	}
	bare := newBench(t)
	bare.console.cfg.Admitter = nil
	bare.push(bare.key, "acme", "", "module", "one").fails(http.StatusServiceUnavailable, "node_not_running")
}

// pushing starts a push on a goroutine of its own.
func (b *bench) pushing(ctx context.Context, name, module string) <-chan *httptest.ResponseRecorder {
	body, contentType := form(b.t, "module", module)
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		r := httptest.NewRequestWithContext(ctx, "POST", "/api/v1/mappers/"+name+"/versions", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+b.key)
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		b.console.Handler().ServeHTTP(w, r)
		done <- w
	}()
	return done
}

// soon waits for what another goroutine brings about.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not come to this: " + what)
		}
	}
}

// TestAdmissionsAreBounded: two run, eight wait, the next is told to come again.
func TestAdmissionsAreBounded(t *testing.T) {
	b := newBench(t)
	b.admits.gate = make(chan struct{})
	var all []<-chan *httptest.ResponseRecorder
	for i := range AdmissionsMax + AdmissionsWaitingMax {
		all = append(all, b.pushing(t.Context(), "acme", fmt.Sprint("module ", i)))
	}
	soon(t, "all have their places", func() bool { return len(b.console.admissions.places) == len(all) })
	soon(t, "two run", func() bool { return b.admits.count() == AdmissionsMax })
	a := b.push(b.key, "acme", "", "module", "one too many")
	a.fails(http.StatusTooManyRequests, "busy", "push again")
	if a.Header().Get("Retry-After") == "" {
		t.Error("it is not told when")
	}
	for range all {
		b.admits.gate <- struct{}{}
	}
	for _, done := range all {
		if w := <-done; w.Code != http.StatusCreated {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	soon(t, "every place is free", func() bool { return len(b.console.admissions.places) == 0 })
}

// TestClientGoesAway: what it pushed is admitted all the same.
func TestClientGoesAway(t *testing.T) {
	b := newBench(t)
	b.admits.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := b.pushing(ctx, "acme", "one")
	soon(t, "it is being admitted", func() bool { return b.admits.count() == 1 })
	cancel()
	if w := <-done; !strings.Contains(w.Body.String(), "acme@1 is uploaded") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	again := b.pushing(t.Context(), "acme", "one") // joins
	soon(t, "it waits too", func() bool { return len(b.console.admissions.places) == 2 })
	b.admits.gate <- struct{}{}
	if w := <-again; w.Code != http.StatusCreated || b.admits.count() != 1 {
		t.Errorf("%d %s after %d admissions", w.Code, w.Body, b.admits.count())
	}
	v, err := b.objects.GetMapperVersion(t.Context(), "acme", 1)
	if err != nil || v.State != store.MapperAdmitted {
		t.Errorf("version %+v, %v", v, err)
	}
}

// TestAdmittedElsewhere: another node ended the admission of the same version
// meanwhile; its verdict stands.
func TestAdmittedElsewhere(t *testing.T) {
	b := newBench(t)
	b.admits.gate = make(chan struct{})
	done := b.pushing(t.Context(), "acme", "one")
	soon(t, "it is being admitted", func() bool { return b.admits.count() == 1 })
	if _, err := b.objects.AdmitMapper(t.Context(), "other", "acme", 1, false, 0, json.RawMessage(`{"reasons":[]}`)); err != nil {
		t.Fatal(err)
	}
	b.admits.gate <- struct{}{}
	if w := <-done; w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "refused already") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestKeysAPI(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x"}`)
	f := func(body string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/keys", body).fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f(`{"name":"p","role":"partner"}`, "source at least")
	f(`{"name":"p","role":"partner","sources":["y"]}`, `"y"`)
	f(`{"name":"p","role":"partner","sources":["xx"]}`, `did you mean "x"?`)
	f(`{"name":"p","role":"admin","sources":["x"]}`, "sources")
	f(`{"name":"p","role":"root"}`, `"root"`, "partner")
	f(`{"name":"","role":"admin"}`, "key name")
	var made struct {
		store.KeyInfo
		Key string
	}
	b.ask("POST", "/api/v1/keys", `{"name":"p","role":"partner","sources":["x"],"may_activate":true}`).is(http.StatusCreated, &made)
	if !strings.HasPrefix(made.Key, store.KeyPrefix) || made.ID != 2 || len(made.Sources) != 1 || !made.MayActivate {
		t.Errorf("made %+v", made.KeyInfo)
	}
	var l listing[store.KeyInfo]
	a := b.ask("GET", "/api/v1/keys", "").is(http.StatusOK, &l)
	if len(l.Rows) != 2 || l.Rows[0].Role != store.RoleAdmin || l.Rows[1].Name != "p" || strings.Contains(a.Body.String(), made.Key) {
		t.Errorf("keys %s", a.Body)
	}
	b.send("GET", "/api/v1/mappers", "", "Authorization", "Bearer "+made.Key).is(http.StatusOK, nil)
	b.ask("DELETE", "/api/v1/keys/1", "").fails(http.StatusConflict, "conflict", "another admin's key")
	b.ask("DELETE", "/api/v1/keys/x", "").fails(http.StatusBadRequest, "bad_request", `"x"`)
	b.ask("DELETE", "/api/v1/keys/9", "").fails(http.StatusNotFound, "not_found", "9")
	b.ask("DELETE", "/api/v1/keys/2", "").is(http.StatusNoContent, nil)
	b.send("GET", "/api/v1/mappers", "", "Authorization", "Bearer "+made.Key).fails(http.StatusUnauthorized, "key_unknown")
	b.refuses = errors.New("not now")
	b.ask("POST", "/api/v1/keys", `{"name":"q","role":"admin"}`).fails(http.StatusServiceUnavailable, "not_in_force", "not told", "delete key 3")
}
