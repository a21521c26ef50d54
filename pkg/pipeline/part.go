package pipeline

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// part is some rows of one table, brought up to each change of the log until they take
// their place in it. A change that the rows show already does them no harm: what the log
// holds of a row is taken over column by column, and what it says last of a column counts.
type part struct {
	table *change.Table
	rows  [][]change.Value // in the order in which they were read; nil: gone
	lacks []bool           // columns that the log never carries

	// by are the columns by which the log names rows: the primary key, or those of another
	// replica identity, by which it names a row also when the primary key changes.
	by []int
	at map[string]int // where the row of that name is among rows

	shape   *change.Table // of the last change
	columns []int         // where the columns of table are in shape
}

// errApart says that changes of the log cannot be put to rows that were read: they have
// to be read once more.
var errApart = errors.New("what the log says does not fit the rows that were read")

func newPart(s source.RowSet) *part {
	p := &part{table: s.Table, rows: s.Rows, lacks: make([]bool, len(s.Table.Columns))}
	if len(s.Rows) > 0 {
		for i, v := range s.Rows[0] {
			p.lacks[i] = v.Kind == change.Missing
		}
	}
	return p
}

// keyOf is the key of a row: key are its columns, and at says where these are in row (nil:
// in their places). It is empty if the row does not hold all of it.
func keyOf(row []change.Value, key, at []int) string {
	var buf [64]byte
	out := buf[:0]
	for _, k := range key {
		if at != nil {
			k = at[k]
		}
		if row[k].Kind == change.Missing {
			return ""
		}
		out = binary.AppendUvarint(out, uint64(len(row[k].Text)))
		out = append(out, row[k].Text...)
	}
	return string(out)
}

// fit finds the columns of table in t, which may be the table at another time of its life.
func (p *part) fit(t *change.Table) error {
	if t == p.shape {
		return nil
	}
	if len(t.Columns) != len(p.table.Columns) {
		return errApart
	}
	columns := make([]int, len(t.Columns))
	var identity []int
	for i, c := range p.table.Columns {
		columns[i] = t.Lookup(c.Name)
		if columns[i] < 0 || t.Columns[columns[i]].Name != c.Name {
			return errApart
		}
		if t.Columns[columns[i]].Identity {
			identity = append(identity, i)
		}
	}
	by := p.table.Key
	if len(identity) > 0 && slices.ContainsFunc(by, func(k int) bool { return !slices.Contains(identity, k) }) {
		by = identity
	}
	if p.shape != nil && !slices.Equal(by, p.by) {
		return errApart
	}
	if p.shape == nil {
		p.by, p.at = by, make(map[string]int, len(p.rows))
		for i, row := range p.rows {
			p.at[keyOf(row, by, nil)] = i
		}
	}
	p.shape, p.columns = t, columns
	return nil
}

// apply brings the rows up to c.
func (p *part) apply(c *change.Change) error {
	if err := p.fit(c.Table); err != nil {
		return err
	}
	switch c.Op {
	case change.Truncate:
		clear(p.rows)
	case change.Insert: // in the place of one that was there; a new one is none that was found
		if i, ok := p.at[p.key(c.After)]; ok {
			p.rows[i] = p.take(nil, c.After)
		}
	case change.Delete:
		i, _, err := p.old(c)
		if err != nil {
			return err
		}
		if i >= 0 {
			p.rows[i] = nil
		}
	case change.Update:
		return p.update(c)
	}
	return nil
}

func (p *part) key(row []change.Value) string { return keyOf(row, p.by, p.columns) }

func (p *part) update(c *change.Change) error {
	from, old, err := p.old(c)
	if err != nil {
		return err
	}
	key := p.key(c.After)
	if key == "" {
		key = old // the log holds it once
	}
	to, in := p.at[key]
	switch {
	case key == old:
		if from >= 0 && p.rows[from] != nil {
			p.rows[from] = p.take(p.rows[from], c.After)
		}
	case !p.whole(c.After):
		// Of which of the rows of before the rest is, depends on what they show already.
		return errApart
	default: // to another name, perhaps from, or to, where rows have been read before
		if from >= 0 {
			p.rows[from] = nil
		}
		if !in {
			to = len(p.rows)
			p.at[key], p.rows = to, append(p.rows, nil)
		}
		p.rows[to] = p.take(nil, c.After)
	}
	return nil
}

// old finds the row that c changes or deletes, and its name: -1 if it is none of these.
func (p *part) old(c *change.Change) (i int, key string, err error) {
	known := c.Before
	if known == nil { // the log would hold what it names rows by if that had changed
		known = c.After
	}
	if key = p.key(known); key == "" {
		return -1, "", errApart
	}
	if i, ok := p.at[key]; ok {
		return i, key, nil
	}
	return -1, key, nil
}

// whole reports whether a row of the log holds all that the log carries of one.
func (p *part) whole(row []change.Value) bool {
	for mine, theirs := range p.columns {
		if row[theirs].Kind == change.Missing && !p.lacks[mine] {
			return false
		}
	}
	return true
}

// take gives the row was (nil: none) with what a row of the log holds.
func (p *part) take(was, row []change.Value) []change.Value {
	out := make([]change.Value, len(p.table.Columns))
	copy(out, was)
	for mine, theirs := range p.columns {
		if v := row[theirs]; v.Kind != change.Missing {
			out[mine] = v
		}
	}
	return out
}
