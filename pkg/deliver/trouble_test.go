package deliver

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// troubled is a memory in which something goes wrong.
type troubled struct {
	*memory
	loads                atomic.Int32 // how many calls of Load fail
	shut, killed         atomic.Bool  // Settle waits; fails
	places, load, settle func()       // called once, before
}

func (m *troubled) Load(ctx context.Context, ids []uint64) ([]*Delivery, error) {
	once(&m.load)
	if m.loads.Add(-1) >= 0 {
		return nil, errors.New("connection reset")
	}
	return m.memory.Load(ctx, ids)
}

func (m *troubled) Places(ctx context.Context, id string, after uint64, limit int) ([]Place, error) {
	once(&m.places)
	return m.memory.Places(ctx, id, after, limit)
}

func (m *troubled) Settle(ctx context.Context, c *Changes) error {
	once(&m.settle)
	for m.shut.Load() {
		time.Sleep(100 * time.Millisecond)
	}
	if m.killed.Load() {
		return errors.New("killed")
	}
	return m.memory.Settle(ctx, c)
}

func once(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

// Amend gives what is retried its times, as the stores do.
func (m *troubled) Amend(ctx context.Context, r *Request) (*Outcome, error) {
	out, err := m.memory.Amend(ctx, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	at := r.From
	for _, id := range r.Filter.IDs {
		d := m.rows[id]
		d.NextAt, at = at, at.Add(r.Every)
		m.rows[id] = d
	}
	return out, err
}

func single(kind string) *receiver {
	r := &receiver{kind: sink.Kind{Name: kind, MaxBatch: 1}}
	r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
	return r
}

func put(t *testing.T, q *Destination, l Ledger, id string, entry, lane uint64) {
	t.Helper()
	d := &Delivery{Ledger: l, Entry: entry, NLane: 1, Table: 1, Lanes: [2]uint64{lane}}
	d.Message.ID = id
	if err := q.Enqueue(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// TestUnpin: what waits for whatever reason is parked when it holds up the log.
func TestUnpin(t *testing.T) {
	for name, answer := range map[string]error{
		"asked to wait": &sink.Error{Class: sink.Unavailable, Code: "http_429", RetryAfter: 24 * time.Hour, Err: errors.New("later")},
		"alone":         &sink.Error{Class: sink.Unavailable, Code: "http_500", Err: errors.New("500")},
		"rate limit":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, r := newMemory(), single("k")
				if answer == nil {
					r.limits = sink.Limits{Rate: 0.0001}
				}
				r.answer = func(m *sink.Message) error {
					if m.ID == "good" {
						return nil
					}
					return answer
				}
				d, q, done := parking(t, DefaultConfig(), m, r)
				put(t, q, done, "first", 1, 1)
				put(t, q, done, "second", 2, 1)
				for i := range uint64(60) {
					put(t, q, done, "good", i+3, i+100)
					time.Sleep(100 * time.Millisecond)
				}
				if done.count(2) != 0 {
					t.Fatal("it was parked by itself: nothing is shown")
				}
				d.Unpin(done, 99)
				if time.Sleep(time.Second); done.count(2) != 0 {
					t.Error("parked for the sake of an entry that is not there")
				}
				d.Unpin(done, 2)
				if time.Sleep(time.Second); done.count(1) != 1 || done.count(2) != 1 {
					t.Errorf("not done: %d %d", done.count(1), done.count(2))
				}
				d.Drain(t.Context())
				d.Close()
			})
		})
	}
}

// TestRateLimitRests: between two deliveries nothing is done, and a stop does not wait.
func TestRateLimitRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := single("k")
		r.limits = sink.Limits{Rate: 1}
		began := time.Now()
		sent := make(chan time.Duration, 9)
		r.answer = func(*sink.Message) error { sent <- time.Since(began).Round(time.Second); return nil }
		d, q, done := parking(t, DefaultConfig(), newMemory(), r)
		for i := range uint64(9) {
			put(t, q, done, "x", i, i)
		}
		time.Sleep(2500 * time.Millisecond) // a loop that does not rest never lets this time pass
		for want := range 3 {
			if at := <-sent; at != time.Duration(want)*time.Second {
				t.Errorf("%d was sent after %v", want, at)
			}
		}
		stopped := time.Now()
		d.Drain(t.Context())
		if took := time.Since(stopped); took > 100*time.Millisecond || done.total() != 9 {
			t.Errorf("stopped in %v with %d of 9 done", took, done.total())
		}
		d.Close()
	})
}

// TestLoadFailsOnce: a refused delivery comes due, and the store fails between telling
// where it is and what it says.
func TestLoadFailsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		tries := 0
		r.answer = func(m *sink.Message) error {
			if tries++; tries == 1 {
				return refusal(sink.Rejected)
			}
			return nil
		}
		d, q, done := parking(t, DefaultConfig(), m, r)
		put(t, q, done, "bad", 1, 1)
		time.Sleep(2 * time.Second) // it is tried again 3 s later
		m.loads.Store(1)
		time.Sleep(time.Hour)
		put(t, q, done, "later", 2, 1)
		time.Sleep(time.Minute)
		if parked, _ := m.count(); parked != 0 || !slices.Equal(r.got(), []string{"bad", "later"}) {
			t.Errorf("%d are parked, arrived %v", parked, r.got())
		}
		d.Drain(t.Context())
		d.Close()
	})
}

// TestPacedRetryThenKill: dead deliveries of a lane are to be sent again later while one
// of the lane is being sent; what comes then is not parked before that one.
func TestPacedRetryThenKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		var slow, dying atomic.Bool
		r.answer = func(m *sink.Message) error {
			switch {
			case dying.Load():
				return errors.New("cut")
			case m.ID == "x":
				return refusal(sink.Permanent)
			}
			return nil
		}
		r.delay = func() time.Duration {
			if slow.Load() {
				return 20 * time.Second
			}
			return 0
		}
		cfg := DefaultConfig()
		cfg.Backoff.Schedule = []time.Duration{}
		d, q, done := parking(t, cfg, m, r)
		put(t, q, done, "x", 1, 1)
		put(t, q, done, "x", 2, 1)
		time.Sleep(time.Second)
		var dead []uint64
		for _, x := range m.list(func(d *Delivery) bool { return d.State == Dead }) {
			dead = append(dead, x.ID)
		}
		slow.Store(true)
		put(t, q, done, "a", 10, 1) // is being sent
		time.Sleep(time.Second)
		if out, err := d.Amend(t.Context(), Request{Filter: Filter{IDs: dead}, Do: Retry, Rate: 0.001, From: time.Now().Add(time.Hour)}); err != nil || out.Changed != 2 {
			t.Fatal(out, err)
		}
		time.Sleep(time.Second)
		put(t, q, done, "b", 11, 1)
		time.Sleep(time.Second)
		m.killed.Store(true)
		dying.Store(true)
		d.Close()
		if done.count(11) == 1 && done.count(10) == 0 {
			t.Error("b is in the store, and a comes behind it from the log")
		}
	})
}

// TestMadeAgainWhileBuried: a destination is deleted and one with its id made while the
// store is slow; what the new one has is its own.
func TestMadeAgainWhileBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		r.limits = sink.Limits{Paused: true}
		d, q, done := parking(t, DefaultConfig(), m, r)
		put(t, q, done, "old", 1, 1)
		time.Sleep(time.Second)
		other, next := single("o"), single("k")
		other.limits, next.limits = sink.Limits{Paused: true}, sink.Limits{Paused: true}
		o := d.Destination("w2", other)
		m.shut.Store(true)
		put(t, o, done, "whatever", 2, 1) // this is what takes the store so long
		time.Sleep(time.Second)
		d.Keep(func(id string) bool { return id == "w2" })
		put(t, d.Destination("w1", next), done, "new", 3, 1)
		time.Sleep(time.Second)
		m.shut.Store(false)
		time.Sleep(time.Second)
		for _, x := range m.list(func(*Delivery) bool { return true }) {
			if dead := x.State == Dead; dead != (x.Message.ID == "old") {
				t.Errorf("%s is dead: %v", x.Message.ID, dead)
			}
		}
		d.Drain(t.Context())
		d.Close()
	})
}

// TestHostDownAtTheEnd: while the last of what was parked is written, another destination
// finds the host down. Nobody waits for the end of a sweep that does not come.
func TestHostDownAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r, other := &troubled{memory: newMemory()}, single("k"), single("o")
		r.host, other.host = "h", "h"
		d, q, done := parking(t, DefaultConfig(), m, r)
		o := d.Destination("w2", other)
		m.places = func() {
			put(t, q, done, "e", 1, 1) // comes while the store is read
			m.settle = func() { q.host.down(o, time.Now().Add(time.Hour)) }
		}
		q.mu.Lock()
		q.spill() // as after an outage; nothing is left there
		q.mu.Unlock()
		time.Sleep(time.Second)
		began := time.Now()
		put(t, q, done, "f", 2, 2)
		if waited := time.Since(began); waited > time.Minute {
			t.Errorf("the reader of the log waited %v", waited)
		}
		d.Drain(t.Context())
		d.Close()
	})
}

// TestRefusalIsAnAnswer: a destination that failed as a whole, and then refuses one
// delivery, does not fail as a whole any more.
func TestRefusalIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := single("k")
		var refuses atomic.Bool
		r.answer = func(m *sink.Message) error {
			if m.ID == "bad" && refuses.Load() {
				return refusal(sink.Rejected)
			}
			return &sink.Error{Class: sink.Unavailable, Code: "http_500", Err: errors.New("500")}
		}
		d, q, done := parking(t, DefaultConfig(), newMemory(), r)
		put(t, q, done, "bad", 1, 1)
		time.Sleep(time.Minute)
		if s := q.status(); !s.Failing {
			t.Fatalf("it does not fail: %+v", s)
		}
		refuses.Store(true)
		time.Sleep(10 * time.Second)
		if s := q.status(); s.Failing || s.Err == "" || s.Parked != 1 {
			t.Errorf("it fails although it answers: %+v", s)
		}
		d.Drain(t.Context())
		d.Close()
	})
}

// TestRefusedWhileLoading: while a delivery whose time has come is loaded, another one is
// refused, for long: the first is sent all the same.
func TestRefusedWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		var again atomic.Bool
		r.answer = func(m *sink.Message) error {
			switch {
			case m.ID == "other":
				return &sink.Error{Class: sink.Rejected, Code: "http_400", RetryAfter: time.Hour, Err: errors.New("later")}
			case m.ID == "bad" && !again.Swap(true):
				return refusal(sink.Rejected)
			}
			return nil
		}
		cfg := DefaultConfig()
		cfg.Backoff.Schedule = []time.Duration{3 * time.Second, time.Hour}
		d, q, done := parking(t, cfg, m, r)
		m.load = func() {
			put(t, q, done, "other", 3, 2)
			time.Sleep(time.Second)
		}
		put(t, q, done, "bad", 1, 1)
		put(t, q, done, "behind", 2, 1)
		time.Sleep(time.Minute)
		if got := r.got(); !slices.Equal(got, []string{"bad", "behind"}) {
			t.Errorf("arrived: %v", got)
		}
		d.Close()
	})
}

// TestFollowedBeforeWritten: a delivery is refused while the store takes nothing, and its
// time comes, and others of its lane, before it is written: it is sent all the same.
func TestFollowedBeforeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		var again atomic.Bool
		r.answer = func(m *sink.Message) error {
			if m.ID == "bad" && !again.Swap(true) {
				return refusal(sink.Rejected)
			}
			return nil
		}
		cfg := DefaultConfig()
		cfg.Backoff.Schedule = []time.Duration{3 * time.Second}
		d, q, done := parking(t, cfg, m, r)
		m.shut.Store(true)
		put(t, q, done, "bad", 1, 1)
		time.Sleep(10 * time.Second)
		put(t, q, done, "behind", 2, 1)
		time.Sleep(time.Second)
		m.shut.Store(false)
		time.Sleep(time.Minute)
		if got := r.got(); !slices.Equal(got, []string{"bad", "behind"}) {
			t.Errorf("arrived: %v", got)
		}
		d.Close()
	})
}

// TestStoreTrouble: while the store takes nothing, somebody can tell.
func TestStoreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := &troubled{memory: newMemory()}, single("k")
		r.limits = sink.Limits{Paused: true}
		d, q, done := parking(t, DefaultConfig(), m, r)
		m.killed.Store(true)
		put(t, q, done, "a", 1, 1)
		time.Sleep(time.Second)
		if why := d.StoreTrouble(); why != "killed" {
			t.Errorf("trouble %q", why)
		}
		m.killed.Store(false)
		time.Sleep(2 * time.Second)
		if why := d.StoreTrouble(); why != "" || done.count(1) != 1 {
			t.Errorf("trouble %q, %d done", why, done.count(1))
		}
		d.Drain(t.Context())
		d.Close()
	})
}
