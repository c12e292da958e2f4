package mapper

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// host is a Mapper with a clock of its own and mappers of partners.
type host struct {
	t      *testing.T
	m      *Mapper
	engine *wasm.Engine
	clock  time.Time
	step   time.Duration // by which every look at the clock moves it
	set    Set
	b      event.Batch
	seq    uint64
}

func newHost(t *testing.T, specs ...source.Spec) *host {
	var list []*source.Source
	for _, s := range specs {
		list = append(list, compile(t, s))
	}
	engine, err := wasm.Open(t.Context(), wasm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close(context.Background()) })
	h := &host{t: t, engine: engine, clock: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), set: Set{}}
	h.m = New(source.NewLive(source.NewDirectory(list, 1)), engine, func() time.Time { h.clock = h.clock.Add(h.step); return h.clock })
	return h
}

// version makes a module a version of a mapper: the active one, if it is the first.
func (h *host) version(mapper string, number int, code []byte) *Version {
	h.t.Helper()
	out, _, err := rewrite.Rewrite(code, rewrite.Default())
	if err != nil {
		h.t.Fatal(err)
	}
	v := NewVersion(mapper, number)
	p, err := h.engine.Load(h.t.Context(), wasm.Module{Name: v.Name, Code: out, FuelPerCall: 2_000_000})
	if err != nil {
		h.t.Fatal(err)
	}
	v.Ready(p)
	n := h.set[mapper]
	if n == nil {
		n = &Named{Versions: map[int]*Version{}, Active: v}
		h.set[mapper] = n
	}
	n.Versions[number] = v
	h.m.Swap(h.set)
	return v
}

// record is the next postback of a source.
func (h *host) record(src, query string) event.Record {
	h.seq++
	return event.Record{ID: event.ID{Stream: 1, Seq: h.seq}, Kind: event.RecordPostback, Source: src, Method: "GET", Query: query, ReceivedAt: h.clock.UnixMicro()}
}

// told maps records and says of each event its source, reason and ref_id.
func (h *host) told(records ...event.Record) string {
	h.t.Helper()
	h.b.Reset()
	h.b.Records = append(h.b.Records, records...)
	return h.again()
}

func (h *host) again() string {
	h.t.Helper()
	h.b.Events = h.b.Events[:0]
	if err := h.m.Map(h.t.Context(), &h.b); err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for i := range h.b.Events {
		e := &h.b.Events[i]
		word := string(e.Report.Invalid)
		switch {
		case e.Report.Unmapped:
			word = "waits"
		case e.Report.Failed:
			word = "failed:" + word
		case e.Report.Dropped:
			word = "dropped"
		case word == "":
			word = e.Report.RefID
		}
		if e.ID.N > 0 {
			word = fmt.Sprintf(".%d", e.ID.N) + word
		}
		if e.Again {
			word = "+" + word
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func (h *host) want(got, want string) {
	h.t.Helper()
	if got != want {
		h.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// output encodes fields: an id followed by its text, 0 alone.
func output(fields ...any) string {
	var p []byte
	for i := 0; i < len(fields); i += 2 {
		id := fields[i].(uint16)
		text := fields[i+1].(string)
		p = binary.LittleEndian.AppendUint16(p, id)
		p = binary.LittleEndian.AppendUint16(p, uint16(len(text)))
		p = append(p, text...)
	}
	return string(p)
}

const sayAt = 65536

// says is a mapper that always gives one output, after some code.
func says(out string, before ...any) []byte {
	m := moduletest.Mapper(append(before, moduletest.Place(sayAt, uint32(len(out))))...)
	m.Data(sayAt, out)
	return m.Bytes()
}

// pays reports ref and an amount.
func pays(ref, amount string) string { return output(abi.FieldRefID, ref, abi.FieldPayout, amount) }

// trapsAbove traps on inputs of more than n bytes.
func trapsAbove(n int32) []byte {
	return moduletest.Cat(moduletest.LocalGet(0), moduletest.I32Const(n), 0x4b, moduletest.OpIf, moduletest.NoResult, moduletest.OpUnreachable, moduletest.OpEnd)
}

func TestPartnersAndBuiltInInOrder(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"}, source.Spec{ID: "plain"}, source.Spec{ID: "other", Mapper: "zed"})
	h.version("acme", 1, says(pays("from-acme", "1")))
	h.version("zed", 4, says(pays("z0", "1")+output(abi.FieldNextReport, "")+pays("z1", "2")))
	h.want(h.told(h.record("own", ""), h.record("plain", "ref_id=p&payout=1"), h.record("other", ""), h.record("own", ""), h.record("plain", "ref_id=q&payout=1")),
		"from-acme p z0 .1z1 from-acme q")
	e := &h.b.Events[2]
	if e.Mapper != "zed@4" || e.Fuel <= 0 || h.b.Events[3].Fuel != 0 || h.b.Events[1].Mapper != BuiltinName {
		t.Fatalf("mapper %q with %d and %d units, and %q", e.Mapper, e.Fuel, h.b.Events[3].Fuel, h.b.Events[1].Mapper)
	}
}

func TestWhatAMapperSays(t *testing.T) {
	code := func(n uint32) []byte { return moduletest.Mapper(moduletest.I64Const(int64(n))).Bytes() }
	f := func(name string, module []byte, want string) {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
			h.version("acme", 1, module)
			h.want(h.told(h.record("own", "")), want)
		})
	}
	f("drop", code(0), "dropped")
	f("malformed", code(1), "body_malformed")
	f("missing", code(2), "field_missing")
	f("unsupported", code(3), "unsupported")
	f("reserved", code(999), "failed:mapper_result_bad")
	f("own code", code(1000), "mapper_refused")
	f("error text", says(pays("r", "1")+output(abi.FieldError, "no such campaign")), "mapper_refused")
	f("trap", says("", moduletest.OpUnreachable), "failed:mapper_trapped")
	f("endless", says("", moduletest.Endless()), "failed:mapper_out_of_fuel")
	f("outside memory", moduletest.Mapper(moduletest.Place(0x7fffffff, 100)).Bytes(), "failed:mapper_result_bad")
	f("unknown field", says(output(uint16(99), "x")), "failed:mapper_result_bad")
	f("second report bad", says(pays("r", "1")+output(abi.FieldNextReport, "", uint16(99), "x")), "failed:mapper_result_bad")
	f("amount as the sender wrote it", says(pays("r", "$1,5")), "payout_unreadable")
	f("no payout", says(output(abi.FieldRefID, "r")), "payout_missing")
}

func TestFaultsOfTheSenderAreNotTheMappers(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"}, source.Spec{ID: "raw", Mapper: "raw"})
	v := h.version("acme", 1, says(pays("r", "1")))
	m := moduletest.Mapper(moduletest.Place(sayAt, uint32(len(pays("r", "1")))))
	m.Data(sayAt, pays("r", "1"))
	m.Function(abi.ExportRawBody, "", "", 0)
	h.version("raw", 1, m.Bytes())
	post := func(src, body string) event.Record {
		r := h.record(src, "")
		r.Method, r.ContentType, r.Body = "POST", "application/json", []byte(body)
		return r
	}
	h.want(h.told(post("own", `{"a":1`), post("own", `{"a":1}`), post("raw", `{"a":1`), post("own", strings.Repeat("x", BodyBytesMax+1)), post("own", `[{"a":1},{"b":"c"},3]`)),
		"body_malformed r r body_malformed r")
	if v.Stats.Traps[TrapCrash].Load() != 0 {
		t.Fatal("a sender's fault counts as a trap")
	}
}

// What a mapper is given, seen by a mapper that repeats it.
func TestWhatAMapperIsGiven(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, moduletest.Echo().Bytes())
	inst, err := h.engine.Worker().Instance(t.Context(), v.Program())
	if err != nil {
		t.Fatal(err)
	}
	r := h.record("own", "a=1&b=%20x&api_key=k3y&a=2")
	r.Method, r.ContentType, r.Peer, r.Flags = "POST", "application/json", "192.0.2.1", event.FlagTest
	r.Headers = []event.Pair{{Name: "X-Partner", Value: "p"}, {Name: "X-Signature", Value: "s1g"}}
	r.Body = []byte(`{"calls":[{"payout":1.50,"ok":true,"none":null},{"secret":"s3cret","deep":{"x":"y"}}]}`)
	w := newWorker(h.m.Builtin)
	w.begin(&h.b, h.m.Live.Load())
	n := w.request(&r, inst.Input(), false)
	in, err := abi.Pairs(inst.Input()[:n])
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, p := range in.Pairs {
		fmt.Fprintf(&got, "%s %s=%s\n", p.Kind, p.Name, p.Value)
	}
	fmt.Fprintf(&got, "%s %d %d", in.Body, in.Flags, in.ReceivedMillis)
	h.want(got.String(), `request method=POST
request peer=192.0.2.1
request content_type=application/json
query a=1
query b= x
query api_key=***
query a=2
header x-partner=p
header x-signature=***
json calls.0.payout=1.50
json calls.0.ok=true
json calls.1.secret=***
json calls.1.deep.x=y
{"calls":[{"payout":1.50,"ok":true,"none":null},{"secret":"***","deep":{"x":"y"}}]} 1 1772452800000`)
}

func TestASlowMapperDelaysItsOwnSourceOnly(t *testing.T) {
	h := newHost(t, source.Spec{ID: "slow", Mapper: "slow"}, source.Spec{ID: "quick", Mapper: "quick"}, source.Spec{ID: "plain"})
	slow := h.version("slow", 1, says(pays("s", "1")))
	h.version("quick", 1, says(pays("q", "1")))
	slow.took(1, time.Second) // as it was measured before: so it goes last
	h.step = SourceTimeMax / 4
	var records []event.Record
	for range 4 * clockEvery {
		records = append(records, h.record("slow", ""))
	}
	records = append(records, h.record("quick", ""), h.record("plain", "ref_id=p&payout=1"))
	got := h.told(records...)
	if n := strings.Count(got, "waits"); n == 0 || n == 4*clockEvery || !strings.HasSuffix(got, "waits q p") {
		t.Fatalf("%d of %d wait: %s", n, 4*clockEvery, got)
	}
	if slow.Stats.Waited.Load() == 0 {
		t.Fatal("nothing was counted")
	}
}

func TestWaitingOnesStandFirst(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, says(pays("r", "1")))
	p := v.Program()
	v.Unready("it is away")
	h.want(h.told(h.record("own", ""), h.record("own", "")), "waits waits")
	if d := h.b.Events[0].Report.Detail.Got; d != "it is away" {
		t.Fatalf("why: %q", d)
	}
	// Waiting ones that still cannot be mapped give nothing, and end after a day.
	old := h.record("own", "")
	h.b.Reset()
	h.b.Waiting = append(h.b.Waiting, old, h.record("own", ""))
	h.want(h.again(), "")
	h.clock = h.clock.Add(WaitTimeMax + time.Second)
	h.b.Waiting = h.b.Waiting[:1]
	h.want(h.again(), "+failed:mapper_unavailable")
	h.clock = h.clock.Add(-WaitTimeMax)
	v.Ready(p)
	h.b.Records = append(h.b.Records, h.record("own", ""))
	h.want(h.again(), "+r r")
	h.b.Queued = append(h.b.Queued, "own")
	h.want(h.again(), "+r waits")
	if !h.m.MayMap("own", h.clock.UnixMicro()) {
		t.Fatal("a mapper that is ready may be asked")
	}
	v.Unready("again")
	if h.m.MayMap("own", h.clock.UnixMicro()) || !h.m.MayMap("own", h.clock.Add(-WaitTimeMax-time.Second).UnixMicro()) || !h.m.MayMap("gone", h.clock.UnixMicro()) {
		t.Fatal("MayMap")
	}
}

func TestABrokenMapperIsLeftAloneAndTriedAgain(t *testing.T) {
	long := strings.Repeat("x", 400)
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, says(pays("r", "1"), trapsAbove(300)))
	for range BreakerTrapsMax {
		h.want(h.told(h.record("own", long)), "failed:mapper_trapped")
	}
	h.want(h.told(h.record("own", "")), "r") // that many are borne with
	h.want(h.told(h.record("own", long)), "failed:mapper_trapped")
	h.want(h.told(h.record("own", ""), h.record("own", "")), "waits waits")
	h.clock = h.clock.Add(BreakerRestMin)
	h.want(h.told(h.record("own", long), h.record("own", "")), "failed:mapper_trapped waits")
	h.clock = h.clock.Add(BreakerRestMin)
	h.want(h.told(h.record("own", "")), "waits") // twice as long now
	h.clock = h.clock.Add(BreakerRestMin)
	h.want(h.told(h.record("own", ""), h.record("own", "")), "r r")
	if v.Trouble() != "" || v.Stats.Traps[TrapCrash].Load() != BreakerTrapsMax+2 {
		t.Fatalf("trouble %q, %d traps", v.Trouble(), v.Stats.Traps[TrapCrash].Load())
	}
}

func TestFallbackToThePreviousVersion(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme", MapperFallback: "previous"}, source.Spec{ID: "strict", Mapper: "acme"}, source.Spec{ID: "pinned", Mapper: "acme@1"})
	two := h.version("acme", 2, says(pays("new", "1"), trapsAbove(300)))
	one := h.version("acme", 1, says(pays("old", "1")))
	h.set["acme"].Previous = one
	long := strings.Repeat("x", 400)
	h.want(h.told(h.record("own", ""), h.record("own", long), h.record("strict", long), h.record("pinned", "")), "new old failed:mapper_trapped old")
	if m := h.b.Events[1].Mapper; m != "acme@1" {
		t.Fatalf("mapped by %s", m)
	}
	two.Unready("it is away")
	h.want(h.told(h.record("own", ""), h.record("strict", "")), "old waits")
}

func TestACandidateIsComparedAndHarmsNothing(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	h.version("acme", 1, says(pays("r", "1.5")+output(abi.FieldStatus, "paid")))
	h.set["acme"].Shadow = h.version("acme", 2, says(pays("r", "1.50")+output(abi.FieldStatus, "sold"), trapsAbove(300)))
	h.want(h.told(h.record("own", ""), h.record("own", ""), h.record("own", strings.Repeat("x", 400))), "r r r")
	got := map[string]string{}
	for _, c := range h.m.TakeShadow() {
		if c.Mapper != "acme" || c.Active != 1 || c.Candidate != 2 {
			t.Fatalf("%+v", c)
		}
		got[c.Field] = fmt.Sprintf("%d/%d %s", c.Same, c.Different, c.Example)
	}
	for field, want := range map[string]string{
		"payout":  `2/1 1-3: "1.50", candidate ""`,
		"ref_id":  `2/1 1-3: "r", candidate ""`,
		"status":  `0/3 1-3: "paid", candidate ""`,
		"outcome": `2/1 1-3: "report", candidate "mapper_trapped"`,
		"kind":    `3/0 `,
	} {
		if got[field] != want {
			t.Errorf("%s: %q, want %q", field, got[field], want)
		}
	}
	if len(h.m.TakeShadow()) != 0 {
		t.Error("what was taken is counted again")
	}
}
