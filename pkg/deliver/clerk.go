package deliver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
)

// clerk is the only one that writes to the store and loads from it, so that what it loads
// is never older than what it wrote. It writes what has gathered while it wrote before.
// A nil clerk parks nothing.
type clerk struct {
	d     *Deliverer
	store Store
	bytes atomic.Int64           // parked, those on their way included
	kept  [3]atomic.Int64        // of what is over, by state, about
	why   atomic.Pointer[string] // the store takes nothing now; nil: it does
	lost  bool                   // something could not be written: what came after it must not be

	mu     sync.Mutex
	notes  []note
	added  uint64 // notes, in all
	wrote  uint64 // of them
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
	as     *Delivery // what is written of d, which is being sent; nil = d itself
	gives  bool      // d is in memory no more
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

// order is something that somebody waits for, to be done once so many notes are written.
type order struct {
	do    func(ctx context.Context) error
	done  chan<- error
	after uint64
}

func newClerk(ctx context.Context, d *Deliverer, store Store, bytes int64) *clerk {
	c := &clerk{d: d, store: store, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.bytes.Store(bytes)
	c.measure(ctx)
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
	c.added++
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

// do runs f once all is written that was added before, and waits for it.
func (c *clerk) do(ctx context.Context, f func(ctx context.Context) error) error {
	ended := make(chan error, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.orders = append(c.orders, order{f, ended, c.added})
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
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	expiring := false
	for {
		c.mu.Lock()
		c.active = true
		notes := c.notes
		if len(notes) > maxNotes {
			notes = notes[:maxNotes:maxNotes]
		}
		if i := slices.IndexFunc(notes, func(n note) bool { return n.what == bury || n.what == free }); i >= 0 {
			notes = notes[: i+1 : i+1] // what came later is not meant
		}
		c.notes = c.notes[len(notes):]
		if len(c.notes) == 0 {
			c.notes = nil
		}
		c.wrote += uint64(len(notes))
		orders, sweeps, closed := c.due(), c.sweeps, c.closed
		c.sweeps = nil
		if len(notes)+len(orders)+len(sweeps) == 0 && (closed || !expiring) {
			c.active = false
			c.mu.Unlock()
			if closed {
				return
			}
			select {
			case <-c.wake:
			case <-tick.C:
				expiring = true
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
		if expiring || c.crowded() {
			expiring = c.expire()
		}
	}
}

// due takes the orders before which all is written once what was taken is; c.mu is held.
func (c *clerk) due() []order {
	n := 0
	for n < len(c.orders) && c.orders[n].after <= c.wrote {
		n++
	}
	due := c.orders[:n:n]
	c.orders = c.orders[n:]
	return due
}

// write writes notes, as often as it takes. Once the clerk is closed it gives up after a
// while: what is lost then is sent again after the next start. So is all that follows:
// alone in the store it would be sent first.
func (c *clerk) write(notes []note) {
	if len(notes) == 0 || c.lost {
		return
	}
	failpoint.Hit("deliver.writing")
	changes := c.gather(notes)
	var until time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := c.store.Settle(ctx, changes)
		cancel()
		if err == nil {
			if c.why.Swap(nil) != nil {
				c.d.log.Info("store takes deliveries again")
			}
			break
		}
		if errors.Is(err, ErrTaken) { // who has taken over finds it in the log
			c.lost = true
			return
		}
		if why := err.Error(); c.why.CompareAndSwap(nil, &why) {
			c.d.log.Error("store takes no deliveries: what cannot be sent waits in memory", "err", err)
		}
		if c.d.ctx.Err() != nil && until.IsZero() {
			until = time.Now().Add(lastWrites)
		}
		if !until.IsZero() && time.Now().After(until) {
			c.d.log.Error("what was to be parked is sent again after the next start", "changes", len(notes))
			c.lost = true
			return
		}
		select {
		case <-time.After(wait):
		case <-c.d.ctx.Done():
			time.Sleep(min(wait, 100*time.Millisecond))
		}
	}
	failpoint.Hit("deliver.written")
	for _, b := range changes.Bury {
		c.bytes.Add(-b.Bytes)
		c.kept[Dead].Add(b.Bytes)
	}
	c.written(notes)
}

func (c *clerk) gather(notes []note) *Changes {
	out := &Changes{Strip: c.d.cfg.Bodies == NoBodies}
	for _, n := range notes {
		switch n.what {
		case park:
			out.Park = append(out.Park, cmp.Or(n.as, n.d))
		case back:
			out.Back = append(out.Back, n.d)
		case done:
			out.Done = append(out.Done, n.d.ID)
		case bury:
			out.Bury = append(out.Bury, n.burial)
		case free:
			out.Free = append(out.Free, n.q.id)
		}
	}
	return out
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
		if cmp.Or(n.as, d).State == Parked { // d itself may be over by now
			l.sent(d)
		} else {
			c.over(d)
		}
	case back, done:
		delete(l.settling, d.ID)
		switch {
		case d.gone && !d.again:
		case n.what == done || d.State != Parked:
			c.over(d)
		default:
			c.bytes.Add(d.Bytes() - d.size) // it may have been rendered
			if d.NextAt.IsZero() {          // a sweep may have passed it by
				q.resweep()
			} else {
				q.wakeAt(d.NextAt)
			}
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

// over notes that d is parked no more.
func (c *clerk) over(d *Delivery) {
	c.bytes.Add(-d.size)
	if d.State != Parked {
		c.kept[d.State].Add(d.Bytes())
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
	got := q.pick(places, most, time.Now())
	epoch = q.lot.epoch
	q.mu.Unlock()
	var rows []*Delivery
	if len(got.ids) > 0 {
		if rows, err = c.store.Load(ctx, got.ids); err != nil {
			return err
		}
		failpoint.Hit("deliver.loaded")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lot.epoch != epoch || q.closed {
		q.sweep()
		return nil
	}
	q.enter(rows, &got)
	if len(places) < page && (len(places) == 0 || got.last == places[len(places)-1].ID) {
		q.caughtUp()
		return nil
	}
	q.sweep()
	return nil
}
