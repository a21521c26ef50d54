package deliver

import (
	"context"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Once makes one attempt to send m to target: beside all that waits there, in no order to
// it, and without a second attempt. extra are headers beside target's. An error is a
// *sink.Error.
func (d *Deliverer) Once(ctx context.Context, target Target, m *sink.Message, rendered []sink.Header, extra ...sink.Header) error {
	d.mu.Lock()
	if d.ctx.Err() != nil {
		d.mu.Unlock()
		return sink.Classify(ErrClosed)
	}
	d.workers.Add(1)
	d.mu.Unlock()
	defer d.workers.Done()
	timeout := target.Timeout()
	if timeout <= 0 || timeout > d.cfg.MaxTimeout {
		timeout = d.cfg.MaxTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	if err := d.once(ctx, target, m, rendered, extra); err != nil {
		return sink.Classify(err)
	}
	return nil
}

func (d *Deliverer) once(ctx context.Context, target Target, m *sink.Message, rendered, extra []sink.Header) error {
	conn, key, err := target.Conn(ctx)
	if err != nil {
		return err
	}
	s, err := d.sinks.get(ctx, target, key, conn)
	if err != nil {
		return err
	}
	defer d.sinks.put(s)
	if err := target.Fill(ctx, m, rendered); err != nil {
		return err
	}
	m.Headers = slices.Concat(m.Headers, extra)
	if errs := s.send(ctx, []*sink.Message{m}, nil); errs != nil {
		return errs[0]
	}
	return nil
}
