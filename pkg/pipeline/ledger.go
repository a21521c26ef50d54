package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Ledger turns deliveries that end in any order into a mark that only moves over an
// unbroken prefix of the log.
//
//	log order:  [e0 done] [e1 2 left] [e2 done] [commit A] [e3 done] [commit B] …
//	             ^ kept: the saved mark stands before e0
//	                       ^ head: the mark stands before e1, whatever follows is done
//
// An entry is opened by the reader's goroutine, in log order; Done may be called by
// any goroutine. Entries between kept and tail are the window: what may be delivered
// a second time after a crash.
type Ledger struct {
	mu      sync.Mutex
	ring    []entry
	kept    uint64 // number of the oldest entry behind the saved mark
	head    uint64 // number of the oldest entry that is not finished
	tail    uint64 // number of the next entry
	mark    change.Mark
	moved   bool          // mark changed since the last call of Mark
	due     chan struct{} // holds one: much of the window waits for the mark to be saved
	room    chan struct{} // closed and replaced when kept moves while somebody waits
	waiting bool
	events  uint64 // entries with deliveries between head and tail
	stopped atomic.Bool
	// stuck is called with the oldest entry that is not finished, as often as somebody has
	// waited for patience while nothing was finished. Nil: nobody cares.
	stuck func(entry uint64)
}

// patience is how long a full window is waited for before somebody is told.
const patience = 200 * time.Millisecond

type entry struct {
	tx      *change.Tx
	pending int32 // deliveries not done
	ordinal uint32
	commit  bool
	counted bool // an event with deliveries
}

// NewLedger starts at from and lets at most window entries be open, at least 2.
func NewLedger(from change.Mark, window int) *Ledger {
	size := 2
	for size < window {
		size *= 2
	}
	return &Ledger{ring: make([]entry, size), mark: from, due: make(chan struct{}, 1), room: make(chan struct{})}
}

// Open adds the row change ordinal of tx, with its number of deliveries; 0 records
// only that everything up to it was looked at. It waits while the window is full and
// fails only when ctx ends. The number it returns goes to Done once a delivery.
func (l *Ledger) Open(ctx context.Context, tx *change.Tx, ordinal uint32, deliveries int) (uint64, error) {
	return l.add(ctx, entry{tx: tx, ordinal: ordinal, pending: int32(deliveries), counted: deliveries > 0})
}

// Commit adds the end of tx. tx.End must be set.
func (l *Ledger) Commit(ctx context.Context, tx *change.Tx) error {
	_, err := l.add(ctx, entry{tx: tx, commit: true})
	return err
}

func (l *Ledger) add(ctx context.Context, e entry) (uint64, error) {
	l.mu.Lock()
	if l.merge(e) {
		l.mu.Unlock()
		return 0, nil
	}
	for l.tail-l.kept == uint64(len(l.ring)) {
		l.waiting = true
		room, head := l.room, l.head
		l.mu.Unlock()
		if err := l.await(ctx, room, head); err != nil {
			return 0, err
		}
		l.mu.Lock()
	}
	n := l.tail
	l.ring[n&uint64(len(l.ring)-1)] = e
	l.tail++
	if e.counted {
		l.events++
	}
	l.mu.Unlock()
	return n, nil
}

// await waits for room to be closed, but no longer than for patience.
func (l *Ledger) await(ctx context.Context, room <-chan struct{}, head uint64) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-room:
	case <-timer.C:
		if now, open := l.Head(); open && now == head && l.stuck != nil {
			l.stuck(head)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Head is the oldest entry that is not finished, if there is one.
func (l *Ledger) Head() (entry uint64, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.tail > l.head
}

// merge passes e, if it has no deliveries, where all before it is done, or else puts it in
// the place of an entry before it that has none either, so that what concerns no trigger
// does not fill the window; l.mu is held.
func (l *Ledger) merge(e entry) bool {
	if e.counted {
		return false
	}
	if l.tail == l.head {
		l.pass(&e)
		return true
	}
	last := &l.ring[(l.tail-1)&uint64(len(l.ring)-1)]
	if last.counted || !e.commit && last.tx != e.tx {
		return false
	}
	*last = e
	return true
}

// Stop closes the account: the mark is as it will be saved.
func (l *Ledger) Stop() { l.stopped.Store(true) }

// Stopped reports whether Stop was called.
func (l *Ledger) Stopped() bool { return l.stopped.Load() }

// Done says that one delivery of entry n is durably delivered (or will never be, by
// somebody's decision).
func (l *Ledger) Done(n uint64) {
	l.mu.Lock()
	e := &l.ring[n&uint64(len(l.ring)-1)]
	e.pending--
	if e.pending == 0 && n == l.head {
		l.advance()
	}
	l.mu.Unlock()
}

// advance moves the head over finished entries; l.mu is held.
func (l *Ledger) advance() {
	mask := uint64(len(l.ring) - 1)
	for l.head < l.tail {
		e := &l.ring[l.head&mask]
		if e.pending > 0 {
			break
		}
		l.pass(e)
		if e.counted {
			l.events--
		}
		e.tx = nil
		l.head++
	}
	if l.head-l.kept >= uint64(len(l.ring)/2) {
		select {
		case l.due <- struct{}{}:
		default:
		}
	}
}

// pass moves the mark over e; l.mu is held.
func (l *Ledger) pass(e *entry) {
	if e.commit {
		// A Commit never stands inside another transaction, so it hides no part
		// of one that is done.
		l.mark = change.Mark{End: e.tx.End}
	} else {
		l.mark.Tx, l.mark.Done = e.tx.Position, e.ordinal
	}
	l.moved = true
}

// Mark returns how far everything is done, whether that changed since the last call, and
// what Saved is to be told once it is saved.
func (l *Ledger) Mark() (m change.Mark, moved bool, upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	moved, l.moved = l.moved, false
	return l.mark, moved, l.head
}

// Saved says that a mark survives a crash: what is before it comes no more.
func (l *Ledger) Saved(upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = upTo
	if l.waiting && l.tail-l.kept < uint64(len(l.ring)) {
		l.waiting = false
		close(l.room)
		l.room = make(chan struct{})
	}
}

// Due holds a value when the mark is to be saved soon, or the window is full.
func (l *Ledger) Due() <-chan struct{} { return l.due }

// InFlight is the number of events whose deliveries are not all behind the mark.
func (l *Ledger) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.events)
}
