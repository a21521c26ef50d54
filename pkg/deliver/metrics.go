package deliver

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Metrics counts what happens to deliveries, by destination.
type Metrics struct{ m *metrics }

type metrics struct {
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	full     *prometheus.CounterVec
	dead     *prometheus.CounterVec
	failing  *prometheus.GaugeVec
	parked   *prometheus.GaugeVec
	latency  *prometheus.HistogramVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	by := []string{"destination"}
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waltrigger_deliveries_total", Help: "Deliveries accepted by their destination.",
		}, by),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waltrigger_delivery_failures_total", Help: "Attempts that failed, by class and code.",
		}, []string{"destination", "class", "code"}),
		full: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waltrigger_destination_full_total", Help: "Times that reading waited because the destination's queue was full.",
		}, by),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waltrigger_dead_deliveries_total", Help: "Deliveries that were refused for the last time.",
		}, by),
		parked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waltrigger_parked_deliveries", Help: "Deliveries in the store that are still to be sent.",
		}, by),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waltrigger_destination_failing", Help: "1 while the destination as a whole fails and is probed.",
		}, by),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waltrigger_commit_to_delivery_seconds", Help: "From the commit (database's clock) to the acceptance.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300},
		}, by),
	}
	r.MustRegister(m.accepted, m.refused, m.full, m.dead, m.failing, m.parked, m.latency)
	return &Metrics{m}
}

// destinationMetrics are the metrics of one destination, looked up once.
type destinationMetrics struct {
	accepted, full, dead prometheus.Counter
	failing, parked      prometheus.Gauge
	latency              prometheus.Observer
	failures             *prometheus.CounterVec
}

func (m *metrics) destination(id string) destinationMetrics {
	return destinationMetrics{
		accepted: m.accepted.WithLabelValues(id), full: m.full.WithLabelValues(id),
		dead: m.dead.WithLabelValues(id), failing: m.failing.WithLabelValues(id), parked: m.parked.WithLabelValues(id), latency: m.latency.WithLabelValues(id),
		failures: m.refused.MustCurryWith(prometheus.Labels{"destination": id}),
	}
}

func (m destinationMetrics) refused(c sink.Class, code string) {
	m.failures.WithLabelValues(c.String(), code).Inc()
}

// forget removes the series of a destination that is gone.
func (m *metrics) forget(id string) {
	l := prometheus.Labels{"destination": id}
	m.accepted.DeletePartialMatch(l)
	m.refused.DeletePartialMatch(l)
	m.full.DeletePartialMatch(l)
	m.dead.DeletePartialMatch(l)
	m.failing.DeletePartialMatch(l)
	m.parked.DeletePartialMatch(l)
	m.latency.DeletePartialMatch(l)
}
