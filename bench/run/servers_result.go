package run

import (
	"fmt"
	"slices"
	"strings"
)

// Servers is the whole way with real Redis, Postgres and ClickHouse.
type Servers struct {
	Versions       []string           `json:"versions,omitempty"`
	Calls          int                `json:"calls"` // told before
	CallsPerSecond float64            `json:"calls_per_s"`
	Identities     int                `json:"identities"` // in the store before
	Verdict        ServerPhase        `json:"reply_verdict"`
	Accepted       ServerPhase        `json:"reply_accepted"`
	Statuses       map[string]float64 `json:"statuses,omitempty"` // events by verdict, as ClickHouse has them
	VerifySeconds  float64            `json:"ledger_verify_s"`
	Note           string             `json:"note,omitempty"` // why it was left out
}

// ServerPhase is one load on the node with real servers.
type ServerPhase struct {
	Phase
	Decided          int64   `json:"decided"`       // answered with the verdict, so after the ledger's commit
	SaidAccepted     int64   `json:"said_accepted"` // answered with accepted: after the sync of the journal
	DecidedPerSecond float64 `json:"decided_per_s"` // while the load lasted
	ShipSeconds      float64 `json:"ship_s"`        // from the last commit until ClickHouse had everything
	CPU              CPU     `json:"cpu"`
}

// CPU is microseconds an event, of each process, from the first request until
// ClickHouse had everything.
type CPU struct {
	Node       float64 `json:"node_us_per_event"`
	Redis      float64 `json:"redis_us_per_event"`
	Postgres   float64 `json:"postgres_us_per_event"`
	ClickHouse float64 `json:"clickhouse_us_per_event"`
}

// What Bento, which writes two plain rows where the ledger books double entry,
// was measured to reach with the same steps on a machine of two cores.
const (
	bentoPerSecond = 10_400
	bentoCPUMicros = 131
)

// productionGoals states the aims that need the real servers. What was not
// measured has no row.
func (r *Result) productionGoals() []Goal {
	var list []Goal
	add := func(what, aim, format string, measured float64, met bool) {
		list = append(list, Goal{what, aim, fmt.Sprintf(format, measured), met})
	}
	if s := r.Servers; s != nil && s.Note == "" {
		v, a := &s.Verdict, &s.Accepted
		name := fmt.Sprintf("whole stream on real servers, %d connections, %d calls and %d identities before, ", v.Conns, s.Calls, s.Identities)
		add(name+"answered with the verdict", fmt.Sprintf("at least %d/s, 2× Bento's %d/s", 2*bentoPerSecond, bentoPerSecond), "%.0f/s",
			v.DecidedPerSecond, v.DecidedPerSecond >= 2*bentoPerSecond)
		cpu := v.CPU.Node
		add(name+"CPU per event in our process", fmt.Sprintf("at most %.1f µs, a quarter of Bento's %d µs", bentoCPUMicros/4.0, bentoCPUMicros), "%.1f µs",
			cpu, cpu > 0 && cpu <= bentoCPUMicros/4.0)
		add(fmt.Sprintf("intake in a burst on real servers, %d connections, answered after the sync", a.Conns),
			fmt.Sprintf("at least %d/s, 7× Bento's rate", 7*bentoPerSecond), "%.0f/s", a.IntakePerSecond, a.IntakePerSecond >= 7*bentoPerSecond)
	}
	if v, ok := r.step("sink", "Ledger/postgres", "ratio"); ok {
		add("ledger beside bare pgx, same rows in same batches", "at least 0.6×", "%.3f×", v, v >= 0.6)
	}
	if v, ok := r.step("sink/clickhouse", "Insert", "ratio"); ok {
		add("activity beside bare clickhouse-go, same columns", "at least 0.8×", "%.3f×", v, v >= 0.8)
	}
	return append(list, r.indexGoals()...)
}

// indexSmall is the number of calls that larger indexes are compared with.
const indexSmall = "10000"

// indexGoals compares the largest index that was measured, of each backend.
func (r *Result) indexGoals() (list []Goal) {
	for _, b := range []struct {
		name     string
		bytesMax float64
	}{{"memory", 200}, {"redis", 350}} {
		small, ok := r.step("match", "Find/"+b.name+"/"+indexSmall, "p99-ns/find")
		if !ok {
			continue
		}
		for _, calls := range []string{"10000000", "1000000"} {
			bench := "Find/" + b.name + "/" + calls
			large, ok := r.step("match", bench, "p99-ns/find")
			if !ok {
				continue
			}
			each, _ := r.step("match", bench, "B/call")
			name := fmt.Sprintf("index in %s of %s calls: ", b.name, calls)
			times := ratio(large, small)
			list = append(list,
				Goal{name + "look-up p99", "at most 1.3× that of " + indexSmall + " calls", fmt.Sprintf("%.2f×", times), times > 0 && times <= 1.3},
				Goal{name + "bytes per call", fmt.Sprintf("at most %.0f", b.bytesMax), fmt.Sprintf("%.0f", each), each > 0 && each <= b.bytesMax})
			break
		}
	}
	return list
}

// step finds one figure of a benchmark.
func (r *Result) step(room, name, unit string) (v float64, ok bool) {
	for _, s := range r.Steps {
		if s.Room == room && s.Name == name {
			v, ok = s.Values[unit]
			return v, ok
		}
	}
	return 0, false
}

func (r *Result) serversTable(d *document) {
	s := r.Servers
	if s == nil {
		return
	}
	d.head("Whole stream with real Redis, Postgres and ClickHouse: from the request to ledger and activity")
	if s.Note != "" {
		d.line("%s", s.Note)
		return
	}
	d.table("", "reply: verdict", "reply: accepted, burst")
	row := func(name, format string, value func(*ServerPhase) any) {
		d.row(name, fmt.Sprintf(format, value(&s.Verdict)), fmt.Sprintf(format, value(&s.Accepted)))
	}
	row("connections", "%d", func(p *ServerPhase) any { return p.Conns })
	row("postbacks", "%d", func(p *ServerPhase) any { return p.Events })
	row("of them about known calls", "%d", func(p *ServerPhase) any { return p.Matched })
	row("answered with the verdict, after the ledger's commit", "%d", func(p *ServerPhase) any { return p.Decided })
	row("answered with accepted, after the journal's sync", "%d", func(p *ServerPhase) any { return p.SaidAccepted })
	row("taken in, /s", "%.0f", func(p *ServerPhase) any { return p.IntakePerSecond })
	row("**answered with the verdict, /s**", "%.0f", func(p *ServerPhase) any { return p.DecidedPerSecond })
	row("committed, /s", "%.0f", func(p *ServerPhase) any { return p.EventsPerSecond })
	row("CPU µs/event: node", "%.1f", func(p *ServerPhase) any { return p.CPU.Node })
	row("CPU µs/event: Redis", "%.1f", func(p *ServerPhase) any { return p.CPU.Redis })
	row("CPU µs/event: Postgres", "%.1f", func(p *ServerPhase) any { return p.CPU.Postgres })
	row("CPU µs/event: ClickHouse", "%.1f", func(p *ServerPhase) any { return p.CPU.ClickHouse })
	row("RSS of the node afterwards, MB", "%.1f", func(p *ServerPhase) any { return float64(p.RSSBytes) / megabyte })
	row("answer p50 µs", "%.0f", func(p *ServerPhase) any { return p.Latency.P50 })
	row("answer p99 µs", "%.0f", func(p *ServerPhase) any { return p.Latency.P99 })
	row("load, s", "%.1f", func(p *ServerPhase) any { return p.LoadSeconds })
	row("backlog when the load ended", "%d", func(p *ServerPhase) any { return p.BacklogAtEnd })
	row("largest backlog in its first and second half", "%s", func(p *ServerPhase) any { return halves(&p.Phase) })
	row("time to drain, s", "%.2f", func(p *ServerPhase) any { return p.DrainSeconds })
	row("then until ClickHouse had everything, s", "%.2f", func(p *ServerPhase) any { return p.ShipSeconds })
	d.line("\n%s, each a process on this machine; Postgres syncs its commits. %d calls were told before at %.0f/s, and %d identities lay in the store. "+
		"The ledger verified afterwards in %.1f s. Bento's figures in the goals are from an earlier run of its own.",
		strings.Join(s.Versions, ", "), s.Calls, s.CallsPerSecond, s.Identities, s.VerifySeconds)
	if len(s.Statuses) > 0 {
		d.line("Verdicts: %s.", statusList(s.Statuses))
	}
}

// statusList writes counts by verdict in the order of their names.
func statusList(counts map[string]float64) string {
	var names []string
	for n := range counts {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %.0f", n, counts[n])
	}
	return strings.Join(names, ", ")
}
