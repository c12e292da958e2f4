package run

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Markdown renders the result for a person.
func (r *Result) Markdown() []byte {
	d := &document{}
	m := &r.Machine
	d.line("# Bench of %s at %s", r.Date.Format("2006-01-02 15:04 UTC"), r.Commit)
	d.line("")
	d.line("`%s`, data seed %d, took %.0f s. %s, %d cores, %.1f GB, Linux %s, data on %s (writing and syncing 4 KiB takes %.0f µs), %s.",
		r.Command, r.Seed, r.TookSeconds, m.CPU, m.Cores, float64(m.MemoryBytes)/1e9, m.Kernel, m.FileSystem, m.SyncMicros, m.Go)
	r.goalTable(d)
	r.ackTable(d)
	r.streamTable(d)
	r.serversTable(d)
	r.edgeTable(d)
	r.mapperTables(d)
	r.stepTable(d)
	d.head("What these numbers do not show")
	for _, line := range []string{
		"Load generator and server share the machine and its cores, so throughput is that of both together; CPU per request is the server's own.",
		"Loops are closed: latencies are those of the service at that many connections, not of requests that arrive at a given rate.",
		"Everything goes over loopback, without TLS, from one peer; no slow or broken senders.",
		"A virtual disk may answer a sync faster than it is safe; compare the time of a sync above with your own disk's.",
		"The ack rounds send one body again and again to one source, with the pipeline paused: authentication, limits, journal and answer only.",
		"The stream's calls are told right before their postbacks and fit into memory; days of history are not simulated.",
		"The real servers share the two cores with node and load generator, and their settings are the ones they come with; the folder of each is the system's temporary one.",
		"The ledger's bare side writes the rows of each batch right after it, given ready, and reads nothing; look-ups, locking and deciding are the ledger's own.",
		"Mappers are measured in one process, with one goroutine and warm instances; the postbacks of a batch differ in their ids and sums only.",
		"CPU times come in steps of 10 ms, and a machine that others use is noisy: compare ratios within a run, and look at their spread.",
	} {
		d.line("- %s", line)
	}
	return d.Bytes()
}

type document struct{ bytes.Buffer }

func (d *document) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *document) head(title string) { d.line("\n## %s\n", title) }

// row writes cells of a table; a text that holds a bar is written with it.
func (d *document) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	d.line("| %s |", strings.Join(cells, " | "))
}

func (d *document) table(head ...string) {
	d.row(head...)
	d.row(slices.Repeat([]string{"---"}, len(head))...)
}

func (r *Result) goalTable(d *document) {
	d.head("Goals")
	d.table("what", "goal", "measured", "met")
	for _, g := range r.Goals {
		d.row(g.What, g.Aim, g.Measured, map[bool]string{true: "yes", false: "**no**"}[g.Met])
	}
}

func (r *Result) ackTable(d *document) {
	d.head("Acknowledgement on disk, pipeline paused, beside a bare handler")
	d.table("connections", "side", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "p99.9 µs", "RSS MB", "failed")
	for _, a := range r.Ack {
		for _, s := range []struct {
			name string
			side Side
		}{{"bare", a.Bare}, {"node", a.Node}} {
			d.row(fmt.Sprint(a.Conns), s.name, fmt.Sprintf("%.0f", s.side.PerSecond), fmt.Sprintf("%.2f", s.side.CPUMicros),
				fmt.Sprintf("%.0f", s.side.Latency.P50), fmt.Sprintf("%.0f", s.side.Latency.P99), fmt.Sprintf("%.0f", s.side.Latency.P999),
				fmt.Sprintf("%.1f", float64(s.side.RSSBytes)/megabyte), fmt.Sprint(s.side.Failed))
		}
		d.row(fmt.Sprint(a.Conns), "**ratio**", fmt.Sprintf("%.2f%s", a.ThroughputRatio, spread(a.ThroughRounds)),
			fmt.Sprintf("%.2f%s", a.CPURatio, spread(a.CPURounds)), "", "", "", "", "")
	}
}

// spread tells the least and greatest of several rounds.
func spread(v []float64) string {
	if len(v) < 2 {
		return ""
	}
	return fmt.Sprintf(" (%.2f to %.2f)", slices.Min(v), slices.Max(v))
}

func (r *Result) streamTable(d *document) {
	s := &r.Stream
	d.head("Whole stream, embedded: from the request to ledger and activity")
	d.table("", "burst", "sustained")
	row := func(name, format string, value func(*Phase) any) {
		d.row(name, fmt.Sprintf(format, value(&s.Burst)), fmt.Sprintf(format, value(&s.Sustained)))
	}
	row("postbacks", "%d", func(p *Phase) any { return p.Events })
	row("of them about known calls", "%d", func(p *Phase) any { return p.Matched })
	row("taken in, /s", "%.0f", func(p *Phase) any { return p.IntakePerSecond })
	row("committed, /s", "%.0f", func(p *Phase) any { return p.EventsPerSecond })
	row("**matched, /s**", "%.0f", func(p *Phase) any { return p.MatchedPerSecond })
	row("CPU µs/event", "%.1f", func(p *Phase) any { return p.CPUMicros })
	row("answer p50 µs", "%.0f", func(p *Phase) any { return p.Latency.P50 })
	row("answer p99 µs", "%.0f", func(p *Phase) any { return p.Latency.P99 })
	row("load, s", "%.1f", func(p *Phase) any { return p.LoadSeconds })
	row("backlog when the load ended", "%d", func(p *Phase) any { return p.BacklogAtEnd })
	row("largest backlog in its first and second half", "%s", func(p *Phase) any { return halves(p) })
	row("time to drain, s", "%.2f", func(p *Phase) any { return p.DrainSeconds })
	row("RSS afterwards, MB", "%.1f", func(p *Phase) any { return float64(p.RSSBytes) / megabyte })
	row("RSS at most so far, MB", "%.1f", func(p *Phase) any { return float64(p.RSSPeak) / megabyte })
	d.line("\n%d calls were told before, the last of them at %.0f/s. An event takes %.0f bytes on disk beside the journal. "+
		"The burst sends as fast as it is answered; the sustained load at most %.0f/s. The ledger verified afterwards in %.1f s.",
		s.Calls, s.CallsPerSecond, s.DiskPerEvent, s.Sustained.RateMost, s.VerifySeconds)
	if len(s.Statuses) > 0 {
		d.line("Verdicts: %s.", statusList(s.Statuses))
	}
	if s.Note != "" {
		d.line("\n%s", s.Note)
	}
}

// halves tells whether a backlog grew while the load lasted.
func halves(p *Phase) string {
	var most [2]uint64
	for _, s := range p.Backlog {
		if s.Seconds > p.LoadSeconds {
			break
		}
		half := 0
		if s.Seconds > p.LoadSeconds/2 {
			half = 1
		}
		most[half] = max(most[half], s.Backlog)
	}
	return fmt.Sprintf("%d, %d", most[0], most[1])
}

func (r *Result) edgeTable(d *document) {
	e := &r.Edge
	d.head("Edge")
	d.table("what", "measured")
	d.row("binary", fmt.Sprintf("%.1f MB", float64(e.BinaryBytes)/megabyte))
	d.row("ready, slowest start on a used folder", fmt.Sprintf("%.0f ms", e.ReadyMs))
	d.row("ready, first start", fmt.Sprintf("%.0f ms", e.FirstReadyMs))
	d.row("RSS idle", fmt.Sprintf("%.1f MB", float64(e.IdleRSSBytes)/megabyte))
	d.row("RSS at most", fmt.Sprintf("%.1f MB", float64(e.IdleRSSPeak)/megabyte))
	d.row("CPU idle", fmt.Sprintf("%.0f ‰ of a core", e.IdleCPUPerMille))
}

func (r *Result) stepTable(d *document) {
	d.head("Cost per step")
	if r.StepsNote != "" {
		d.line("%s\n", r.StepsNote)
	}
	if len(r.Steps) == 0 {
		return
	}
	d.table("room", "benchmark", "ns/op", "B/op", "allocs/op", "other")
	for _, s := range r.Steps {
		var other []string
		for unit, v := range s.Values {
			if unit != "ns/op" && unit != "B/op" && unit != "allocs/op" {
				other = append(other, fmt.Sprintf("%.4g %s", v, unit))
			}
		}
		slices.Sort(other)
		d.row(s.Room, s.Name, fmt.Sprintf("%.1f", s.Values["ns/op"]), fmt.Sprintf("%.0f", s.Values["B/op"]),
			fmt.Sprintf("%.0f", s.Values["allocs/op"]), strings.Join(other, ", "))
	}
}
