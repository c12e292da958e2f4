package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestKeyCommands(t *testing.T) {
	var asked []string
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		switch r.Method {
		case http.MethodPost:
			fmt.Fprint(w, `{"id":4,"name":"Acme","role":"partner","key":"tk_told-once"}`)
		case http.MethodGet:
			fmt.Fprint(w, `{"rows":[{"id":4,"name":"Acme","role":"partner","sources":["acme","acme-eu"],"may_activate":true,"created_at":"2026-11-20T08:00:00Z"}],"next":""}`)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	flags := []string{"--data", folderWithKey(t), "--admin", addr}
	f := func(want string, args ...string) told {
		t.Helper()
		asked = nil
		o := tallyhook(t, append(append([]string{"key"}, args...), flags...)...).ends(0)
		if have := strings.Join(asked, ", "); have != want {
			t.Errorf("%v asks %s, want %s", args, have, want)
		}
		return o
	}
	f(`POST /api/v1/keys {"may_activate":true,"name":"Acme","role":"partner","sources":["acme","acme-eu"]}`,
		"create", "Acme", "--role", "partner", "--source", "acme", "--source", "acme-eu", "--may-activate").says("id   4\n", "key  tk_told-once\n", "told this once")
	f(`POST /api/v1/keys {"name":"ops","role":"admin"}`, "create", "ops", "--role", "admin", "--json").says(`"key": "tk_told-once"`)
	f("GET /api/v1/keys", "list").says("ID  NAME  ROLE     MAY ACTIVATE", " 4  Acme  partner  yes ", "acme, acme-eu")
	f("DELETE /api/v1/keys/4", "delete", "4", "--yes").says("key 4 is ended")

	asked = nil
	bad := func(complaint string, args ...string) {
		t.Helper()
		tallyhook(t, append(append([]string{"key"}, args...), flags...)...).ends(exitUsage).complains(complaint)
	}
	bad("--source", "create", "Acme", "--role", "partner")
	bad("--may-activate", "create", "ops", "--role", "admin", "--may-activate")
	bad("--role", "create", "Acme", "--role", "owner")
	bad("--yes", "delete", "4")
	if len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
}
