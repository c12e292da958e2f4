// Package mapper turns what a sender told us into reports in our terms.
//
// The built-in mapper reads a query string, a form, JSON, or any mix of them,
// finds the fields that the source names (configured names first, then the
// preset's), reads each in the notation that the source declared, and keeps
// what nobody asked for in Extra. It guesses nothing: what cannot be read makes
// the report invalid and names the field, and an empty field is absent.
//
//	record ─► open (callkey.go) ─► fields (form.go, json.go) ─► resolve (fields.go)
//	       ─► fill (fill.go: kind.go, money.go, account.go) ─► event
//
// Whatever a record holds, it ends in events: a fault of the sender, or even a
// panic while reading, is data. Map fails only when its context ends.
package mapper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// BuiltinName is what events that the built-in mapper made carry as Mapper.
const BuiltinName = "builtin"

// Limits of one postback.
const (
	BodyBytesMax   = 64 << 10  // of a body that is to be read
	FieldsMax      = 256       // of one report, those of query and body together
	NameBytesMax   = 256       // of a name in JSON, dots included
	IDBytesMax     = 256       // of ref_id, call_id and the like
	TextBytesMax   = 256       // of status and raw caller, cut there
	GotBytesMax    = 64        // of an offending value in Detail, cut there
	SharedBytesMax = 256 << 10 // of query fields, as all reports of one array repeat them
)

// Builtin is the mapper of sources that have none of their own. It may be used
// by several goroutines at once, each with its own Batch.
type Builtin struct {
	Live *source.Live

	numbers *numbers
	unknown *source.Source // stands in for a source that the directory lacks
	seed    uint32         // of the hash of names: a sender cannot choose collisions

	mu   sync.Mutex
	idle []*worker // as many as ever mapped at once
}

// NewBuiltin returns a mapper that looks sources up in live. It decodes one
// document to have goccy's decoders built before traffic comes.
func NewBuiltin(live *source.Live) *Builtin {
	unknown, err := source.Compile(source.Spec{ID: "unknown"})
	if err != nil {
		panic("bug: the default source does not compile: " + err.Error())
	}
	m := &Builtin{Live: live, numbers: newNumbers(), unknown: unknown, seed: rand.Uint32()}
	m.idle = append(m.idle, newWorker(m))
	if err := warmUp(); err != nil {
		panic("bug: the JSON decoder refuses a plain document: " + err.Error())
	}
	return m
}

// Map appends to b.Events what b.Records hold, in order: one event per report
// of a postback, one per call of a calls record, at least one per record.
// Texts of the events are views into b or strings of their own. The only
// error is that of ctx; b.Events is then as it was.
func (m *Builtin) Map(ctx context.Context, b *event.Batch) error {
	w := m.take()
	defer m.give(w)
	// A bad address inside the JSON decoder becomes a panic of one record
	// instead of the end of the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))

	w.begin(b, m.Live.Load())
	before := len(b.Events)
	for i := range b.Records {
		if err := ctx.Err(); err != nil {
			b.Events = b.Events[:before]
			return fmt.Errorf("map batch: %w", err)
		}
		w.record(&b.Records[i])
	}
	return nil
}

func (m *Builtin) take() *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.idle); n > 0 {
		w := m.idle[n-1]
		m.idle = m.idle[:n-1]
		return w
	}
	return newWorker(m)
}

func (m *Builtin) give(w *worker) {
	w.b, w.e, w.src = nil, nil, nil
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, w)
}
