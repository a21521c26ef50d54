package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// fetched holds the rows that were read because the log holds a part of them only; nil
// for a row that is not there any more. They are at least as new as the change.
type fetched map[*change.Change]*payload.Row

// fetches reports whether the row of c has to be read before s can be rendered.
func (r *renderer) fetches(s *step, c *change.Change) bool {
	if s.check == nil {
		return false
	}
	for _, i := range r.needs(s, c.Table) {
		if c.Row()[i].Kind == change.Missing {
			return mayFetch(s.Trigger, c, r.event.Hidden)
		}
	}
	return false
}

// mayFetch reports whether the row of c can be read by its key, and t wants that. Of a
// hidden key an event that was kept has no more than a digest.
func mayFetch(t *trigger.Compiled, c *change.Change, hides *payload.Hidden) bool {
	on := t.Trigger.OnMissingValue
	return !hides.HidesKey(c.Table) && (on == "" || on == trigger.Fetch) && c.Op != change.Delete && len(c.Table.Key) > 0 && keyKnown(c.Table, c.Row())
}

// fetch reads the rows of changes by their keys, with one query a table.
func fetch(ctx context.Context, src source.Catalog, changes []*change.Change) (fetched, error) {
	byTable := map[*change.Table][]*change.Change{}
	for _, c := range changes {
		byTable[c.Table] = append(byTable[c.Table], c)
	}
	out := fetched{}
	for t, cs := range byTable {
		var keys [][]string
		want := map[string]*payload.Row{}
		for _, c := range cs {
			id := string(payload.AppendKey(nil, t, c.Row()))
			if _, twice := want[id]; twice {
				continue
			}
			want[id] = nil
			key := make([]string, len(t.Key))
			for i, k := range t.Key {
				key[i] = c.Row()[k].Text
			}
			keys = append(keys, key)
		}
		columns := make([]string, len(t.Key))
		for i, k := range t.Key {
			columns[i] = t.Columns[k].Name
		}
		rows, err := src.Rows(ctx, source.Query{Table: source.TableName{Schema: t.Schema, Name: t.Name}, Columns: columns, Keys: keys})
		if err != nil {
			return nil, fmt.Errorf("read values that the log does not hold: %w", err)
		}
		index(rows, columns, want)
		for _, c := range cs {
			out[c] = want[string(payload.AppendKey(nil, t, c.Row()))]
		}
	}
	return out, nil
}

// index puts rows where they are wanted.
func index(rows source.RowSet, columns []string, want map[string]*payload.Row) {
	if len(rows.Rows) == 0 {
		return
	}
	key := make([]int, len(columns))
	for i, c := range columns {
		if key[i] = rows.Table.Lookup(c); key[i] < 0 {
			return
		}
	}
	as := change.NewTable(rows.Table.Schema, rows.Table.Name, rows.Table.Columns, key, true, change.IdentityDefault)
	for _, row := range rows.Rows {
		want[string(payload.AppendKey(nil, as, row))] = &payload.Row{Table: rows.Table, Values: row}
	}
}

// fill gives h's change the values that the log does not hold and that templates name, as
// the trigger wants it, or says in h.err why there are none.
func (r *renderer) fill(h *hit) {
	on := h.Trigger.Trigger.OnMissingValue
	if on == "" {
		on = trigger.Fetch
	}
	row, read := r.fetched[h.c]
	switch {
	case on == trigger.Empty, on == trigger.Fetch && h.c.Op == change.Delete:
		r.m.missing("empty")
	case on == trigger.Park:
		h.err = fmt.Errorf("the log does not hold %s of %s.%s: change the trigger, or set on_missing_value to fetch or empty",
			r.lacks(h), h.c.Table.Schema, h.c.Table.Name)
	case !read && r.lookErr != nil:
		h.err = r.lookErr
	case !read:
		h.err = fmt.Errorf("the log does not hold %s of %s.%s, and it cannot be read because the row's key is not known, or hidden: set on_missing_value to empty",
			r.lacks(h), h.c.Table.Schema, h.c.Table.Name)
	case row == nil:
		r.m.missing("gone")
	default:
		r.patch(h, row)
		r.m.missing("fetched")
	}
}

// lacks names what h needs and the log does not hold.
func (r *renderer) lacks(h *hit) string {
	var names []string
	for _, i := range r.needs(h.step, h.c.Table) {
		if h.c.Row()[i].Kind == change.Missing {
			names = append(names, h.c.Table.Columns[i].Name)
		}
	}
	return strings.Join(names, ", ")
}

// patch makes h's change one of its own that holds the values of row where they are
// needed.
func (r *renderer) patch(h *hit, row *payload.Row) {
	c := *h.c
	c.After = slices.Clone(c.After)
	h.fetched = nil
	for _, i := range r.needs(h.step, c.Table) {
		j := row.Table.Lookup(c.Table.Columns[i].Name)
		if c.After[i].Kind == change.Missing && j >= 0 {
			c.After[i] = row.Values[j]
			h.fetched = append(h.fetched, i)
		}
	}
	h.c = &c
}

// putBack makes a step of m for c. Columns that the table did not have when c was written
// and has again by now are put back, to be fetched.
func (p *Pipeline) putBack(ctx context.Context, m trigger.Match, c *change.Change) (*step, *change.Change, error) {
	s := p.newStep(m, c.Table)
	if s.check == nil || len(s.check.lost) == 0 || !mayFetch(m.Trigger, c, p.cfg.Hidden) {
		return &s, c, nil
	}
	rows, err := fetch(ctx, p.src, []*change.Change{c})
	row := rows[c]
	if err != nil || row == nil {
		return &s, c, err
	}
	columns := slices.Clone(c.Table.Columns)
	for _, name := range s.check.lost {
		i := row.Table.Lookup(name)
		if i < 0 {
			return &s, c, nil
		}
		columns = append(columns, row.Table.Columns[i])
	}
	wide := *c
	wide.Table = change.NewTable(c.Table.Schema, c.Table.Name, columns, c.Table.Key, c.Table.KeyIsPrimary, c.Table.Identity)
	more := make([]change.Value, len(s.check.lost))
	if wide.After = slices.Concat(c.After, more); c.Before != nil {
		wide.Before = slices.Concat(c.Before, more)
	}
	s = p.newStep(m, wide.Table)
	p.mended(m.Trigger, c.Table)
	return &s, &wide, nil
}
