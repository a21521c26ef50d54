package related

import (
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
)

// Advance takes in what the log says: changes in its order, each once, and through, the
// Tx.Seq up to which no change is still to come (0: as before).
func (l *Lookup) Advance(changes []change.Change, through uint64) {
	l.through = max(l.through, through)
	for i := range changes {
		c := &changes[i]
		if c.Op == change.Commit {
			continue
		}
		l.received = max(l.received, c.Tx.Seq)
		if len(l.cache.by) == 0 {
			continue
		}
		for _, s := range l.cache.shapesOf(c.Table) {
			l.apply(s, c)
		}
	}
}

// apply brings the entries of a target up to a change. What it cannot tell it drops.
func (l *Lookup) apply(s shaped, c *change.Change) {
	if len(s.young)+len(s.old) == 0 {
		return
	}
	switch {
	case c.Op == change.Read:
		return
	case c.Op == change.Truncate || s.at == nil || !s.exact:
		s.floor = max(s.floor, c.Tx.Seq)
		return
	}
	var buf [2][64]byte
	old, oldKnown, oldNull := buf[0][:0], false, false
	switch {
	case c.Before != nil:
		old, oldKnown, oldNull = appendKey(old, c.Before, s.at)
	case c.Op == change.Update && s.identity: // the log says when it changes
		old, oldKnown, oldNull = appendKey(old, c.After, s.at)
	}
	key, known, null := buf[1][:0], false, false
	if c.After != nil {
		key, known, null = appendKey(key, c.After, s.at)
	}
	switch {
	case c.Op != change.Insert && !oldKnown, c.Op != change.Delete && !known:
		s.floor = max(s.floor, c.Tx.Seq) // of an old row the log may hold its identity only
	case c.Op == change.Insert || oldKnown && known && string(old) == string(key):
		l.touch(s.target, key, null, c)
	default:
		l.touch(s.target, old, oldNull, c)
		if known {
			l.touch(s.target, key, null, c)
		}
	}
}

// touch brings the entry of a key that c is about up to c, or drops it. A change that may
// be older than the entry does not overwrite it, and one of a transaction of which more
// is to come gives no row that anybody has ever seen.
func (l *Lookup) touch(t *target, key []byte, null bool, c *change.Change) {
	e := t.young[string(key)]
	young := e != nil
	if !young {
		e = t.old[string(key)]
	}
	if e == nil || null || e.seq > c.Tx.Seq {
		return
	}
	if (t.what == one || t.what == back) && e.row != nil && e.until != 0 && c.Tx.Seq >= e.until && c.Tx.Seq <= l.through && l.same(e.row.Table, c.Table) {
		if row, ok := rowOf(t, key, c.Table, c.After); ok {
			e.row = &payload.Row{Table: e.row.Table, Values: row}
			e.seq, e.until = c.Tx.Seq, c.Tx.Seq
			weight := weigh(string(key), e)
			if young {
				l.cache.weight += weight - e.weight
			}
			e.weight = weight
			return
		}
	}
	l.cache.drop(t, string(key))
}

// rowOf gives a copy of a row that has key, and whether it is complete.
func rowOf(t *target, key []byte, table *change.Table, row []change.Value) ([]change.Value, bool) {
	if row == nil {
		return nil, false
	}
	var buf [64]byte
	if now, known, _ := appendKey(buf[:0], row, columnsOf(table, t.columns)); !known || string(now) != string(key) {
		return nil, false
	}
	out := make([]change.Value, len(row))
	for i, v := range row {
		if v.Kind == change.Missing {
			return nil, false
		}
		out[i] = change.Value{Kind: v.Kind, Text: strings.Clone(v.Text)}
	}
	return out, true
}

// same reports whether two tables have the same columns: generated ones are not in the
// log of every database.
func (l *Lookup) same(a, b *change.Table) bool {
	if l.alike == [2]*change.Table{a, b} {
		return true
	}
	if len(a.Columns) != len(b.Columns) {
		return false
	}
	for i := range a.Columns {
		if a.Columns[i].Name != b.Columns[i].Name {
			return false
		}
	}
	l.alike = [2]*change.Table{a, b}
	return true
}
