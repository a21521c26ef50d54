package deliver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TestHistory keeps what is accepted, for as long as it should be, and sends it once more.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		cfg := DefaultConfig()
		cfg.History = HistoryConfig{Keep: time.Hour}
		d, q, done := parking(t, cfg, m, r)
		enqueue(t, done, q, []job{{id: "a", keys: []uint64{1}}, {id: "b", keys: []uint64{1}}, {id: "c", keys: []uint64{1}}})
		time.Sleep(time.Second)
		sent := func() (out []string) {
			for _, d := range m.list(func(d *Delivery) bool { return d.State == Sent && string(d.Message.Body) == d.Message.ID }) {
				out = append(out, d.Message.ID)
			}
			return out
		}
		if got := sent(); !slices.Equal(got, []string{"a", "b", "c"}) || done.total() != 3 {
			t.Errorf("kept %v, %d done", got, done.total())
		}
		out, err := d.Amend(t.Context(), Request{Filter: Filter{States: []State{Sent}}, Rate: 1})
		if err != nil || out.Changed != 3 {
			t.Errorf("replayed %+v, %v", out, err)
		}
		time.Sleep(10 * time.Second)
		if got := r.got(); !slices.Equal(got, []string{"a", "b", "c", "a", "b", "c"}) {
			t.Errorf("arrived %v", got)
		}
		if got := sent(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("kept %v", got)
		}
		if held(d) != 0 || d.clerk.bytes.Load() != 0 || d.clerk.kept[Sent].Load() != 3*(overhead+1) {
			t.Errorf("%d bytes in memory, %d parked and %d sent", held(d), d.clerk.bytes.Load(), d.clerk.kept[Sent].Load())
		}
		time.Sleep(2 * time.Hour)
		if got := sent(); len(got) != 0 || d.clerk.kept[Sent].Load() != 0 {
			t.Errorf("kept for too long: %v", got)
		}
		d.Close()
	})
}

// TestHistoryIsBounded keeps no more bytes than it should, and begins with what an earlier
// run left.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		for i := range uint64(100) {
			m.put(&Delivery{ID: i + 1, Destination: "w1", Fate: Fate{State: Sent, SentAt: time.Now()}})
		}
		cfg := DefaultConfig()
		cfg.History = HistoryConfig{Keep: time.Hour, MaxBytes: 50 * overhead}
		d, q, done := parking(t, cfg, m, r)
		time.Sleep(2 * time.Minute)
		if n := m.len(); n != 50 {
			t.Errorf("%d are kept", n)
		}
		var jobs []job
		for i := range 200 {
			jobs = append(jobs, job{id: fmt.Sprint(i)})
		}
		enqueue(t, done, q, jobs)
		time.Sleep(time.Second)
		if n := m.len(); n > 60 {
			t.Errorf("%d are kept", n)
		}
		d.Close()
		cfg.History = HistoryConfig{}
		d, _, _ = parking(t, cfg, m, r)
		time.Sleep(2 * time.Minute)
		if n := m.len(); n != 0 {
			t.Errorf("%d are kept though none should be", n)
		}
		d.Close()
	})
}

// TestNothingSentIsNoHistory: what a dry kind takes was not sent.
func TestNothingSentIsNoHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1, Dry: true}}
		cfg := DefaultConfig()
		cfg.History.Keep = time.Hour
		d, q, done := parking(t, cfg, m, r)
		enqueue(t, done, q, []job{{id: "a"}})
		time.Sleep(time.Second)
		if m.len() != 0 || done.total() != 1 || held(d) != 0 {
			t.Errorf("%d kept, %d done", m.len(), done.total())
		}
		d.Close()
	})
}

// TestBodies keeps only so much of what is over.
func TestBodies(t *testing.T) {
	for bodies, want := range map[Bodies]string{AllBodies: "good bad", FailedBodies: " bad", NoBodies: " "} {
		synctest.Test(t, func(t *testing.T) {
			m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
			r.answer = func(m *sink.Message) error {
				if m.ID == "bad" {
					return refusal(sink.Permanent)
				}
				return nil
			}
			cfg := DefaultConfig()
			cfg.History, cfg.Bodies = HistoryConfig{Keep: time.Hour}, bodies
			cfg.Backoff.Schedule = []time.Duration{time.Second}
			d, q, done := parking(t, cfg, m, r)
			enqueue(t, done, q, []job{{id: "good"}, {id: "bad"}})
			time.Sleep(time.Minute)
			ds := m.list(func(*Delivery) bool { return true })
			if len(ds) != 2 || ds[0].State != Sent || ds[1].State != Dead {
				t.Fatalf("kept %+v", ds)
			}
			if got := string(ds[0].Message.Body) + " " + string(ds[1].Message.Body); got != want || ds[1].Bare != (bodies == NoBodies) {
				t.Errorf("%d: kept %q, want %q", bodies, got, want)
			}
			if held(d) != 0 {
				t.Errorf("%d bytes in memory are still taken", held(d))
			}
			d.Close()
		})
	}
}

// TestHistoryOverAKill: what is accepted is kept, or it is sent again.
func TestHistoryOverAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		cfg := DefaultConfig()
		cfg.History.Keep = time.Hour
		run := &session{memory: m}
		d, q, done := parking(t, cfg, run, r)
		run.killed.Store(true)
		enqueue(t, done, q, []job{{id: "a"}})
		time.Sleep(time.Second)
		d.Close()
		if len(r.got()) != 1 || done.total() != 0 {
			t.Errorf("%v arrived, %d are done and not kept", r.got(), done.total())
		}
		d, q, done = parking(t, cfg, m, r)
		enqueue(t, done, q, []job{{id: "a"}})
		d.Drain(context.Background())
		d.Close()
		if done.total() != 1 || m.len() != 1 {
			t.Errorf("%d done, %d kept", done.total(), m.len())
		}
	})
}

// slowStore takes nothing while it is held.
type slowStore struct {
	*memory
	held chan struct{}
}

func (s *slowStore) Settle(ctx context.Context, c *Changes) error {
	<-s.held
	return s.memory.Settle(ctx, c)
}

// TestAcceptedWhileParked: what is under way is parked, and over before that is written.
func TestAcceptedWhileParked(t *testing.T) {
	for name, answer := range map[string]func(m *sink.Message) error{
		"accepted": nil,
		"refused": func(m *sink.Message) error {
			if m.ID == "a" || m.ID == "b" {
				return refusal(sink.Permanent)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}, answer: answer}
				r.delay = func() time.Duration { return time.Second }
				m := &slowStore{newMemory(), make(chan struct{})}
				cfg := DefaultConfig()
				cfg.History.Keep = time.Hour
				cfg.Backoff.Schedule = nil
				d, q, done := parking(t, cfg, m, r)
				enqueue(t, done, q, []job{{id: "a", keys: []uint64{1}}, {id: "b", keys: []uint64{2}}, {id: "c", keys: []uint64{3}}})
				time.Sleep(500 * time.Millisecond)
				q.mu.Lock()
				q.spill()
				q.mu.Unlock()
				time.Sleep(10 * time.Second)
				close(m.held)
				enqueue(t, done, q, []job{{id: "d", keys: []uint64{1}}, {id: "e", keys: []uint64{2}}})
				time.Sleep(time.Minute)
				q.mu.Lock()
				l := &q.lot
				if l.pending != 0 || l.low != 0 || l.rows != 0 || l.all || d.clerk.bytes.Load() != 0 {
					t.Errorf("%d on their way, %d of them low, %d parked of %d bytes, all %v", l.pending, l.low, l.rows, d.clerk.bytes.Load(), l.all)
				}
				q.mu.Unlock()
				if got := m.list(func(d *Delivery) bool { return d.State == Parked }); len(got) != 0 {
					t.Errorf("%d are parked still", len(got))
				}
				d.Close()
			})
		})
	}
}
