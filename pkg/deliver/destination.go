package deliver

import (
	"context"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Destination is a webhook, queue or action of a trigger, with what waits for it.
type Destination struct {
	id string
	d  *Deliverer
	m  destinationMetrics

	mu      sync.Mutex
	target  Target
	limit   int // workers at most; less than the target's while it recovers
	lanes   lanes
	ready   fifo
	delayed map[*Delivery]*time.Timer // refused, waiting for their own retry
	waiting int
	workers int
	room    chan struct{} // closed and replaced when a delivery leaves while the caller of Enqueue waits
	blocked bool
	closed  bool // starts nothing more
	dropped bool // and what it has is wanted by nobody

	failures int // since the last success
	failed   time.Time
	retryAt  time.Time // not before; zero = now
	probe    *time.Timer
	err      string
}

func newDestination(d *Deliverer, id string) *Destination {
	return &Destination{
		id: id, d: d, m: d.m.destination(id), lanes: newLanes(), room: make(chan struct{}),
		delayed: map[*Delivery]*time.Timer{},
	}
}

// maxWorkers is how many requests may be under way.
func (q *Destination) maxWorkers() int {
	if q.target.Kind().Ordered {
		return 1
	}
	return q.d.cfg.MaxInFlight
}

func (q *Destination) setTarget(t Target) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.target == t {
		return
	}
	q.target = t
	q.limit = q.maxWorkers()
	q.failures, q.retryAt, q.err = 0, time.Time{}, ""
	q.m.failing.Set(0)
	for d, timer := range q.delayed {
		d.attempts = 0 // of another target, or by another template
		if timer.Stop() {
			delete(q.delayed, d)
			q.ready.push(d)
		}
	}
	q.dispatch()
}

// Enqueue takes d over; it is sent after everything enqueued before that it shares a
// lane with. Enqueue waits while the destination's queue or the common budget of bytes
// is full, and fails only when ctx ends or after Close.
func (q *Destination) Enqueue(ctx context.Context, d *Delivery) error {
	d.size = d.bytes()
	if err := q.d.bytes.take(ctx, d.size); err != nil {
		return err
	}
	q.mu.Lock()
	for q.waiting >= q.d.cfg.Queue && !q.closed {
		q.blocked = true
		room := q.room
		q.mu.Unlock()
		q.m.full.Inc()
		select {
		case <-room:
		case <-ctx.Done():
			q.d.bytes.give(d.size)
			return ctx.Err()
		}
		q.mu.Lock()
	}
	return q.add(d)
}

// Push is Enqueue without waiting for room: for the rest of what belongs together,
// once a part of it is enqueued.
func (q *Destination) Push(d *Delivery) error {
	d.size = d.bytes()
	q.d.bytes.force(d.size)
	q.mu.Lock()
	return q.add(d)
}

// add puts d in its lanes; it unlocks q.mu.
func (q *Destination) add(d *Delivery) error {
	defer q.mu.Unlock()
	switch {
	case q.dropped:
		q.leave(d)
		return nil
	case q.closed:
		q.d.bytes.give(d.size)
		return ErrClosed
	}
	q.waiting++
	if q.lanes.add(d) {
		q.ready.push(d)
		q.dispatch()
	}
	return nil
}

// leave gives back what d holds outside this destination. q.mu need not be held.
func (q *Destination) leave(d *Delivery) {
	q.d.bytes.give(d.size)
	d.Ledger.Done(d.Entry)
}

// dispatch starts workers for what is ready; q.mu is held.
func (q *Destination) dispatch() {
	if q.closed || q.ready.head == nil {
		return
	}
	if !q.retryAt.IsZero() {
		if time.Now().Before(q.retryAt) {
			return
		}
		q.retryAt = time.Time{}
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
		if q.closed || q.d.ctx.Err() != nil || q.workers > q.limit || !q.retryAt.IsZero() || !q.take(&w) {
			break
		}
		if q.ready.head != nil {
			q.dispatch()
		}
		target := q.target
		q.mu.Unlock()
		began := time.Now()
		errs := w.send(q.d, target, began)
		q.settle(&w, errs, began)
		for _, d := range w.accepted {
			q.leave(d)
		}
		q.mu.Lock()
		if q.blocked && q.waiting < q.d.cfg.Queue {
			q.blocked = false
			close(q.room)
			q.room = make(chan struct{})
		}
	}
	q.workers--
	if q.workers == 0 {
		q.dispatch() // the limit may have kept the others from starting
	}
	q.mu.Unlock()
}

// take moves what may be sent in one Send from ready to w; q.mu is held.
func (q *Destination) take(w *worker) bool {
	kind := q.target.Kind()
	w.batch = w.batch[:0]
	for len(w.batch) < max(kind.MaxBatch, 1) {
		d := q.ready.pop()
		if d == nil {
			break
		}
		if d.Ledger.Stopped() {
			continue // it keeps its place, and so nothing behind it is sent
		}
		d.sending = true
		w.batch = append(w.batch, d)
		if !kind.Pipelined {
			continue
		}
		for len(w.batch) < kind.MaxBatch {
			n := q.lanes.next(d)
			if n == nil || n.finished || n.sending || q.delayed[n] != nil {
				break
			}
			n.sending = true
			w.batch = append(w.batch, n)
			d = n
		}
	}
	return len(w.batch) > 0
}

// settle takes in the outcome of w's batch, began being when it was sent.
func (q *Destination) settle(w *worker, errs []error, began time.Time) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	w.accepted = w.accepted[:0]
	for i, d := range w.batch {
		if errs == nil || errs[i] == nil || q.dropped {
			w.accepted = append(w.accepted, d)
		}
	}
	if len(w.accepted) > 0 && !q.dropped {
		q.succeeded()
	}
	for _, d := range w.accepted {
		q.waiting--
		q.lanes.finish(d, q.ready.push)
		if !q.dropped {
			q.m.latency.Observe(now.Sub(d.Message.Committed).Seconds())
			q.m.accepted.Inc()
		}
	}
	if len(w.accepted) == len(w.batch) {
		return
	}
	// Backwards, so that what goes back to the front keeps its order.
	for i := len(w.batch) - 1; i >= 0; i-- {
		if d := w.batch[i]; errs[i] != nil {
			d.sending = false
			q.refused(d, sink.Classify(errs[i]), began)
		}
	}
}

// succeeded lets a destination that failed recover: twice as many workers with each
// success.
func (q *Destination) succeeded() {
	if q.failures > 0 {
		if q.failures >= q.d.cfg.Backoff.Trip {
			q.d.log.Info("destination answers again", "destination", q.id, "failures", q.failures)
		}
		q.failures, q.err = 0, ""
		q.m.failing.Set(0)
	}
	if most := q.maxWorkers(); q.limit < most {
		q.limit = min(2*q.limit, most)
	}
}

// refused decides when d is tried again; q.mu is held.
func (q *Destination) refused(d *Delivery, err *sink.Error, began time.Time) {
	b := q.d.cfg.Backoff
	d.attempts++
	q.m.refused(err.Class, err.Code)
	if q.closed || q.d.ctx.Err() != nil {
		return
	}
	q.err = err.Error()
	if err.Class == sink.Rejected || err.Class == sink.Permanent {
		if d.attempts == 1 || d.attempts%10 == 0 {
			q.d.log.Warn("delivery refused", "destination", q.id, "delivery", d.Message.ID, "attempts", d.attempts, "class", err.Class.String(), "err", err)
		}
		q.delay(d, max(b.after(d.attempts, b.Max), err.RetryAfter))
		return
	}
	// One failure of many requests that were under way together counts once.
	if began.After(q.failed) || q.failures == 0 {
		q.failures++
		q.failed = time.Now()
		if q.failures == b.Trip {
			q.d.log.Error("destination fails: waiting for it", "destination", q.id, "class", err.Class.String(), "err", err)
			q.m.failing.Set(1)
		}
	}
	if q.failures < b.Trip && err.RetryAfter == 0 && err.Class == sink.Unavailable {
		q.delay(d, b.after(d.attempts, b.Probe))
		return
	}
	q.limit = 1
	limit := b.Probe
	if err.Class != sink.Unavailable {
		limit = b.Max
	}
	wait := max(b.after(q.failures, limit), err.RetryAfter)
	if at := time.Now().Add(wait); at.After(q.retryAt) {
		q.retryAt = at
		q.wake(wait)
	}
	if d.waits == 0 {
		q.ready.unshift(d)
	}
}

// delay makes d ready again after wait; q.mu is held.
func (q *Destination) delay(d *Delivery, wait time.Duration) {
	if d.waits > 0 {
		return // becomes ready when what it follows is finished
	}
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

// wake dispatches again after wait; q.mu is held.
func (q *Destination) wake(wait time.Duration) {
	if q.probe != nil {
		q.probe.Stop()
	}
	q.probe = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if !time.Now().Before(q.retryAt) {
			q.retryAt = time.Time{}
		}
		q.dispatch()
	})
}

// busy reports whether something is being sent or could be sent now.
func (q *Destination) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.workers > 0 || (q.ready.head != nil && q.retryAt.IsZero() && !q.closed)
}

// stop starts nothing more; q.mu is held.
func (q *Destination) stop() {
	q.closed = true
	if q.probe != nil {
		q.probe.Stop()
	}
	for _, timer := range q.delayed {
		timer.Stop()
	}
	close(q.room)
	q.room = make(chan struct{})
}

// discard drops all that waits, as done: nobody wants it any more.
func (q *Destination) discard() {
	q.mu.Lock()
	q.stop()
	q.dropped = true // with closed: who waits in Enqueue must see both
	dropped := q.lanes.drop(&q.ready, q.delayed)
	q.waiting -= len(dropped)
	q.mu.Unlock()
	for _, d := range dropped {
		q.leave(d)
	}
	if len(dropped) > 0 {
		q.d.log.Info("deliveries dropped with their trigger", "destination", q.id, "deliveries", len(dropped))
	}
	q.d.m.forget(q.id)
}

func (q *Destination) status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{ID: q.id, Waiting: q.waiting, InFlight: q.workers, Failures: q.failures, RetryAt: q.retryAt, Err: q.err}
}

// fifo is a list of deliveries that are ready.
type fifo struct{ head, tail *Delivery }

func (f *fifo) push(d *Delivery) {
	d.next = nil
	if f.tail == nil {
		f.head = d
	} else {
		f.tail.next = d
	}
	f.tail = d
}

func (f *fifo) unshift(d *Delivery) {
	d.next = f.head
	f.head = d
	if f.tail == nil {
		f.tail = d
	}
}

func (f *fifo) pop() *Delivery {
	d := f.head
	if d == nil {
		return nil
	}
	f.head = d.next
	if f.head == nil {
		f.tail = nil
	}
	d.next = nil
	return d
}
