package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of a batch of calls.
const (
	CallsRecordBytesMax = 128 << 10 // of encoded calls in one journal record, but for the last call
	CallErrorsMax       = 100       // listed in a reply
	CallsPassedOnMax    = 256       // a reply to more of them does not say what to pass on
)

// calls takes a batch of call upserts: an object, an array, or one object a
// line. What can be read is journaled, with one sync; the rest is listed.
func (s *Server) calls(ctx *fasthttp.RequestCtx, q *request) {
	if !s.callsKeyGood(q.head.auth) {
		s.unauthenticated(ctx, q, fasthttp.StatusUnauthorized)
		return
	}
	body, bad := s.unpack(ctx, q, s.cfg.Limits.CallsBytesMax)
	if bad != nil {
		s.fail(ctx, bad.status, bad.code, bad.message)
		return
	}
	in := callsIntake{region: s.cfg.DefaultRegion, method: q.method, peer: q.peerView()}
	if s.setValueSource() != nil {
		in.passOn = s.appendPassOn
	}
	if bad := eachCall(body, mediaType(ctx.Request.Header.ContentType()), in.add); bad != nil {
		s.fail(ctx, bad.status, bad.code, bad.message)
		return
	}
	// A few calls are looked up right after they were told: those are worth a
	// wait for the ledger. A bulk upload is not held up.
	wait := len(in.records) == 0 && in.n > 0 && (s.cfg.Lag == nil || !s.cfg.Lag())
	if wait {
		in.flags = event.FlagReply
	}
	in.seal()
	var first event.ID
	if len(in.records) > 0 {
		var err error
		if first, err = s.cfg.Journal.AppendAll(in.records); err != nil {
			s.journalFailed(ctx, err)
			return
		}
	}
	if wait {
		s.cfg.Board.Await(first, source.VerdictWaitMax)
	}
	s.stats.CallsAccepted.Add(int64(in.accepted))
	s.stats.CallsRejected.Add(int64(in.rejected))
	status := fasthttp.StatusOK
	if in.accepted == 0 && in.rejected > 0 {
		status = fasthttp.StatusBadRequest
	}
	send(ctx, status, contentJSON, in.reply(first))
}

// callsIntake packs calls into records and remembers what was refused.
type callsIntake struct {
	region, method, peer string

	records  [][]byte // encoded, full ones
	pending  []byte   // encoded calls of the next one
	n        int      // how many
	flags    event.Flags
	accepted int
	rejected int
	errors   []byte // JSON objects, with commas
	listed   int

	passOn func(b []byte, callID, key string) []byte // nil: the answer says nothing of keys
	passed []byte                                    // what to pass on of each call, with commas
}

// add takes one call, the line-th of the batch.
func (in *callsIntake) add(line int, raw []byte) {
	c, err := DecodeCall(raw, in.region)
	if err != nil {
		in.reject(line, c.CallID, err)
		return
	}
	in.pending = event.AppendCall(in.pending, &c)
	if in.accepted++; in.passOn != nil && in.accepted <= CallsPassedOnMax {
		if in.accepted > 1 {
			in.passed = append(in.passed, ',')
		}
		in.passed = in.passOn(in.passed, c.CallID, c.Key)
	}
	if in.n++; in.n == event.ReportsMax || len(in.pending) >= CallsRecordBytesMax {
		in.seal()
	}
}

// seal makes a record of what is pending.
func (in *callsIntake) seal() {
	if in.n == 0 {
		return
	}
	rec := event.Record{Kind: event.RecordCalls, Flags: in.flags, Method: in.method, Peer: in.peer, Body: in.pending}
	in.records = append(in.records, event.AppendRecord(nil, &rec))
	in.pending, in.n = in.pending[:0], 0
}

func (in *callsIntake) reject(line int, callID string, err error) {
	in.rejected++
	if in.listed == CallErrorsMax {
		return
	}
	code := "malformed"
	if e := (*CallError)(nil); errors.As(err, &e) {
		code = e.Code
	}
	b := in.errors
	if in.listed++; in.listed > 1 {
		b = append(b, ',')
	}
	b = strconv.AppendInt(append(b, `{"line":`...), int64(line), 10)
	if callID != "" {
		b = event.AppendJSONString(append(b, `,"call_id":`...), callID)
	}
	b = event.AppendJSONString(append(b, `,"error":`...), code)
	b = event.AppendJSONString(append(b, `,"message":`...), err.Error())
	in.errors = append(b, '}')
}

// reply renders the answer; first is the id of the first record, if any.
func (in *callsIntake) reply(first event.ID) []byte {
	b := append(make([]byte, 0, 256+len(in.errors)), `{"ok":`...)
	b = strconv.AppendBool(b, in.accepted > 0 || in.rejected == 0)
	b = strconv.AppendInt(append(b, `,"accepted":`...), int64(in.accepted), 10)
	b = strconv.AppendInt(append(b, `,"rejected":`...), int64(in.rejected), 10)
	if !first.IsZero() {
		b = append(first.Append(append(b, `,"event":"`...)), '"')
	}
	b = append(append(append(b, `,"errors":[`...), in.errors...), ']')
	if more := in.rejected - in.listed; more > 0 {
		b = strconv.AppendInt(append(b, `,"errors_more":`...), int64(more), 10)
	}
	if in.passOn != nil && in.accepted <= CallsPassedOnMax {
		b = append(append(append(b, `,"calls":[`...), in.passed...), ']')
	}
	return append(b, '}')
}

// eachCall splits a body into calls and numbers them: the elements of an array
// from 1, or the lines of NDJSON as an editor does. A body that begins with {
// is one object if it is valid as a whole, else NDJSON if every line could be
// an object of its own.
func eachCall(body, kind []byte, f func(line int, raw []byte)) *failure {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return &failure{fasthttp.StatusBadRequest, "body_empty", "The body is empty: send one call as a JSON object, an array of them, or one a line."}
	}
	lines := isName(kind, "application/x-ndjson") || isName(kind, "application/ndjson") || isName(kind, "application/jsonl")
	switch {
	case lines:
	case trimmed[0] == '[':
		if err := jsonFault(trimmed); err != nil {
			return &failure{fasthttp.StatusBadRequest, "malformed_json", "The array is not valid JSON: " + err.Error() + ". Send one call a line to have the good ones taken."}
		}
		n := 0
		eachElement(trimmed, func(raw []byte) { n++; f(n, raw) })
		return nil
	case trimmed[0] != '{':
		return &failure{fasthttp.StatusBadRequest, "malformed_json", "The body begins with " + quote(trimmed[:1]) + ": send one call as a JSON object, an array of them, or one a line."}
	case json.Valid(trimmed) || !oneCallALine(trimmed):
		f(1, trimmed)
		return nil
	}
	n := 0
	for line := range bytes.Lines(body) {
		n++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			f(n, line)
		}
	}
	return nil
}

// oneCallALine tells lines of calls, some of them broken, from one broken call
// that is written over several lines: of calls, every line begins an object or
// some line is one.
func oneCallALine(body []byte) bool {
	all := true
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if line[0] != '{' {
			all = false
		} else if json.Valid(line) {
			return true
		}
	}
	return all
}
