package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TestEditsUnderLoad replaces targets and removes destinations while deliveries are
// enqueued, sent and refused: each is done exactly once, and what arrives of a lane
// arrives in order.
func TestEditsUnderLoad(t *testing.T) {
	const ids, lanes, n = 4, 5, 3000
	kinds := []sink.Kind{{Name: "parallel", MaxBatch: 1}, {Name: "ordered", Ordered: true, MaxBatch: 9}, {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 9}}
	cfg := DefaultConfig()
	cfg.Queue, cfg.MaxInFlight = 20, 4
	cfg.Backoff = Backoff{First: time.Microsecond, Max: 100 * time.Microsecond, Probe: 100 * time.Microsecond, Trip: 3}
	d, _, done := start(t, cfg, &receiver{kind: kinds[0]})
	receivers := make([]*receiver, len(kinds)*2)
	for i := range receivers {
		r := &receiver{kind: kinds[i%len(kinds)]}
		r.kind.Name = fmt.Sprint(r.kind.Name, i)
		r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
		if i%2 == 0 {
			r.answer = func(*sink.Message) error {
				if rand.IntN(3) > 0 {
					return nil
				}
				return &sink.Error{Class: sink.Class(rand.IntN(3)), Code: "x", Err: errors.New("no")}
			}
		}
		receivers[i] = r
	}
	name := func(i int) string { return fmt.Sprint("d", i) }
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			if rand.IntN(4) == 0 {
				gone := name(rand.IntN(ids))
				d.Keep(func(id string) bool { return id != gone })
			} else {
				d.Destination(name(rand.IntN(ids)), receivers[rand.IntN(len(receivers))])
			}
		}
	}()
	instances := map[*Destination]int{} // what is removed and made again is another one
	for i := range n {
		d.mu.Lock()
		q := d.destinations[name(i%ids)]
		d.mu.Unlock()
		if q == nil {
			q = d.Destination(name(i%ids), receivers[i%len(receivers)])
		}
		if _, ok := instances[q]; !ok {
			instances[q] = len(instances)
		}
		dl := &Delivery{Ledger: done, Entry: uint64(i), NLane: 1, Table: 1, Barrier: i%97 == 0}
		dl.Lanes[0] = uint64(i % lanes)
		dl.Message.ID = fmt.Sprintf("%d %d", instances[q]*lanes+i%lanes, i)
		if err := q.Enqueue(context.Background(), dl); err != nil {
			t.Fatalf("enqueue %d: %v", i, err)
		}
	}
	close(stop)
	<-stopped
	for i := range ids {
		d.Destination(name(i), receivers[1])
	}
	for deadline := time.Now().Add(10 * time.Second); done.total() < n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	d.Drain(context.Background())
	d.Close()
	if done.total() != n {
		t.Errorf("%d of %d done", done.total(), n)
	}
	for i := range uint64(n) {
		if done.count(i) > 1 {
			t.Errorf("delivery %d done %d times", i, done.count(i))
		}
	}
	if d.bytes.used != 0 {
		t.Errorf("%d bytes still taken", d.bytes.used)
	}
	for _, r := range receivers {
		last := map[int]int{}
		for _, id := range r.got() {
			var lane, i int
			if _, err := fmt.Sscan(id, &lane, &i); err != nil {
				t.Fatal(err)
			}
			if i < last[lane] {
				t.Errorf("%d arrived after %d", i, last[lane])
			}
			last[lane] = i
		}
	}
}

// TestDroppedInOneSend drops a destination while several deliveries of a lane are under
// way together, and are refused then: each is done.
func TestDroppedInOneSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", Ordered: true, Pipelined: true, MaxBatch: 9}}
		r.delay = func() time.Duration { return time.Second }
		r.answer = func(*sink.Message) error { return errors.New("down") }
		d, q, done := start(t, DefaultConfig(), r)
		enqueue(t, done, q, []job{{id: "first", keys: []uint64{1}}, {id: "a", keys: []uint64{1}}, {id: "b", keys: []uint64{1}}})
		time.Sleep(1500 * time.Millisecond)
		d.Keep(func(string) bool { return false })
		time.Sleep(time.Second)
		d.Close()
		if done.total() != 3 || d.bytes.used != 0 {
			t.Errorf("%d of 3 done, %d bytes still taken", done.total(), d.bytes.used)
		}
	})
}
