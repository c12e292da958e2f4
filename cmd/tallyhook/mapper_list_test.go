package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const acmeMapper = `{"name":"acme","tier":"standard","active":2,"previous":1,"shadow":3,"sources":["acme","acme-eu"],
	"created_by":"acme-partner@192.0.2.7","created_at":"2026-11-20T08:00:00Z","updated_at":"2026-11-20T09:00:00Z"`

// mapperNode answers as a node with one mapper of three versions does.
func mapperNode(t *testing.T) (flags []string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*asked = append(*asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		switch r.Method + " " + r.URL.Path {
		case "GET /api/v1/mappers":
			fmt.Fprint(w, `{"rows":[`+acmeMapper+`},{"name":"new","tier":"large","active":0,"previous":0,"shadow":0,"sources":[]}],"next":""}`)
		case "GET /api/v1/mappers/acme":
			fmt.Fprint(w, acmeMapper+`,"versions":[{"version":3,"state":"admitted","bytes":2712,"fuel_limit":200000,"sha256":"0123456789abcdef0123"},
				{"version":2,"state":"active","bytes":2600,"fuel_limit":192000,"has_config":true}]}`)
		case "GET /api/v1/mappers/acme/versions/1":
			fmt.Fprint(w, `{"mapper":"acme","version":1,"state":"refused","verdict":{"admitted":false,"module_bytes":79,"reasons":[{"code":"out_of_fuel","text":"It burnt \u001b[31mall."}],
				"vectors":[{"name":"one","ok":true,"fuel":9612,"pages":2,"ns":518},{"name":"two","ok":false,"fuel":10,"pages":2,"ns":51,"diff":["report 1: payout: want 12.50, got 1250.00"]}]}}`)
		case "GET /api/v1/mappers/acme/shadow":
			fmt.Fprint(w, `{"rows":[{"active":2,"candidate":3,"field":"payout","same":90,"different":10,"example":"event 1-7: 12.50, candidate 1250.00"}]}`)
		case "GET /api/v1/mappers/new/shadow":
			fmt.Fprint(w, `{"rows":[]}`)
		case "GET /api/v1/mappers/new":
			fmt.Fprint(w, `{"name":"new","versions":[{"version":4}]}`)
		case "PATCH /api/v1/mappers/acme", "POST /api/v1/mappers/acme/activate", "POST /api/v1/mappers/acme/rollback", "POST /api/v1/mappers/acme/shadow":
			fmt.Fprint(w, acmeMapper+"}")
		case "POST /api/v1/mappers/new/activate":
			fmt.Fprint(w, `{"name":"new","active":4,"sources":[]}`)
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"ok":false,"error":"forbidden","message":"this key may not"}`)
		}
	})
	return []string{"--data", folderWithKey(t), "--admin", addr}, asked
}

func TestMapperCommandsAskAndTell(t *testing.T) {
	flags, asked := mapperNode(t)
	f := func(want string, args ...string) told {
		t.Helper()
		*asked = nil
		o := tallyhook(t, append(append([]string{"mapper"}, args...), flags...)...).ends(0)
		if have := strings.Join(*asked, ", "); have != want {
			t.Errorf("%v asks %s, want %s", args, have, want)
		}
		return o
	}
	f("GET /api/v1/mappers", "list").says("NAME  ACTIVE  PREVIOUS  SHADOW", "acme       2         1       3  standard", "acme, acme-eu", "new        -         -       -  large")
	f("GET /api/v1/mappers", "list", "--json").says(`"name":"acme","tier":"standard"`)
	f("GET /api/v1/mappers/acme", "show", "acme").says("sources     acme, acme-eu", "VERSION  STATE     BYTES  FUEL LIMIT", "3  admitted  2,712     200,000          0123456789a…", "2  active    2,600     192,000  yes")
	f("GET /api/v1/mappers/acme/versions/1", "show", "acme", "1").says("refused  out_of_fuel", `It burnt \x1b[31mall.`, "two     differs",
		"    report 1: payout: want 12.50, got 1250.00", "one     ok            9,612      2\n")
	f("GET /api/v1/mappers/acme/versions/1", "show", "acme", "1", "--json").says(`"verdict": {`)
	f(`POST /api/v1/mappers/acme/activate {"version":2}`, "activate", "acme", "2").says("acme@2 is active; acme, acme-eu name this mapper", "acme@1 was before it", "tallyhook mapper rollback acme")
	f(`POST /api/v1/mappers/new/activate {"version":4}`, "activate", "new", "4").says("no source names this mapper yet", "mapper: new")
	f("POST /api/v1/mappers/acme/rollback {}", "rollback", "acme").says("acme@2 is active again; acme, acme-eu name this mapper")
	f(`POST /api/v1/mappers/acme/shadow {"version":3}`, "shadow", "acme", "3").says("acme@3 runs beside the active version")
	f(`POST /api/v1/mappers/acme/shadow {"version":0}`, "shadow", "acme", "--off").says("nothing runs beside")
	f("GET /api/v1/mappers/acme, GET /api/v1/mappers/acme/shadow", "shadow", "acme").says("payout    90         10  event 1-7: 12.50, candidate 1250.00")
	f("GET /api/v1/mappers/new, GET /api/v1/mappers/new/shadow", "shadow", "new").complains("tallyhook mapper shadow new 4")
	f(`PATCH /api/v1/mappers/acme {"tier":"large"}`, "grant", "acme", "--tier", "large").says("acme is in tier large")
}

func TestMapperCommandsWantWhatCanBeMeant(t *testing.T) {
	flags, asked := mapperNode(t)
	f := func(complaint string, args ...string) {
		t.Helper()
		tallyhook(t, append(append([]string{"mapper"}, args...), flags...)...).ends(exitUsage).complains(complaint)
	}
	f("version 0", "activate", "acme", "0")
	f("either a version or --off", "shadow", "acme", "3", "--off")
	f("--tier", "grant", "acme", "--tier", "huge")
	f("--node", "list", "--node", "hooks.example.com")
	f("--node", "list", "--node", "https://user:secret@hooks.example.com")
	if len(*asked) > 0 {
		t.Errorf("asked %v", *asked)
	}
	tallyhook(t, append([]string{"mapper", "rollback", "theirs"}, flags...)...).ends(exitFailed).complains("this key may not")
}

// A partner reaches a node behind a proxy, under a path and with TLS.
func TestMapperNodeBehindAProxy(t *testing.T) {
	var asked []string
	answer := func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Authorization"))
		fmt.Fprint(w, `{"rows":[],"next":""}`)
	}
	dir := folderWithKey(t)
	tallyhook(t, "mapper", "list", "--data", dir, "--node", "http://"+fakeNode(t, answer)+"/tally/").ends(0).complains("there are no mappers")
	if len(asked) != 1 || asked[0] != "/tally/api/v1/mappers Bearer "+canaryKey {
		t.Errorf("asked %q", asked)
	}
	// A certificate that nobody vouches for is no node: the key stays here.
	asked = nil
	sealed := httptest.NewUnstartedServer(http.HandlerFunc(answer))
	sealed.Config.ErrorLog = log.New(io.Discard, "", 0)
	sealed.StartTLS()
	defer sealed.Close()
	tallyhook(t, "mapper", "list", "--data", dir, "--node", sealed.URL).ends(exitFailed).complains("certificate")
	if len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
}

func TestWithoutTakesAMemberOut(t *testing.T) {
	f := func(object, rest, member string) {
		t.Helper()
		r, m, err := without(json.RawMessage(object), "x")
		if err != nil || string(r) != rest || string(m) != member {
			t.Errorf("%s: %s and %s, %v; want %s and %s", object, r, m, err, rest, member)
		}
	}
	f(`{"b":1,"x":[2],"a":{"x":3}}`, `{"b":1,"a":{"x":3}}`, `[2]`)
	f(`{"b":1}`, `{"b":1}`, `null`)
	f(`{}`, `{}`, `null`)
	if _, _, err := without(json.RawMessage(`[`), "x"); err == nil {
		t.Error("half a list is taken for an object")
	}
}
