package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const admittedVersion = `{"mapper":"acme","version":3,"state":"admitted","verdict":{"admitted":true,"module_bytes":11,"fuel_limit":200000,"vectors":[{"name":"one","ok":true,"fuel":7,"pages":1,"ns":9}]}}`

// pushFiles are a module, its configuration and its vectors.
func pushFiles(t *testing.T) (module, config, folder string) {
	t.Helper()
	dir := t.TempDir()
	module, config, folder = filepath.Join(dir, "acme.wasm"), filepath.Join(dir, "acme.conf"), filepath.Join(dir, "vectors")
	for path, text := range map[string]string{module: "\x00asm\x01\x00\x00\x00abc", config: "zone=GB", filepath.Join(folder, "one.txtar"): "-- request --\nGET ?a=1\n-- reports --\n{\"ref_id\":\"1\"}\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return module, config, folder
}

func TestPushSendsEverythingAndTellsTheVerdict(t *testing.T) {
	var sent []string
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Method+" "+r.URL.String())
		if strings.HasSuffix(r.URL.Path, "/activate") {
			fmt.Fprint(w, `{"name":"acme","active":3,"sources":["acme"]}`)
			return
		}
		for _, part := range []string{"module", "vectors", "config"} {
			if f, _, err := r.FormFile(part); err == nil {
				text, _ := io.ReadAll(f)
				sent = append(sent, part+" "+string(text))
			}
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, admittedVersion)
	})
	module, config, folder := pushFiles(t)
	f := func(args ...string) told {
		t.Helper()
		sent = nil
		return tallyhook(t, append([]string{"mapper", "push", module, "--name", "acme", "--vectors", folder, "--data", folderWithKey(t), "--admin", addr}, args...)...).ends(0)
	}
	f("--mapper-config", config).says("one     ok                7      1\n", "acme@3 is admitted. Next", "tallyhook mapper shadow acme 3", "tallyhook mapper activate acme 3")
	want := []string{"POST /api/v1/mappers/acme/versions", "module \x00asm\x01\x00\x00\x00abc", "vectors -- one/request --\nGET ?a=1\n-- one/reports --\n{\"ref_id\":\"1\"}\n", "config zone=GB"}
	if strings.Join(sent, "|") != strings.Join(want, "|") {
		t.Errorf("sent %q, want %q", sent, want)
	}
	f("--dry-run").says("nothing was kept")
	if sent[0] != "POST /api/v1/mappers/acme/versions?dry_run=1" || len(sent) != 3 {
		t.Errorf("sent %q", sent)
	}
	f("--activate").says("acme@3 is active; acme names this mapper")
	var version struct{ Version int }
	if f("--activate", "--json").complains("acme@3 is active").json(&version); version.Version != 3 {
		t.Errorf("version %d", version.Version)
	}
	tallyhook(t, "mapper", "push", module, "--name", "acme", "--vectors", folder, "--activate", "--dry-run", "--data", folderWithKey(t), "--admin", addr).
		ends(exitUsage).complains("--dry-run keeps nothing")
	tallyhook(t, "mapper", "push", module+"x", "--name", "acme", "--vectors", folder, "--data", folderWithKey(t), "--admin", addr).
		ends(exitFailed).complains("no such file", "tallyhook mapper build DIR")
}

func TestPushThatIsRefused(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		out    string
		parts  []string
	}{
		"kept": {422, `{"ok":false,"error":"mapper_refused","message":"m","version":{"version":4},"verdict":{"admitted":false,"reasons":[{"code":"loops","text":"function 3 has 900 loops"}]}}`,
			"refused  loops\n    function 3 has 900 loops\n", []string{"acme.wasm, which is acme@4, is refused"}},
		"dry run":   {422, `{"ok":false,"error":"mapper_refused","message":"m","verdict":{"admitted":false,"reasons":[{"code":"loops","text":"t"}]}}`, "refused  loops\n", []string{"acme.wasm is refused"}},
		"no reason": {422, `{"ok":false}`, "", []string{"does not say why"}},
		"busy":      {429, `{"ok":false,"error":"busy","message":"10 modules wait: push again in 10s"}`, "", []string{"10 modules wait"}},
		"forbidden": {403, `{"ok":false,"error":"forbidden","message":"mapper \"acme\" is not one of this key's"}`, "", []string{"is not one of this key's"}},
		"a proxy":   {413, `<html>`, "", []string{"not as Tallyhook does"}},
	}
	module, _, folder := pushFiles(t)
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			tallyhook(t, "mapper", "push", module, "--name", "acme", "--vectors", folder, "--activate", "--data", folderWithKey(t), "--node", "http://"+addr).
				ends(exitFailed).says(c.out).complains(c.parts...)
		})
	}
}
