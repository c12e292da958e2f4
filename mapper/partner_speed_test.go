package mapper

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// BenchmarkPartner compares a partner's mapper with the built-in one doing the
// same: the example "pairs" in each language, over one batch of 500 postbacks of
// 16 fields, about 500 bytes, all that the host does around a call included.
func BenchmarkPartner(b *testing.B) {
	query := "ref_id=abc-123-def-456&call_id=7f3a9c21&caller=%2B12125550123&duration=187&payout=42.50&currency=USD&status=approved" +
		"&campaign=solar-west-2026&publisher=pub42&creative=banner-7&sub1=aaaaaaaaaaaaaaaaaaaaaaaa&sub2=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" +
		"&sub3=cccccccccccccccccccccccccccccccccccccc&sub4=dddddddddddddddddddddddddddddddddddddddd&agent=Mozilla%2F5.0&note=hello+world"
	const events = 500
	for _, lang := range []string{"builtin", "c", "rust", "as"} {
		b.Run(lang, func(b *testing.B) {
			spec := source.Spec{ID: "s"}
			if lang != "builtin" {
				spec.Mapper = "pairs"
			}
			engine, err := wasm.Open(b.Context(), wasm.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close(context.Background())
			m := New(liveOf(compile(b, spec)), engine, time.Now)
			if lang != "builtin" {
				m.Swap(Set{"pairs": {Active: example(b, engine, lang)}})
			}
			batch := new(event.Batch)
			fill := func() {
				batch.Reset()
				for i := range events {
					batch.Records = append(batch.Records, event.Record{ID: event.ID{Stream: 1, Seq: uint64(i + 1)}, Kind: event.RecordPostback, Source: "s", Method: "GET", Query: query, ReceivedAt: 1})
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				fill()
				if err := m.Map(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			for i := range batch.Events {
				if e := &batch.Events[i]; e.Report.Invalid != "" || e.Report.Payout.Amount != 42_500_000 {
					b.Fatalf("event %d: %s %+v", i, e.Report.Invalid, e.Report.Detail)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}

// example loads the example "pairs" of a language.
func example(b *testing.B, engine *wasm.Engine, lang string) *Version {
	code, err := os.ReadFile(filepath.Join("..", "plugins", "examples", "pairs", "pairs-"+lang+".wasm"))
	if err != nil {
		b.Fatal(err)
	}
	out, _, err := rewrite.Rewrite(code, rewrite.Default())
	if err != nil {
		b.Fatal(err)
	}
	p, err := engine.Load(b.Context(), wasm.Module{Name: "pairs@1", Code: out, FuelPerCall: 10_000_000})
	if err != nil {
		b.Fatal(err)
	}
	v := NewVersion("pairs", 1)
	v.Ready(p)
	return v
}
