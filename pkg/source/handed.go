package source

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Handed is how far a Run has handed over its log, for Scanner.Reached. Run's goroutine
// writes it; any other may wait for it.
type Handed struct {
	seq     atomic.Uint64 // Tx.Seq of the last Commit
	through atomic.Uint64 // every transaction with a lower Tx.Seq was handed over
}

// Reset is called when Run begins.
func (h *Handed) Reset() {
	h.through.Store(0)
	h.seq.Store(0)
}

// Sent notes that b was taken.
func (h *Handed) Sent(b Batch) {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i].Op == change.Commit {
			h.seq.Store(max(h.seq.Load(), b[i].Tx.Seq))
			return
		}
	}
}

// Through notes that every transaction with a Tx.Seq below seq was taken. It is called
// after Sent.
func (h *Handed) Through(seq uint64) { h.through.Store(max(h.through.Load(), seq)) }

// stuckAfter is how long Wait waits for the log to move by itself.
const stuckAfter = 20 * time.Millisecond

// Wait is a Scanner's Reached. While the log does not get there, stuck is called, once a
// second.
func (h *Handed) Wait(ctx context.Context, until uint64, stuck func()) (seq uint64, err error) {
	wait, next := time.Millisecond, time.Now().Add(stuckAfter)
	for h.through.Load() < until {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			stuck()
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(wait*2, 10*time.Millisecond)
	}
	return h.seq.Load(), nil
}
