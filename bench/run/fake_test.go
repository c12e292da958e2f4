package run

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestMain lets the test binary play the bare handler, the node and its
// `ledger verify`.
func TestMain(m *testing.M) {
	arg := func(name string) string {
		for i, a := range os.Args[:len(os.Args)-1] {
			if a == name {
				return os.Args[i+1]
			}
		}
		return ""
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "bare":
			http.ListenAndServe(arg("--listen"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, `{"ok":true}`)
			}))
			os.Exit(1)
		case "serve":
			playNode(arg("--listen"), arg("--admin"), arg("--data"))
		case "ledger":
			if _, err := os.Stat(filepath.Join(arg("--data"), "admin.key")); err != nil {
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func playNode(listen, admin, data string) {
	os.MkdirAll(data, 0o700)
	os.WriteFile(filepath.Join(data, "admin.key"), []byte("sesame\n"), 0o600)
	var taken, asked atomic.Int64
	go http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/v1/calls" && (r.Header.Get("Authorization") != "Bearer sesame" || !json.Valid(body[:max(0, strings.IndexByte(string(body), '\n'))])):
			w.WriteHeader(400)
		case !strings.HasPrefix(r.URL.Path, "/v1/"):
			w.WriteHeader(404)
		}
		fmt.Fprintf(w, `{"ok":true,"event":"1-%d","status":"accepted"}`, taken.Add(1))
	}))
	go http.ListenAndServe(admin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
		case "/api/v1/apply":
			io.WriteString(w, `{}`)
		case "/api/v1/sources":
			var spec struct{ ID string }
			json.NewDecoder(r.Body).Decode(&spec)
			fmt.Fprintf(w, `{"url":"http://x/v1/postbacks/%s"}`, spec.ID)
		case "/api/v1/status": // every other time something waits
			fmt.Fprintf(w, `{"journal":{"last_seq":%d},"pipeline":{"committed_seq":5}}`, 5+asked.Add(1)%2)
		case "/api/v1/query":
			io.WriteString(w, `{"columns":["status","count(*)"],"rows":[["booked",70],["duplicate",3]]}`)
		default:
			w.WriteHeader(404)
		}
	}))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	os.Exit(0)
}
