package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/resolve"
)

// streaming is the state of a source that is read.
const streaming = "streaming"

// sourceMetrics shows the state of the sources, asked whenever somebody looks.
type sourceMetrics func(context.Context) []api.Source

var (
	sourceStreaming = prometheus.NewDesc("waltrigger_source_streaming", "1 while the source's log is read.", []string{"source"}, nil)
	sourceState     = prometheus.NewDesc("waltrigger_source_state", "1 for the state that the source is in.", []string{"source", "state"}, nil)
	sourceLag       = prometheus.NewDesc("waltrigger_source_lag_bytes", "The log that the server keeps for us: its end minus what was acknowledged.", []string{"source"}, nil)
	sourceRetained  = prometheus.NewDesc("waltrigger_source_retained_bytes", "The log that the server keeps for us, a few seconds ago; more than the lag where an old transaction is still open.", []string{"source"}, nil)
	sourceSkipped   = prometheus.NewDesc("waltrigger_source_skipped_transactions_total", "Transactions that asked to fire nothing (waltrigger.skip).", []string{"source"}, nil)
	sourceActive    = prometheus.NewDesc("waltrigger_source_active", "1 if this instance reads the source and sends for it, 0 if another one may.", []string{"source"}, nil)
	sourceEpoch     = prometheus.NewDesc("waltrigger_source_epoch", "Grows each time that an instance becomes the active one; 0 where no other can.", []string{"source"}, nil)
	sourceReconnect = prometheus.NewDesc("waltrigger_source_reconnects_total", "Connections to the source's log after the first one.", []string{"source"}, nil)
	sourceUnseen    = prometheus.NewDesc("waltrigger_source_unseen_statements_total", "Statements that changed rows which the log does not hold, so that they fired nothing (MySQL with binlog_format other than ROW).", []string{"source"}, nil)
)

func (sourceMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sourceStreaming, sourceState, sourceLag, sourceRetained, sourceSkipped, sourceActive, sourceEpoch, sourceReconnect, sourceUnseen} {
		ch <- d
	}
}

func (m sourceMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m(context.Background()) {
		ch <- prometheus.MustNewConstMetric(sourceStreaming, prometheus.GaugeValue, one(s.State == streaming), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceActive, prometheus.GaugeValue, one(s.Active), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceEpoch, prometheus.GaugeValue, float64(s.Epoch), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceState, prometheus.GaugeValue, 1, s.Name, s.State)
		ch <- prometheus.MustNewConstMetric(sourceLag, prometheus.GaugeValue, float64(s.LagBytes), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceRetained, prometheus.GaugeValue, float64(s.RetainedBytes), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceSkipped, prometheus.CounterValue, float64(s.Skipped), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceReconnect, prometheus.CounterValue, float64(s.Reconnects), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceUnseen, prometheus.CounterValue, float64(s.Unseen), s.Name)
	}
}

// valueMetrics shows how dynamic values fare, asked whenever somebody looks.
type valueMetrics func() []resolve.Status

var (
	valueFetches = prometheus.NewDesc("waltrigger_dynamic_value_fetches_total", "Fetches of a dynamic value, by outcome: ok or failed.", []string{"value", "outcome"}, nil)
	valueFailing = prometheus.NewDesc("waltrigger_dynamic_value_failing", "1 while the last fetch of the dynamic value failed.", []string{"value"}, nil)
)

func (valueMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- valueFetches
	ch <- valueFailing
}

func (m valueMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m() {
		ch <- prometheus.MustNewConstMetric(valueFetches, prometheus.CounterValue, float64(v.Fetched), v.Name, "ok")
		ch <- prometheus.MustNewConstMetric(valueFetches, prometheus.CounterValue, float64(v.Failures), v.Name, "failed")
		ch <- prometheus.MustNewConstMetric(valueFailing, prometheus.GaugeValue, one(v.Failing), v.Name)
	}
}

// newBackfillsOver counts the backfills that ended, by source and state.
func newBackfillsOver(r prometheus.Registerer) *prometheus.CounterVec {
	over := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "waltrigger_backfills_over_total", Help: "Backfills that ended: done, failed or cancelled.",
	}, []string{"source", "state"})
	r.MustRegister(over)
	return over
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
