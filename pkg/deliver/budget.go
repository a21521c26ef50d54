package deliver

import (
	"context"
	"sync"
)

// budget bounds the bytes that wait in memory.
type budget struct {
	mu    sync.Mutex
	used  int64
	limit int64
	room  chan struct{}
	wait  bool
}

// take waits until n bytes fit; a single body larger than the limit fits when nothing
// else is held. As often as it has waited for patience it calls relieve.
func (b *budget) take(ctx context.Context, n int64, relieve func()) error {
	b.mu.Lock()
	for b.used > 0 && b.used+n > b.limit {
		b.wait = true
		room := b.room
		b.mu.Unlock()
		late, err := await(ctx, room)
		if err != nil {
			return err
		}
		if late {
			relieve()
		}
		b.mu.Lock()
	}
	b.used += n
	b.mu.Unlock()
	return nil
}

// force takes n bytes whether they fit or not.
func (b *budget) force(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// tight reports whether most of the budget is taken.
func (b *budget) tight() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used > b.limit/4*3
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.used -= n
	if b.wait {
		b.wait = false
		close(b.room)
		b.room = make(chan struct{})
	}
	b.mu.Unlock()
}
