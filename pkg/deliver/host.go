package deliver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// host is where several destinations are. Once one of them has found that nobody can be
// reached there, the others need not find out for themselves, nor probe beside it.
//
// Lock order: a destination's mu, then that of its host.
type host struct {
	until atomic.Int64 // nobody but the prober tries before, Unix nanoseconds; 0 = it can be reached

	mu      sync.Mutex
	prober  *Destination
	members map[*Destination]struct{}
}

// unreachable are the failures that say nothing of a single destination.
var unreachable = map[string]bool{sink.CodeRefused: true, sink.CodeDNS: true, sink.CodeTLS: true, sink.CodeNetwork: true}

// slack is how much later than the probe the others look.
const slack = time.Second

// join makes q a member of the host of that name; "" = none. q.mu is held, d.mu as well.
func (d *Deliverer) join(q *Destination, name string) {
	d.leaveHost(q)
	if name == "" {
		return
	}
	h := d.hosts[name]
	if h == nil {
		h = &host{members: map[*Destination]struct{}{}}
		d.hosts[name] = h
	}
	h.mu.Lock()
	h.members[q] = struct{}{}
	h.mu.Unlock()
	q.host, q.hostName = h, name
}

// leaveHost undoes join.
func (d *Deliverer) leaveHost(q *Destination) {
	h := q.host
	if h == nil {
		return
	}
	h.mu.Lock()
	delete(h.members, q)
	if h.prober == q {
		h.prober = nil
		h.until.Store(0)
	}
	empty := len(h.members) == 0
	h.mu.Unlock()
	if empty {
		delete(d.hosts, q.hostName)
	}
	q.host = nil
}

// down notes that q, which will probe at a time, could not reach its host.
func (h *host) down(q *Destination, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.prober == nil || h.prober == q || h.until.Load() < time.Now().UnixNano() {
		h.prober = q
		h.until.Store(at.Add(slack).UnixNano())
	}
}

// up notes that somebody could be reached, and has the others of the host go on. No
// destination's mu is held.
func (h *host) up() {
	h.mu.Lock()
	if h.until.Swap(0) == 0 {
		h.mu.Unlock()
		return
	}
	h.prober = nil
	waiting := make([]*Destination, 0, len(h.members))
	for q := range h.members {
		waiting = append(waiting, q)
	}
	h.mu.Unlock()
	for _, q := range waiting {
		q.mu.Lock()
		if q.byHost {
			q.byHost, q.retryAt = false, time.Time{}
			q.dispatch()
			q.sweep()
		}
		q.mu.Unlock()
	}
}

// hostHolds reports whether another destination of q's host is to try first; q.mu is held.
func (q *Destination) hostHolds(now time.Time) bool {
	if q.host == nil {
		return false
	}
	until := q.host.until.Load()
	if until == 0 || now.UnixNano() >= until {
		return false
	}
	q.host.mu.Lock()
	mine := q.host.prober == q
	q.host.mu.Unlock()
	if mine {
		return false
	}
	if at := time.Unix(0, until); !q.byHost || at.After(q.retryAt) {
		if trip := q.d.cfg.Backoff.Trip; q.failures < trip {
			if q.failures == 0 {
				q.since = now
			}
			q.failures = trip
			q.m.failing.Set(1)
			q.err = "its host cannot be reached, as another destination found"
			q.d.log.Warn("destination waits: its host cannot be reached", "destination", q.id, "host", q.hostName)
		}
		q.byHost, q.limit, q.retryAt = true, 1, at
		q.wakeAfter(at.Sub(now))
	}
	return true
}
