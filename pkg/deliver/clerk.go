package deliver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// clerk is the only one that writes to the store and loads from it, so that what it loads
// is never older than what it wrote. It writes what has gathered while it wrote before.
// A nil clerk parks nothing.
type clerk struct {
	d     *Deliverer
	store Store
	bytes atomic.Int64 // parked, those on their way included

	mu     sync.Mutex
	notes  []note
	sweeps []*Destination
	orders []order
	active bool // something is being written or loaded
	closed bool

	wake chan struct{}
	done chan struct{}
}

// note is something to be written.
type note struct {
	what   change
	q      *Destination
	d      *Delivery
	gives  bool // d is in memory no more
	burial Burial
}

type change uint8

const (
	park change = iota // d is new
	back               // d was tried
	done               // d is accepted
	bury               // burial
	free               // all of q
)

// order is something that somebody waits for.
type order struct {
	do   func(ctx context.Context) error
	done chan<- error
}

func newClerk(d *Deliverer, store Store, bytes int64) *clerk {
	c := &clerk{d: d, store: store, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.bytes.Store(bytes)
	go c.run()
	return c
}

// room reports whether more may be parked.
func (c *clerk) room() bool { return c != nil && c.bytes.Load() < c.d.cfg.Park.MaxBytes }

// add has something written. It does not wait: callers hold a destination's mu.
func (c *clerk) add(n note) {
	if n.what == park {
		c.bytes.Add(n.d.size)
	}
	c.mu.Lock()
	c.notes = append(c.notes, n)
	c.mu.Unlock()
	c.kick()
}

// load has rows of q loaded.
func (c *clerk) load(q *Destination) {
	c.mu.Lock()
	c.sweeps = append(c.sweeps, q)
	c.mu.Unlock()
	c.kick()
}

func (c *clerk) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// do runs f between two writes, and waits for it.
func (c *clerk) do(ctx context.Context, f func(ctx context.Context) error) error {
	ended := make(chan error, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.orders = append(c.orders, order{f, ended})
	c.mu.Unlock()
	c.kick()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busy reports whether something is still to be written.
func (c *clerk) busy() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active || len(c.notes) > 0
}

// lastWrites is how long a stop waits for a store that takes nothing.
const lastWrites = 5 * time.Second

// close writes what is to be written and ends the clerk.
func (c *clerk) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.kick()
	<-c.done
}

// maxNotes bounds what is written in one transaction.
const maxNotes = 2000

func (c *clerk) run() {
	defer close(c.done)
	expire := time.NewTicker(time.Minute)
	defer expire.Stop()
	for {
		c.mu.Lock()
		c.active = true
		notes := c.notes
		if len(notes) > maxNotes {
			notes = notes[:maxNotes:maxNotes]
		}
		c.notes = c.notes[len(notes):]
		if len(c.notes) == 0 {
			c.notes = nil
		}
		orders, sweeps, closed := c.orders, c.sweeps, c.closed
		c.orders, c.sweeps = nil, nil
		if len(notes)+len(orders)+len(sweeps) == 0 {
			c.active = false
			c.mu.Unlock()
			if closed {
				return
			}
			select {
			case <-c.wake:
			case <-expire.C:
				c.expire()
			}
			continue
		}
		c.mu.Unlock()
		c.write(notes)
		for _, o := range orders {
			o.done <- o.do(c.d.ctx)
		}
		for _, q := range sweeps {
			c.sweep(q)
		}
	}
}

// write writes notes, as often as it takes. Once the clerk is closed it gives up after a
// while: what is lost then is sent again after the next start.
func (c *clerk) write(notes []note) {
	if len(notes) == 0 {
		return
	}
	changes := gather(notes)
	var until time.Time
	for wait, said := 50*time.Millisecond, false; ; wait = min(2*wait, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := c.store.Settle(ctx, changes)
		cancel()
		if err == nil {
			if said {
				c.d.log.Info("store takes deliveries again")
			}
			break
		}
		if errors.Is(err, ErrTaken) { // who has taken over finds it in the log
			return
		}
		if !said {
			said = true
			c.d.log.Error("store takes no deliveries: what cannot be sent waits in memory", "err", err)
		}
		if c.d.ctx.Err() != nil && until.IsZero() {
			until = time.Now().Add(lastWrites)
		}
		if !until.IsZero() && time.Now().After(until) {
			c.d.log.Error("what was to be parked is sent again after the next start", "changes", len(notes))
			return
		}
		select {
		case <-time.After(wait):
		case <-c.d.ctx.Done():
			time.Sleep(min(wait, 100*time.Millisecond))
		}
	}
	c.written(notes)
}

func gather(notes []note) *Changes {
	c := &Changes{}
	for _, n := range notes {
		switch n.what {
		case park:
			c.Park = append(c.Park, n.d)
		case back:
			c.Back = append(c.Back, n.d)
		case done:
			c.Done = append(c.Done, n.d.ID)
		case bury:
			c.Bury = append(c.Bury, n.burial)
		case free:
			c.Free = append(c.Free, n.q.id)
		}
	}
	return c
}

// written tells the destinations what the store has taken.
func (c *clerk) written(notes []note) {
	for _, n := range notes {
		if n.q == nil {
			continue
		}
		n.q.mu.Lock()
		var account Ledger
		if n.d != nil {
			account, n.d.Ledger = n.d.Ledger, nil
		}
		n.q.written(n)
		n.q.mu.Unlock()
		if account != nil && n.what != done {
			account.Done(n.d.Entry)
		}
		if n.gives {
			c.d.bytes.give(n.d.size)
		}
	}
}

// written takes in that n is in the store; q.mu is held.
func (q *Destination) written(n note) {
	c, l, d := q.d.clerk, &q.lot, n.d
	switch n.what {
	case park:
		if d.Dead {
			c.bytes.Add(-d.size)
		} else {
			l.sent(d)
		}
	case back, done:
		delete(l.settling, d.ID)
		switch {
		case n.what == done || d.Dead:
			c.bytes.Add(-d.size)
		case d.NextAt.IsZero(): // a sweep may have passed it by
			q.resweep()
		default:
			q.wakeAt(d.NextAt)
		}
	case free:
		q.resweep()
	}
	q.sweep()
	q.m.parked.Set(float64(l.rows))
	if q.blocked {
		q.unblock()
	}
}

// page is how many places are read at once.
const page = 1000

// sweep loads some rows of q.
func (c *clerk) sweep(q *Destination) {
	q.mu.Lock()
	q.lot.queued = false
	most, after, epoch := q.wants(), q.lot.cursor, q.lot.epoch
	q.lot.closing = q.lot.closing && most > 0
	q.mu.Unlock()
	if most == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.d.ctx, 30*time.Second)
	defer cancel()
	if err := c.loadSome(ctx, q, most, after, epoch); err != nil && c.d.ctx.Err() == nil {
		c.d.log.Error("read parked deliveries: trying again", "destination", q.id, "err", err)
		time.AfterFunc(time.Second, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.sweep()
		})
	}
}

func (c *clerk) loadSome(ctx context.Context, q *Destination, most int, after, epoch uint64) error {
	places, err := c.store.Places(ctx, q.id, after, page)
	if err != nil {
		return err
	}
	q.mu.Lock()
	if q.lot.epoch != epoch {
		q.sweep()
		q.mu.Unlock()
		return nil
	}
	ids, last := q.pick(places, most, time.Now())
	epoch = q.lot.epoch
	q.mu.Unlock()
	var rows []*Delivery
	if len(ids) > 0 {
		if rows, err = c.store.Load(ctx, ids); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lot.epoch != epoch || q.closed {
		q.sweep()
		return nil
	}
	q.enter(rows, last)
	if len(places) < page && (len(places) == 0 || last == places[len(places)-1].ID) {
		q.caughtUp()
		return nil
	}
	q.sweep()
	return nil
}

// expire removes what has been dead for long.
func (c *clerk) expire() {
	p := c.d.cfg.Park
	if p.DeadAge <= 0 && p.DeadBytes <= 0 {
		return
	}
	then := time.Time{}
	if p.DeadAge > 0 {
		then = time.Now().Add(-p.DeadAge)
	}
	n, err := c.store.Expire(c.d.ctx, then, p.DeadBytes)
	if err != nil && c.d.ctx.Err() == nil {
		c.d.log.Error("remove old dead deliveries", "err", err)
	}
	if n > 0 {
		c.d.log.Info("old dead deliveries removed", "deliveries", n)
	}
}
