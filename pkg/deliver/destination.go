package deliver

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Destination is a webhook, queue or action of a trigger, with what waits for it.
type Destination struct {
	id string
	d  *Deliverer
	m  destinationMetrics

	mu      sync.Mutex
	target  Target
	limits  sink.Limits
	rate    *rate.Limiter // nil: no limit
	limit   int           // workers at most; less than the target's while it recovers
	lanes   lanes
	ready   fifo
	delayed map[*Delivery]*time.Timer // waiting for their own retry
	lot     lot
	waiting int
	workers int
	room    chan struct{} // closed and replaced when a delivery leaves while the caller of Enqueue waits
	blocked bool
	closed  bool // starts nothing more
	dropped bool // and what it has is wanted by nobody

	breaker
	host      *host // nil = none
	hostName  string
	slow      slowness
	restAt    time.Time // the rate limit has nothing left before
	accepted  uint64    // in all
	succeeded time.Time // the last time
}

func newDestination(d *Deliverer, id string) *Destination {
	return &Destination{
		id: id, d: d, m: d.m.destination(id), lanes: newLanes(), room: make(chan struct{}),
		delayed: map[*Delivery]*time.Timer{}, lot: newLot(),
	}
}

// maxWorkers is how many requests may be under way.
func (q *Destination) maxWorkers() int {
	switch {
	case q.target.Kind().Ordered:
		return 1
	case q.limits.MaxInFlight > 0:
		return q.limits.MaxInFlight
	}
	return q.d.cfg.MaxInFlight
}

// maxBatch is how many deliveries may go into one Send.
func (q *Destination) maxBatch() int { return max(q.target.Kind().MaxBatch, q.limits.Batch, 1) }

// schedule is by what a refused delivery is tried again.
func (q *Destination) schedule() []time.Duration {
	if q.limits.Schedule != nil {
		return q.limits.Schedule
	}
	return q.d.cfg.Backoff.Schedule
}

// setTarget is called with d.mu held.
func (q *Destination) setTarget(t Target) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.target == t {
		return
	}
	first := q.target == nil
	q.target, q.limits = t, t.Limits()
	q.d.join(q, t.Host())
	q.limit = q.maxWorkers()
	q.rate, q.restAt = nil, time.Time{}
	if q.limits.Rate > 0 {
		q.rate = rate.NewLimiter(rate.Limit(q.limits.Rate), max(int(q.limits.Rate/10), 1))
	}
	if q.limits.Paused {
		q.spill()
	}
	if first {
		q.sweep()
		return
	}
	q.free()
}

// free has everything that waits tried at once; q.mu is held.
func (q *Destination) free() {
	q.closeBreaker()
	for d, timer := range q.delayed {
		d.Attempts = 0 // of another target, or by another template
		if timer.Stop() {
			delete(q.delayed, d)
			q.ready.push(d)
		}
	}
	if q.lot.rows > 0 || q.lot.pending > 0 {
		q.d.clerk.add(note{what: free, q: q})
	}
	q.sweep()
	q.dispatch()
}

// Enqueue takes d over; it is sent after everything enqueued before that it shares a
// lane with. Enqueue waits while the destination's queue, the common budget of bytes or
// the store is full, and fails only when ctx ends or after Close. A destination that
// fails, or is too slow, has d parked instead.
func (q *Destination) Enqueue(ctx context.Context, d *Delivery) error {
	d.size = d.Bytes()
	if err := q.d.bytes.take(ctx, d.size, q.d.relieve); err != nil {
		return err
	}
	q.mu.Lock()
	for !q.closed {
		full := q.waiting >= q.d.cfg.Queue
		if full && q.stuck() {
			q.spill()
		} else if q.waiting < q.d.cfg.Queue/4*3 {
			q.slow = slowness{}
		}
		parks := q.parks(d)
		if parks && q.d.clerk.room() && !q.lot.closing || !parks && !full {
			break
		}
		q.blocked = true
		room := q.room
		q.mu.Unlock()
		q.m.full.Inc()
		if _, err := await(ctx, room); err != nil {
			q.d.bytes.give(d.size)
			return err
		}
		q.mu.Lock()
	}
	return q.add(d)
}

// Push is Enqueue without waiting for room: for the rest of what belongs together,
// once a part of it is enqueued.
func (q *Destination) Push(d *Delivery) error {
	d.size = d.Bytes()
	q.d.bytes.force(d.size)
	q.mu.Lock()
	return q.add(d)
}

// add puts d in its lanes, or parks it; it unlocks q.mu.
func (q *Destination) add(d *Delivery) error {
	defer q.mu.Unlock()
	d.ID, d.Destination, d.Trigger = q.d.ids.Add(1), q.id, q.target.Trigger()
	switch {
	case q.dropped:
		q.bury(d)
		return nil
	case q.closed:
		q.d.bytes.give(d.size)
		return ErrClosed
	case q.parks(d):
		q.park(d)
		return nil
	}
	q.take(d)
	return nil
}

// take puts d in its lanes; q.mu is held.
func (q *Destination) take(d *Delivery) {
	q.waiting++
	if q.lanes.add(d) {
		q.ready.push(d)
		q.dispatch()
	}
}

// leave gives back what d holds outside this destination. q.mu need not be held.
func (q *Destination) leave(d *Delivery) {
	q.d.bytes.give(d.size)
	if d.Ledger != nil {
		d.Ledger.Done(d.Entry)
	}
}

// dispatch starts workers for what is ready; q.mu is held.
func (q *Destination) dispatch() {
	if q.closed || q.ready.head == nil || q.limits.Paused || time.Now().Before(q.restAt) || q.holds() {
		return
	}
	// One worker more at a time: it takes what is ready and, while there is more than
	// it can take, the next delivery that becomes ready brings the next worker.
	if q.workers < q.limit {
		q.workers++
		q.d.workers.Add(1)
		go q.work()
	}
}

// work sends what is ready until there is no more, or no more may be sent.
func (q *Destination) work() {
	defer q.d.workers.Done()
	var w worker
	defer w.end()
	q.mu.Lock()
	for {
		if q.closed || q.d.ctx.Err() != nil || q.workers > q.limit || q.limits.Paused || !q.retryAt.IsZero() || !q.fill(&w) {
			break
		}
		if q.ready.head != nil {
			q.dispatch()
		}
		target := q.target
		h := q.host
		q.mu.Unlock()
		began := time.Now()
		errs := w.send(q, target, began)
		q.settle(&w, errs, began)
		failpoint.Hit("deliver.settled")
		if h != nil && len(w.accepted) > 0 && h.until.Load() != 0 {
			h.up()
		}
		for i, d := range w.accepted {
			if !d.kept {
				q.d.bytes.give(d.size)
			}
			if account := w.accounts[i]; account != nil {
				account.Done(d.Entry)
			}
		}
		q.mu.Lock()
		if q.blocked && q.waiting < q.d.cfg.Queue {
			q.unblock()
		}
		q.sweep()
	}
	q.workers--
	if q.workers == 0 {
		q.dispatch() // the limit may have kept the others from starting
	}
	q.mu.Unlock()
}

// unblock lets callers of Enqueue look again; q.mu is held.
func (q *Destination) unblock() {
	q.blocked = false
	close(q.room)
	q.room = make(chan struct{})
}

// fill moves what may be sent in one Send from ready to w; q.mu is held.
func (q *Destination) fill(w *worker) bool {
	most, pipelined := q.maxBatch(), q.target.Kind().Pipelined
	w.batch = w.batch[:0]
	add := func(d *Delivery) {
		d.sending = true
		w.batch = append(w.batch, d)
		if d.most > 0 {
			most = min(most, d.most)
		}
	}
	for len(w.batch) < most {
		d := q.ready.pop()
		if d == nil {
			break
		}
		if d.Ledger != nil && d.Ledger.Stopped() {
			continue // it keeps its place, and so nothing behind it is sent
		}
		if d.most > 0 && len(w.batch) >= d.most || !q.allowed() {
			q.ready.unshift(d)
			break
		}
		add(d)
		for pipelined && len(w.batch) < most {
			n := q.lanes.next(d)
			if n == nil || n.finished || n.sending || q.delayed[n] != nil || !q.allowed() {
				break
			}
			add(n)
			d = n
		}
	}
	return len(w.batch) > 0
}

// allowed takes one delivery from the rate limit. If there is none left it has the
// destination looked at again when there is; q.mu is held.
func (q *Destination) allowed() bool {
	if q.rate == nil {
		return true
	}
	r := q.rate.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return true
	}
	r.Cancel()
	if q.workers <= 1 { // the others come back by themselves
		q.restAt = time.Now().Add(wait)
		q.wakeAfter(wait)
	}
	return false
}

// busy reports whether something is being sent or could be sent now, and parks what
// could not, for Drain.
func (q *Destination) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	rests := time.Now().Before(q.restAt)
	if len(q.delayed) > 0 || !q.retryAt.IsZero() || q.limits.Paused || rests {
		q.spill()
	}
	return q.workers > 0 || q.ready.head != nil && q.retryAt.IsZero() && !rests && !q.closed
}

// stop starts nothing more; q.mu is held.
func (q *Destination) stop() {
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	if q.lot.timer != nil {
		q.lot.timer.Stop()
	}
	for _, timer := range q.delayed {
		timer.Stop()
	}
	q.unblock()
}

// discard makes all that waits dead: nobody wants it any more.
func (q *Destination) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stop()
	q.dropped = true // with closed: who waits in Enqueue must see both
	n := 0
	for _, d := range q.lanes.clear(&q.ready, q.delayed) {
		if d.sending {
			continue
		}
		q.waiting--
		if d.stored || d.gone {
			q.d.bytes.give(d.size)
			continue
		}
		n++
		q.bury(d)
	}
	if n += q.lot.rows; q.lot.rows > 0 || q.lot.pending > 0 {
		q.d.clerk.add(note{what: bury, burial: deleted(q.id)})
	}
	if n > 0 {
		q.d.log.Info("deliveries are dead with their trigger", "destination", q.id, "deliveries", n)
	}
	q.d.m.forget(q.id)
}

// bury makes d, which is in no lane, dead with its destination; q.mu is held.
func (q *Destination) bury(d *Delivery) {
	if q.d.clerk == nil {
		q.leave(d)
		return
	}
	b := deleted(q.id)
	d.Class, d.Code, d.Error, d.FailedAt = b.Class, b.Class, b.Why, time.Now()
	q.die(d, d.FailedAt)
}

// Trouble says why nothing is sent now, "" if nothing stands in the way.
func (q *Destination) Trouble() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.limits.Paused:
		return "it is paused"
	case q.held:
		return "it wants no more"
	case q.failing():
		return "it fails"
	}
	return ""
}

func (q *Destination) status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Status{
		ID: q.id, Waiting: q.waiting, Parked: q.lot.rows + q.lot.pending, InFlight: q.workers, Failures: q.failures,
		RetryAt: q.retryAt, Failing: q.failing(), Held: q.held, Paused: q.limits.Paused, Err: q.err,
	}
	if q.target != nil {
		s.Trigger = q.target.Trigger()
	}
	return s
}
