package mapper

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of the time that partners' mappers may take of one batch. What a
// source's mapper cannot do within SourceTimeMax waits; so does, the slowest
// mappers first, what all of them cannot do within BatchTimeMax. One postback is
// bounded by its fuel.
const (
	SourceTimeMax = 50 * time.Millisecond
	BatchTimeMax  = 100 * time.Millisecond
	ShadowTimeMax = 5 * time.Millisecond   // of all candidates together: what they have no time for is not compared
	clockEvery    = 8                      // postbacks from one look at the clock to the next
	quickMax      = 200 * time.Microsecond // of a mapper that is not looked after every time

	// WaitTimeMax is how long a postback waits for its mapper before it ends as
	// failed.
	WaitTimeMax = 24 * time.Hour
)

// Mapper maps each record by what its source names: the built-in mapper, or a
// partner's.
//
//	records ─► jobs ─► groups, one per version and source ─► ask ─► tell, in the order of the records
//
// A version's instance stays warm while its group is asked; answers are told
// in journal order afterwards. Several goroutines may Map at once, each its own
// batch.
type Mapper struct {
	*Builtin
	engine *wasm.Engine
	now    func() time.Time
	set    atomic.Pointer[Set]

	mu     sync.Mutex
	shadow map[shadowKey]*ShadowCount
}

// New returns a mapper without partners' mappers: Swap puts them in force.
func New(live *source.Live, engine *wasm.Engine, now func() time.Time) *Mapper {
	m := &Mapper{Builtin: NewBuiltin(live), engine: engine, now: now, shadow: map[shadowKey]*ShadowCount{}}
	m.set.Store(&Set{})
	return m
}

// Swap puts partners' mappers in force.
func (m *Mapper) Swap(s Set) { m.set.Store(&s) }

// Set gives the partners' mappers in force.
func (m *Mapper) Set() Set { return *m.set.Load() }

// MayMap reports whether a waiting postback of a source, received at a time in
// microseconds, is worth mapping now.
func (m *Mapper) MayMap(sourceID string, receivedAt int64) bool {
	now := m.now()
	if now.Sub(time.UnixMicro(receivedAt)) > WaitTimeMax {
		return true // it ends
	}
	src := m.Live.Load().ByID(sourceID)
	if src == nil || src.MapperName == "" {
		return true
	}
	v, instead, _ := m.Set().of(src)
	return v != nil && (v.mayRun(now) || instead != nil && instead.mayRun(now))
}

// job is one record and what was made of it. The zero version is the built-in
// mapper's.
type job struct {
	rec   *event.Record
	src   *source.Source
	again bool // of Batch.Waiting

	own     bool     // to be mapped by a mapper of the source's own
	version *Version // which; nil when it is not there
	instead *Version
	by      *Version // who answered

	answer answer
	shadow *Version // the candidate that was asked too
	second answer   // what it said
}

// answer is what a mapper made of a record: an output or a code, or why not.
type answer struct {
	given bool
	out   []byte // in the batch
	code  uint32
	fuel  int64
	trap  *wasm.Trap
	fault fault  // of the sender: the mapper was not asked
	why   string // not given: why it has to wait

	checked bool // out was read to its end
}

// group is the jobs of one version and one source.
type group struct {
	version *Version
	src     *source.Source
	named   *Named
	jobs    []int
}

// Map appends to b.Events what b.Waiting and b.Records hold, in order: one
// event per report. A record whose mapper cannot be asked now gives one event
// that says so; a waiting one gives none then. The only error is that of ctx.
func (m *Mapper) Map(ctx context.Context, b *event.Batch) error {
	dir := m.Live.Load()
	if !dir.Own && len(b.Waiting) == 0 {
		return m.Builtin.Map(ctx, b)
	}
	w := m.take()
	defer m.give(w)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	w.begin(b, dir)
	if w.guests == nil {
		w.guests = m.engine.Worker()
	}
	w.plan(b, m.Set())
	before := len(b.Events)
	if err := m.askAll(ctx, w); err != nil {
		return fmt.Errorf("map batch: %w", err)
	}
	for i := range w.jobs {
		if err := ctx.Err(); err != nil {
			b.Events = b.Events[:before]
			return fmt.Errorf("map batch: %w", err)
		}
		m.tell(w, &w.jobs[i])
	}
	clear(w.jobs)
	for i := range w.groups {
		w.groups[i] = group{jobs: w.groups[i].jobs[:0]}
	}
	return nil
}

// plan makes the jobs of a batch, and groups those of partners' mappers.
func (w *worker) plan(b *event.Batch, set Set) {
	w.jobs, w.groups = w.jobs[:0], w.groups[:0]
	for i := range b.Waiting {
		w.job(&b.Waiting[i], set, true)
	}
	for i := range b.Records {
		w.job(&b.Records[i], set, false)
		j := &w.jobs[len(w.jobs)-1]
		if j.own && slices.Contains(b.Queued, j.rec.Source) {
			w.ungroup(j, "earlier postbacks wait for it")
		}
	}
	// The cheap first: what the batch has no time for is the dear ones'.
	slices.SortStableFunc(w.groups, func(a, b group) int { return int(a.version.nanos.Load() - b.version.nanos.Load()) })
}

func (w *worker) job(rec *event.Record, set Set, again bool) {
	j := job{rec: rec, src: w.dir.ByID(rec.Source), again: again}
	j.own = j.src != nil && j.src.MapperName != "" && rec.Kind == event.RecordPostback && !rec.Poison && !rec.Unreadable && !tooLong(rec) && rec.Flags&event.FlagPaused == 0
	if !j.own {
		w.jobs = append(w.jobs, j)
		return
	}
	var named *Named
	j.version, j.instead, named = set.of(j.src)
	if j.version == nil {
		j.answer.why = "no version of it is active on this node yet"
		w.jobs = append(w.jobs, j)
		return
	}
	w.jobs = append(w.jobs, j)
	at := len(w.jobs) - 1
	for i := range w.groups {
		if g := &w.groups[i]; g.version == j.version && g.src == j.src {
			g.jobs = append(g.jobs, at)
			return
		}
	}
	n := len(w.groups)
	if n < cap(w.groups) {
		w.groups = w.groups[:n+1]
	} else {
		w.groups = append(w.groups, group{})
	}
	w.groups[n] = group{version: j.version, src: j.src, named: named, jobs: append(w.groups[n].jobs[:0], at)}
}

// ungroup takes the last job out of its group: it has to wait.
func (w *worker) ungroup(j *job, why string) {
	j.answer.why = why
	for i := range w.groups {
		if g := &w.groups[i]; g.version == j.version && g.src == j.src {
			g.jobs = g.jobs[:len(g.jobs)-1]
		}
	}
}

// tell appends the events of a job.
func (m *Mapper) tell(w *worker, j *job) {
	first := len(w.b.Events)
	switch {
	case !j.own:
		w.record(j.rec)
	case !j.answer.given:
		if j.version != nil {
			j.version.Stats.Waited.Add(1)
		}
		w.src = j.src
		switch {
		case !j.again:
			w.unmapped(j.rec, j.src.Spec.Mapper, j.answer.why)
		case m.now().Sub(time.UnixMicro(j.rec.ReceivedAt)) > WaitTimeMax:
			w.broke(j.rec, j.src.Spec.Mapper, 0, event.MapperUnavailable, event.Detail{Got: j.answer.why})
		default:
			return
		}
	case len(w.b.Events) >= event.BatchEventsMax:
		j.answer = answer{why: "the batch is full of other reports"}
		m.tell(w, j)
		return
	default:
		w.tell(j, j.by.Name, &j.answer)
		if j.shadow != nil && j.by == j.version {
			m.compare(w, j, first)
		}
		if e := &w.b.Events[first]; e.Report.Invalid == event.MapperResultBad && j.answer.trap == nil && !j.answer.checked {
			j.by.trapped(TrapResult, m.now())
		}
	}
	if j.again {
		for i := first; i < len(w.b.Events); i++ {
			w.b.Events[i].Again = true
		}
	}
}

// tell appends the events of an answer.
func (w *worker) tell(j *job, name string, a *answer) {
	defer w.contain(j.rec, len(w.b.Events))
	w.src, w.table = j.src, w.tableOf(j.src)
	w.whole, w.part = fault{}, fault{}
	w.open(j.rec)
	switch {
	case a.fault.reason != "":
		e := w.newEvent(j.rec, 0)
		e.Mapper, e.Report.Invalid, e.Report.Detail = name, a.fault.reason, a.fault.detail
		w.digest = event.Identify(e, j.rec.Source, "", w.digest)
	case a.trap != nil:
		w.broke(j.rec, name, a.fuel, reasonOf(a.trap), event.Detail{Got: w.printable(cut(a.trap.Text, trapTextBytesMax)), Limit: a.trap.Fuel})
	case a.out != nil:
		w.reportsOf(j.rec, name, a.fuel, a.out)
	default:
		w.nothing(j.rec, name, a.fuel, a.code)
	}
}

// trapTextBytesMax is how much of a trap's text is kept: it names the function.
const trapTextBytesMax = 200

func reasonOf(t *wasm.Trap) event.Reason {
	switch t.Class {
	case wasm.Fuel:
		return event.MapperOutOfFuel
	case wasm.Depth:
		return event.MapperTooDeep
	case wasm.Memory:
		return event.MapperResultBad
	}
	return event.MapperTrapped
}

// MapOne appends rec's events to b as the stream would, mapped by one instance.
func MapOne(ctx context.Context, i *wasm.Instance, p *wasm.Program, src *source.Source, rec *event.Record, b *event.Batch) error {
	w := newWorker(&Builtin{numbers: newNumbers(), unknown: src})
	w.begin(b, source.NewDirectory([]*source.Source{src}, 0))
	n := w.request(rec, i.Input(), p.RawBody())
	a := answer{given: true, fault: w.whole}
	if a.fault.reason == "" {
		out, code, err := i.Map(ctx, n)
		a.fuel = i.Fuel()
		if a.trap = trapOf(err); err != nil && a.trap == nil {
			return fmt.Errorf("map with %s: %w", p.Name(), err)
		}
		if a.code = code; out != nil {
			a.out = b.Copy(out)
		}
	}
	w.tell(&job{rec: rec, src: src}, p.Name(), &a)
	return nil
}
