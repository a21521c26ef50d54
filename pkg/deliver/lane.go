package deliver

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"
)

// lane holds the deliveries of one ordering key, oldest first. The first one is being
// sent or waits to be; it leaves when it is finished.
type lane struct {
	hash       uint64
	table      uint64
	head, tail *link
}

// link is a delivery's place in one lane.
type link struct {
	d    *Delivery
	lane *lane
	next *link
}

// lanes orders the deliveries of one destination. Not safe for concurrent use.
type lanes struct {
	byHash   map[uint64]*lane
	barriers map[uint64]*barrier // by table
	free     []*lane
}

// barrier is a delivery that is one, with what came after it.
type barrier struct {
	d      *Delivery
	behind []*Delivery
}

func newLanes() lanes {
	return lanes{byHash: map[uint64]*lane{}, barriers: map[uint64]*barrier{}}
}

// add puts d behind everything it has to follow, and reports whether it may be sent
// now.
func (l *lanes) add(d *Delivery) bool {
	if b, ok := l.barriers[d.Table]; ok && d.Table != 0 {
		b.behind = append(b.behind, d)
		return false
	}
	d.links = d.first[:0]
	for i := range d.NLane {
		if i == 1 && d.Lanes[1] == d.Lanes[0] {
			break
		}
		l.append(d, l.lane(d.Lanes[i], d.Table))
	}
	if d.Barrier {
		for _, ln := range l.byHash {
			if ln.table == d.Table && !d.in(ln) {
				l.append(d, ln)
			}
		}
		l.barriers[d.Table] = &barrier{d: d}
	}
	// The links may have moved while the slice grew; only now are they where they stay.
	for i := range d.links {
		ln := d.links[i].lane
		if ln.tail == nil {
			ln.head = &d.links[i]
		} else {
			ln.tail.next = &d.links[i]
			d.waits++
		}
		ln.tail = &d.links[i]
	}
	return d.waits == 0
}

func (l *lanes) append(d *Delivery, ln *lane) {
	d.links = append(d.links, link{d: d, lane: ln})
}

func (d *Delivery) in(ln *lane) bool {
	for i := range d.links {
		if d.links[i].lane == ln {
			return true
		}
	}
	return false
}

func (l *lanes) lane(hash, table uint64) *lane {
	if ln, ok := l.byHash[hash]; ok {
		return ln
	}
	var ln *lane
	if n := len(l.free); n > 0 {
		ln, l.free = l.free[n-1], l.free[:n-1]
	} else {
		ln = new(lane)
	}
	*ln = lane{hash: hash, table: table}
	l.byHash[hash] = ln
	return ln
}

// next returns the delivery behind d in its only lane, if that one belongs to no
// other lane: what may be sent together with d, after it.
func (l *lanes) next(d *Delivery) *Delivery {
	if len(d.links) != 1 || d.links[0].next == nil {
		return nil
	}
	if n := d.links[0].next.d; len(n.links) == 1 && !n.Barrier {
		return n
	}
	return nil
}

// finish takes d out and calls ready for each delivery that may be sent now. A
// finished delivery behind an unfinished one stays until that one is finished.
func (l *lanes) finish(d *Delivery, ready func(*Delivery)) {
	d.finished = true
	for i := range d.links {
		l.pop(d.links[i].lane, ready)
	}
	if !d.Barrier {
		return
	}
	b := l.barriers[d.Table]
	delete(l.barriers, d.Table)
	for _, w := range b.behind {
		if l.add(w) {
			ready(w)
		}
	}
}

// pop removes the finished deliveries at the head of ln.
func (l *lanes) pop(ln *lane, ready func(*Delivery)) {
	popped := false
	for ln.head != nil && ln.head.d.finished {
		ln.head = ln.head.next
		popped = true
	}
	if !popped {
		return
	}
	if ln.head == nil {
		delete(l.byHash, ln.hash)
		ln.tail = nil
		if len(l.free) < 256 {
			l.free = append(l.free, ln)
		}
		return
	}
	d := ln.head.d
	if d.waits > 0 {
		d.waits--
		if d.waits == 0 && !d.sending {
			ready(d)
		}
	}
}

// cut takes out d, the first of its lane, and what follows it there. It does nothing and
// returns false if some of that is also in another lane or has to do with a barrier.
func (l *lanes) cut(d *Delivery) (behind []*Delivery, ok bool) {
	if _, fenced := l.barriers[d.Table]; d.Barrier || len(d.links) > 1 || fenced && d.Table != 0 {
		return nil, false
	}
	if len(d.links) == 0 {
		return nil, true
	}
	ln := d.links[0].lane
	for k := d.links[0].next; k != nil; k = k.next {
		if len(k.d.links) != 1 || k.d.Barrier {
			return nil, false
		}
		if !k.d.finished {
			behind = append(behind, k.d)
		}
	}
	delete(l.byHash, ln.hash)
	return behind, true
}

// all gives what is in lanes, lists and timers, or being sent and in a lane: some more than
// once.
func (l *lanes) all(ready *fifo, delayed map[*Delivery]*time.Timer) iter.Seq[*Delivery] {
	return func(yield func(*Delivery) bool) {
		for _, ln := range l.byHash {
			for k := ln.head; k != nil; k = k.next {
				if !k.d.finished && !yield(k.d) {
					return
				}
			}
		}
		for _, b := range l.barriers {
			if !b.d.finished && !yield(b.d) {
				return
			}
			for _, d := range b.behind {
				if !d.finished && !yield(d) {
					return
				}
			}
		}
		for d := ready.head; d != nil; d = d.next { // some have no lane
			if !d.finished && !yield(d) {
				return
			}
		}
		for d := range delayed {
			if !d.finished && !yield(d) {
				return
			}
		}
	}
}

// clear takes out all that is in lanes, lists and timers and not being sent. It returns
// everything in the order of its ids.
func (l *lanes) clear(ready *fifo, delayed map[*Delivery]*time.Timer) []*Delivery {
	seen := map[*Delivery]struct{}{}
	for d := range l.all(ready, delayed) {
		seen[d] = struct{}{}
	}
	for ready.pop() != nil { // so that none is linked to another any more
	}
	for _, timer := range delayed {
		timer.Stop()
	}
	clear(delayed)
	all := slices.SortedFunc(maps.Keys(seen), func(a, b *Delivery) int { return cmp.Compare(a.ID, b.ID) })
	*l = newLanes()
	for _, d := range all {
		if d.sending { // whatever it had behind it is gone
			d.waits = 0
			l.add(d)
		}
	}
	return all
}
