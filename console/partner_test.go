package console

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

// makeKey makes a key and gives its text.
func (b *bench) makeKey(spec store.KeySpec) string {
	b.t.Helper()
	_, text, err := b.objects.CreateKey(b.t.Context(), "test", spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// partnered is a bench with sources mine and theirs, and mappers:
//
//	own      made by the key     named by nobody
//	mine     made by the admin   named by mine
//	shared   made by the admin   named by mine and theirs
//	theirs   made by the admin   named by theirs
//	lost     made by the key     named by theirs
//	idle     made by the admin   named by nobody
func partnered(t *testing.T, mayActivate bool) (b *bench, key string) {
	t.Helper()
	b = fed(t)
	b.create(`{"id":"mine"}`)
	b.create(`{"id":"mine-too"}`)
	b.create(`{"id":"mine-spare"}`)
	b.create(`{"id":"theirs"}`)
	key = b.makeKey(store.KeySpec{Name: "partner", Role: store.RolePartner, Sources: []string{"mine", "mine-too", "mine-spare"}, MayActivate: mayActivate})
	for _, name := range []string{"own", "mine", "shared", "theirs", "lost", "idle"} {
		by := b.key
		if name == "own" || name == "lost" {
			by = key
		}
		b.push(by, name, "", "module", "first of "+name).is(http.StatusCreated, nil)
		b.push(by, name, "", "module", "second of "+name).is(http.StatusCreated, nil)
		b.ask("POST", "/api/v1/mappers/"+name+"/activate", `{"version":1}`).is(http.StatusOK, nil)
	}
	b.ask("PATCH", "/api/v1/sources/mine", `{"mapper":"mine"}`).is(http.StatusOK, nil)
	b.ask("PATCH", "/api/v1/sources/mine-too", `{"mapper":"shared@1"}`).is(http.StatusOK, nil)
	b.ask("PATCH", "/api/v1/sources/theirs", `{"mapper":"shared"}`).is(http.StatusOK, nil)
	b.create(`{"id":"theirs-2","mapper":"theirs"}`)
	b.create(`{"id":"theirs-3","mapper":"lost@2"}`)
	return b, key
}

// TestPartnerReach asks every route with the key of an admin, of a partner, and
// of a partner who may activate, for mappers within and without their reach.
func TestPartnerReach(t *testing.T) {
	within := []string{"own", "mine"}
	without := []string{"shared", "theirs", "lost", "idle", "nothing"}
	// What a partner reaches: "any" always, "mapper" within its reach, "push"
	// within and new names, "activate" as mapper with may_activate, "source" of its own.
	reached := map[string]string{
		"GET /api/v1/mappers":                            "any",
		"GET /api/v1/mappers/{name}":                     "mapper",
		"POST /api/v1/mappers/{name}/versions":           "push",
		"GET /api/v1/mappers/{name}/versions/{n}":        "mapper",
		"GET /api/v1/mappers/{name}/versions/{n}/module": "mapper",
		"GET /api/v1/mappers/{name}/shadow":              "mapper",
		"POST /api/v1/mappers/{name}/activate":           "activate",
		"POST /api/v1/mappers/{name}/rollback":           "activate",
		"POST /api/v1/mappers/{name}/shadow":             "activate",
		"GET /api/v1/sources/{id}/vectors":               "source",
	}
	for _, mayActivate := range []bool{false, true} {
		b, key := partnered(t, mayActivate)
		seen := map[string]bool{}
		for _, rt := range b.console.routes() {
			if rt.open || strings.HasPrefix(rt.path, "/debug/") && rt.path != "/debug/pprof/heap" {
				continue
			}
			name := rt.method + " " + rt.path
			seen[name] = true
			f := func(mapper, source string, may bool) {
				t.Helper()
				path := strings.NewReplacer("{name}", mapper, "{id}", source, "{n}", "1", "{call_id}", "c").Replace(rt.path)
				a := b.send(rt.method, path, "", "Authorization", "Bearer "+key)
				if refused := a.Code == http.StatusForbidden; refused == may {
					t.Errorf("%s of %s %s, may activate %t: %d %s", name, mapper, source, mayActivate, a.Code, a.Body)
				}
				if a.Code == http.StatusForbidden {
					a.fails(http.StatusForbidden, "forbidden", "operator")
				}
				if a := b.ask(rt.method, path, ""); a.Code == http.StatusForbidden {
					t.Errorf("%s refuses the admin: %s", name, a.Body)
				}
			}
			switch what := reached[name]; what {
			case "any":
				f("", "", true)
			case "source":
				f("", "mine", true)
				f("", "theirs", false)
				f("", "nothing", false)
			case "mapper", "push", "activate":
				for _, m := range within {
					f(m, "", what != "activate" || mayActivate)
				}
				for _, m := range without {
					f(m, "", what == "push" && m == "nothing")
				}
			default:
				if strings.Contains(rt.path, "verify") {
					continue // asks nothing of the key but what the others do
				}
				f("own", "mine-spare", false)
			}
		}
		for name := range reached {
			if !seen[name] {
				t.Errorf("there is no route %s", name)
			}
		}
		var l listing[store.MapperInfo]
		a := b.send("GET", "/api/v1/mappers", "", "Authorization", "Bearer "+key).is(http.StatusOK, &l)
		var names []string
		for _, m := range l.Rows {
			names = append(names, m.Name)
		}
		if !slices.Equal(names, []string{"mine", "own"}) {
			t.Errorf("listed %s", a.Body)
		}
	}
}

// TestPartnerWorks plays what a partner is for.
func TestPartnerWorks(t *testing.T) {
	b, key := partnered(t, true)
	f := func(method, path, body string, status int) answer {
		t.Helper()
		return b.send(method, path, body, "Authorization", "Bearer "+key).is(status, nil)
	}
	var v store.MapperVersion
	b.push(key, "mine", "", "module", "third").is(http.StatusCreated, &v)
	f("GET", "/api/v1/mappers/mine/versions/3", "", http.StatusOK)
	f("POST", "/api/v1/mappers/mine/shadow", `{"version":2}`, http.StatusOK)
	f("POST", "/api/v1/mappers/mine/activate", `{"version":3}`, http.StatusOK)
	f("POST", "/api/v1/mappers/mine/rollback", ``, http.StatusOK)
	b.push(key, "own", "?dry_run=1", "module", "test").is(http.StatusOK, nil)
	b.push(key, "theirs", "", "module", "x").fails(http.StatusForbidden, "forbidden", `"theirs"`)
	b.push(key, "theirs", "?dry_run=1", "module", "x").fails(http.StatusForbidden, "forbidden", `"theirs"`)
	// The names of others' mappers are not told, not even as a guess.
	if a := b.send("GET", "/api/v1/mappers/their", "", "Authorization", "Bearer "+key); strings.Contains(a.Body.String(), "theirs") {
		t.Error(a.Body)
	}
	if v.PushedBy != "partner@192.0.2.1" {
		t.Errorf("pushed by %q", v.PushedBy)
	}
	// What the operator lets somebody else use is out of reach at once.
	b.ask("PATCH", "/api/v1/sources/theirs", `{"mapper":"own"}`).is(http.StatusOK, nil)
	f("GET", "/api/v1/mappers/own", "", http.StatusForbidden)
	b.push(key, "own", "", "module", "hostile").fails(http.StatusForbidden, "forbidden", `"own"`)
}
