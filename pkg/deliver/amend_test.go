package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TestAmendWhileSending skips and erases a parked delivery that is being sent: that one is
// sent, its lane goes on, and nothing is counted twice.
func TestAmendWhileSending(t *testing.T) {
	for _, do := range []Amendment{Skip, Erase} {
		for _, accepted := range []bool{true, false} {
			for _, keep := range []time.Duration{0, time.Hour} {
				t.Run(fmt.Sprintf("%d/%v/%s", do, accepted, keep), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { amendWhileSending(t, do, accepted, keep) })
				})
			}
		}
	}
}

func amendWhileSending(t *testing.T, do Amendment, accepted bool, keep time.Duration) {
	m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
	var tries atomic.Int32
	r.answer = func(m *sink.Message) error {
		if m.ID == "bad" && (tries.Add(1) == 1 || !accepted) {
			return refusal(sink.Rejected)
		}
		return nil
	}
	r.delay = func() time.Duration { return time.Second }
	cfg := DefaultConfig()
	cfg.History.Keep = keep
	cfg.Backoff.Schedule = []time.Duration{time.Minute, time.Minute, time.Minute}
	d, q, done := parking(t, cfg, m, r)
	enqueue(t, done, q, []job{{id: "bad", keys: []uint64{1}}, {id: "behind", keys: []uint64{1}}})
	time.Sleep(2 * time.Second)
	bad := m.list(func(d *Delivery) bool { return d.Message.ID == "bad" })[0]
	d.RetryNow("w1")
	time.Sleep(500 * time.Millisecond) // it is under way again
	if out, err := d.Amend(t.Context(), Request{Filter: Filter{IDs: []uint64{bad.ID}}, Do: do}); err != nil || out.Changed != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	time.Sleep(10 * time.Second)
	want := []string{"bad", "behind"}
	if !accepted {
		want = want[1:]
	}
	if got := r.got(); !slices.Equal(got, want) || tries.Load() != 2 {
		t.Errorf("arrived %v after %d attempts, want %v after 2", got, tries.Load(), want)
	}
	parked, dead := m.count()
	sent := len(m.list(func(d *Delivery) bool { return d.State == Sent }))
	wantDead, wantSent := 0, 0
	if do == Skip {
		wantDead = 1
	}
	if keep > 0 {
		wantSent = 1 // the one behind; what somebody took away stays away
	}
	if parked != 0 || dead != wantDead || sent != wantSent {
		t.Errorf("%d parked, %d dead, %d sent; want none, %d and %d", parked, dead, sent, wantDead, wantSent)
	}
	if s := q.status(); s.Parked != 0 || s.Waiting != 0 || held(d) != 0 || d.clerk.bytes.Load() != 0 {
		t.Errorf("%+v, %d bytes in memory and %d parked are still taken", s, held(d), d.clerk.bytes.Load())
	}
	enqueue(t, done, q, []job{{id: "later", keys: []uint64{1}}})
	time.Sleep(5 * time.Second)
	if got := r.got(); got[len(got)-1] != "later" {
		t.Errorf("the lane is stuck: %v", got)
	}
	d.Drain(t.Context())
	d.Close()
}

// TestEraseFindsWhatIsNotParkedYet erases what waits in memory for a destination that
// fails.
func TestEraseFindsWhatIsNotParkedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		var mended atomic.Bool
		r.answer = func(*sink.Message) error {
			if mended.Load() {
				return nil
			}
			return errors.New("down")
		}
		d, q, done := parking(t, DefaultConfig(), m, r)
		enqueue(t, done, q, []job{{id: "a", keys: []uint64{1}}, {id: "b", keys: []uint64{1}}, {id: "c", keys: []uint64{2}}})
		time.Sleep(3 * time.Second)
		if parked, _ := m.count(); parked != 0 {
			t.Fatalf("%d parked already", parked)
		}
		out, err := d.Amend(t.Context(), Request{Filter: Filter{Destination: "w1"}, Do: Erase})
		if err != nil || out.Changed != 3 {
			t.Errorf("%+v, %v", out, err)
		}
		mended.Store(true)
		time.Sleep(time.Minute)
		if got := r.got(); len(got) != 0 || done.total() != 3 {
			t.Errorf("%v arrived, %d done", got, done.total())
		}
		d.Drain(t.Context())
		d.Close()
	})
}

// TestAmendMany goes through more than fits into one transaction, and retries no faster
// than was asked for.
func TestAmendMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
		var mended atomic.Bool
		r.answer = func(*sink.Message) error {
			if mended.Load() {
				return nil
			}
			return refusal(sink.Permanent)
		}
		cfg := DefaultConfig()
		cfg.Backoff.Schedule = []time.Duration{}
		d, q, done := parking(t, cfg, m, r)
		var jobs []job
		for i := range 2500 {
			jobs = append(jobs, job{id: fmt.Sprint(i), keys: []uint64{uint64(i)}})
		}
		enqueue(t, done, q, jobs)
		time.Sleep(time.Second)
		if _, dead := m.count(); dead != len(jobs) {
			t.Fatalf("%d dead", dead)
		}
		mended.Store(true)
		retry := Request{Filter: Filter{States: []State{Dead}, Limit: 1300}, Rate: 100}
		out, err := d.Amend(t.Context(), retry)
		if took := time.Until(out.From); err != nil || out.Changed != 1300 || out.More || took != 13*time.Second {
			t.Errorf("%+v, the next %v later, %v", out, took, err)
		}
		retry.Filter.Limit, retry.Rate = 0, 0
		if out, err = d.Amend(t.Context(), retry); err != nil || out.Changed != 1200 || out.More {
			t.Errorf("%+v, %v", out, err)
		}
		time.Sleep(10 * time.Second)
		if got := len(r.got()); got != len(jobs) {
			t.Errorf("%d arrived", got)
		}
		d.Drain(context.Background())
		d.Close()
		if d.clerk.bytes.Load() != 0 || d.clerk.kept[Dead].Load() != 0 {
			t.Errorf("%d bytes parked and %d dead are still taken", d.clerk.bytes.Load(), d.clerk.kept[Dead].Load())
		}
	})
}

func TestAmendWithoutParking(t *testing.T) {
	m, r := newMemory(), &receiver{kind: sink.Kind{Name: "k", MaxBatch: 1}}
	m.put(&Delivery{ID: 1, Destination: "w1", Fate: Fate{State: Dead}})
	cfg := DefaultConfig()
	cfg.Park.MaxBytes = 0
	d, _, _ := parking(t, cfg, m, r)
	defer d.Close()
	for _, do := range []Amendment{Retry, Skip} {
		if _, err := d.Amend(t.Context(), Request{Do: do}); !errors.Is(err, ErrNoStore) {
			t.Errorf("%d: %v", do, err)
		}
	}
	if out, err := d.Amend(t.Context(), Request{Do: Erase}); err != nil || out.Changed != 1 || m.len() != 0 {
		t.Errorf("erased %+v, %v", out, err)
	}
}

// held is what of the memory for deliveries is taken.
func held(d *Deliverer) int64 {
	d.bytes.mu.Lock()
	defer d.bytes.mu.Unlock()
	return d.bytes.used
}

func (m *memory) len() int { return len(m.list(func(*Delivery) bool { return true })) }
