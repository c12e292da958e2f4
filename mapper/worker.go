package mapper

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// worker is the reused memory of one Map at a time.
type worker struct {
	m      *Builtin
	dir    *source.Directory
	tables map[*source.Source]*table // of dir's sources, as far as they were met

	b     *event.Batch
	src   *source.Source
	table *table
	e     *event.Event // being filled

	fields []field
	shared int     // how many of fields the query gave; reports of an array share them
	ofCall string  // the call that the request's path names
	keyed  bool    // with a key that we have issued
	key    string  // digest of another's, shown beside what a partner's mapper read
	query  string  // where triggers are looked for
	seen   []int16 // per name of the table and origin: place in fields + 1 of the first with a value
	spelt  [2 * FieldsMax]int16

	scan   scanner
	frames []frame
	path   []byte
	digest []byte

	// Of partners' mappers, see partner.go.
	guests   *wasm.Worker // its instances
	encoder  abi.Encoder
	input    *abi.Encoder      // encoder, while a record is written for one
	inputMax int               // bytes of the buffer behind input
	kinds    [origins]abi.Kind // of the pairs of each origin
	told     *told             // set while what one said is read
	said     told              // what told points to, reused
	headers  map[string]bool   // names of headers that were met: whether they hold secrets
	masked   map[string]bool   // names of extra fields that were met: whether they are a secret's
	plain    []byte            // query and body without their secrets
	jobs     []job             // of the batch, one per record
	groups   []group           // of jobs
	scratch  event.Batch       // what a candidate makes of a record

	whole fault // of the request: every report of it has it
	part  fault // of the report being read
}

// fault is why a report is invalid; the zero fault is none.
type fault struct {
	reason event.Reason
	detail event.Detail
}

// note keeps the first fault.
func (f *fault) note(reason event.Reason, d event.Detail) {
	if f.reason == "" {
		f.reason, f.detail = reason, d
	}
}

func newWorker(m *Builtin) *worker {
	return &worker{
		m:      m,
		tables: map[*source.Source]*table{},
		masked: map[string]bool{}, headers: map[string]bool{},
		fields: make([]field, 0, FieldsMax),
		scan:   scanner{seed: m.seed},
	}
}

func (w *worker) begin(b *event.Batch, dir *source.Directory) {
	w.b = b
	if w.dir != dir {
		w.dir = dir
		clear(w.tables)
	}
}

// record appends the events of rec.
func (w *worker) record(rec *event.Record) {
	defer w.contain(rec, len(w.b.Events))
	w.src = w.dir.ByID(rec.Source)
	switch {
	case rec.Poison:
		w.failed(rec, 0, event.Crashed, "")
		return
	case rec.Unreadable:
		w.failed(rec, 0, event.ReportUnreadable, "")
		return
	}
	if rec.Kind == event.RecordCalls {
		w.calls(rec)
		return
	}
	w.postback(rec)
}

// contain makes a panic while mapping rec an event of its own, in place of
// what rec had given so far. It has to be deferred itself for recover to work.
func (w *worker) contain(rec *event.Record, first int) {
	p := recover()
	if p == nil {
		return
	}
	w.b.Events = w.b.Events[:first]
	w.failed(rec, 0, event.MapperPanicked, fmt.Sprint(p))
}

// failed appends an event for the dead letters.
func (w *worker) failed(rec *event.Record, n int, reason event.Reason, why string) {
	e := w.newEvent(rec, n)
	e.Report.Failed, e.Report.Invalid = true, reason
	e.Report.Detail.Got = w.got(why)
	w.digest = event.Identify(e, rec.Source, "", w.digest)
}

func (w *worker) newEvent(rec *event.Record, n int) *event.Event {
	e := w.b.NewEvent(rec, n)
	e.Mapper, e.Policy = BuiltinName, &w.m.unknown.Policy
	if w.src != nil {
		e.Policy = &w.src.Policy
	}
	return e
}

// calls appends one event per call. Our own API wrote the record, so damage
// is ours: what follows it cannot be told apart and is one dead letter.
func (w *worker) calls(rec *event.Record) {
	rest := rec.Body
	for n := range event.ReportsMax {
		e := w.newEvent(rec, n)
		var err error
		if rest, err = event.DecodeCall(&e.Call, rest); err != nil {
			w.b.Events = w.b.Events[:len(w.b.Events)-1]
			w.failed(rec, n, event.MapperPanicked, err.Error())
			return
		}
		e.IsCall = true
		if len(rest) == 0 {
			return
		}
	}
	w.failed(rec, event.ReportsMax, event.MapperPanicked, fmt.Sprintf("%d bytes after %d calls", len(rest), event.ReportsMax))
}

// postback appends one event per report.
func (w *worker) postback(rec *event.Record) {
	w.whole, w.part = fault{}, fault{}
	if w.src == nil {
		w.whole.note(event.SourceUnknown, event.Detail{Field: "source", Got: w.got(rec.Source)})
		w.table = w.tableOf(w.m.unknown)
	} else {
		w.table = w.tableOf(w.src)
	}
	w.open(rec)
	w.fields = w.fields[:0]
	if !w.source().BodyOnly {
		w.form(rec.Query, fromQuery)
	}
	w.shared = len(w.fields)

	switch w.bodyKind(rec) {
	case bodyForm:
		w.form(event.View(rec.Body), fromBody)
	case bodyJSON:
		w.json(rec)
		return
	case bodyTooLong:
		w.whole.note(event.BodyMalformed, tooLongDetail(rec))
	case bodyOdd:
		w.whole.note(event.ContentTypeOdd, event.Detail{Field: "content-type", Got: w.got(rec.ContentType)})
	}
	w.report(rec, 0)
}

// tooLong reports whether the body, as it was sent, is beyond what is read.
func tooLong(rec *event.Record) bool { return rec.Cut || !rec.Kept && len(rec.Body) > BodyBytesMax }

func tooLongDetail(rec *event.Record) event.Detail {
	return event.Detail{Field: "size", Got: fmt.Sprintf("%d bytes, at most %d", len(rec.Body), BodyBytesMax)}
}

// report appends report n of rec, made of the fields collected so far.
func (w *worker) report(rec *event.Record, n int) {
	w.e = w.newEvent(rec, n)
	r := &w.e.Report
	if f := w.whole; f.reason != "" {
		w.refuse(f.reason, f.detail)
	}
	if f := w.part; f.reason != "" {
		w.refuse(f.reason, f.detail)
	}
	w.resolve()
	w.fill(r)
	id := w.identity()
	w.extra(r)
	w.digest = event.Identify(w.e, rec.Source, id, w.digest)
	w.part = fault{}
}

// refuse marks the report invalid, unless something came before.
func (w *worker) refuse(reason event.Reason, d event.Detail) {
	if r := &w.e.Report; r.Invalid == "" {
		r.Invalid, r.Detail = reason, d
	}
}
