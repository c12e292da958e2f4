package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/ingest"
)

// intakeMetrics shows what requests are refused for. The label is one of a
// closed set of words, whatever senders send.
//
//	tallyhook_intake_refused_total{reason}           requests of known sources that were not journaled
//	tallyhook_intake_auth_failures_total             unknown tokens, wrong secrets and signatures, bad keys
type intakeMetrics struct{ stats *ingest.Stats }

var (
	descIntakeRefused  = prometheus.NewDesc("tallyhook_intake_refused_total", "Requests of known sources that were refused, by what for.", []string{"reason"}, nil)
	descIntakeFailures = prometheus.NewDesc("tallyhook_intake_auth_failures_total", "Requests that did not show who they are.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m intakeMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descIntakeRefused
	ch <- descIntakeFailures
}

// Collect implements prometheus.Collector.
func (m intakeMetrics) Collect(ch chan<- prometheus.Metric) {
	m.stats.EachRefused(func(word string, n int64) {
		ch <- prometheus.MustNewConstMetric(descIntakeRefused, prometheus.CounterValue, float64(n), word)
	})
	ch <- prometheus.MustNewConstMetric(descIntakeFailures, prometheus.CounterValue, float64(m.stats.AuthFailures.Load()))
}
