package deliver

import (
	"context"
	"errors"
	"time"
)

// Filter picks deliveries: those to which all that is set applies.
type Filter struct {
	IDs         []uint64
	States      []State // none = parked and dead ones
	Destination string
	Trigger     int64
	Source      string
	Table       string  // of the row
	Key         *string // of the row
	Class, Code string
	From, To    time.Time // of the commit, From included

	// ByTime orders them by commit and then id, else by id alone; Newest turns it round.
	ByTime, Newest bool
	After          Mark // of the last one that is left out; the zero Mark leaves out none
	Limit          int  // 0 = no limit
	Brief          bool // without body and what else is rendered
}

// Mark is the place of a delivery in a list.
type Mark struct {
	ID uint64
	At time.Time // of its commit
}

// Amendment is what somebody does to deliveries.
type Amendment uint8

// Amendments.
const (
	Retry Amendment = iota // send them, also those that are dead or were accepted
	Skip                   // make parked ones dead, so that their lanes go on
	Erase                  // remove them, and nothing is left of them
)

// Request is what somebody wants done to deliveries.
type Request struct {
	Filter Filter
	Do     Amendment
	// Anew: what is retried is rendered once more, with the trigger as it is then. What
	// has no Origin stays as it is.
	Anew bool
	// Rate bounds how many of them are tried in a second; 0 = as many as the
	// destinations take.
	Rate float64
	// From: the first is not tried before.
	From time.Time

	// Set by Deliverer.Amend.
	Known func(destination string) bool `json:"-"` // what is to be retried of others stays as it is
	Strip bool                          // nothing is kept of what the skipped ones say
	Now   time.Time
	Every time.Duration // by Rate
}

// Outcome is what became of a Request.
type Outcome struct {
	Changed    int
	Bare       int // left as they are: what they say is not kept
	Unrendered int // the same: what they were rendered from is not kept
	Homeless   int // the same: their destination was deleted
	// More: it took too long, and there are more behind Last. They are tried from From on.
	More bool
	Last Mark
	From time.Time

	Picked  int       // by the filter
	Amended []Amended `json:"-"` // for the Deliverer
}

// Amended is what was changed of a destination.
type Amended struct {
	Destination string
	Left        []uint64 // those that are parked no more
	Parked      int      // in the store now
	Bytes       [3]int64 // by state: more, or less
}

// ErrNoStore says that nothing is parked, by configuration.
var ErrNoStore = errors.New("nothing is parked: delivery.park.max_bytes is 0")

const (
	amendAtOnce = 1000 // in one transaction
	amendTime   = 15 * time.Second
)

// Amend retries, skips or erases deliveries that are kept. What is being sent at the
// moment is sent.
func (d *Deliverer) Amend(ctx context.Context, r Request) (Outcome, error) {
	total := Outcome{From: r.From}
	if d.clerk == nil && r.Do != Erase {
		return total, ErrNoStore
	}
	if r.Do == Erase {
		d.gather(&r.Filter) // what is not kept yet may be in a moment
	}
	r.Known, r.Strip = d.known, d.cfg.Bodies == NoBodies
	if r.Rate > 0 {
		r.Every = time.Duration(float64(time.Second) / r.Rate)
	}
	until, limit := time.Now().Add(amendTime), r.Filter.Limit
	for {
		r.Now = time.Now()
		if r.Filter.Limit = amendAtOnce; limit > 0 {
			r.Filter.Limit = min(amendAtOnce, limit-total.Picked)
		}
		if r.From.Before(r.Now) {
			r.From = r.Now
		}
		out, err := d.amend(ctx, r)
		if err != nil {
			return total, err
		}
		total.Changed, total.Picked = total.Changed+out.Changed, total.Picked+out.Picked
		total.Bare, total.Unrendered, total.Homeless = total.Bare+out.Bare, total.Unrendered+out.Unrendered, total.Homeless+out.Homeless
		r.From = r.From.Add(time.Duration(out.Changed) * r.Every)
		r.Filter.After, total.Last, total.From = out.Last, out.Last, r.From
		if out.Picked < r.Filter.Limit || limit > 0 && total.Picked >= limit {
			return total, nil
		}
		if r.Do == Retry && !d.clerk.room() || time.Now().After(until) {
			total.More = true
			return total, nil
		}
	}
}

// amend changes some, between two writes of the clerk.
func (d *Deliverer) amend(ctx context.Context, r Request) (*Outcome, error) {
	if d.clerk == nil {
		if d.store == nil {
			return nil, ErrNoStore
		}
		return d.store.Amend(ctx, &r)
	}
	got := make(chan *Outcome, 1)
	err := d.clerk.do(ctx, func(ctx context.Context) error {
		out, err := d.store.Amend(ctx, &r)
		if err != nil {
			return err
		}
		for i := range out.Amended {
			d.amended(&out.Amended[i])
		}
		got <- out
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-got, nil
}

func (d *Deliverer) known(destination string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.destinations[destination] != nil
}

// gather parks what of those that f picks would be parked in a while.
func (d *Deliverer) gather(f *Filter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, q := range d.destinations {
		q.mu.Lock()
		if (f.Destination == "" || f.Destination == id) && (f.Trigger == 0 || f.Trigger == q.target.Trigger()) && q.stays() {
			q.spill()
		}
		q.mu.Unlock()
	}
}

// stays reports whether something waits in memory that is not to be sent at once; q.mu is
// held.
func (q *Destination) stays() bool {
	return q.waiting > 0 && (len(q.delayed) > 0 || !q.retryAt.IsZero() || q.limits.Paused)
}

// amended has a destination look at what was changed of it in the store.
func (d *Deliverer) amended(a *Amended) {
	d.clerk.bytes.Add(a.Bytes[Parked])
	for s := Dead; s <= Sent; s++ {
		d.clerk.kept[s].Add(a.Bytes[s])
	}
	d.mu.Lock()
	q := d.destinations[a.Destination]
	d.mu.Unlock()
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l, held := &q.lot, false
	for _, id := range a.Left {
		if c := l.loaded[id]; c != nil {
			delete(l.loaded, id)
			c.gone, c.stored = true, false
			held = held || !c.sending
		}
		if c := l.settling[id]; c != nil {
			c.gone = true
		}
	}
	l.rows = a.Parked
	for _, c := range l.settling {
		if !c.again && !c.gone {
			l.rows-- // it is still there, and over
		}
	}
	q.m.parked.Set(float64(l.rows))
	if held || q.waiting > len(l.loaded) { // what was retried may have to be followed by what is in memory alone
		q.spill()
		return
	}
	q.resweep()
}

// RetryNow has everything tried at once that waits for a destination. False: there is no
// such destination.
func (d *Deliverer) RetryNow(destination string) bool {
	d.mu.Lock()
	q := d.destinations[destination]
	d.mu.Unlock()
	if q == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free()
	return true
}
