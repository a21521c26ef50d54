package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// worker is one goroutine's hands.
type worker struct {
	batch    []*Delivery
	accepted []*Delivery
	accounts []Ledger // of accepted; nil = none
	msgs     []*sink.Message

	// The context of an attempt, used for those that follow within a small part of the
	// time-out: making one for each costs more than rendering.
	ctx     context.Context
	cancel  context.CancelFunc
	timeout time.Duration
	made    time.Time
}

// spare is the part of a time-out by which an attempt may take longer.
const spare = 64

// attempt gives a context that ends after timeout, or up to a 64th of it later.
func (w *worker) attempt(parent context.Context, timeout time.Duration, now time.Time) context.Context {
	if w.timeout != timeout || now.Sub(w.made) > timeout/spare {
		w.end()
		w.ctx, w.cancel = context.WithTimeout(parent, timeout+timeout/spare)
		w.timeout, w.made = timeout, now
	}
	return w.ctx
}

// end releases what w holds.
func (w *worker) end() {
	if w.cancel != nil {
		w.cancel()
	}
}

// send makes one attempt. The result is nil if all are accepted.
func (w *worker) send(q *Destination, target Target, now time.Time) []error {
	d := q.d
	timeout := target.Timeout()
	if timeout <= 0 || timeout > d.cfg.MaxTimeout {
		timeout = d.cfg.MaxTimeout
	}
	ctx := w.attempt(d.ctx, timeout, now)
	conn, key, err := target.Conn(ctx)
	if err != nil {
		return sink.All(len(w.batch), err)
	}
	s, err := d.sinks.get(ctx, target, key, conn)
	if err != nil {
		return sink.All(len(w.batch), err)
	}
	defer d.sinks.put(s)
	w.msgs = w.msgs[:0]
	whole := true
	for _, dl := range w.batch {
		if dl.err = q.prepare(ctx, dl, target, now.Add(timeout/4)); dl.err == nil {
			w.msgs = append(w.msgs, &dl.Message)
		} else {
			whole = false
		}
	}
	var errs []error
	if len(w.msgs) > 0 {
		errs = s.send(ctx, w.msgs, d.cfg.MaySend)
		failpoint.Hit("deliver.sent")
	}
	if whole {
		return errs
	}
	return w.merge(errs)
}

// CodeRender is the code of a message that could not be rendered.
const CodeRender = "render"

// BrokenError is an error of Config.Render: somebody has to mend the trigger, or its table.
// The message waits for that, by the schedule, and is never dead.
type BrokenError struct{ Err error }

func (e *BrokenError) Error() string { return e.Err.Error() }

// Unwrap gives what is broken.
func (e *BrokenError) Unwrap() error { return e.Err }

// codeBroken is the code of such a message.
const codeBroken = "broken"

// CodeDamaged is the code of a message that the store does not have as it was.
const CodeDamaged = "damaged"

// errNothing stands for a message that turned out not to be sent.
var errNothing = errors.New("nothing to send")

// errNoTime: what is rendered late must leave the others time to be sent.
var errNoTime = errors.New("rendering the deliveries beside it took too long")

// prepare makes d ready to be sent; until limits what is rendered late.
func (q *Destination) prepare(ctx context.Context, d *Delivery, target Target, until time.Time) error {
	if d.Damage != nil {
		return &sink.Error{Class: sink.Permanent, Code: CodeDamaged, Err: d.Damage}
	}
	if d.Event != nil {
		if time.Now().After(until) {
			return &sink.Error{Class: sink.Rejected, Code: CodeRender, Err: errNoTime}
		}
		if err := q.render(ctx, d); err != nil {
			return err
		}
	}
	return target.Fill(ctx, &d.Message, d.Rendered)
}

// render renders d, which may be parked meanwhile as it was.
func (q *Destination) render(ctx context.Context, d *Delivery) error {
	q.mu.Lock()
	r := d.snapshot()
	q.mu.Unlock()
	send, err := q.d.cfg.Render(ctx, r)
	if classified := (*sink.Error)(nil); errors.As(err, &classified) {
		return err
	}
	if broken := (*BrokenError)(nil); errors.As(err, &broken) {
		return &sink.Error{Class: sink.Rejected, Code: codeBroken, Err: err}
	}
	if err != nil {
		return &sink.Error{Class: sink.Permanent, Code: CodeRender, Err: err}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	d.Message, d.Rendered = r.Message, r.Rendered
	if d.Event, d.Origin, d.Mended = nil, d.Event, d.stored; !send {
		return errNothing
	}
	return nil
}

// merge puts the errors of those that were sent beside the errors of those that were
// not.
func (w *worker) merge(sent []error) []error {
	errs := make([]error, len(w.batch))
	j := 0
	for i, d := range w.batch {
		switch {
		case d.err == nil:
			if sent != nil {
				errs[i] = sent[j]
			}
			j++
		case !errors.Is(d.err, errNothing):
			errs[i] = d.err
		}
	}
	return errs
}
