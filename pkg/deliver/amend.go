package deliver

import (
	"context"
	"errors"
	"time"
)

// ErrNoStore says that nothing is parked, by configuration.
var ErrNoStore = errors.New("nothing is parked: delivery.park.max_bytes is 0")

// Amend retries, skips or erases the parked and dead deliveries that f picks, at most
// f.Limit, and returns how many that were. What is being sent at the moment is sent. rate
// bounds how many of them are tried again in a second; 0 = as many as the destinations
// take.
func (d *Deliverer) Amend(ctx context.Context, f *Filter, a Amendment, rate float64) (n int, err error) {
	if d.clerk == nil {
		return 0, ErrNoStore
	}
	var every time.Duration
	if rate > 0 {
		every = time.Duration(float64(time.Second) / rate)
	}
	err = d.clerk.do(ctx, func(ctx context.Context) error {
		all, err := d.clerk.store.Amend(ctx, f, a, time.Now(), every)
		for _, one := range all {
			n += one.Deliveries
			d.amended(one, a)
		}
		return err
	})
	return n, err
}

// amended has a destination look at what was changed of it in the store.
func (d *Deliverer) amended(a Amended, what Amendment) {
	d.clerk.bytes.Add(a.Bytes)
	d.mu.Lock()
	q := d.destinations[a.Destination]
	d.mu.Unlock()
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lot.rows = a.Parked
	for _, waits := range q.lot.settling {
		if !waits {
			q.lot.rows-- // still there, and accepted
		}
	}
	q.m.parked.Set(float64(q.lot.rows))
	if what == Retry {
		q.resweep()
		return
	}
	q.spill() // rows of it may be in memory
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
