//go:build !race

package plugins

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/source"
)

// A request of some 500 bytes: ten fields of a query, six headers.
const typical = `-- request --
GET ?caller_id=%2B13055551234&duration=90&payout=50.25&currency=USD&ref_id=abc123def456&call_id=c-9000-17&status=sold&campaign=spring&zip=33101&transaction_id=t-1
Host: postbacks.example.com
User-Agent: Acme-Postback/2.1 (+https://acme.example/bots)
Accept: */*
Accept-Encoding: gzip, deflate
X-Request-Id: 6f1c2a54-8d2e-4c55-9f3e-1b7a90e1c001
X-Forwarded-For: 203.0.113.77
-- reports --
{"ref_id":"abc123def456"}
`

// BenchmarkPairs times one call of the example pairs, from the encoding of the
// input to the reading of the output; plain is without the rewriting that counts
// fuel and depth. builtin is the built-in mapper on the same request, which also
// reads the numbers and digests the identity.
func BenchmarkPairs(b *testing.B) {
	c, err := vectors.ParseFile("typical", []byte(typical))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("builtin", func(b *testing.B) { benchBuiltin(b, &c) })
	for lang, code := range modules(b, "pairs") {
		b.Run(lang, func(b *testing.B) {
			i := open(b, "pairs-"+lang, code).instance(b)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				out, code, err := i.Map(ctx, encode(b, &c.Record, i.Input()))
				if err != nil || code != 0 || fields(b, out) != 10 {
					b.Fatal(err, code, out)
				}
			}
			b.ReportMetric(float64(i.Fuel()), "fuel")
		})
		b.Run(lang+"-plain", func(b *testing.B) { benchPlain(b, &c.Record, code) })
	}
}

func benchBuiltin(b *testing.B, c *vectors.Case) {
	m := mapper.NewBuiltin(source.NewLive(source.NewDirectory([]*source.Source{c.Source}, 1)))
	batch := new(event.Batch)
	b.ReportAllocs()
	raw := event.AppendRecord(nil, &c.Record)
	for b.Loop() {
		batch.Reset()
		if err := batch.Add(c.Record.ID, c.Record.ReceivedAt, raw); err != nil {
			b.Fatal(err)
		}
		if err := m.Map(context.Background(), batch); err != nil || batch.Events[0].Report.Invalid != "" {
			b.Fatal(err, batch.Events[0].Report)
		}
	}
}

// benchPlain calls a module as it is, with nothing to stop it.
func benchPlain(b *testing.B, rec *event.Record, code []byte) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false))
	defer r.Close(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil { // Go asks for it
		b.Fatal(err)
	}
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		b.Fatal(err)
	}
	place, err := m.ExportedFunction(abi.ExportBuffer).Call(ctx)
	if err != nil {
		b.Fatal(err)
	}
	call, memory := m.ExportedFunction(abi.ExportMap), m.Memory()
	var stack [1]uint64
	b.ReportAllocs()
	for b.Loop() {
		buf, _ := memory.Read(uint32(place[0]>>32), uint32(place[0]))
		stack[0] = uint64(encode(b, rec, buf))
		if err := call.CallWithStack(ctx, stack[:]); err != nil {
			b.Fatal(err)
		}
		ptr, n, _ := abi.Result(stack[0]).Place()
		if out, _ := memory.Read(ptr, n); fields(b, out) != 10 {
			b.Fatal(out)
		}
	}
}

// encode writes the request as the host does once it is parted.
func encode(b *testing.B, rec *event.Record, buf []byte) int {
	e := abi.Begin(buf, 0, rec.ReceivedAt/1000)
	ok := e.Pair(abi.KindRequest, "method", rec.Method) && e.Pair(abi.KindRequest, "peer", rec.Peer)
	for _, p := range typicalQuery {
		ok = e.Pair(abi.KindQuery, p.Name, p.Value) && ok
	}
	for _, h := range rec.Headers {
		ok = e.Pair(abi.KindHeader, h.Name, h.Value) && ok
	}
	n, fits := e.End(rec.Body)
	if !ok || !fits {
		b.Fatal("the request does not fit")
	}
	return n
}

var typicalQuery = []event.Pair{{Name: "caller_id", Value: "+13055551234"}, {Name: "duration", Value: "90"}, {Name: "payout", Value: "50.25"},
	{Name: "currency", Value: "USD"}, {Name: "ref_id", Value: "abc123def456"}, {Name: "call_id", Value: "c-9000-17"}, {Name: "status", Value: "sold"},
	{Name: "campaign", Value: "spring"}, {Name: "zip", Value: "33101"}, {Name: "transaction_id", Value: "t-1"}}

// fields counts what an output holds.
func fields(b *testing.B, out []byte) (n int) {
	r := abi.Read(out)
	for _, ok := r.Next(); ok; _, ok = r.Next() {
		n++
	}
	if r.Err() != nil {
		b.Fatal(r.Err())
	}
	return n
}
