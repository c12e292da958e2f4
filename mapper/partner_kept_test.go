package mapper

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
)

// keptOf is a record as the verdict log gives it back.
func keptOf(t *testing.T, r event.Record) event.Record {
	t.Helper()
	raw, _ := sink.NewRaw()
	q, err := sink.ParseRaw(raw.Append(nil, &r))
	if err != nil {
		t.Fatal(err)
	}
	k := r
	k.Method, k.Query, k.ContentType, k.Headers, k.Peer, k.Body = q.Method, q.Query, q.ContentType, q.Headers, q.Peer, q.Body
	k.Kept, k.Cut = true, q.BodyCut
	return k
}

// inputOf is what a mapper is given of a record.
func inputOf(h *host, v *Version, r event.Record) string {
	inst, err := h.engine.Worker().Instance(h.t.Context(), v.Program())
	if err != nil {
		h.t.Fatal(err)
	}
	w := newWorker(h.m.Builtin)
	var b event.Batch
	w.begin(&b, h.m.Live.Load())
	n := w.request(&r, inst.Input(), false)
	if w.whole.reason != "" {
		return "refused: " + string(w.whole.reason)
	}
	in, err := abi.Pairs(inst.Input()[:n])
	if err != nil {
		h.t.Fatal(err)
	}
	var got strings.Builder
	for _, p := range in.Pairs[3:] {
		v := string(p.Value)
		if len(v) > 120 {
			v = fmt.Sprintf("(%d bytes)", len(v))
		}
		fmt.Fprintf(&got, "%s %s=%s\n", p.Kind, p.Name, v)
	}
	return got.String()
}

// A request that had to wait is mapped from the verdict log, where its secrets
// are gone. What a mapper is given must be the same as at once, and no secret.
func TestAKeptRequestReadsTheSame(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, func() []byte { // an echo with a large buffer
		m := new(moduletest.Builder)
		m.Memory(32, 256)
		m.Function("mapper_v1_buffer", "", "I", 0, moduletest.Place(65536, 1<<20))
		m.Function("mapper_v1_map", "i", "I", 1, moduletest.I64Const(0))
		return m.Bytes()
	}())
	f := func(name, query, ct, body string) {
		t.Run(name, func(t *testing.T) {
			r := h.record("own", query)
			r.ContentType, r.Body = ct, []byte(body)
			live, kept := inputOf(h, v, r), inputOf(h, v, keptOf(t, r))
			if strings.Contains(live, "S3CRET") {
				t.Errorf("secret reaches the mapper:\n%s", live)
			}
			if live != kept {
				t.Errorf("live:\n%.400s\nkept:\n%.400s", live, kept)
			}
		})
	}
	f("XML", "", "text/xml", `<c><Signature>S3CRET</Signature><payout>5</payout></c>`)
	f("headers", "ref_id=r", "", "")
	f("semicolon", "ref_id=r;key=S3CRET;x=1&payout=5", "", "")
	f("semicolon custom", "data=ref:r;sig=S3CRET;payout=50", "", "")
	f("encoded JSON in a value", "payload=%7B%22api_key%22%3A%22S3CRET%22%2C%22payout%22%3A50%7D", "", "")
	f("encoded URL in a value", "ref_id=r&payout=5&landing=https%3A%2F%2Fx.io%2F%3Fhash%3DS3CRET%26sub%3D7", "", "")
	f("URL in JSON", "", jsonType, `{"ref_id":"r","payout":5,"page":"https://x.io/?key=S3CRET&sub=7"}`)
	f("JSON in JSON", "", jsonType, `{"ref_id":"r","payout":5,"inner":"{\"api_key\":\"S3CRET\",\"payout\":50}"}`)
	f("form that begins with a bracket", "", formType, `[v]=1&api_key=S3CRET&ref_id=r&payout=50`)
	f("body that grows", "", formType, "ref_id=r&payout=50&"+strings.Repeat("pad=12345&", 6000)+strings.Repeat("key=1&", 900)[:5398])
	f("body cut at the limit", "", formType, "ref_id=r&"+strings.Repeat("pad=12345&", 6552)+"payout=50000")
}
