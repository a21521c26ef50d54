package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a sink whose answers the test decides, and its own target.
type receiver struct {
	kind sink.Kind
	// answer decides one message; nil = accepted.
	answer func(m *sink.Message) error
	delay  func() time.Duration
	limits sink.Limits
	host   string
	before *receiver // whose place it took

	mu       sync.Mutex
	accepted []string
	attempts int
	most     int
	now      int
	closed   bool
}

func (r *receiver) Kind() *sink.Kind { return &r.kind }

func (r *receiver) Conn(context.Context) (map[string]any, string, error) { return nil, "", nil }

func (r *receiver) Fill(context.Context, *sink.Message, []sink.Header) error { return nil }

func (r *receiver) Timeout() time.Duration { return 0 }

func (r *receiver) Trigger() int64 { return 7 }

func (r *receiver) Host() string { return r.host }

func (r *receiver) Limits() sink.Limits { return r.limits }

func (r *receiver) Env(map[string]any) sink.Env { return sink.Env{} }

func (r *receiver) Close() error { r.closed = true; return nil }

func (r *receiver) Send(ctx context.Context, msgs []*sink.Message) []error {
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	delay := r.delay
	r.mu.Unlock()
	if delay != nil {
		select {
		case <-time.After(delay()):
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	var errs []error
	for i, m := range msgs {
		r.attempts++
		var err error
		if r.answer != nil {
			err = r.answer(m)
		}
		if err == nil {
			r.accepted = append(r.accepted, m.ID)
			continue
		}
		if errs == nil {
			errs = make([]error, len(msgs))
		}
		errs[i] = err
		if r.kind.Pipelined { // as the contract says: nothing of this key after a failure
			for j := i + 1; j < len(msgs); j++ {
				errs[j] = err
			}
			return errs
		}
	}
	return errs
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

// all is what r and those before it accepted.
func (r *receiver) all() []string {
	if r.before == nil {
		return r.got()
	}
	return append(r.before.all(), r.got()...)
}

type doneSet struct {
	mu   sync.Mutex
	n    map[uint64]int
	stop bool
}

func (s *doneSet) Stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop
}

func (s *doneSet) Done(e uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[e]++
}

// count is how often e was done.
func (s *doneSet) count(e uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[e]
}

// total is the number of entries that were done.
func (s *doneSet) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.n)
}

func start(t *testing.T, cfg Config, r *receiver) (*Deliverer, *Destination, *doneSet) {
	t.Helper()
	r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
	s := &doneSet{n: map[uint64]int{}}
	d := deliverer(t, cfg, nil)
	return d, d.Destination("w1", r), s
}

func deliverer(t testing.TB, cfg Config, store Store) *Deliverer {
	t.Helper()
	d, err := New(context.Background(), cfg, store, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// job is a delivery in a test: what it shares a lane with is given by its keys.
type job struct {
	id      string
	keys    []uint64
	barrier bool
}

func enqueue(t *testing.T, done *doneSet, q *Destination, jobs []job) {
	t.Helper()
	for i, j := range jobs {
		d := &Delivery{Ledger: done, Entry: uint64(i), NLane: len(j.keys), Table: 1, Barrier: j.barrier}
		d.Message.ID = j.id
		d.Message.Body = []byte(j.id)
		copy(d.Lanes[:], j.keys)
		if err := q.Enqueue(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
}

// follows reports whether b has to come after a, a being enqueued first.
func follows(a, b job) bool {
	if a.barrier || b.barrier {
		return true
	}
	return slices.ContainsFunc(a.keys, func(k uint64) bool { return slices.Contains(b.keys, k) })
}

// TestOrder lets a destination fail at random and checks that everything arrives, and
// in order wherever there is one to keep.
func TestOrder(t *testing.T) {
	kinds := map[string]sink.Kind{
		"parallel":  {Name: "parallel", MaxBatch: 1},
		"ordered":   {Name: "ordered", Ordered: true, MaxBatch: 7},
		"pipelined": {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 7},
	}
	for name, kind := range kinds {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rnd := rand.New(rand.NewPCG(seed, 1))
					r := &receiver{kind: kind}
					r.delay = func() time.Duration {
						r.mu.Lock()
						defer r.mu.Unlock()
						return time.Duration(rnd.IntN(20)) * time.Millisecond
					}
					classes := []sink.Class{sink.Unavailable, sink.Rejected, sink.Misconfigured, sink.Permanent}
					r.answer = func(*sink.Message) error {
						if rnd.IntN(4) > 0 {
							return nil
						}
						return &sink.Error{Class: classes[rnd.IntN(len(classes))], Code: "x", Err: errors.New("no")}
					}
					cfg := DefaultConfig()
					cfg.MaxInFlight, cfg.Queue = 8, 50
					d, q, done := start(t, cfg, r)
					var jobs []job
					for i := range 300 {
						j := job{id: fmt.Sprint(i), keys: []uint64{uint64(rnd.IntN(12))}}
						switch rnd.IntN(30) {
						case 0:
							j.keys = append(j.keys, uint64(rnd.IntN(12))) // the row's key changed
						case 1:
							j.barrier, j.keys = true, nil // truncate
						}
						jobs = append(jobs, j)
					}
					enqueue(t, done, q, jobs)
					for len(r.got()) < len(jobs) {
						time.Sleep(time.Second)
					}
					d.Drain(context.Background())
					d.Close()
					place := map[string]int{}
					for i, id := range r.got() {
						place[id] = i
					}
					for i, a := range jobs {
						for _, b := range jobs[i+1:] {
							if follows(a, b) && place[a.id] > place[b.id] {
								t.Fatalf("%v arrived after %v", a, b)
							}
						}
					}
					if done.total() != len(jobs) || len(place) != len(jobs) {
						t.Errorf("%d done and %d arrived of %d", done.total(), len(place), len(jobs))
					}
					for e, n := range done.n {
						if n != 1 {
							t.Errorf("delivery %d done %d times", e, n)
						}
					}
					if kind.Ordered && r.most > 1 {
						t.Errorf("%d sends at once", r.most)
					}
				})
			})
		}
	}
}

func TestRefusedDeliveryHoldsItsLaneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		until := time.Now().Add(time.Hour)
		r.answer = func(m *sink.Message) error {
			if m.ID == "bad" && time.Now().Before(until) {
				return &sink.Error{Class: sink.Rejected, Code: "http_400", Err: errors.New("400")}
			}
			return nil
		}
		d, q, done := start(t, DefaultConfig(), r)
		enqueue(t, done, q, []job{{id: "bad", keys: []uint64{1}}, {id: "behind", keys: []uint64{1}}, {id: "other", keys: []uint64{2}}})
		time.Sleep(time.Minute)
		if got := r.got(); !slices.Equal(got, []string{"other"}) {
			t.Errorf("arrived %v, want only other", got)
		}
		time.Sleep(2 * time.Hour)
		if got := r.got(); !slices.Equal(got, []string{"other", "bad", "behind"}) {
			t.Errorf("arrived %v", got)
		}
		d.Close()
		if !r.closed {
			t.Error("sink not closed")
		}
	})
}

func TestDestinationThatIsDownIsProbedAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		down := true
		r.answer = func(*sink.Message) error {
			if down {
				return errors.New("connection refused")
			}
			return nil
		}
		r.delay = func() time.Duration { return time.Millisecond }
		d, q, done := start(t, DefaultConfig(), r)
		var jobs []job
		for i := range 1000 {
			jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i)}})
		}
		enqueue(t, done, q, jobs)
		time.Sleep(time.Minute)
		r.mu.Lock()
		before := r.attempts
		r.mu.Unlock()
		time.Sleep(time.Minute)
		r.mu.Lock()
		if n := r.attempts - before; n < 9 || n > 16 {
			t.Errorf("%d probes in a minute, want one about every 5 s", n)
		}
		down = false
		r.mu.Unlock()
		time.Sleep(10 * time.Second)
		if n := len(r.got()); n != 1000 {
			t.Errorf("%d arrived after the recovery, want 1000", n)
		}
		if r.most < 64 {
			t.Errorf("at most %d in flight, want the limit to be reached again", r.most)
		}
		d.Close()
	})
}

func TestNewTargetFreesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &receiver{kind: sink.Kind{Name: "bad", MaxBatch: 1}, answer: func(*sink.Message) error {
			return &sink.Error{Class: sink.Rejected, Code: "http_404", Err: errors.New("404")}
		}}
		d, q, done := start(t, DefaultConfig(), bad)
		enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2", keys: []uint64{1}}})
		time.Sleep(time.Hour)
		good := &receiver{kind: sink.Kind{Name: "good", MaxBatch: 1}}
		good.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return good, nil }
		d.Destination("w1", good)
		synctest.Wait()
		if got := good.got(); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("arrived %v at once, want 1 2", got)
		}
		d.Close()
	})
}

func TestDiscardedDestinationIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, answer: func(*sink.Message) error { return errors.New("down") }}
		r.delay = func() time.Duration { return time.Second }
		d, q, done := start(t, DefaultConfig(), r)
		enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2", keys: []uint64{1}}, {id: "t", barrier: true}, {id: "3", keys: []uint64{3}}})
		synctest.Wait() // 1 is under way
		d.Keep(func(string) bool { return false })
		time.Sleep(time.Minute)
		for e := range uint64(4) {
			if done.count(e) != 1 {
				t.Errorf("delivery %d done %d times, want once", e, done.count(e))
			}
		}
		d.Close()
	})
}

// TestDiscardFindsWhatHasNoLane drops deliveries without order: one under way, one
// that waits for its retry, the rest ready or behind a barrier.
func TestDiscardFindsWhatHasNoLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, answer: func(m *sink.Message) error {
			return &sink.Error{Class: sink.Rejected, Code: "http_400", Err: errors.New("400")}
		}}
		cfg := DefaultConfig()
		cfg.MaxInFlight = 1
		d, q, done := start(t, cfg, r)
		enqueue(t, done, q, []job{{id: "refused"}, {id: "truncate", barrier: true}})
		time.Sleep(time.Hour)
		r.mu.Lock()
		r.delay = func() time.Duration { return time.Second }
		r.mu.Unlock()
		enqueue(t, done, q, []job{{id: "sending"}, {id: "ready"}, {id: "behind", keys: []uint64{1}}})
		d.Keep(func(string) bool { return false })
		time.Sleep(time.Hour)
		for e, want := range []int{2, 2, 1} { // entries are numbered anew by each call of enqueue
			if done.count(uint64(e)) != want {
				t.Errorf("entry %d done %d times, want %d", e, done.count(uint64(e)), want)
			}
		}
		if s := q.status(); s.Waiting != 0 {
			t.Errorf("%d still wait", s.Waiting)
		}
		if d.bytes.used != 0 {
			t.Errorf("%d bytes still taken", d.bytes.used)
		}
		d.Close()
	})
}

// TestDiscardFreesWhoWaits removes a full destination: what is enqueued for it counts
// as done, and is no error.
func TestDiscardFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, answer: func(*sink.Message) error { return errors.New("down") }}
		cfg := DefaultConfig()
		cfg.Queue = 1
		d, q, done := start(t, cfg, r)
		go func() {
			time.Sleep(time.Second)
			d.Keep(func(string) bool { return false })
		}()
		enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2", keys: []uint64{1}}, {id: "3", keys: []uint64{1}}})
		if done.total() != 3 {
			t.Errorf("%d done, want 3", done.total())
		}
		d.Close()
		if err := q.Enqueue(context.Background(), &Delivery{Ledger: done}); err != nil {
			t.Errorf("enqueue for a removed destination: %v", err)
		}
	})
}

// TestStoppedLedger sends nothing that could not be counted any more.
func TestStoppedLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		r.answer = func(*sink.Message) error {
			return &sink.Error{Class: sink.Rejected, Code: "http_400", Err: errors.New("400")}
		}
		d, q, done := start(t, DefaultConfig(), r)
		enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2"}})
		d.Drain(context.Background())
		done.mu.Lock()
		done.stop = true
		done.mu.Unlock()
		r.mu.Lock()
		r.answer = nil
		r.mu.Unlock()
		time.Sleep(time.Hour)
		d.Drain(context.Background())
		if got := r.got(); len(got) != 0 {
			t.Errorf("sent %v after the account was closed", got)
		}
		d.Close()
	})
}

func TestClosedDeliverer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, delay: func() time.Duration { return time.Minute }}
		r.answer = func(*sink.Message) error { return context.Canceled }
		d, q, done := start(t, DefaultConfig(), r)
		enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2", keys: []uint64{1}}})
		synctest.Wait()
		began := time.Now()
		d.Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("close took %v with a request under way", took)
		}
		if err := q.Enqueue(context.Background(), &Delivery{Ledger: done}); !errors.Is(err, ErrClosed) {
			t.Errorf("enqueue after close: %v, want ErrClosed", err)
		}
		if done.total() != 0 {
			t.Errorf("%d done, want none", done.total())
		}
	})
}

// TestLateRendering holds the lane of a message that cannot be rendered until it can.
func TestLateRendering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 5, Ordered: true}}
		var mended atomic.Bool
		cfg := DefaultConfig()
		cfg.Render = func(_ context.Context, d *Delivery) (bool, error) {
			if !mended.Load() {
				return false, errors.New("unknown column")
			}
			d.Message.ID = string(d.Event)
			return d.Message.ID != "never", nil
		}
		d, q, done := start(t, cfg, r)
		late := func(id string) *Delivery {
			return &Delivery{Ledger: done, Entry: 9, NLane: 1, Event: []byte(id)}
		}
		for _, dl := range []*Delivery{late("late"), late("never")} {
			if err := q.Enqueue(context.Background(), dl); err != nil {
				t.Fatal(err)
			}
		}
		enqueue(t, done, q, []job{{id: "behind", keys: []uint64{0}}, {id: "other", keys: []uint64{2}}})
		time.Sleep(time.Hour)
		if got := r.got(); !slices.Equal(got, []string{"other"}) {
			t.Errorf("arrived %v, want only other", got)
		}
		mended.Store(true)
		time.Sleep(5 * time.Minute)
		if got := r.got(); !slices.Equal(got, []string{"other", "late", "behind"}) {
			t.Errorf("arrived %v", got)
		}
		if done.count(9) != 2 {
			t.Errorf("%d late ones done, want 2", done.count(9))
		}
		d.Close()
	})
}

// TestSlowLateRendering leaves the others of a batch time to be sent.
func TestSlowLateRendering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 50, Ordered: true}, delay: func() time.Duration { return 5 * time.Second }}
		r.answer = func(*sink.Message) error { return nil }
		cfg := DefaultConfig()
		cfg.Render = func(ctx context.Context, _ *Delivery) (bool, error) {
			select {
			case <-time.After(3 * time.Second):
				return false, errors.New("no answer")
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		d, q, done := start(t, cfg, r)
		enqueue(t, done, q, []job{{id: "first", keys: []uint64{100}}}) // the batch after it has all the others
		for i := range uint64(20) {
			dl := &Delivery{Ledger: done, Entry: i, NLane: 1, Event: []byte("late")}
			dl.Lanes[0] = i
			if err := q.Enqueue(context.Background(), dl); err != nil {
				t.Fatal(err)
			}
		}
		enqueue(t, done, q, []job{{id: "plain", keys: []uint64{200}}})
		time.Sleep(30 * time.Second)
		if got := r.got(); !slices.Equal(got, []string{"first", "plain"}) {
			t.Errorf("arrived %v", got)
		}
		d.Close()
	})
}

func TestEnqueueWaitsWhenFull(t *testing.T) {
	for _, c := range []struct {
		name  string
		queue int
		bytes int64
	}{{"deliveries", 2, 1 << 20}, {"bytes", 100, 2 * (overhead + 1)}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, delay: func() time.Duration { return time.Second }}
				cfg := DefaultConfig()
				cfg.Queue, cfg.QueueBytes = c.queue, c.bytes
				d, q, done := start(t, cfg, r)
				began := time.Now()
				enqueue(t, done, q, []job{{id: "1", keys: []uint64{1}}, {id: "2", keys: []uint64{1}}})
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				full := &Delivery{}
				full.Message.Body = []byte("x")
				if err := q.Enqueue(ctx, full); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("full queue: %v", err)
				}
				pushed := &Delivery{Ledger: done, NLane: 1, Lanes: [2]uint64{1}}
				pushed.Message.ID = "pushed"
				if err := q.Push(pushed); err != nil || time.Since(began) > 10*time.Millisecond {
					t.Errorf("push: %v after %v", err, time.Since(began))
				}
				enqueue(t, done, q, []job{{id: "3", keys: []uint64{1}}})
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("room after %v, want 2s", took)
				}
				d.Drain(context.Background())
				if got := r.got(); !slices.Equal(got, []string{"1", "2", "pushed", "3"}) {
					t.Errorf("arrived %v", got)
				}
				d.Close()
			})
		})
	}
}

// TestAttemptHasItsTime gives each attempt at least the time-out and little more.
func TestAttemptHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		var w worker
		made := map[context.Context]bool{}
		for i := range 200 {
			timeout := time.Second
			if i >= 100 {
				timeout = time.Minute
			}
			ctx := w.attempt(parent, timeout, time.Now())
			made[ctx] = true
			at, ok := ctx.Deadline()
			if left := time.Until(at); !ok || ctx.Err() != nil || left < timeout || left > timeout+timeout/spare {
				t.Fatalf("attempt %d has %v (%v), want about %v", i, left, ctx.Err(), timeout)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if len(made) > 40 {
			t.Errorf("%d contexts for 200 attempts", len(made))
		}
		cancel()
		if w.ctx.Err() == nil {
			t.Error("the attempt outlives its parent")
		}
		w.end()
	})
}

func BenchmarkDeliver(b *testing.B) {
	for _, kind := range []sink.Kind{{Name: "parallel", MaxBatch: 1}, {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 500}} {
		b.Run(kind.Name, func(b *testing.B) {
			r := &nullSink{kind: kind}
			r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
			d := deliverer(b, DefaultConfig(), nil)
			q := d.Destination("w1", r)
			body := make([]byte, 300)
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				dl := &Delivery{Ledger: nullLedger{}, Entry: i, NLane: 1, Table: 1}
				dl.Lanes[0] = i
				dl.Message.Body = body
				if err := q.Enqueue(context.Background(), dl); err != nil {
					b.Fatal(err)
				}
				i++
			}
			d.Drain(context.Background())
			d.Close()
		})
	}
}

type nullLedger struct{}

func (nullLedger) Stopped() bool { return false }

func (nullLedger) Done(uint64) {}

type nullSink struct {
	receiver
	kind sink.Kind
}

func (n *nullSink) Kind() *sink.Kind { return &n.kind }

func (n *nullSink) Send(context.Context, []*sink.Message) []error { return nil }

// TestDestinationsTakeTurnsWithAnOrderedSink shares one sink between two destinations
// with the same connection details.
func TestDestinationsTakeTurnsWithAnOrderedSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{kind: sink.Kind{Name: "k", Ordered: true, MaxBatch: 5}, delay: func() time.Duration { return time.Second }}
		d, q, done := start(t, DefaultConfig(), r)
		other := d.Destination("w2", r)
		for i := range 20 {
			enqueue(t, done, q, []job{{id: fmt.Sprintf("a%d", i), keys: []uint64{uint64(i)}}})
			enqueue(t, done, other, []job{{id: fmt.Sprintf("b%d", i), keys: []uint64{uint64(i)}}})
		}
		d.Drain(context.Background())
		if n := len(r.got()); n != 40 || r.most != 1 {
			t.Errorf("%d arrived, %d sends at once, want 40 and 1", n, r.most)
		}
		d.Close()
	})
}
