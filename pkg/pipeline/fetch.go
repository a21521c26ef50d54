package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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

// refusal is why the rows of a table cannot be fetched, and until when they are not asked
// for again (source.Lasting).
type refusal struct {
	err   error
	until time.Time
}

// refusedFor is how long a table is left alone then.
const refusedFor = 5 * time.Second

// fetchWhole reads the rows of those events that need them whole.
func (r *renderer) fetchWhole(ctx context.Context, events []event) error {
	whole := map[*change.Table][]*change.Change{}
	for _, e := range events {
		if r.fetches(e.s, e.c) && time.Now().After(r.refused[source.NameOf(e.c.Table)].until) {
			whole[e.c.Table] = append(whole[e.c.Table], e.c)
		}
	}
	if r.fetched = nil; len(whole) > 0 {
		r.fetched = fetched{}
		r.m.lookups.Inc()
	}
	for t, changes := range whole {
		err := fetch(ctx, r.src, t, changes, r.fetched)
		switch {
		case source.Lasting(err):
			if r.refused == nil {
				r.refused = map[source.TableName]refusal{}
			}
			r.refused[source.NameOf(t)] = refusal{err, time.Now().Add(refusedFor)}
		case err != nil:
			return err
		}
	}
	return nil
}

// fetch reads the rows of changes of t by their keys, with one query.
func fetch(ctx context.Context, src source.Catalog, t *change.Table, changes []*change.Change, out fetched) error {
	var keys [][]string
	want := map[string]*payload.Row{}
	for _, c := range changes {
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
	rows, err := src.Rows(ctx, source.Query{Table: source.NameOf(t), Columns: columns, Keys: keys})
	if err != nil {
		return fmt.Errorf("read values that the log does not hold: %w", err)
	}
	index(rows, columns, want)
	for _, c := range changes {
		out[c] = want[string(payload.AppendKey(nil, t, c.Row()))]
	}
	return nil
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
	case !read && r.refused[source.NameOf(h.c.Table)].err != nil:
		h.err = r.refused[source.NameOf(h.c.Table)].err
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
	rows := fetched{}
	err := fetch(ctx, p.src, c.Table, []*change.Change{c}, rows)
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
