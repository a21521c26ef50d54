package deliver

import (
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// breaker keeps a destination that fails from being asked more often than by a probe.
// It is guarded by the destination's mu.
type breaker struct {
	failures int       // since the last success
	since    time.Time // the first of them
	failed   time.Time // the last one
	retryAt  time.Time // nothing is sent before; zero = now
	held     bool      // nothing is sent until somebody asks for it
	byHost   bool      // retryAt is when another destination of the host will have tried
	err      string
	timer    *time.Timer
}

// failing reports whether the destination as a whole fails; q.mu is held.
func (q *Destination) failing() bool { return q.failures >= q.d.cfg.Backoff.Trip || q.held }

// forever is when a destination is tried again that is held.
const forever = 100 * 365 * 24 * time.Hour

// holds reports whether nothing may be sent now; q.mu is held.
func (q *Destination) holds() bool {
	if q.retryAt.IsZero() && (q.host == nil || q.host.until.Load() == 0) {
		return false
	}
	now := time.Now()
	if now.Before(q.retryAt) || q.hostHolds(now) {
		return true
	}
	q.retryAt, q.byHost = time.Time{}, false
	return false
}

// closeBreaker forgets all failures; q.mu is held.
func (q *Destination) closeBreaker() {
	q.failures, q.retryAt, q.held, q.byHost, q.err = 0, time.Time{}, false, false, ""
	q.m.failing.Set(0)
}

// success lets a destination that failed recover: twice as many workers with each
// success; q.mu is held.
func (q *Destination) success(now time.Time) {
	q.succeeded = now
	q.answers(now)
	if most := q.maxWorkers(); q.limit < most {
		q.limit = min(2*q.limit, most)
	}
}

// answers notes that the destination as a whole does not fail any more; q.mu is held.
func (q *Destination) answers(now time.Time) {
	if q.failures == 0 {
		return
	}
	if q.failures >= q.d.cfg.Backoff.Trip {
		q.d.log.Info("destination answers again", "destination", q.id, "failures", q.failures, "seconds", int(now.Sub(q.since).Seconds()))
	}
	q.closeBreaker()
}

// failure notes that the destination failed, in a request that began then. It returns
// how long to wait before the next; 0 = no longer than the delivery itself; q.mu is held.
func (q *Destination) failure(err *sink.Error, began time.Time) time.Duration {
	b := q.d.cfg.Backoff
	// One failure of many requests that were under way together counts once.
	if began.After(q.failed) || q.failures == 0 {
		if q.failures == 0 {
			q.since = began
		}
		q.failures++
		q.failed = time.Now()
		if q.failures == b.Trip {
			q.d.log.Error("destination fails: waiting for it", "destination", q.id, "class", err.Class.String(), "err", err)
			q.m.failing.Set(1)
		}
	}
	switch {
	case err.Class == sink.Gone:
		if !q.held {
			q.d.log.Error("destination wants no more: held until the trigger is edited or a retry is asked for", "destination", q.id, "err", err)
		}
		q.held = true
		q.m.failing.Set(1)
		return forever
	case q.failures < b.Trip && err.RetryAfter == 0 && err.Class == sink.Unavailable:
		return 0
	}
	return max(b.probe(q.failures), err.RetryAfter)
}

// hold has nothing sent for wait, after a failure of that code, and then one delivery;
// q.mu is held.
func (q *Destination) hold(wait time.Duration, code string) {
	q.limit = 1
	if at := time.Now().Add(wait); at.After(q.retryAt) {
		q.retryAt = at
		q.wakeAfter(wait)
		if q.host != nil && unreachable[code] && q.failing() {
			q.host.down(q, at)
		}
	}
}

// wakeAfter has the destination looked at again after wait; q.mu is held.
func (q *Destination) wakeAfter(wait time.Duration) {
	if q.timer != nil {
		q.timer.Stop()
	}
	q.timer = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.holds() && q.waiting > 0 && time.Since(q.since) >= q.d.cfg.Park.After {
			q.spill()
		}
		q.dispatch()
		q.sweep()
	})
}

// slowness measures a destination whose queue is full.
type slowness struct {
	since    time.Time // it is full; zero = it is not
	accepted uint64    // deliveries by then
}

// stuck reports whether the destination fails, or has accepted fewer deliveries since its
// queue is full than it should have; q.mu is held.
func (q *Destination) stuck() bool {
	if q.failing() {
		return q.waiting > 0
	}
	s := &q.slow
	if s.since.IsZero() {
		*s = slowness{time.Now(), q.accepted}
		return false
	}
	took := time.Since(s.since)
	if took < patience {
		return false
	}
	n := float64(q.accepted - s.accepted)
	if took > 5*patience { // measure anew
		*s = slowness{time.Now(), q.accepted}
	}
	return n < float64(q.d.cfg.Park.Slow)*took.Seconds() && q.waiting > 0
}
