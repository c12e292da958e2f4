package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source"
)

// A node that ends TLS itself tells calls' keys under an https URL, takes what
// comes back under it, and counts what it refuses.
func TestIntakeOverTLS(t *testing.T) {
	sample := httptest.NewTLSServer(http.NotFoundHandler())
	defer sample.Close()
	folder := t.TempDir()
	pair := sample.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"c.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "k.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opt := &Options{Data: filepath.Join(folder, "data"), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Index: "memory:",
		TLSCert: filepath.Join(folder, "c.pem"), TLSKey: filepath.Join(folder, "k.pem"), ClientCA: filepath.Join(folder, "c.pem")}
	if err := opt.complete(); err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), opt, serveCmd{JournalMaxMB: 512, AuthFailuresPerMin: 100}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.objects.CreateSource(t.Context(), "test", source.Spec{ID: "retreaver", SetValue: true}, false); err != nil {
		t.Fatal(err)
	}
	if err := n.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()

	key, err := os.ReadFile(opt.AdminKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, url, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		resp, err := sample.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	base := "https://" + n.listen.Addr().String()
	_, text := ask("POST", base+"/v1/calls", `{"call_id":"c1"}`)
	var told struct {
		Calls []struct {
			Key string
			URL string `json:"set_value_url"`
		}
	}
	if err := json.Unmarshal([]byte(text), &told); err != nil || len(told.Calls) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	if want := base + "/calls/c1/set_value?key=" + told.Calls[0].Key; told.Calls[0].URL != want || len(told.Calls[0].Key) != 32 {
		t.Errorf("told %+v, want %s", told.Calls[0], want)
	}
	if status, text := ask("GET", told.Calls[0].URL+"&revenue=10.00", ""); status != 200 {
		t.Errorf("with its key: %d %s", status, text)
	}
	if status, text := ask("GET", base+"/calls/c2/set_value?revenue=10.00&key="+told.Calls[0].Key, ""); status != 401 {
		t.Errorf("with another call's key: %d %s", status, text)
	}
	if _, text := ask("GET", "http://"+n.admin.Addr().String()+"/metrics", ""); !strings.Contains(text, `tallyhook_intake_refused_total{reason="call_key"} 1`) {
		t.Error("the refusal is not counted")
	}
	if _, text := ask("GET", "http://"+n.admin.Addr().String()+"/api/v1/sources/retreaver/refused", ""); !strings.Contains(text, `"detail":"key_wrong"`) ||
		!strings.Contains(text, "set_value_url") || strings.Contains(text, told.Calls[0].Key) {
		t.Errorf("refused: %s", text)
	}
}

func TestTLSSettings(t *testing.T) {
	f := func(cert, key, ca string, good bool) {
		t.Helper()
		o := &Options{Data: "data", Listen: ":8080", Admin: ":8081", Index: "memory:", TLSCert: cert, TLSKey: key, ClientCA: ca}
		err := o.complete()
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "tls-cert") {
			t.Errorf("%q, %q, %q: %v", cert, key, ca, err)
		}
	}
	f("", "", "", true)
	f("c", "k", "", true)
	f("c", "k", "a", true)
	f("c", "", "", false)
	f("", "k", "", false)
	f("", "", "a", false)
}
