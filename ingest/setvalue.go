package ingest

import (
	"bytes"
	"crypto/subtle"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Buyers who know a call by its id and key tell its value under a path that
// names the call:
//
//	/calls/{call_id}/set_value?key=…                         a key that we issued: proof enough
//	/v1/postbacks/{token}/calls/{call_id}/set_value?key=…    one of ours as well, or a key from elsewhere: the ledger compares it
//
// Both take GET and POST, with the key in the query or in a form, and go to the
// test verdict when /test follows. The first goes to the one source that takes
// such requests (source.Directory.SetValue), whose address list, certificate,
// signature and secret are asked for as well. Our key is computed from the
// call's id, so that checking it needs no look-up; it is taken out of the
// record. The call's id stands in the record's header event.HeaderCallID.

// SetValueCallIDBytesMax bounds the call's id in a path, once decoded.
const SetValueCallIDBytesMax = 256

const (
	setValuePrefix = "/calls/"
	setValueSuffix = "/set_value"
	setValueAllow  = "GET, POST"
	keyField       = "key"
)

// splitSetValue gives the call's id of a path /calls/{call_id}/set_value, as it
// was sent.
func splitSetValue(path []byte) (callID []byte, ok bool) {
	rest, ok := bytes.CutPrefix(path, []byte(setValuePrefix))
	if !ok {
		return nil, false
	}
	callID, ok = bytes.CutSuffix(rest, []byte(setValueSuffix))
	return callID, ok && len(callID) > 0 && bytes.IndexByte(callID, '/') < 0
}

// issued reports whether the request's key should be one of ours.
func (rt *route) issued() bool { return rt.kind == routeSetValue && len(rt.token) == 0 }

// setValueSource is who takes requests with our keys, nil when none does.
func (s *Server) setValueSource() *source.Source {
	if s.cfg.CallKey == nil {
		return nil
	}
	return s.cfg.Live.Load().SetValue()
}

// callID decodes the call's id in the path; ok is false for one that no call
// can have.
func (q *request) callID() (id string, ok bool) {
	id, err := url.PathUnescape(event.View(q.route.callID))
	if err != nil || len(id) > SetValueCallIDBytesMax || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return "", false
	}
	return id, true
}

var badCallID = failure{fasthttp.StatusBadRequest, reasonCallID, "The path does not hold the id of a call, of at most " +
	strconv.Itoa(SetValueCallIDBytesMax) + " bytes, before /set_value."}

// nameCall puts the call's id in the path, if there is one, into the record.
func (q *request) nameCall() *failure {
	if q.route.kind != routeSetValue {
		return nil
	}
	id, ok := q.callID()
	if !ok {
		return &badCallID
	}
	q.head.kept = append(q.head.kept, event.Pair{Name: event.HeaderCallID, Value: id})
	return nil
}

// keyed checks the key that we issued for the call. A key that is given more
// than once must be right each time. A path without the id of a call is refused
// here as well, so that it does not use up the source's quota.
func (s *Server) keyed(ctx *fasthttp.RequestCtx, q *request) fault {
	id, ok := q.callID()
	if !ok {
		return fault{reason: reasonCallID}
	}
	want := []byte(s.cfg.CallKey(id))
	given, right := 0, 1
	check := func(value []byte) {
		given++
		right &= subtle.ConstantTimeCompare(value, want)
	}
	eachKey(q.route.query, check)
	if body, bad := s.unpack(ctx, q, s.cfg.Limits.GunzipBytesMax); bad == nil && isForm(ctx.Request.Header.ContentType(), body) {
		eachKey(body, check)
	}
	switch {
	case given == 0:
		return fault{reasonCallKey, "key_missing", ""}
	case right != 1:
		return fault{reasonCallKey, "key_wrong", ""}
	}
	q.key = want
	return fault{}
}

// eachKey calls f with each value of the field key in a query or form.
func eachKey(form []byte, f func(value []byte)) {
	eachField(form, func(name, value []byte) bool {
		if plain, ok := unescaped(name); ok && strings.EqualFold(plain, keyField) {
			v, _ := unescaped(value)
			f([]byte(v))
		}
		return true
	})
}

// withoutKey masks our key in a query or body: the field's value, and the key
// itself wherever else it stands. The bytes are fresh.
func withoutKey(text, key []byte, form bool) []byte {
	if form {
		out := make([]byte, 0, len(text))
		for pair := range bytes.SplitAfterSeq(text, []byte("&")) {
			name, value, ok := bytes.Cut(pair, []byte("="))
			if plain, readable := unescaped(name); !ok || !readable || !strings.EqualFold(plain, keyField) {
				out = append(out, pair...)
				continue
			}
			out = append(append(append(out, name...), '='), event.Redacted...)
			if bytes.HasSuffix(value, []byte("&")) {
				out = append(out, '&')
			}
		}
		text = out
	}
	return bytes.ReplaceAll(text, key, []byte(event.Redacted))
}

// appendPassOn makes what a network passes on to its buyer of one call: the key,
// the URL under which the buyer tells the value, and the two lines for the SIP
// invitation. A call with a key from elsewhere has no such URL: who issued the
// key knows where it is told.
//
//	{"call_id":"c1","key":"9f…","set_value_url":"https://…/calls/c1/set_value?key=9f…","sip":["X-PH-RetreaverUUID: c1","X-PH-RetreaverKey: 9f…"]}
func (s *Server) appendPassOn(b []byte, callID, key string) []byte {
	b = event.AppendJSONString(append(b, `{"call_id":`...), callID)
	own := key != ""
	if !own {
		key = s.cfg.CallKey(callID)
	}
	b = event.AppendJSONString(append(b, `,"key":`...), key)
	if !own {
		b = event.AppendJSONString(append(b, `,"set_value_url":`...), s.cfg.PublicURL+setValuePrefix+url.PathEscape(callID)+setValueSuffix+"?"+keyField+"="+url.QueryEscape(key))
	}
	b = event.AppendJSONString(append(b, `,"sip":[`...), "X-PH-RetreaverUUID: "+callID)
	b = event.AppendJSONString(append(b, ','), "X-PH-RetreaverKey: "+key)
	return append(b, "]}"...)
}
