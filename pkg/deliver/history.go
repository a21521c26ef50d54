package deliver

import (
	"context"
	"errors"
	"time"
)

// HistoryConfig says whether what was accepted is kept, so that it can be seen and sent
// once more. Then a delivery is done only when that is written, and no more is sent than
// the store takes.
type HistoryConfig struct {
	Keep     time.Duration // 0 = nothing is kept
	MaxBytes int64         // 0 = no bound
}

// Bodies says of which deliveries that are over what they say is kept.
type Bodies uint8

// What there is of Bodies.
const (
	AllBodies    Bodies = iota // of all that are kept
	FailedBodies               // of the dead
	NoBodies                   // of none: they cannot be sent again
)

// keeps reports whether d, which is accepted, is kept.
func (q *Destination) keeps(d *Delivery) bool {
	return q.d.cfg.History.Keep > 0 && q.d.clerk != nil && !q.dropped && !d.gone && !q.target.Kind().Dry && !errors.Is(d.err, errNothing)
}

// keep has d, which is accepted, kept; q.mu is held.
func (q *Destination) keep(d *Delivery, now time.Time) {
	d.State, d.SentAt, d.NextAt = Sent, now, time.Time{}
	if q.d.cfg.Bodies != AllBodies {
		d.strip()
	}
	what := park
	if d.stored {
		what = back
	} else {
		d.ParkedAt = time.Time{}
	}
	q.d.clerk.add(note{what: what, q: q, d: d, gives: true})
}

// die makes d, which is in no lane, dead; q.mu is held.
func (q *Destination) die(d *Delivery, now time.Time) {
	d.State, d.NextAt = Dead, time.Time{}
	if q.d.cfg.Bodies == NoBodies {
		d.strip()
	}
	what := park
	if d.stored {
		what = back
	} else {
		d.ParkedAt = now
	}
	q.d.clerk.add(note{what: what, q: q, d: d, gives: true})
}

// retention is how long what is over is kept, and how much of it.
type retention struct {
	state State
	age   time.Duration
	bytes int64 // 0 = no bound
}

func (c *Config) retentions() [2]retention {
	return [2]retention{{Dead, c.Park.DeadAge, c.Park.DeadBytes}, {Sent, c.History.Keep, c.History.MaxBytes}}
}

// measure finds out how much is kept of what is over, before there is more.
func (c *clerk) measure(ctx context.Context) {
	for _, r := range c.d.cfg.retentions() {
		if r.bytes == 0 {
			continue
		}
		n, err := c.store.Size(ctx, r.state)
		if err != nil {
			c.d.log.Warn("measure what is kept: its bound counts from now on", "err", err)
		}
		c.kept[r.state].Store(n)
	}
}

// crowded reports whether much more is kept than should be.
func (c *clerk) crowded() bool {
	for _, r := range c.d.cfg.retentions() {
		if r.bytes > 0 && c.kept[r.state].Load() > r.bytes+r.bytes/8 {
			return true
		}
	}
	return false
}

// expire removes some of what is kept for too long, and reports whether there is more.
func (c *clerk) expire() (more bool) {
	for _, r := range c.d.cfg.retentions() {
		var then time.Time
		switch {
		case r.age > 0:
			then = time.Now().Add(-r.age)
		case r.state == Sent: // of a run that kept a history
			then = time.Now()
		}
		excess := int64(0)
		if r.bytes > 0 {
			excess = max(c.kept[r.state].Load()-r.bytes, 0)
		}
		if then.IsZero() && excess == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(c.d.ctx, 30*time.Second)
		got, err := c.store.Expire(ctx, r.state, then, excess)
		cancel()
		if err != nil {
			if c.d.ctx.Err() == nil {
				c.d.log.Error("remove deliveries that are kept for too long", "err", err)
			}
			return false
		}
		if c.kept[r.state].Add(-got.Bytes); got.Deliveries == 0 && excess > 0 {
			c.kept[r.state].Store(0) // it was miscounted
		}
		more = more || got.More
		if got.Deliveries > 0 && r.state == Dead {
			c.d.log.Info("old dead deliveries removed", "deliveries", got.Deliveries)
		}
	}
	return more
}
