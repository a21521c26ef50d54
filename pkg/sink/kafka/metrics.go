package kafka

import "github.com/rcrowley/go-metrics"

// noMetrics is a registry of metrics that measure nothing: sarama's own cost CPU for
// each request and a goroutine.
type noMetrics struct{}

func (noMetrics) Each(func(string, any)) {}

func (noMetrics) Get(string) any { return nil }

func (noMetrics) GetAll() map[string]map[string]any { return nil }

func (noMetrics) GetOrRegister(_ string, make any) any {
	switch make.(type) {
	case func() metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Histogram:
		return metrics.NilHistogram{}
	case func() metrics.Counter:
		return metrics.NilCounter{}
	case func() metrics.Timer:
		return metrics.NilTimer{}
	case func() metrics.Gauge:
		return metrics.NilGauge{}
	}
	return make
}

func (noMetrics) Register(string, any) error { return nil }

func (noMetrics) RunHealthchecks() {}

func (noMetrics) Unregister(string) {}

func (noMetrics) UnregisterAll() {}
