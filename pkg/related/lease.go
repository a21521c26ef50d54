package related

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// stale is how old a row may be that the log does not keep current: of a table that is
// not in the log, or of one of which nobody has asked lately whether it still is.
const stale = time.Second

// lease says that the log carries all changes of a table. It ends by itself.
type lease struct {
	word  string
	until atomic.Int64 // in nanoseconds since began
}

// Leases are the tables whose changes the log is known to carry. Any goroutine.
type Leases struct {
	began time.Time // durations since then are those of the monotonic clock
	mu    sync.Mutex
	held  atomic.Pointer[map[source.TableName]*lease]
}

// NewLeases knows of no table.
func NewLeases() *Leases {
	l := &Leases{began: time.Now()}
	l.held.Store(&map[source.TableName]*lease{})
	return l
}

// Renew says of which tables the log was known to carry all changes at a time, with the
// words of source.Catalog.Carried. A table may be among them once a source.Catalog.Barrier
// that began after it was published has returned, and its word is the one from before
// that. Tables that are not among them are not carried any more.
func (l *Leases) Renew(words map[source.TableName]string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := *l.held.Load()
	now := make(map[source.TableName]*lease, len(words))
	for t, word := range words {
		held := was[t]
		if held == nil || held.word != word {
			held = &lease{word: word}
		}
		held.until.Store(int64(at.Sub(l.began) + stale))
		now[t] = held
	}
	for t, held := range was {
		if now[t] != held {
			held.until.Store(0)
		}
	}
	l.held.Store(&now)
}

// on gives the lease on a table, nil if there is none.
func (l *Leases) on(t source.TableName) *lease { return (*l.held.Load())[t] }

// now is the time that leases are measured in.
func (l *Leases) now() int64 { return int64(time.Since(l.began)) }
