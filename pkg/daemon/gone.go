package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// goneEvery is how often it is looked whether the tables of active triggers are there.
const goneEvery = 5 * time.Second

// goneSaid is what is said of an activation whose table is not there.
const goneSaid = "the table is not there any more: it was dropped or renamed; one of that name fires again once it is published"

// lookForGone notes which tables of active triggers were dropped or renamed, until ctx
// ends. Nothing but what is shown depends on it: the activations stay as they are stored,
// and hold for a table that takes the name.
func (t *tail) lookForGone(ctx context.Context) {
	src, ok := t.source().(source.Missing)
	if !ok {
		return
	}
	for {
		tables := t.firing(t.name)
		var gone []source.TableName
		var err error
		if len(tables) > 0 {
			short, cancel := context.WithTimeout(ctx, goneEvery)
			gone, err = src.Missing(short, tables)
			cancel()
		}
		if err == nil && t.cameBack(gone) { // shown as active, it fires
			if err = t.publish(ctx); err != nil && source.OnlyTables(err) {
				err = nil
			}
		}
		if err == nil { // else what is wrong is told by those who read
			t.setGone(gone)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(goneEvery):
		}
	}
}

// cameBack reports whether a table that was not there is not among those that are not now.
func (t *tail) cameBack(now []source.TableName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.gone, func(n source.TableName) bool { return !slices.Contains(now, n) })
}

func (t *tail) setGone(now []source.TableName) {
	t.mu.Lock()
	was := t.gone
	t.gone = now
	t.mu.Unlock()
	for _, n := range now {
		if !slices.Contains(was, n) {
			t.log.Error("a table of active triggers was dropped or renamed: they fire again once one of that name is published", "source", t.name, "table", n.String())
		}
	}
}

// isGone reports whether the table of an activation was dropped or renamed.
func (t *tail) isGone(a trigger.Activation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.gone, source.TableName{Schema: a.Schema, Name: a.Table})
}
