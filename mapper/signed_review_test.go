package mapper

import (
	"net/url"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// thief holds one signed request of a source and puts bodies behind it.
type thief struct {
	src     *source.Source
	secrets *signature.Secrets
	query   string
	header  string
}

var thiefTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// thieves hold a request for 100 coins, once for each scheme that signs a query
// or its fields.
func thieves(t testing.TB) map[string]*thief {
	t.Helper()
	query, header := signature.Place{In: "query:signature"}, signature.Place{In: "header:x-sign"}
	list := map[string]*thief{}
	for name, s := range map[string]signature.Spec{
		"template": {Algorithm: "md5", Input: "{@secret}.{user_id}.{value|int}.{token}", Signature: query},
		"url":      {Algorithm: "hmac-sha256", Input: "url", Signature: query},
		"sorted":   {Algorithm: "hmac-sha256", Input: "sorted", Sorted: &signature.Sorted{From: "query"}, Signature: header},
		"params":   {Algorithm: "hmac-sha256", Input: "sorted", Sorted: &signature.Sorted{From: "params"}, Signature: header},
	} {
		h := &thief{secrets: &signature.Secrets{Current: []byte("reviewed-secret")}, query: "user_id=u1&value=100&token=t1"}
		h.src = compile(t, source.Spec{Signature: &s, Settle: source.SettleAccount, Account: "user:{user_id}", PayoutOptional: true, Identity: "token",
			Reward: &source.Reward{Currency: "COINS"}, Fields: map[string][]string{"reward": {"coins", "value"}, "transaction_id": {"token"}}})
		place, value, err := h.src.Verifier.Sign(h.request("", ""), h.secrets, thiefTime)
		if err != nil {
			t.Fatal(err)
		}
		if place == query.In {
			h.query += "&signature=" + url.QueryEscape(value)
		} else {
			h.header = value
		}
		list[name] = h
	}
	return list
}

func (h *thief) request(kind, body string) *signature.Request {
	return &signature.Request{Method: "GET", URL: "/v1/postbacks/s?" + h.query, Scheme: "http", Host: "h", Query: []byte(h.query), ContentType: kind, Body: []byte(body),
		Header: func(string) (string, bool) { return h.header, h.header != "" }}
}

// try puts a body behind the request. What is let through and booked must be
// the 100 coins that were signed.
func (h *thief) try(t *testing.T, m *Builtin, name, kind, body string) {
	t.Helper()
	if !h.src.Verifier.Verify(h.request(kind, body), h.secrets, thiefTime).OK {
		return
	}
	b := batchOf(t, request{query: h.query, contentType: kind, body: body})
	if err := m.Map(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i := range b.Events {
		e := &b.Events[i]
		r := &e.Report
		more := !e.Policy.RewardUnsure && r.Reward.Amount != 100*event.Unit
		if r.Invalid == "" && (more || r.TransactionID != "t1" || r.Account != "user:u1") {
			t.Errorf("%s, %q: %q brings in %s of %s for %s", name, kind, body, r.Reward.Amount, r.TransactionID, r.Account)
		}
	}
}

var thiefKinds = []string{"", formType, jsonType, "application/x+json", "application/x-www-form-urlencoded ; charset=x", "application/json;x"}

// Bodies that one reader could take for a form and another for JSON, and that
// hold fields under names of their own.
var thiefBodies = []string{
	`{"x":1e,"y":"&value=9999&token=t2&z="}`, `{"a":1,"a":1,"y":"&value=9999&token=t2&z="}`, `{"a":1,"A":2,"y":"&value=9999&token=t2&z="}`,
	`{"&value=9999&token=t2&":null,"&value=9999&token=t2&":null}`, `{"&value=9999&token=t2&":[-]}`, `[1--2,"&value=9999&token=t2&z="]`,
	`[[],"&value=9999&token=t2&z="]`, `{"&value=9999&token=t2&":01}`, `{"coins":9999}`, `[{"coins":"9999"}]`, "coins=9999", `{"c":"&coins=9999"}`, `{"&coins=9999&":null}`,
	"value=9999&token=t2", `{"value":9999,"token":"t2"}`, `[{"value":9999,"token":"t2"}]`, `[[{"value":9999,"token":"t2"}]]`, `{"VALUE":9999,"to\u006ben":"t2"}`,
	"\ufeff" + `{"value":9999,"token":"t2"}`, "\v" + `{"value":9999,"token":"t2"}`, "%76alue=9999&tok%65n=t2", `{"value":{"":9999}}`, " value=9999",
	"\n&value=9999&token=t2", "+value=9999", `{"valUe":"9999"}`, `{"\u017f":1,"to` + "\u212a" + `en":"t2"}`, `[{},{"value":9999}]`, `[{"value":null},{"token":"t2"}]`,
}

// Whoever holds one signed request brings nothing into it with a body.
func TestNoBodyBesideASignedRequest(t *testing.T) {
	for name, h := range thieves(t) {
		m := NewBuiltin(liveOf(h.src))
		for _, kind := range thiefKinds {
			for _, body := range thiefBodies {
				h.try(t, m, name, kind, body)
			}
		}
	}
}

func FuzzBodyBesideASignedRequest(f *testing.F) {
	for _, body := range thiefBodies {
		f.Add(uint8(1), body)
	}
	all := thieves(f)
	f.Fuzz(func(t *testing.T, kind uint8, body string) {
		for name, h := range all {
			h.try(t, NewBuiltin(liveOf(h.src)), name, thiefKinds[int(kind)%len(thiefKinds)], body)
		}
	})
}
