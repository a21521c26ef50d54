package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/mysql"
	"github.com/waltrigger/waltrigger/pkg/source/postgres"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// openSource makes the source of an entry; nothing is connected yet. What it remembers it
// keeps by n.
func openSource(c config.Source, n *notes, log *slog.Logger) (source.Managed, error) {
	if c.IsMySQL() {
		return mysql.New(c.MySQL(), nil, n, log)
	}
	return postgres.New(c.Postgres(), nil, log)
}

// notes are those of one source in the store. Only who holds the source may change them.
type notes struct {
	source string
	held   atomic.Pointer[store.Held] // nil = nobody here reads the source
}

func notesOf(source string, held *store.Held) *notes {
	n := &notes{source: source}
	n.held.Store(held)
	return n
}

var errNotHeld = errors.New("this instance does not read the source")

// LoadNotes implements source.Notes.
func (n *notes) LoadNotes(ctx context.Context) (map[string]string, error) {
	held := n.held.Load()
	if held == nil {
		return nil, errNotHeld
	}
	return held.LoadNotes(ctx, n.source)
}

// SaveNotes implements source.Notes.
func (n *notes) SaveNotes(ctx context.Context, changed map[string]string) error {
	held := n.held.Load()
	if held == nil {
		return errNotHeld
	}
	return held.SaveNotes(ctx, n.source, changed)
}
