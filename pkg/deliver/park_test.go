package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// memory is a Store in memory.
type memory struct {
	mu   sync.Mutex
	rows map[uint64]Delivery
	fail func() error
	most int // rows at once
}

func newMemory() *memory { return &memory{rows: map[uint64]Delivery{}} }

func (m *memory) Settle(_ context.Context, c *Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(); err != nil {
			return err
		}
	}
	for _, d := range c.Park {
		if _, twice := m.rows[d.ID]; twice {
			panic(fmt.Sprintf("delivery %d is there", d.ID))
		}
		m.put(d)
	}
	for _, d := range c.Back {
		if was, ok := m.rows[d.ID]; ok && !was.Dead {
			m.put(d)
		}
	}
	for _, id := range c.Done {
		delete(m.rows, id)
	}
	for id, d := range m.rows {
		for _, b := range c.Bury {
			if d.Destination == b.Destination && !d.Dead {
				d.Dead, d.Class = true, b.Class
			}
		}
		if slices.Contains(c.Free, d.Destination) && !d.Dead {
			d.NextAt, d.Refusals = time.Time{}, 0
		}
		m.rows[id] = d
	}
	m.most = max(m.most, len(m.rows))
	return nil
}

func (m *memory) put(d *Delivery) {
	m.rows[d.ID] = Delivery{
		Message: d.Message, Rendered: d.Rendered, Source: d.Source, Event: d.Event, Lanes: d.Lanes, NLane: d.NLane, Table: d.Table,
		Barrier: d.Barrier, ID: d.ID, Destination: d.Destination, Trigger: d.Trigger, Fate: d.Fate,
	}
}

func (m *memory) Summary(context.Context) ([]Summary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := map[string]Summary{}
	for _, d := range m.rows {
		if s := sums[d.Destination]; !d.Dead {
			sums[d.Destination] = Summary{d.Destination, s.Deliveries + 1, s.Bytes + d.Bytes(), max(s.LastID, d.ID), time.Time{}}
		}
	}
	return slices.Collect(maps.Values(sums)), nil
}

func (m *memory) list(keep func(*Delivery) bool) []*Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Delivery
	for _, d := range m.rows {
		if keep(&d) {
			out = append(out, &d)
		}
	}
	slices.SortFunc(out, func(a, b *Delivery) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (m *memory) Places(_ context.Context, destination string, after uint64, limit int) ([]Place, error) {
	var out []Place
	for _, d := range m.list(func(d *Delivery) bool { return d.Destination == destination && !d.Dead && d.ID > after }) {
		if len(out) < limit {
			out = append(out, *place(d))
		}
	}
	return out, nil
}

func (m *memory) Load(_ context.Context, ids []uint64) ([]*Delivery, error) {
	return m.list(func(d *Delivery) bool { return slices.Contains(ids, d.ID) && !d.Dead }), nil
}

func (m *memory) Expire(context.Context, time.Time, int64) (int, error) { return 0, nil }

func (m *memory) count() (parked, dead int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.rows {
		if d.Dead {
			dead++
		} else {
			parked++
		}
	}
	return parked, dead
}

// session is what one run of the program has of a store: nothing once it is killed.
type session struct {
	*memory
	killed atomic.Bool
}

func (s *session) Settle(ctx context.Context, c *Changes) error {
	if s.killed.Load() {
		return errors.New("killed")
	}
	return s.memory.Settle(ctx, c)
}

// parking starts a deliverer with a store.
func parking(t *testing.T, cfg Config, m Store, r *receiver) (*Deliverer, *Destination, *doneSet) {
	t.Helper()
	r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
	d := deliverer(t, cfg, m)
	return d, d.Destination("w1", r), &doneSet{n: map[uint64]int{}}
}

func refusal(class sink.Class) error {
	return &sink.Error{Class: class, Code: "x", Err: errors.New("no")}
}

// TestParkedOrder lets a destination fail at random, the store as well, and kills the
// deliverer now and then: everything arrives, and in order wherever there is one to keep.
func TestParkedOrder(t *testing.T) {
	kinds := map[string]sink.Kind{
		"parallel":  {Name: "parallel", MaxBatch: 1},
		"ordered":   {Name: "ordered", Ordered: true, MaxBatch: 7},
		"pipelined": {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 7},
	}
	for name, kind := range kinds {
		for seed := range uint64(40) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { parkedOrder(t, kind, rand.New(rand.NewPCG(seed, 2))) })
			})
		}
	}
}

func parkedOrder(t *testing.T, kind sink.Kind, rnd *rand.Rand) {
	var mu sync.Mutex
	chance := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n) == 0
	}
	r := &receiver{kind: kind}
	r.delay = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(rnd.IntN(20)) * time.Millisecond
	}
	classes := []sink.Class{sink.Unavailable, sink.Unavailable, sink.Rejected, sink.Misconfigured, sink.Permanent, sink.Blocked}
	r.answer = func(*sink.Message) error {
		if !chance(4) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		return refusal(classes[rnd.IntN(len(classes))])
	}
	m := newMemory()
	m.fail = func() error {
		if chance(8) {
			return errors.New("locked")
		}
		return nil
	}
	cfg := DefaultConfig()
	cfg.MaxInFlight, cfg.Queue = 8, 40
	cfg.Park.After = time.Second
	cfg.Backoff.Schedule = slices.Repeat([]time.Duration{3 * time.Second}, 1000)
	run := &session{memory: m}
	d, q, done := parking(t, cfg, run, r)
	jobs := randomJobs(400, func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) })
	for i := 0; i < len(jobs); i++ {
		dl := &Delivery{Ledger: done, Entry: uint64(i), NLane: len(jobs[i].keys), Table: 1, Barrier: jobs[i].barrier}
		dl.Message.ID = jobs[i].id
		copy(dl.Lanes[:], jobs[i].keys)
		if err := q.Enqueue(context.Background(), dl); err != nil {
			t.Fatal(err)
		}
		switch {
		case chance(100): // a kill: what is not done is read again
			run.killed.Store(true)
			d.Close()
			for i = 0; i < len(jobs) && done.count(uint64(i)) > 0; i++ {
			}
			i--
			run = &session{memory: m}
			d, q, _ = parking(t, cfg, run, r)
		case chance(100): // an edit
			limits := r.limits
			limits.Paused = chance(2)
			next := &receiver{kind: r.kind, delay: r.delay, answer: r.answer, limits: limits, before: r}
			next.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return next, nil }
			r = next
			d.Destination("w1", r)
		}
	}
	if r.limits.Paused {
		r = &receiver{kind: r.kind, delay: r.delay, answer: r.answer, before: r}
		d.Destination("w1", r)
	}
	for range 10000 {
		if parked, _ := m.count(); parked == 0 && done.total() == len(jobs) && q.status().Waiting == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	d.Drain(context.Background())
	d.Close()
	checkArrivals(t, jobs, r.all())
	if parked, dead := m.count(); parked+dead > 0 {
		t.Errorf("%d parked and %d dead are left", parked, dead)
	}
	if d.bytes.used != 0 || d.clerk.bytes.Load() != 0 {
		t.Errorf("%d bytes in memory and %d parked are still taken", d.bytes.used, d.clerk.bytes.Load())
	}
	if kind.Ordered && r.most > 1 {
		t.Errorf("%d sends at once", r.most)
	}
}

func randomJobs(n int, random func(int) int) []job {
	var jobs []job
	for i := range n {
		j := job{id: fmt.Sprint(i), keys: []uint64{uint64(random(12))}}
		switch random(30) {
		case 0:
			j.keys = append(j.keys, uint64(random(12))) // the row's key changed
		case 1:
			j.barrier, j.keys = true, nil // truncate
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// checkArrivals expects that each job arrived, first after those that it follows.
func checkArrivals(t *testing.T, jobs []job, got []string) {
	t.Helper()
	place := map[string]int{}
	for i, id := range got {
		if _, again := place[id]; !again {
			place[id] = i
		}
	}
	if len(place) != len(jobs) {
		t.Fatalf("%d arrived of %d", len(place), len(jobs))
	}
	for i, a := range jobs {
		for _, b := range jobs[i+1:] {
			if follows(a, b) && place[a.id] > place[b.id] {
				t.Fatalf("%v arrived after %v", a, b)
			}
		}
	}
}
