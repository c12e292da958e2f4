package console

import (
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// route is one row of the table.
type route struct {
	method, path string
	serve        func(w http.ResponseWriter, r *request) error
	params       []string      // query parameters that it knows
	anyParams    bool          // it reads its query itself
	open         bool          // asks for no key
	partner      reach         // what a partner's key may do with it
	timeMax      time.Duration // 0 is RequestTimeMax
	lookUp       string        // ends the message of a 404: where to look
}

var (
	listParams     = []string{"limit", "after"}
	activityParams = []string{"source", "status", "since", "until", "caller", "call_id", "limit", "after", "newer_than"}
)

const (
	lookUpSource = "; GET /api/v1/sources lists them"
	lookUpMapper = "; GET /api/v1/mappers lists them"
	lookUpKey    = "; GET /api/v1/keys lists them"
	lookUpEvent  = "; GET /api/v1/activity lists what is"
	lookUpCall   = "; calls come by POST /v1/calls of the intake, and POST /api/v1/query with SELECT call_id FROM call lists them"
)

// routes is the table of everything that the console answers.
func (c *Console) routes() []route {
	get, post := http.MethodGet, http.MethodPost
	return slices.Concat([]route{
		{method: get, path: "/api/v1/sources", serve: c.listSources, params: listParams},
		{method: post, path: "/api/v1/sources", serve: c.createSource},
		{method: get, path: "/api/v1/sources/{id}", serve: c.getSource, lookUp: lookUpSource},
		{method: http.MethodPatch, path: "/api/v1/sources/{id}", serve: c.patchSource, lookUp: lookUpSource},
		{method: http.MethodDelete, path: "/api/v1/sources/{id}", serve: c.deleteSource, lookUp: lookUpSource},
		{method: post, path: "/api/v1/sources/{id}/rotate", serve: c.rotateSource, lookUp: lookUpSource},
		{method: post, path: "/api/v1/sources/{id}/secrets", serve: c.setSecret, lookUp: lookUpSource},
		{method: http.MethodDelete, path: "/api/v1/sources/{id}/secrets", serve: c.dropSecrets, lookUp: lookUpSource},
		{method: post, path: "/api/v1/sources/{id}/keys", serve: c.addPublicKey, lookUp: lookUpSource},
		{method: http.MethodDelete, path: "/api/v1/sources/{id}/keys/{name}", serve: c.dropPublicKey, lookUp: lookUpSource},
		{method: post, path: "/api/v1/sources/{id}/verify-request", serve: c.verifyRequest, params: []string{"at"}, lookUp: lookUpSource},
		{method: get, path: "/api/v1/presets", serve: c.listPresets},
		{method: get, path: "/api/v1/presets/{name}", serve: c.getPreset},
		{method: get, path: "/api/v1/sources/{id}/refused", serve: c.listRefused, lookUp: lookUpSource},

		{method: post, path: "/api/v1/sources/{id}/learn", serve: c.learnSource, lookUp: lookUpSource},
		{method: post, path: "/api/v1/sources/{id}/trial", serve: c.trySource, lookUp: lookUpSource},

		{method: get, path: "/api/v1/sources/{id}/vectors", serve: c.getVectors, params: []string{"last"}, partner: reachSource, lookUp: lookUpSource},

		{method: get, path: "/api/v1/keys", serve: c.listKeys, params: listParams},
		{method: post, path: "/api/v1/keys", serve: c.createKey},
		{method: http.MethodDelete, path: "/api/v1/keys/{id}", serve: c.deleteKey, lookUp: lookUpKey},

		{method: post, path: "/api/v1/apply", serve: c.apply, params: []string{"dry_run"}},
		{method: get, path: "/api/v1/campaigns", serve: c.listCampaigns, params: listParams},
		{method: get, path: "/api/v1/publishers", serve: c.listPublishers, params: listParams},
		{method: get, path: "/api/v1/buyers", serve: c.listBuyers, params: listParams},
		{method: get, path: "/api/v1/audit", serve: c.listAudit, params: listParams},

		{method: get, path: "/api/v1/activity", serve: c.listActivity, params: activityParams},
		{method: get, path: "/api/v1/events/{id}", serve: c.getEvent, lookUp: lookUpEvent},
		{method: get, path: "/api/v1/summary", serve: c.getSummary, params: []string{"since"}},
		{method: post, path: "/api/v1/query", serve: c.postQuery},

		{method: get, path: "/api/v1/calls/{call_id}", serve: c.getCall, lookUp: lookUpCall},
		{method: get, path: "/api/v1/ledger/balances", serve: c.listBalances, params: []string{"account", "currency", "limit", "after"}},
		{method: get, path: "/api/v1/ledger/transfers", serve: c.listTransfers, params: []string{"call_id", "limit", "after"}, lookUp: lookUpCall},
		{method: get, path: "/api/v1/ledger/verify", serve: c.verifyLedger, timeMax: VerifyTimeMax},

		{method: get, path: "/api/v1/status", serve: c.getStatus},
		{method: get, path: "/api/v1/openapi.yaml", serve: serveFile("openapi.yaml", "application/yaml"), open: true},
		{method: get, path: "/healthz", serve: c.getHealth, open: true},
		{method: get, path: "/readyz", serve: c.getReady, open: true},
		{method: get, path: "/metrics", serve: plain(promhttp.HandlerFor(c.cfg.Registry, promhttp.HandlerOpts{}).ServeHTTP), open: true, anyParams: true},
	}, c.settlementRoutes(), c.mapperRoutes(), profileRoutes(), pageRoutes())
}

// mapperRoutes are what partners reach too, each with their own.
func (c *Console) mapperRoutes() []route {
	get, post := http.MethodGet, http.MethodPost
	table := []route{
		{method: get, path: "/api/v1/mappers", serve: c.listMappers, params: listParams, partner: reachAny},
		{method: get, path: "/api/v1/mappers/{name}", serve: c.getMapper, partner: reachMapper},
		{method: http.MethodPatch, path: "/api/v1/mappers/{name}", serve: c.patchMapper},
		{method: post, path: "/api/v1/mappers/{name}/versions", serve: c.pushMapper, params: []string{"dry_run"}, partner: reachPush, timeMax: AdmissionWaitMax},
		{method: get, path: "/api/v1/mappers/{name}/versions/{n}", serve: c.getMapperVersion, partner: reachMapper},
		{method: get, path: "/api/v1/mappers/{name}/versions/{n}/module", serve: c.getMapperModule, partner: reachMapper},
		{method: post, path: "/api/v1/mappers/{name}/activate", serve: c.activateMapper, partner: reachActivate},
		{method: post, path: "/api/v1/mappers/{name}/rollback", serve: c.rollbackMapper, partner: reachActivate},
		{method: get, path: "/api/v1/mappers/{name}/shadow", serve: c.listShadow, partner: reachMapper},
		{method: post, path: "/api/v1/mappers/{name}/shadow", serve: c.shadowMapper, partner: reachActivate},
	}
	for i := range table {
		table[i].lookUp = lookUpMapper
	}
	return table
}

// profileRoutes are the profiles of the process. Its command line is left out:
// a store's URL in it may hold a password.
func profileRoutes() []route {
	rt := func(name string, h http.HandlerFunc) route {
		return route{method: http.MethodGet, path: "/debug/pprof/" + name, serve: plain(h), anyParams: true, timeMax: ProfileTimeMax}
	}
	table := []route{rt("{$}", pprof.Index), rt("profile", pprof.Profile), rt("symbol", pprof.Symbol), rt("trace", pprof.Trace)}
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		table = append(table, rt(name, pprof.Index))
	}
	return table
}

// plain makes a route's serve of a handler that answers its own errors.
func plain(h http.HandlerFunc) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		h(w, r.Request)
		return nil
	}
}

// mux makes the table's mux. Every path also gets a pattern without a method,
// and the rest one without a path, so that 405 and 404 are answered in JSON.
func (c *Console) mux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	table := c.routes()
	for i := range table {
		rt := &table[i]
		mux.HandleFunc(rt.method+" "+rt.path, c.wrap(rt))
		methods[rt.path] = append(methods[rt.path], rt.method)
		if rt.method == http.MethodGet { // the mux answers HEAD as GET
			methods[rt.path] = append(methods[rt.path], http.MethodHead)
		}
	}
	for path, have := range methods {
		slices.Sort(have)
		allow := strings.Join(have, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			c.fail(w, r, refuse(http.StatusMethodNotAllowed, "method_not_allowed", "%s is not answered here: use %s", clip(r.Method), allow))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, r, refuse(http.StatusNotFound, "not_found", "there is nothing at this path; GET /api/v1/openapi.yaml describes what there is"))
	})
	return mux
}
