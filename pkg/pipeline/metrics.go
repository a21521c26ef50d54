package pipeline

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/related"
)

// Metrics counts what passes, by source.
type Metrics struct {
	changes, events, renderErrors, lookups, hits, misses, unrelated, backfilled *prometheus.CounterVec
	missingValues                                                               *prometheus.CounterVec
	inFlight                                                                    *prometheus.GaugeVec
}

// sourceMetrics are the metrics of one source, looked up once.
type sourceMetrics struct {
	changes, events, renderErrors, lookups, hits, misses, unrelated, backfilled prometheus.Counter
	inFlight                                                                    prometheus.Gauge
	missingValues                                                               *prometheus.CounterVec
}

// missing counts a message that names a value which the log does not hold: fetched, gone
// (the row is no more) or empty.
func (m *sourceMetrics) missing(outcome string) { m.missingValues.WithLabelValues(outcome).Inc() }

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"source"})
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		changes:      counter("waltrigger_changes_read_total", "Row changes and commits read from the log."),
		events:       counter("waltrigger_events_matched_total", "Signals that fired a trigger."),
		renderErrors: counter("waltrigger_render_errors_total", "Messages that could not be rendered in their turn."),
		lookups:      counter("waltrigger_lookups_total", "Queries for related rows."),
		hits:         counter("waltrigger_lookup_hits_total", "Related rows, sets and counts that were at hand when an event needed them."),
		misses:       counter("waltrigger_lookup_misses_total", "Related rows, sets and counts that had to be read."),
		unrelated:    counter("waltrigger_related_rows_missing_total", "Related rows that were not there any more."),
		backfilled:   counter("waltrigger_backfill_rows_total", "Rows that backfills have read, and whose deliveries are done or parked."),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waltrigger_events_in_flight", Help: "Events under way beyond the saved position.",
		}, []string{"source"}),
		missingValues: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waltrigger_missing_values_total", Help: "Messages that name a value which the log does not hold: fetched from the table, gone with the row, or left empty.",
		}, []string{"source", "outcome"}),
	}
	r.MustRegister(m.inFlight, m.missingValues)
	return m
}

func (m *Metrics) source(name string) *sourceMetrics {
	return &sourceMetrics{
		changes: m.changes.WithLabelValues(name), events: m.events.WithLabelValues(name),
		renderErrors: m.renderErrors.WithLabelValues(name), lookups: m.lookups.WithLabelValues(name),
		hits: m.hits.WithLabelValues(name), misses: m.misses.WithLabelValues(name),
		unrelated: m.unrelated.WithLabelValues(name), backfilled: m.backfilled.WithLabelValues(name), inFlight: m.inFlight.WithLabelValues(name),
		missingValues: m.missingValues.MustCurryWith(prometheus.Labels{"source": name}),
	}
}

func (m *sourceMetrics) related() related.Metrics {
	add := func(c prometheus.Counter) func(int) { return func(n int) { c.Add(float64(n)) } }
	return related.Metrics{Queries: add(m.lookups), Hits: add(m.hits), Misses: add(m.misses), Gone: add(m.unrelated)}
}
