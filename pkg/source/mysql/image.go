package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
)

var errShort = errors.New("row is cut short or of a type that is not known")

// width is the length of a value of type w at the start of b: head bytes that tell it,
// then n. false if it is not there or the type is not known.
func (w wireType) width(b []byte) (head, n int, ok bool) {
	switch w.kind {
	case wireTiny, wireYear:
		n = 1
	case wireShort:
		n = 2
	case wireInt24, wireDate, wireTime:
		n = 3
	case wireLong, wireFloat, wireTimestamp:
		n = 4
	case wireLongLong, wireDouble, wireDateTime:
		n = 8
	case wireNull:
	case wireDecimal:
		n = decimalSize(int(w.meta>>8), int(w.meta&0xff))
	case wireBit:
		n = int(w.meta>>8) + int(w.meta&0xff+7)/8
	case wireTimestamp2:
		n = 4 + int(w.meta+1)/2
	case wireDateTime2:
		n = 5 + int(w.meta+1)/2
	case wireTime2:
		n = 3 + int(w.meta+1)/2
	case wireEnum, wireSet:
		n = int(w.meta & 0xff)
	case wireVarchar, wireVarString, wireVarcharComp, wireString:
		if head = 1; w.meta > 255 {
			head = 2
		}
	case wireBlob, wireBlobComp, wireJSON, wireGeometry, wireVector:
		if head = int(w.meta); head > 4 {
			return 0, 0, false
		}
	default:
		return 0, 0, false
	}
	if head > 0 {
		if len(b) < head {
			return 0, 0, false
		}
		n = int(little(b[:head]))
	}
	return head, n, n >= 0 && head+n <= len(b)
}

// bitmap is a set of columns.
type bitmap []byte

func (m bitmap) has(i int) bool { return m[i>>3]&(1<<(i&7)) != 0 }

func (m bitmap) count(n int) int {
	c := 0
	for i := range n {
		if m.has(i) {
			c++
		}
	}
	return c
}

// rowsEvent is the head of an event that holds rows, and the rows.
type rowsEvent struct {
	op      change.Op
	table   *tableMap
	before  bitmap // columns that the image holds: of an update the old row, else the one row
	after   bitmap // of an update
	held    [2]int // how many those are
	rows    []byte
	partial bool // new rows may hold parts of JSON documents
}

// lone reports whether the event holds one row without bytes: of a minimal image, the row
// of an INSERT that names no column.
func (e *rowsEvent) lone() bool { return len(e.rows) == 0 && e.held[0] == 0 && e.op == change.Insert }

// skipImage goes over one row image.
func (e *rowsEvent) skipImage(present bitmap, held int, b []byte) ([]byte, bool) {
	size := (held + 7) / 8
	if len(b) < size {
		return nil, false
	}
	nulls := bitmap(b[:size])
	b = b[size:]
	at := 0
	for i, t := range e.table.types {
		if !present.has(i) {
			continue
		}
		null := nulls.has(at)
		at++
		if null {
			continue
		}
		head, n, ok := t.width(b)
		if !ok {
			return nil, false
		}
		b = b[head+n:]
	}
	return b, true
}

// partialHead goes over what stands before a new row that may hold parts of documents,
// and tells which JSON columns it holds parts of, counted among the JSON columns.
func (e *rowsEvent) partialHead(b []byte) (parts bitmap, rest []byte, ok bool) {
	if !e.partial {
		return nil, b, true
	}
	c := cursor{b: b}
	if c.packed()&1 == 0 {
		return nil, c.b, !c.bad
	}
	n := 0
	for _, t := range e.table.types {
		if t.kind == wireJSON {
			n++
		}
	}
	parts = c.take((n + 7) / 8)
	return parts, c.b, !c.bad
}

// skip goes over one change: a row, or of an update the old one and the new one.
func (e *rowsEvent) skip(b []byte) ([]byte, bool) {
	b, ok := e.skipImage(e.before, e.held[0], b)
	if !ok || e.op != change.Update {
		return b, ok
	}
	if _, b, ok = e.partialHead(b); !ok {
		return b, false
	}
	return e.skipImage(e.after, e.held[1], b)
}

// image decodes one row image. What it leaves out is as it was, so it is taken from old, if
// there is an old row, else Missing; as are JSON documents of which it holds a difference.
func (d *decoder) image(ctx context.Context, sh *shape, e *rowsEvent, present bitmap, held int, parts bitmap, old []change.Value, b []byte) (row []change.Value, rest []byte, err error) {
	n := len(sh.columns)
	if len(d.slab) < n {
		d.slab = make([]change.Value, max(valueSlab, n))
	}
	row, d.slab = d.slab[:n:n], d.slab[n:]
	size := (held + 7) / 8
	if len(b) < size {
		return nil, nil, errShort
	}
	nulls := bitmap(b[:size])
	b = b[size:]
	at, documents := 0, 0
	for i := range sh.columns {
		c := &sh.columns[i]
		if c.kind == wireJSON {
			documents++
		}
		if !present.has(i) {
			if old != nil {
				row[i] = old[i]
			}
			continue
		}
		null := nulls.has(at)
		at++
		if null {
			row[i].Kind = change.Null
			continue
		}
		head, size, ok := c.width(b)
		if !ok {
			return nil, nil, errShort
		}
		raw := b[head : head+size : head+size]
		b = b[head+size:]
		if c.kind == wireJSON && parts != nil && parts.has(documents-1) {
			if len(raw) == 0 { // no difference
				row[i] = old[i]
			}
			continue
		}
		if c.kind == wireVarcharComp || c.kind == wireBlobComp {
			if raw, err = uncompressed(raw); err != nil {
				return nil, nil, fmt.Errorf("column %s: %w", sh.table.Columns[i].Name, err)
			}
		}
		if row[i], err = d.values.value(ctx, c, raw); err != nil {
			return nil, nil, fmt.Errorf("column %s: %w", sh.table.Columns[i].Name, err)
		}
	}
	if row == nil {
		row = []change.Value{}
	}
	return row, b, nil
}

// rowsKind says what an event that holds rows does, and its version.
func rowsKind(t replication.EventType) (op change.Op, version int, ok bool) {
	switch t {
	case replication.WRITE_ROWS_EVENTv1, replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		return change.Insert, 1, true
	case replication.UPDATE_ROWS_EVENTv1, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return change.Update, 1, true
	case replication.DELETE_ROWS_EVENTv1, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return change.Delete, 1, true
	case replication.WRITE_ROWS_EVENTv2:
		return change.Insert, 2, true
	case replication.UPDATE_ROWS_EVENTv2, replication.PARTIAL_UPDATE_ROWS_EVENT:
		return change.Update, 2, true
	case replication.DELETE_ROWS_EVENTv2:
		return change.Delete, 2, true
	}
	return 0, 0, false
}

// decodeRows reads an event that holds rows of m.
func decodeRows(t replication.EventType, m *tableMap, b []byte) (*rowsEvent, error) {
	op, version, _ := rowsKind(t)
	c := cursor{b: b}
	c.take(8) // table and flags
	if version == 2 {
		c.take(int(c.uint16()) - 2)
	}
	n := c.packed()
	e := &rowsEvent{op: op, table: m, before: c.take((n + 7) / 8), partial: t == replication.PARTIAL_UPDATE_ROWS_EVENT}
	if op == change.Update {
		e.after = c.take((n + 7) / 8)
	}
	if c.bad || n != len(m.types) {
		return nil, fmt.Errorf("decode rows of %s: event is cut short or has other columns than its table", m.name)
	}
	e.held[0] = e.before.count(n)
	if e.after != nil {
		e.held[1] = e.after.count(n)
	}
	e.rows = c.b
	if t >= replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1 {
		var err error
		if e.rows, err = uncompressedEvent(c.b); err != nil {
			return nil, fmt.Errorf("decode rows of %s: %w", m.name, err)
		}
	}
	if e.held[0]+e.held[1] == 0 && len(e.rows) > 0 {
		return nil, fmt.Errorf("decode rows of %s: event holds bytes of no column", m.name)
	}
	return e, nil
}

// rowsTable is the number of the table whose rows an event holds.
func rowsTable(b []byte) (id uint64, ok bool) {
	if len(b) < 8 {
		return 0, false
	}
	return little(b[:6]), true
}
