package mysql

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// A transaction that changed tables which cannot be rolled back, MyISAM's, may have in
// the log what it undid: rows behind a SAVEPOINT, and then ROLLBACK TO. Such a group is
// told by its flags (MariaDB) or may be any without GTIDs (MySQL). Its rows are held until
// its end; if they are too many, the log is read ahead once to learn what becomes of them.

// maxHeld is how much is held of one group, bytes.
const maxHeld = 8 << 20

// hold is what a group needs for that.
type hold struct {
	holding bool
	held    []change.Change
	bytes   int
	marks   []savepoint
	undone  []span
	scanned bool // undone is all that is undone
}

type savepoint struct {
	name    string
	ordinal uint32
}

// span are the row changes first to last.
type span struct{ first, last uint32 }

func (h *hold) mark(name string, ordinal uint32) {
	h.marks = append(h.marks, savepoint{name, ordinal})
}

// undo notes a ROLLBACK TO. The savepoint itself stays.
func (h *hold) undo(name string, ordinal uint32) bool {
	for i := len(h.marks) - 1; i >= 0; i-- {
		if strings.EqualFold(h.marks[i].name, name) {
			if h.marks[i].ordinal < ordinal {
				h.undone = append(h.undone, span{h.marks[i].ordinal + 1, ordinal})
			}
			h.marks = h.marks[:i+1]
			return true
		}
	}
	return false
}

func (h *hold) wasUndone(ordinal uint32) bool {
	return slices.ContainsFunc(h.undone, func(s span) bool { return ordinal >= s.first && ordinal <= s.last })
}

// keep holds a row change, or stops holding if that is too much.
func (d *decoder) keep(ctx context.Context, c change.Change, size int) error {
	g := &d.group
	g.held = append(g.held, c)
	if g.bytes += size + 64; g.bytes <= maxHeld {
		return nil
	}
	a := ahead{mariadb: d.server.mariadb, maps: map[uint64]*tableMap{}}
	if err := d.reread(ctx, g.place, d.end.set, a.event); err != nil {
		return fmt.Errorf("read ahead: %w", err)
	}
	g.undone, g.scanned = a.undone, true
	return d.release(ctx)
}

// release sends what was held and not undone.
func (d *decoder) release(ctx context.Context) error {
	g := &d.group
	held := g.held
	g.holding, g.held, g.bytes = false, nil, 0
	for _, c := range held {
		if g.wasUndone(c.Ordinal) {
			continue
		}
		if err := d.send(ctx, c, 64); err != nil {
			return err
		}
	}
	return nil
}

// rollbackTo takes a ROLLBACK TO SAVEPOINT.
func (d *decoder) rollbackTo(name string) error {
	g := &d.group
	if g.scanned {
		return nil
	}
	if !g.undo(name, d.ordinal) || !g.holding {
		return source.PermanentError{Err: fmt.Errorf("read log: rows before %s:%d were undone after they were sent", d.file, d.pos)}
	}
	return nil
}

// rollback ends a group whose rows were undone.
func (d *decoder) rollback() error {
	g := &d.group
	if g.tx != nil && !g.scanned {
		return source.PermanentError{Err: fmt.Errorf("read log: rows before %s:%d were undone after they were sent", d.file, d.pos)}
	}
	g.hold = hold{}
	return d.finish()
}

// ahead reads the group that is held to its end, only for what is undone.
type ahead struct {
	hold
	mariadb bool
	maps    map[uint64]*tableMap
	ordinal uint32
}

func (a *ahead) event(h *replication.EventHeader, b []byte) error {
	switch h.EventType {
	case replication.XID_EVENT, replication.XA_PREPARE_LOG_EVENT:
		return errEndOfGroup
	case replication.TABLE_MAP_EVENT:
		m, err := decodeTableMap(b, a.mariadb)
		if err == nil {
			a.maps[m.id] = m
		}
		return err
	case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
		q, err := decodeQuery(h, b)
		if err != nil {
			return err
		}
		return a.query(q)
	}
	if _, _, ok := rowsKind(h.EventType); ok {
		return a.rows(h, b)
	}
	return nil
}

func (a *ahead) query(q query) error {
	switch name, kind := savepointName(q.text); {
	case kind == markSavepoint:
		a.mark(name, a.ordinal)
	case kind == markRollback:
		a.undo(name, a.ordinal)
	case string(q.text) == "COMMIT":
		return errEndOfGroup
	case string(q.text) == "ROLLBACK":
		a.undone = append(a.undone, span{1, a.ordinal})
		return errEndOfGroup
	}
	return nil
}

// rows counts as decoder.rows does.
func (a *ahead) rows(h *replication.EventHeader, b []byte) error {
	id, ok := rowsTable(b)
	m := a.maps[id]
	if !ok || m == nil {
		return nil
	}
	e, err := decodeRows(h.EventType, m, b)
	if err != nil {
		return err
	}
	for rest, lone := e.rows, e.lone(); len(rest) > 0 || lone; lone = false {
		a.ordinal++
		if rest, ok = e.skip(rest); !ok {
			break
		}
	}
	return nil
}

// What a statement about a savepoint does.
const (
	markNone = iota
	markSavepoint
	markRollback
)

// savepointName reads SAVEPOINT `name` and ROLLBACK TO `name`, as servers write them.
func savepointName(statement []byte) (name string, kind int) {
	rest, ok := bytes.CutPrefix(statement, []byte("SAVEPOINT "))
	kind = markSavepoint
	if !ok {
		if rest, ok = bytes.CutPrefix(statement, []byte("ROLLBACK TO ")); !ok {
			return "", markNone
		}
		kind = markRollback
	}
	return strings.Trim(strings.TrimPrefix(string(rest), "SAVEPOINT "), "` "), kind
}
