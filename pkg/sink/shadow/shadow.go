// Package shadow takes the messages of triggers in mode shadow: it keeps the last ones of
// each destination, to be looked at, and sends nothing.
package shadow

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Bounds of what is kept.
const (
	maxMessages = 50            // of a destination
	maxBody     = 16 << 10      // of a message
	maxBytes    = 16 << 20      // of all bodies
	detail      = "destination" // the connection detail that names the destination
)

// Records are the messages kept. Safe for concurrent use.
type Records struct {
	total *prometheus.CounterVec

	mu    sync.Mutex
	by    map[string][]Message // by destination, oldest first
	bytes int
}

// Message is a message as it would have been sent.
type Message struct {
	At time.Time
	sink.Message
	Size int // of the body, which is cut off if that is much
}

// New returns empty Records.
func New() *Records {
	return &Records{by: map[string][]Message{}, total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "waltrigger_shadow_messages_total", Help: "Messages of triggers in mode shadow, which were rendered and not sent.",
	}, []string{"destination"})}
}

// Describe implements prometheus.Collector.
func (r *Records) Describe(ch chan<- *prometheus.Desc) { r.total.Describe(ch) }

// Collect implements prometheus.Collector.
func (r *Records) Collect(ch chan<- prometheus.Metric) { r.total.Collect(ch) }

// Kind is the kind of destination that records. Its connection detail is destination, an
// id.
func (r *Records) Kind() sink.Kind {
	return sink.Kind{
		Name: "shadow", Ordered: true, Pipelined: true, MaxBatch: 500, Dry: true, Conn: []sink.Param{{Name: detail, Required: true}},
		Open: func(_ context.Context, conn map[string]any, _ sink.Env) (sink.Sink, error) {
			id, _ := conn[detail].(string)
			return &recorder{r, id}, nil
		},
	}
}

type recorder struct {
	records *Records
	id      string
}

// Send implements sink.Sink.
func (s *recorder) Send(_ context.Context, msgs []*sink.Message) []error {
	now := time.Now()
	s.records.total.WithLabelValues(s.id).Add(float64(len(msgs)))
	for _, m := range msgs {
		s.records.add(s.id, now, m)
	}
	return nil
}

// Close implements sink.Sink.
func (s *recorder) Close() error { return nil }

func (r *Records) add(id string, at time.Time, m *sink.Message) {
	kept := Message{At: at, Message: *m, Size: len(m.Body)}
	kept.Body = slices.Clone(m.Body[:min(len(m.Body), maxBody)])
	kept.Key, kept.Headers, kept.Params = slices.Clone(m.Key), slices.Clone(m.Headers), maps.Clone(m.Params)
	r.mu.Lock()
	defer r.mu.Unlock()
	list := append(r.by[id], kept)
	r.bytes += len(kept.Body)
	for len(list) > maxMessages || r.bytes > maxBytes && len(list) > 0 {
		r.bytes -= len(list[0].Body)
		list = slices.Delete(list, 0, 1)
	}
	r.by[id] = list
}

// Of gives what a destination would have been sent last, newest first.
func (r *Records) Of(id string) []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.by[id])
	slices.Reverse(out)
	return out
}

// Keep forgets the destinations for which keep is false.
func (r *Records) Keep(keep func(id string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, list := range r.by {
		if keep(id) {
			continue
		}
		for _, m := range list {
			r.bytes -= len(m.Body)
		}
		delete(r.by, id)
		r.total.DeleteLabelValues(id)
	}
}
