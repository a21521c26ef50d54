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

// breaks notes that changes of a table cannot be rendered, if err says so of t.
func (p *Pipeline) breaks(t *trigger.Compiled, table *change.Table, err error) {
	if why := (*trigger.Broken)(nil); errors.As(err, &why) && p.broken.note(t, table, why) {
		p.log.Warn("trigger is broken: its deliveries wait", "source", p.name, "trigger", t.Trigger.ID, "name", t.Trigger.Name, "why", why.Reason)
	}
}

// mended notes that changes of a table can be rendered, and has what waited for that tried.
func (p *Pipeline) mended(t *trigger.Compiled, table *change.Table) {
	if !p.broken.mended(t, table) {
		return
	}
	p.log.Info("trigger is broken no more: its deliveries are tried", "source", p.name, "trigger", t.Trigger.ID, "name", t.Trigger.Name)
	for _, d := range t.Destinations {
		p.deliver.RetryNow(d.ID)
	}
}

// note reports whether that is news.
func (b *broken) note(t *trigger.Compiled, table *change.Table, why *trigger.Broken) bool {
	k := brokenKey{t.Trigger.ID, table.Schema, table.Name}
	b.mu.Lock()
	defer b.mu.Unlock()
	if was, ok := b.by[k]; ok && was.revision >= t.Revision {
		return false // since then
	}
	if b.by == nil {
		b.by = map[brokenKey]brokenSince{}
	}
	b.by[k] = brokenSince{t.Revision, why}
	return true
}

// mended forgets that a trigger could not render changes of a table, and reports whether
// it could not.
func (b *broken) mended(t *trigger.Compiled, table *change.Table) bool {
	k := brokenKey{t.Trigger.ID, table.Schema, table.Name}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, was := b.by[k]
	delete(b.by, k)
	return was
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
