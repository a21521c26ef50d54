package pipeline

import (
	"errors"
	"maps"
	"sync"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// broken remembers which triggers cannot render changes of which tables. Any goroutine.
type broken struct {
	mu sync.Mutex
	by map[brokenKey]brokenSince
}

type brokenKey struct {
	trigger       int64
	schema, table string
}

type brokenSince struct {
	revision int64
	*trigger.Broken
}

// Broken says why a revision of a trigger cannot render what comes of this source, nil if
// it can or nothing has come yet. Any goroutine.
func (p *Pipeline) Broken(id, revision int64) *trigger.Broken {
	p.broken.mu.Lock()
	defer p.broken.mu.Unlock()
	for k, b := range p.broken.by {
		if k.trigger == id && b.revision == revision {
			return b.Broken
		}
	}
	return nil
}

// note takes err, if it says that t is broken.
func (b *broken) note(t *trigger.Compiled, table *change.Table, err error) {
	var why *trigger.Broken
	if !errors.As(err, &why) {
		return
	}
	k := brokenKey{t.Trigger.ID, table.Schema, table.Name}
	b.mu.Lock()
	defer b.mu.Unlock()
	if was, ok := b.by[k]; ok && was.revision >= t.Revision {
		return // since then
	}
	if b.by == nil {
		b.by = map[brokenKey]brokenSince{}
	}
	b.by[k] = brokenSince{t.Revision, why}
}

// mended forgets that a trigger could not render changes of a table.
func (b *broken) mended(t *trigger.Compiled, table *change.Table) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.by, brokenKey{t.Trigger.ID, table.Schema, table.Name})
}

// keep forgets what was true of triggers that are not in v.
func (b *broken) keep(v *View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.by) == 0 {
		return
	}
	there := map[int64]bool{}
	for _, t := range v.Set.Triggers() {
		there[t.Trigger.ID] = true
	}
	maps.DeleteFunc(b.by, func(k brokenKey, _ brokenSince) bool { return !there[k.trigger] })
}
