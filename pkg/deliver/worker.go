package deliver

import (
	"context"
	"errors"
	"time"

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
func (w *worker) send(d *Deliverer, target Target, now time.Time) []error {
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
		if dl.err = dl.fill(ctx, d.cfg.Render, target, now.Add(timeout/4)); dl.err == nil {
			w.msgs = append(w.msgs, &dl.Message)
		} else {
			whole = false
		}
	}
	var errs []error
	if len(w.msgs) > 0 {
		errs = s.send(ctx, w.msgs, d.cfg.MaySend)
	}
	if whole {
		return errs
	}
	return w.merge(errs)
}

// CodeRender is the code of a message that could not be rendered.
const CodeRender = "render"

// errNothing stands for a message that turned out not to be sent.
var errNothing = errors.New("nothing to send")

// errNoTime: what is rendered late must leave the others time to be sent.
var errNoTime = errors.New("rendering the deliveries beside it took too long")

// fill makes d ready to be sent; until limits what is rendered late.
func (d *Delivery) fill(ctx context.Context, render RenderFunc, target Target, until time.Time) error {
	if d.Event != nil {
		if time.Now().After(until) {
			return &sink.Error{Class: sink.Rejected, Code: CodeRender, Err: errNoTime}
		}
		send, err := render(ctx, d)
		if classified := (*sink.Error)(nil); errors.As(err, &classified) {
			return err
		}
		if err != nil {
			return &sink.Error{Class: sink.Permanent, Code: CodeRender, Err: err}
		}
		if d.Event, d.Origin, d.Mended = nil, d.Event, d.stored; !send {
			return errNothing
		}
	}
	return target.Fill(ctx, &d.Message, d.Rendered)
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
