package run

import (
	"fmt"

	"github.com/tallyhook/tallyhook/bench/mappers"
)

const kilobyte = 1e3

func (r *Result) mapperTables(d *document) {
	m := r.Mappers
	if m == nil {
		return
	}
	d.head("Partners' mappers beside the built-in one")
	for _, note := range m.Notes {
		d.line("**%s**\n", note)
	}
	m.callTable(d)
	m.distinctTable(d)
	m.activeTable(d)
	m.nodeTable(d)
}

func (m *Mappers) callTable(d *document) {
	if len(m.Shapes) == 0 {
		return
	}
	d.table("postback", "mapper", "code", "bare call, CPU ns", "whole way, CPU ns/postback", "beside built-in", "fuel", "allocs/bare call", "allocs/batch of 500")
	for i := range m.Shapes {
		s := &m.Shapes[i]
		name := fmt.Sprintf("%d bytes, %s", s.InputBytes, s.Name)
		for j := range s.Calls {
			c := &s.Calls[j]
			code, bare, bareAllocs, fuel, beside := "", "", "", "", ""
			if c.Bare != nil {
				code, bare, bareAllocs = "original", fmt.Sprintf("%.0f", c.Bare.Nanos), fmt.Sprintf("%.3g", c.Bare.Allocs)
			}
			if c.Counted {
				code, fuel = "counted", fmt.Sprint(c.Fuel)
				times, rounds := mappedTimes(s, c.Lang)
				beside = fmt.Sprintf("**%.2f×**%s", times, spread(rounds))
			}
			d.row(name, langNames[c.Lang], code, bare, fmt.Sprintf("%.0f", c.Mapped.Nanos), beside, fuel, bareAllocs,
				fmt.Sprintf("%.3g", c.Mapped.Allocs*mappers.BatchEvents))
		}
	}
	if e := m.Extism; e != nil {
		d.row(fmt.Sprintf("%d bytes, %s", m.Shapes[0].InputBytes, m.Shapes[0].Name), "C in Extism's go-sdk", "", fmt.Sprintf("%.0f", e.Map.Nanos), "", "", "", fmt.Sprintf("%.0f", e.Map.Allocs), "")
		d.line("\nExtism's go-sdk is %s, on wazero %s: %.0f allocations and %.0f KB a call, %.0f ns for a function that does nothing, %.0f KB of heap for each instance; in C ours is %.0f× faster.",
			e.SDK, e.Wazero, e.Map.Allocs, e.Map.Bytes/kilobyte, e.Nothing.Nanos, e.InstanceHeap/kilobyte, m.extismTimes("c"))
	}
	d.line("\nA bare call copies an encoded postback in, calls and takes the output as a view. The whole way is from the records of a batch to its events: parting, encoding, call, " +
		"reading, identity, of which the built-in mapper needs no encoding and no call. The original code does not count fuel and depth, so nothing could stop it; no node runs it.")
}

func (m *Mappers) distinctTable(d *document) {
	if len(m.Distinct) == 0 {
		return
	}
	d.line("\nBatches of %d postbacks, each of a mapper drawn at random:\n", mappers.BatchEvents)
	d.table("mappers", "in", "CPU ns/postback", "allocs/postback", "instances made per 1,000 postbacks")
	for _, c := range m.Distinct {
		d.row(fmt.Sprint(c.Mappers), langNames[c.Lang], fmt.Sprintf("%.0f", c.Cost.Nanos), fmt.Sprintf("%.2f", c.Cost.Allocs), fmt.Sprintf("%.1f", 1000*c.Made))
	}
}

func (m *Mappers) activeTable(d *document) {
	if len(m.Active) == 0 {
		return
	}
	d.line("\nMappers made ready from the disk cache, one after the other; the quickest of %d processes:\n", activeRuns)
	d.table("mappers", "in", "ready ms", "of it CPU", "engine", "rewriting", "checking", "loading", "instances ms", "KB each: heap", "RSS", "KB an instance: heap", "RSS", "charged", "RSS of all MB")
	for i := range m.Active {
		a := &m.Active[i]
		ms := func(v float64) string { return fmt.Sprintf("%.1f", v) }
		kb := func(v float64) string { return fmt.Sprintf("%.1f", v/kilobyte) }
		d.row(fmt.Sprint(a.Mappers), namesOf(a.Langs), ms(a.ReadyMs), ms(a.ReadyCPUMs), ms(a.OpenMs), ms(a.RewriteMs), ms(a.CheckMs), ms(a.LoadMs), ms(a.InstanceMs),
			kb(a.HeapBytes), kb(a.RSSBytes), kb(a.InstanceHeap), kb(a.InstanceRSS), kb(a.Charged), fmt.Sprintf("%.1f", float64(a.ProcessRSS)/megabyte))
	}
}

func (m *Mappers) nodeTable(d *document) {
	if len(m.Nodes) == 0 {
		return
	}
	d.line("\nA node whose registry holds so many active mappers in C, Rust and AssemblyScript, the slowest of %d starts:\n", starts)
	d.table("mappers", "intake ready ms", "every mapper ready ms", "CPU ms until then", "RSS then MB", "to push and activate one, ms")
	for _, n := range m.Nodes {
		d.row(fmt.Sprint(n.Mappers), fmt.Sprintf("%.0f", n.ReadyMs), fmt.Sprintf("%.0f", n.MappersReadyMs), fmt.Sprintf("%.0f", n.CPUMs),
			fmt.Sprintf("%.1f", float64(n.RSSBytes)/megabyte), fmt.Sprintf("%.0f", n.PushMs))
	}
}
