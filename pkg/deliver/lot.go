package deliver

import (
	"maps"
	"time"
)

// lot is what of a destination is in the store, and which of its lanes that concerns.
//
// A delivery that is parked is done as far as the log is concerned, so it must never be
// found in the store while one that it follows is in memory alone: after a crash that one
// would come again, from the log, behind it. And what is in the store alone is behind
// everything of its lanes in memory, except that a row that was loaded is in both
// places. So a delivery that comes may go to memory only if nothing of its lanes is in
// the store alone:
//
//	all        rows were not looked at yet: everything that comes is parked, until a sweep
//	           over the rows, in their order, has come to its end
//	otherwise  stays says what the last sweep left where it was, because an earlier row of
//	           the lane waits for its time
//
// Guarded by the destination's mu. epoch tells the clerk, which reads the store without
// it, that what it read is to be looked at anew.
type lot struct {
	all      bool
	stays    places
	sweeping bool                 // a sweep is under way, which gathers next
	next     places               // what stays after it
	loaded   map[uint64]*Delivery // rows that are in memory
	settling map[uint64]*Delivery // rows whose outcome is not written yet
	cursor   uint64               // the sweep has looked at rows up to here
	epoch    uint64
	rows     int       // parked, loaded ones included
	pending  int       // on their way to the store
	top      uint64    // the highest id that is there or on its way
	low      int       // of pending, those below a higher one
	queued   bool      // with the clerk, to be swept
	closing  bool      // the sweep is all but at its end: what comes waits for that
	due      time.Time // when the first of those that wait for their time is to be tried
	timer    *time.Timer
}

func newLot() lot {
	return lot{loaded: map[uint64]*Delivery{}, settling: map[uint64]*Delivery{}, stays: newPlaces(), next: newPlaces()}
}

// places are those of deliveries that are in the store alone.
type places struct {
	lanes  map[uint64]struct{}
	tables map[uint64]struct{} // tables of which there are some
	fences map[uint64]struct{} // tables of which a barrier is among them
}

func newPlaces() places {
	return places{map[uint64]struct{}{}, map[uint64]struct{}{}, map[uint64]struct{}{}}
}

func (ps *places) empty() bool { return len(ps.lanes)+len(ps.tables) == 0 }

// follows reports whether p has to wait for one of ps.
func (ps *places) follows(p *Place) bool {
	for _, lane := range p.Lanes[:p.NLane] {
		if _, ok := ps.lanes[lane]; ok {
			return true
		}
	}
	if p.Table == 0 {
		return false
	}
	of := ps.fences
	if p.Barrier {
		of = ps.tables
	}
	_, ok := of[p.Table]
	return ok
}

func (ps *places) add(p *Place) {
	for _, lane := range p.Lanes[:p.NLane] {
		ps.lanes[lane] = struct{}{}
	}
	if p.Table == 0 {
		return
	}
	ps.tables[p.Table] = struct{}{}
	if p.Barrier {
		ps.fences[p.Table] = struct{}{}
	}
}

// join adds all that are in other.
func (ps *places) join(other *places) {
	maps.Copy(ps.lanes, other.lanes)
	maps.Copy(ps.tables, other.tables)
	maps.Copy(ps.fences, other.fences)
}

func place(d *Delivery) *Place {
	return &Place{ID: d.ID, Source: d.Source, Lanes: d.Lanes, NLane: d.NLane, Table: d.Table, Barrier: d.Barrier, Refusals: d.Refusals, NextAt: d.NextAt}
}

// stay notes that p is in the store alone.
func (l *lot) stay(p *Place) {
	if l.stays.add(p); l.sweeping {
		l.next.add(p)
	}
}

// follows reports whether p has to wait for what is in the store alone, as far as that is
// known.
func (l *lot) follows(p *Place) bool { return l.stays.follows(p) || l.sweeping && l.next.follows(p) }

// send notes that d is on its way to the store. What is written in another order than
// that of the ids must be there before anything is loaded: it may belong before rows
// that are there already.
func (l *lot) send(d *Delivery) {
	d.ParkedAt = time.Now()
	l.pending++
	if d.low = d.ID < l.top; d.low {
		l.low++
	}
	l.top = max(l.top, d.ID)
}

// sent notes that d is there.
func (l *lot) sent(d *Delivery) {
	l.pending--
	l.rows++
	if d.low {
		l.low--
	}
}

// begin begins to look at the rows, from the first.
func (l *lot) begin() {
	l.sweeping, l.next, l.cursor = true, newPlaces(), 0
	l.due, l.closing = time.Time{}, false
	l.epoch++
}

// maxBehind bounds behind: with more lanes than that in the store alone, all is parked.
const maxBehind = 100_000

// parks reports whether d has to be parked; q.mu is held.
func (q *Destination) parks(d *Delivery) bool {
	l := &q.lot
	return l.all || !l.stays.empty() && l.follows(place(d))
}

// park hands d, which is in no lane, to the store; q.mu is held.
func (q *Destination) park(d *Delivery) {
	l := &q.lot
	if !l.all && (d.NLane > 1 || d.Barrier || len(l.stays.lanes) > maxBehind) {
		q.spill() // others of its lanes may be in memory
	}
	l.send(d) // a sweep under way comes to it, and what it follows is among what stays until then
	q.d.clerk.add(note{what: park, q: q, d: d, gives: true})
}

// set has d, the first of its lanes, tried again at a time, and with it what follows it;
// q.mu is held.
func (q *Destination) set(d *Delivery, at time.Time) {
	d.NextAt = at
	behind, single := q.lanes.cut(d)
	if !single { // several lanes are tangled up in it: all is sorted anew
		q.ready.unshift(d)
		q.spill()
		return
	}
	l := &q.lot
	l.epoch++
	l.stay(place(d))
	q.evict(d)
	for _, e := range behind {
		q.evict(e)
	}
	q.wakeAt(at)
	if q.blocked {
		q.unblock()
	}
}

// evict puts d, which was taken out of its lanes, back into the store; q.mu is held.
func (q *Destination) evict(d *Delivery) {
	q.waiting--
	d.evicted = true
	l := &q.lot
	switch {
	case d.gone:
		q.d.bytes.give(d.size)
	case !d.stored:
		l.send(d)
		q.d.clerk.add(note{what: park, q: q, d: d, gives: true})
	case d.touched:
		delete(l.loaded, d.ID)
		d.again, l.settling[d.ID] = true, d
		q.d.clerk.add(note{what: back, q: q, d: d, gives: true})
	default:
		delete(l.loaded, d.ID)
		q.d.bytes.give(d.size)
	}
}

// spill parks all that waits and whatever comes, until the destination gets on again;
// q.mu is held.
func (q *Destination) spill() {
	if q.d.clerk == nil || q.closed {
		return
	}
	l := &q.lot
	for _, d := range q.lanes.clear(&q.ready, q.delayed) {
		switch {
		case !d.sending:
			q.evict(d)
		case !d.stored && !d.gone: // what follows it is parked
			d.stored = true
			l.loaded[d.ID] = d
			l.send(d)
			q.d.clerk.add(note{what: park, q: q, d: d, as: d.snapshot()})
		}
	}
	l.all = true
	l.begin()
	if q.blocked {
		q.unblock()
	}
	q.sweep()
}

// resweep looks at all rows anew; q.mu is held.
func (q *Destination) resweep() {
	q.lot.begin()
	q.sweep()
}

// minSweep is how often the rows are looked at anew because the time of one has come.
const minSweep = time.Second

// wakeAt looks at the rows anew at a time; q.mu is held.
func (q *Destination) wakeAt(at time.Time) {
	l := &q.lot
	if !l.due.IsZero() && !at.Before(l.due) {
		return
	}
	l.due = at
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(max(time.Until(at), minSweep), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if l.due = (time.Time{}); !q.closed {
			q.resweep()
		}
	})
}

// sweep has the clerk load rows if there may be some and there is room; q.mu is held.
func (q *Destination) sweep() {
	switch l := &q.lot; {
	case !l.sweeping || l.queued:
	case q.wants() > 0:
		l.queued = true
		q.d.clerk.load(q)
	case l.closing: // it is not at its end after all
		if l.closing = false; q.blocked {
			q.unblock()
		}
	}
}

// wants is how many rows may be loaded now; q.mu is held.
func (q *Destination) wants() int {
	window := q.d.cfg.Queue / 2
	room := window - q.waiting
	switch {
	case q.closed || q.limits.Paused || !q.lot.sweeping || q.lot.low > 0 || q.d.draining.Load():
		return 0
	case q.holds() || q.failing() && q.waiting > 0:
		return 0
	case q.failing(): // one probes
		return 1
	case q.waiting > 0 && (room < window/4 || q.d.bytes.tight()):
		return 0
	}
	return max(room, 1)
}

// picked is what a look at some rows came to. It counts once the rows have entered: the
// look may have to be taken anew.
type picked struct {
	ids  []uint64 // to be loaded
	last uint64   // the id up to which it looked
	stay places   // of those that it passed by, or that may come back
}

// pick chooses those of places, which were read behind l.cursor, that may be loaded, at
// most most; q.mu is held.
func (q *Destination) pick(places []Place, most int, now time.Time) picked {
	l := &q.lot
	got := picked{last: l.cursor, stay: newPlaces()}
	for i := range places {
		p := &places[i]
		if len(got.ids) == most {
			break
		}
		got.last = p.ID
		if _, ok := l.loaded[p.ID]; ok {
			continue
		}
		if d := l.settling[p.ID]; d != nil {
			if d.again {
				got.stay.add(p)
			}
			continue
		}
		if p.NextAt.After(now) {
			q.wakeAt(p.NextAt)
		}
		if p.NextAt.After(now) || l.next.follows(p) || got.stay.follows(p) {
			got.stay.add(p)
			continue
		}
		got.ids = append(got.ids, p.ID)
		if p.Refusals > 0 { // it may be refused again: then what follows need not be loaded
			got.stay.add(p)
		}
	}
	return got
}

// enter takes in rows, which were loaded by what was picked; q.mu is held.
func (q *Destination) enter(rows []*Delivery, by *picked) {
	for _, d := range rows {
		d.stored, d.size = true, d.Bytes()
		q.d.bytes.force(d.size)
		q.lot.loaded[d.ID] = d
		q.take(d)
	}
	q.lot.next.join(&by.stay)
	q.lot.cursor = by.last
}

// caughtUp notes that the sweep has come to the end of the rows that are there; q.mu is
// held.
func (q *Destination) caughtUp() {
	l := &q.lot
	l.closing = false
	if q.failing() || q.limits.Paused || len(l.next.lanes) > maxBehind {
		return
	}
	if l.pending > 0 { // there would always be some, under load
		l.closing = q.wants() > 0
		return
	}
	l.all, l.sweeping, l.stays, l.next = false, false, l.next, newPlaces()
}
