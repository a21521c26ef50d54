package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// batcher is a sink that takes several messages as one, or refuses them as one.
type batcher struct {
	receiver
	refuses func(m *sink.Message) bool
	sends   [][]string
}

func (b *batcher) Send(_ context.Context, msgs []*sink.Message) []error {
	time.Sleep(time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	refused := false
	for _, m := range msgs {
		ids = append(ids, m.ID)
		refused = refused || b.refuses(m)
	}
	b.sends = append(b.sends, ids)
	if refused {
		return sink.All(len(msgs), &sink.Error{Class: sink.Rejected, Code: "http_422", Shared: len(msgs), Err: errors.New("no")})
	}
	b.receiver.accepted = append(b.receiver.accepted, ids...)
	return nil
}

// TestBatchCulprit sends many deliveries together, of each lane one, and finds those among
// them that are refused.
func TestBatchCulprit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{refuses: func(m *sink.Message) bool { return m.ID == "77" || m.ID == "178" }}
		b.kind = sink.Kind{Name: "k", MaxBatch: 1}
		b.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return b, nil }
		b.limits.Batch = 50
		cfg := DefaultConfig()
		cfg.MaxInFlight = 3
		cfg.Backoff.Schedule = []time.Duration{time.Minute, time.Minute}
		m := newMemory()
		d := deliverer(t, cfg, m)
		q, done := d.Destination("w1", b), &doneSet{n: map[uint64]int{}}
		var jobs []job
		for i := range 500 {
			jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i % 100)}})
		}
		enqueue(t, done, q, jobs)
		time.Sleep(time.Second)
		var want []job
		for i, j := range jobs {
			if i != 77 && i != 178 && !(i > 77 && i%100 == 77) && !(i > 178 && i%100 == 78) {
				want = append(want, j)
			}
		}
		checkArrivals(t, want, b.got())
		if parked, _ := m.count(); parked != len(jobs)-len(want) {
			t.Errorf("%d parked, want the refused and what follows them, %d", parked, len(jobs)-len(want))
		}
		alone, longest := 0, 0
		b.mu.Lock()
		sends := slices.Clone(b.sends)
		b.mu.Unlock()
		for _, ids := range sends {
			longest = max(longest, len(ids))
			lanes := map[string]bool{}
			for _, id := range ids {
				lane := id[max(len(id)-2, 0):]
				if lanes[lane] {
					t.Errorf("two of a lane in one: %v", ids)
				}
				lanes[lane] = true
			}
			if slices.Contains(ids, "77") && len(ids) == 1 {
				alone++
			}
		}
		if alone != 1 || longest < 20 || longest > 50 || len(sends) > 100 {
			t.Errorf("the culprit was sent alone %d times; %d sends of up to %d", alone, len(sends), longest)
		}
		time.Sleep(10 * time.Minute)
		if parked, dead := m.count(); parked != 0 || dead != 2 {
			t.Errorf("%d parked, %d dead", parked, dead)
		}
		checkArrivals(t, slices.DeleteFunc(jobs, func(j job) bool { return j.id == "77" || j.id == "178" }), b.got())
		d.Close()
	})
}
