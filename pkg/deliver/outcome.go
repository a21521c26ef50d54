package deliver

import (
	"slices"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// settle takes in the outcome of w's batch, began being when it was sent.
func (q *Destination) settle(w *worker, errs []error, began time.Time) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	w.accepted, w.accounts = w.accepted[:0], w.accounts[:0]
	for i, d := range w.batch {
		switch {
		case errs != nil && errs[i] != nil:
		case q.keeps(d):
			w.accepted, w.accounts = append(w.accepted, d), append(w.accounts, nil)
		default:
			w.accepted = append(w.accepted, d)
			w.accounts = append(w.accounts, d.Ledger) // the clerk may take it away
			d.Ledger = nil
		}
	}
	if len(w.accepted) > 0 && !q.dropped {
		q.success(now)
	}
	for _, d := range w.accepted {
		q.finish(d)
		if d.kept = q.keeps(d); d.kept {
			q.keep(d, now)
		} else if d.stored {
			q.d.clerk.add(note{what: done, q: q, d: d})
		}
		if !q.dropped {
			q.accepted++
			q.m.latency.Observe(now.Sub(d.Message.Committed).Seconds())
			q.m.accepted.Inc()
		}
	}
	if len(w.accepted) == len(w.batch) {
		return
	}
	for i, d := range w.batch {
		if errs[i] != nil {
			d.sending = false
		}
	}
	for i, d := range w.batch {
		// One that follows another of the batch shares its lot, unless nobody wants either.
		if errs[i] != nil && (d.waits == 0 || q.dropped) && !d.evicted {
			q.refused(d, sink.Classify(errs[i]), began)
		}
	}
}

// finish takes d, which is accepted or dead, out of its lanes; q.mu is held.
func (q *Destination) finish(d *Delivery) {
	q.waiting--
	q.lanes.finish(d, q.ready.push)
	if d.stored {
		delete(q.lot.loaded, d.ID)
		q.lot.rows--
		q.lot.settling[d.ID] = d
	}
	if (d.stored || d.gone) && q.lot.follows(place(d)) { // something may stay in the store because of d
		q.resweep()
	}
}

// refused decides what becomes of d, the first of its lanes; q.mu is held.
func (q *Destination) refused(d *Delivery, err *sink.Error, began time.Time) {
	if err != errHeld {
		q.m.refused(err.Class, err.Code)
	}
	if q.closed && !q.dropped || q.d.ctx.Err() != nil {
		return
	}
	if q.dropped {
		q.waiting--
		if d.finished = true; d.stored || d.gone {
			q.d.bytes.give(d.size)
		} else {
			q.bury(d)
		}
		return
	}
	if d.gone {
		q.finish(d)
		q.d.bytes.give(d.size)
		q.dispatch()
		return
	}
	if err == errHeld {
		q.hold(heldFor, err.Code)
		q.ready.unshift(d)
		return
	}
	single := err.Class == sink.Rejected || err.Class == sink.Permanent
	if single && err.Shared > 1 { // which of them is to blame?
		d.most = err.Shared / 2
		q.ready.unshift(d)
		q.dispatch()
		return
	}
	// Where others succeed between its attempts, it is this one that needs a human.
	if err.Class == sink.Misconfigured || err.Class == sink.Blocked {
		single = single || d.Attempts > 0 && q.succeeded.After(d.FailedAt)
	}
	now := time.Now()
	d.Attempts++
	d.failed(err, now)
	d.touched = d.stored
	if single && err.Class == sink.Rejected && err.Code != CodeRender && err.Code != codeBroken {
		q.answers(now) // it does, whatever it says
	}
	q.err = err.Error()
	if single {
		q.single(d, err)
		return
	}
	wait := q.failure(err, began)
	if wait == 0 {
		q.delay(d, q.d.cfg.Backoff.probe(d.Attempts))
	} else {
		q.hold(wait, err.Code)
		q.ready.unshift(d)
	}
	if q.failing() && (d.stored || q.held || time.Since(q.since) >= q.d.cfg.Park.After) {
		q.spill()
	}
}

// heldFor is how long a destination waits before it looks again whether it may send.
const heldFor = 200 * time.Millisecond

// single meets the refusal of one delivery: its lane waits for it, until it is tried for
// the last time; q.mu is held.
func (q *Destination) single(d *Delivery, err *sink.Error) {
	d.Refusals++
	broken := err.Code == codeBroken // somebody else has said so
	if !broken && (d.Refusals == 1 || d.Refusals%10 == 0) {
		q.d.log.Warn("delivery refused", "destination", q.id, "delivery", d.Message.ID, "attempts", d.Attempts, "class", err.Class.String(), "err", err)
	}
	if q.d.clerk == nil {
		q.delay(d, max(q.d.cfg.Backoff.after(d.Refusals, q.d.cfg.Backoff.Max), err.RetryAfter))
		return
	}
	wait, again := retry(q.schedule(), d.Refusals)
	if broken && !again {
		longest := slices.Concat(q.schedule(), []time.Duration{q.d.cfg.Backoff.Max})
		wait, again = jitter(slices.Max(longest)), true
	}
	if again && d.Damage == nil {
		q.set(d, time.Now().Add(max(wait, err.RetryAfter)))
		return
	}
	q.d.log.Error("delivery is dead: refused for the last time", "destination", q.id, "delivery", d.Message.ID, "attempts", d.Attempts, "class", err.Class.String(), "err", err)
	q.m.dead.Inc()
	q.finish(d)
	q.die(d, d.FailedAt)
	q.dispatch()
}

// delay makes d ready again after wait; q.mu is held.
func (q *Destination) delay(d *Delivery, wait time.Duration) {
	q.delayed[d] = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if _, ok := q.delayed[d]; ok && !q.closed {
			delete(q.delayed, d)
			q.ready.unshift(d)
			q.dispatch()
		}
	})
}
