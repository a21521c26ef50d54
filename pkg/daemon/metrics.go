package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/api"
)

// streaming is the state of a source that is read.
const streaming = "streaming"

// sourceMetrics shows the state of the sources, asked whenever somebody looks.
type sourceMetrics func(context.Context) []api.Source

var (
	sourceStreaming = prometheus.NewDesc("waltrigger_source_streaming", "1 while the source's log is read.", []string{"source"}, nil)
	sourceState     = prometheus.NewDesc("waltrigger_source_state", "1 for the state that the source is in.", []string{"source", "state"}, nil)
	sourceLag       = prometheus.NewDesc("waltrigger_source_lag_bytes", "The log that the server keeps for us: its end minus what was acknowledged.", []string{"source"}, nil)
	sourceReconnect = prometheus.NewDesc("waltrigger_source_reconnects_total", "Connections to the source's log after the first one.", []string{"source"}, nil)
)

func (sourceMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sourceStreaming, sourceState, sourceLag, sourceReconnect} {
		ch <- d
	}
}

func (m sourceMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m(context.Background()) {
		up := 0.0
		if s.State == streaming {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(sourceStreaming, prometheus.GaugeValue, up, s.Name)
		ch <- prometheus.MustNewConstMetric(sourceState, prometheus.GaugeValue, 1, s.Name, s.State)
		ch <- prometheus.MustNewConstMetric(sourceLag, prometheus.GaugeValue, float64(s.LagBytes), s.Name)
		ch <- prometheus.MustNewConstMetric(sourceReconnect, prometheus.CounterValue, float64(s.Reconnects), s.Name)
	}
}
