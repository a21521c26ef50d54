package deliver

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TestMaySend: while nothing may be sent no Send is begun, which is no failure; what
// waited goes on in its order.
func TestMaySend(t *testing.T) {
	for name, kind := range map[string]sink.Kind{
		"parallel":  {Name: "parallel", MaxBatch: 1},
		"pipelined": {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var may atomic.Bool
				r := &receiver{kind: kind, delay: func() time.Duration { return 10 * time.Millisecond }}
				cfg := DefaultConfig()
				cfg.MaxInFlight, cfg.Queue, cfg.MaySend = 4, 5000, may.Load
				d, q, done := start(t, cfg, r)
				var jobs []job
				for i := range 2000 {
					jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i % 5)}})
				}
				enqueue(t, done, q, jobs)
				attempts := func() int {
					r.mu.Lock()
					defer r.mu.Unlock()
					return r.attempts + r.now // sent, or being sent
				}
				for i := range 5 {
					time.Sleep(time.Second)
					if n := attempts(); i == 0 && n != 0 {
						t.Errorf("%d were sent before it was allowed", n)
					}
					may.Store(true)
					time.Sleep(heldFor + 35*time.Millisecond)
					may.Store(false)
					time.Sleep(20 * time.Millisecond) // what was begun ends
					before := attempts()
					time.Sleep(time.Minute)
					if n := attempts(); n != before {
						t.Errorf("%d were begun while nothing was allowed", n-before)
					}
					if s := d.Status()[0]; s.Failures != 0 || s.Err != "" || s.Waiting+done.total() != len(jobs) {
						t.Errorf("%d done, status %+v", done.total(), s)
					}
				}
				if n := done.total(); n == 0 || n == len(jobs) {
					t.Errorf("%d of %d were sent in between: nothing is proven", n, len(jobs))
				}
				may.Store(true)
				time.Sleep(time.Minute)
				d.Drain(context.Background())
				d.Close()
				last := map[string]int{}
				for _, id := range r.got() {
					i := slices.IndexFunc(jobs, func(j job) bool { return j.id == id })
					key := fmt.Sprint(jobs[i].keys)
					if before, ok := last[key]; ok && i < before {
						t.Errorf("%s came after %d", id, before)
					}
					last[key] = i
				}
				if len(r.got()) != len(jobs) || done.total() != len(jobs) {
					t.Errorf("%d arrived and %d are done of %d", len(r.got()), done.total(), len(jobs))
				}
			})
		})
	}
}
