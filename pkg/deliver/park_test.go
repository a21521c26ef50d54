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
		if was, ok := m.rows[d.ID]; ok && was.State == Parked {
			m.put(d)
		}
	}
	for _, id := range c.Done {
		delete(m.rows, id)
	}
	for id, d := range m.rows {
		for i, b := range c.Bury {
			if d.Destination == b.Destination && d.State == Parked {
				d.State, d.Class = Dead, b.Class
				c.Bury[i].Bytes += d.Bytes()
			}
		}
		if slices.Contains(c.Free, d.Destination) && d.State == Parked {
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
		if s := sums[d.Destination]; d.State == Parked {
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
	for _, d := range m.list(func(d *Delivery) bool { return d.Destination == destination && d.State == Parked && d.ID > after }) {
		if len(out) < limit {
			out = append(out, *place(d))
		}
	}
	return out, nil
}

func (m *memory) Load(_ context.Context, ids []uint64) ([]*Delivery, error) {
	return m.list(func(d *Delivery) bool { return slices.Contains(ids, d.ID) && d.State == Parked }), nil
}

func (m *memory) Expire(_ context.Context, s State, then time.Time, excess int64) (out Expired, err error) {
	old := m.list(func(d *Delivery) bool { return d.State == s })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range old {
		ended := d.FailedAt
		if s == Sent {
			ended = d.SentAt
		}
		if ended.Before(then) || out.Bytes < excess {
			out.Bytes += d.Bytes()
			out.Deliveries++
			delete(m.rows, d.ID)
		}
	}
	return out, nil
}

func (m *memory) Size(_ context.Context, s State) (n int64, err error) {
	for _, d := range m.list(func(d *Delivery) bool { return d.State == s }) {
		n += d.Bytes()
	}
	return n, nil
}

func (m *memory) KeepHistory(context.Context, bool) error { return nil }

func (m *memory) count() (parked, dead int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.rows {
		switch d.State {
		case Dead:
			dead++
		case Parked:
			parked++
		}
	}
	return parked, dead
}

// session is what one run of the program has of a store: nothing once it is killed.
type session struct {
	*memory
	killed atomic.Bool
	hang   func() time.Duration // how long Settle takes; nil = no time
}

func (s *session) Settle(ctx context.Context, c *Changes) error {
	if s.hang != nil {
		time.Sleep(s.hang())
	}
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

// dice are rolled by several goroutines.
type dice struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	well atomic.Bool // nothing happens by chance any more
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n)
}

func (d *dice) chance(n int) bool { return !d.well.Load() && d.roll(n) == 0 }

func parkedOrder(t *testing.T, kind sink.Kind, rnd *rand.Rand) {
	luck := &dice{rnd: rnd}
	chance := luck.chance
	r := &receiver{kind: kind}
	r.delay = func() time.Duration { return time.Duration(luck.roll(20)) * time.Millisecond }
	classes := []sink.Class{sink.Unavailable, sink.Unavailable, sink.Rejected, sink.Misconfigured, sink.Permanent, sink.Blocked}
	r.answer = func(*sink.Message) error {
		if !chance(4) {
			return nil
		}
		return refusal(classes[luck.roll(len(classes))])
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
	hang := func() time.Duration {
		if chance(30) {
			return 10 * time.Second
		}
		return 0
	}
	run := &session{memory: m, hang: hang}
	d, q, done := parking(t, cfg, run, r)
	jobs := randomJobs(400, luck.roll)
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
			run = &session{memory: m, hang: hang}
			d, q, _ = parking(t, cfg, run, r)
		case chance(100):
			if _, err := d.Amend(t.Context(), Request{Do: Retry}); err != nil {
				t.Error(err)
			}
		case chance(100):
			d.RetryNow("w1")
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
	if luck.roll(2) == 0 { // what waits must not need another failure to be looked at
		luck.well.Store(true)
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

// TestNothingStaysParked has a destination refuse one delivery now and then while the store
// hangs now and then. Once both are well everything arrives, although nothing more comes
// that would have the rows looked at.
func TestNothingStaysParked(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				luck := &dice{rnd: rand.New(rand.NewPCG(seed, 3))}
				r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
				r.answer = func(*sink.Message) error {
					if luck.chance(20) {
						return refusal(sink.Rejected)
					}
					return nil
				}
				cfg := DefaultConfig()
				cfg.Backoff.Schedule = slices.Repeat([]time.Duration{300 * time.Millisecond}, 100)
				d, q, done := parking(t, cfg, &session{memory: newMemory(), hang: func() time.Duration {
					if luck.chance(5) {
						return 3 * time.Second
					}
					return time.Millisecond
				}}, r)
				var jobs []job
				for i := range 500 {
					jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(luck.roll(20))}})
				}
				for i := range jobs {
					put(t, q, done, jobs[i].id, uint64(i), jobs[i].keys[0])
					time.Sleep(10 * time.Millisecond)
				}
				luck.well.Store(true)
				time.Sleep(10 * time.Second)
				defer d.Close()
				checkArrivals(t, jobs, r.got())
			})
		})
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

// TestParkedPoison keeps the lane of a delivery that is refused in the store, and lets it
// go on when the delivery is dead, or skipped.
func TestParkedPoison(t *testing.T) {
	for _, way := range []string{"dead", "skipped", "erased", "retried", "edited"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
				mended := false
				r.answer = func(m *sink.Message) error {
					if m.ID == "bad" && !mended {
						return refusal(sink.Rejected)
					}
					return nil
				}
				d, q, done := parking(t, DefaultConfig(), m, r)
				enqueue(t, done, q, []job{{id: "bad", keys: []uint64{1}}, {id: "behind", keys: []uint64{1}}, {id: "other", keys: []uint64{2}}})
				time.Sleep(time.Minute)
				enqueue(t, done, q, []job{{id: "late", keys: []uint64{1}}, {id: "free", keys: []uint64{3}}})
				time.Sleep(time.Second)
				if got := r.got(); !slices.Equal(got, []string{"other", "free"}) {
					t.Errorf("arrived %v, want what shares no lane with it", got)
				}
				if parked, _ := m.count(); parked != 3 || done.total() != 3 {
					t.Errorf("%d parked, %d entries done", parked, done.total())
				}
				bad := m.list(func(d *Delivery) bool { return d.Message.ID == "bad" })[0]
				want := []string{"other", "free", "bad", "behind", "late"}
				began := time.Now()
				filter := &Filter{IDs: []uint64{bad.ID}}
				switch way {
				case "dead":
					time.Sleep(100 * time.Hour)
				case "skipped":
					amend(t, d, filter, Skip)
				case "erased":
					amend(t, d, filter, Erase)
				case "retried":
					mended = true
					amend(t, d, filter, Retry)
				case "edited":
					mended = true
					other := &receiver{kind: r.kind, before: r}
					other.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return other, nil }
					r = other
					d.Destination("w1", other)
				}
				time.Sleep(5 * time.Second)
				if !mended {
					want = slices.Delete(want, 2, 3)
				}
				if got := r.all(); !slices.Equal(got, want) {
					t.Errorf("arrived %v, want %v, after %v", got, want, time.Since(began))
				}
				parked, dead := m.count()
				if wantDead := map[string]int{"dead": 1, "skipped": 1}[way]; parked != 0 || dead != wantDead {
					t.Errorf("%d parked and %d dead, want none and %d", parked, dead, wantDead)
				}
				if way == "dead" {
					if d := m.list(func(d *Delivery) bool { return d.State == Dead })[0]; d.Attempts != 10 || d.Refusals != 10 || len(d.Tries) != 10 || d.Code != "x" {
						t.Errorf("dead: %+v", d)
					}
					mended = true
					amend(t, d, &Filter{}, Retry)
					time.Sleep(5 * time.Second)
					if got := r.got(); got[len(got)-1] != "bad" {
						t.Errorf("the dead one was not sent: %v", got)
					}
				}
				d.Close()
			})
		})
	}
}

func amend(t *testing.T, d *Deliverer, f *Filter, a Amendment) {
	t.Helper()
	if out, err := d.Amend(t.Context(), Request{Filter: *f, Do: a}); out.Changed != 1 || err != nil {
		t.Errorf("changed %d deliveries: %v", out.Changed, err)
	}
}

func (m *memory) List(_ context.Context, f *Filter) ([]*Delivery, error) {
	return m.list(func(d *Delivery) bool { return f.IDs == nil || slices.Contains(f.IDs, d.ID) }), nil
}

func (m *memory) Amend(_ context.Context, r *Request) (*Outcome, error) {
	f := &r.Filter
	picked := m.list(func(d *Delivery) bool {
		return d.ID > f.After.ID && (f.IDs == nil || slices.Contains(f.IDs, d.ID)) && (f.States == nil && d.State != Sent || slices.Contains(f.States, d.State))
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	picked = picked[:min(len(picked), f.Limit)]
	one := Amended{Destination: "w1"}
	out := &Outcome{Picked: len(picked)}
	for _, d := range picked {
		out.Last = Mark{ID: d.ID}
		if r.Do == Skip && d.State != Parked {
			continue
		}
		out.Changed++
		one.Bytes[d.State] -= d.Bytes()
		if d.State == Parked && r.Do != Retry {
			one.Left = append(one.Left, d.ID)
		}
		switch r.Do {
		case Retry:
			d.State, d.NextAt, d.Refusals = Parked, time.Time{}, 0
		case Skip:
			d.State = Dead
		case Erase:
			delete(m.rows, d.ID)
			continue
		}
		one.Bytes[d.State] += d.Bytes()
		m.rows[d.ID] = *d
	}
	for _, d := range m.rows {
		if d.State == Parked {
			one.Parked++
		}
	}
	out.Amended = []Amended{one}
	return out, nil
}

// TestSlowDestinationIsParked lets a destination be full: what is enqueued for it goes to
// the store, and its caller goes on.
func TestSlowDestinationIsParked(t *testing.T) {
	for _, fault := range []string{"hangs", "is slow", "fails"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
				took := map[string]time.Duration{"hangs": time.Hour, "is slow": 100 * time.Millisecond, "fails": time.Millisecond}[fault]
				var mended atomic.Bool
				r.delay = func() time.Duration {
					if mended.Load() {
						return time.Microsecond
					}
					return took
				}
				r.answer = func(*sink.Message) error {
					if mended.Load() || fault == "is slow" {
						return nil
					}
					return errors.New("down")
				}
				cfg := DefaultConfig()
				cfg.Queue, cfg.MaxInFlight = 100, 10
				d, q, done := parking(t, cfg, m, r)
				var jobs []job
				for i := range 5000 {
					jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i % 300)}})
				}
				began := time.Now()
				enqueue(t, done, q, jobs)
				if waited := time.Since(began); waited > 2*time.Second {
					t.Errorf("the log waited %v", waited)
				}
				synctest.Wait()
				if done.total() < 4900 {
					t.Errorf("%d of 5000 done", done.total())
				}
				mended.Store(true)
				for range 600 {
					if len(r.got()) == len(jobs) {
						break
					}
					time.Sleep(time.Second)
				}
				checkArrivals(t, jobs, r.got())
				time.Sleep(time.Second)
				enqueue(t, done, q, jobs[:1])
				if q.lot.all || q.lot.sweeping || q.status().Waiting != 1 {
					t.Error("it still parks what comes")
				}
				d.Drain(context.Background())
				d.Close()
				if len(m.rows) != 0 {
					t.Errorf("%d rows are left", len(m.rows))
				}
			})
		})
	}
}

// TestFullStore parks no more than the configuration allows: then the log waits.
func TestFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		var mended atomic.Bool
		r.answer = func(*sink.Message) error {
			if mended.Load() {
				return nil
			}
			return errors.New("down")
		}
		cfg := DefaultConfig()
		cfg.Queue, cfg.Park.MaxBytes = 10, 100*overhead
		d, q, done := parking(t, cfg, m, r)
		var jobs []job
		for i := range 1000 {
			jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i)}})
		}
		time.AfterFunc(time.Hour, func() { mended.Store(true) })
		began := time.Now()
		enqueue(t, done, q, jobs)
		if waited := time.Since(began); waited < time.Hour {
			t.Errorf("the log waited %v only", waited)
		}
		for len(r.got()) < len(jobs) {
			time.Sleep(time.Second)
		}
		checkArrivals(t, jobs, r.got())
		d.Drain(context.Background())
		d.Close()
		if m.most > 130 {
			t.Errorf("%d rows were parked at once", m.most)
		}
	})
}

// TestNothingIsParkedBehindWhatIsLost: a store that takes nothing for a while at the end
// has lost what was to be parked first; what belongs behind that must not be in it.
func TestNothingIsParkedBehindWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		r.answer = func(*sink.Message) error { return errors.New("down") }
		var back time.Time
		m.fail = func() error {
			if back.IsZero() || time.Now().Before(back) {
				return errors.New("no store")
			}
			return nil
		}
		cfg := DefaultConfig()
		cfg.Park.After = 0
		d, q, done := parking(t, cfg, m, r)
		var jobs []job
		for i := range maxNotes + 500 {
			jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{1}})
		}
		enqueue(t, done, q, jobs)
		time.Sleep(time.Minute)
		m.mu.Lock()
		back = time.Now().Add(lastWrites + 2*time.Second)
		m.mu.Unlock()
		d.Close()
		if len(m.rows) != 0 || done.total() != 0 {
			t.Errorf("%d are parked, %d done: they come before what is read again from the log", len(m.rows), done.total())
		}
	})
}
