package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/mapper"
)

// mapperMetrics shows the partners' mappers in force. Labels hold names that
// partners and operators chose, never what a sender sent.
//
//	tallyhook_mapper_ready{mapper,version,role}              1 while it can run on this node; role is active, previous, shadow or pinned
//	tallyhook_mapper_broken{mapper,version}                  1 while it is left alone for having trapped too often
//	tallyhook_mapper_calls_total{mapper,version}             postbacks that it mapped
//	tallyhook_mapper_seconds_total{mapper,version}           the time that took, waiting for a processor included
//	tallyhook_mapper_fuel_total{mapper,version}              units that were burnt
//	tallyhook_mapper_traps_total{mapper,version,kind}        fuel, depth, crash, result
//	tallyhook_mapper_waited_total{mapper,version}            postbacks that were put off
type mapperMetrics struct{ mapper *mapper.Mapper }

func mapperDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tallyhook_mapper_"+name, help, append([]string{"mapper", "version"}, labels...), nil)
}

var (
	descMapperReady  = mapperDesc("ready", "1 while the version can run on this node.", "role")
	descMapperBroken = mapperDesc("broken", "1 while the version is left alone for having trapped too often.")
	descMapperTraps  = mapperDesc("traps_total", "Postbacks on which the version broke.", "kind")
)

var perVersion = []struct {
	desc  *prometheus.Desc
	value func(*mapper.Stats) float64
}{
	{mapperDesc("calls_total", "Postbacks that the version was asked for."), func(s *mapper.Stats) float64 { return float64(s.Calls.Load()) }},
	{mapperDesc("seconds_total", "Time that asking took."), func(s *mapper.Stats) float64 { return float64(s.Nanos.Load()) / 1e9 }},
	{mapperDesc("fuel_total", "Units of fuel that were burnt."), func(s *mapper.Stats) float64 { return float64(s.Fuel.Load()) }},
	{mapperDesc("waited_total", "Postbacks that were put off."), func(s *mapper.Stats) float64 { return float64(s.Waited.Load()) }},
}

// Describe implements prometheus.Collector.
func (m mapperMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descMapperReady
	ch <- descMapperBroken
	ch <- descMapperTraps
	for _, p := range perVersion {
		ch <- p.desc
	}
}

// Collect implements prometheus.Collector.
func (m mapperMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, named := range m.mapper.Set() {
		for _, v := range named.Versions {
			number := strconv.Itoa(v.Number)
			add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
				ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{v.Mapper, number}, labels...)...)
			}
			add(descMapperReady, prometheus.GaugeValue, one(v.Program() != nil), roleOf(named, v))
			add(descMapperBroken, prometheus.GaugeValue, one(v.Broken()))
			for _, p := range perVersion {
				add(p.desc, prometheus.CounterValue, p.value(&v.Stats))
			}
			for kind := range mapper.TrapKinds {
				add(descMapperTraps, prometheus.CounterValue, float64(v.Stats.Traps[kind].Load()), kind.String())
			}
		}
	}
}

func roleOf(n *mapper.Named, v *mapper.Version) string {
	switch v {
	case n.Active:
		return "active"
	case n.Shadow:
		return "shadow"
	case n.Previous:
		return "previous"
	}
	return "pinned"
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
