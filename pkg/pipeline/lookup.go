package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	// What lookup keeps from one batch to the next, at most: rows, and bytes.
	keepRows  = 10000
	keepBytes = 8 << 20
	// lookupPatience is how long the log waits for a database that does not answer.
	// Then the events that need it wait by themselves, and the others go on.
	lookupPatience = 10 * time.Second
)

// lookup holds the rows that events refer to by foreign keys. They are read before the
// events are rendered, with one query for each table and step; Follow only looks at
// what was read.
//
// A row serves an event only if it was read after the event's transaction, so what a
// template shows is at least as new as the event. Where a writer is still at the table
// the source cannot promise that; the row is then used for the batch it was read for.
//
// For one goroutine.
type lookup struct {
	relations *relations
	rows      map[rowKey]related
	bytes     int
	m         *sourceMetrics
}

// related is a row as it was read; nil if there was none.
type related struct {
	row *payload.Row
	seq uint64
}

// need is an event, the relations that its templates follow, and those that they name.
type need struct {
	c     *change.Change
	paths [][]string
	names []string
}

var _ payload.Related = (*lookup)(nil)

func newLookup(r *relations, m *sourceMetrics) *lookup {
	return &lookup{relations: r, rows: map[rowKey]related{}, m: m}
}

// Follow implements payload.Related.
func (l *lookup) Follow(t *change.Table, row []change.Value, name string) (payload.Reference, bool) {
	rel := l.relations.known.Load().get(t, name)
	if rel == nil {
		return payload.Reference{}, false
	}
	values, state := rel.values(t, row)
	switch state {
	case change.Missing:
		return payload.Reference{}, false
	case change.Null:
		return payload.Reference{Key: change.Value{Kind: change.Null}}, true
	}
	ref := payload.Reference{Key: values[0], Row: l.rows[rel.key(values)].row}
	if len(values) > 1 {
		ref.Key = change.Value{Kind: change.Array, Text: string(appendValues(nil, values))}
	}
	return ref, true
}

// Field implements payload.Related.
func (l *lookup) Field(t *change.Table, column string) string {
	return cmp.Or(l.relations.known.Load().fields[nameOf(t)][column], column)
}

// read reads what the events refer to, step by step: what a row refers to is known
// once it was read.
func (l *lookup) read(ctx context.Context, events []need) error {
	if l.bytes > keepBytes || len(l.rows) > keepRows {
		l.rows, l.bytes = map[rowKey]related{}, 0
	}
	depth := 0
	for _, e := range events {
		for _, name := range e.names {
			if _, err := l.relations.find(ctx, e.c.Table, name); err != nil {
				return err
			}
		}
		for _, path := range e.paths {
			depth = max(depth, len(path))
		}
	}
	for level := 1; level <= depth; level++ {
		wanted := map[string]*wanted{}
		for _, e := range events {
			for _, path := range e.paths {
				if len(path) < level {
					continue
				}
				for _, row := range [2][]change.Value{e.c.After, e.c.Before} {
					if row == nil {
						continue
					}
					if err := l.want(ctx, wanted, e.c, row, path[:level]); err != nil {
						return err
					}
				}
			}
		}
		for _, w := range wanted {
			if err := l.fetch(ctx, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted are the rows of one table to be read in one step.
type wanted struct {
	rel  *relation
	keys map[string][]change.Value
}

// want notes the row at the end of path, unless it is there and new enough for c.
func (l *lookup) want(ctx context.Context, all map[string]*wanted, c *change.Change, row []change.Value, path []string) error {
	t := c.Table
	for i, name := range path {
		rel, err := l.relations.find(ctx, t, name)
		if err != nil || rel == nil {
			return err
		}
		values, state := rel.values(t, row)
		if state != change.String {
			return nil
		}
		key := rel.key(values)
		got, ok := l.rows[key]
		if i < len(path)-1 {
			if got.row == nil {
				return nil
			}
			t, row = got.row.Table, got.row.Values
			continue
		}
		if ok && got.seq > c.Tx.Seq {
			return nil
		}
		w := all[rel.target]
		if w == nil {
			w = &wanted{rel, map[string][]change.Value{}}
			all[rel.target] = w
		}
		w.keys[key.key] = values
	}
	return nil
}

func (l *lookup) fetch(ctx context.Context, w *wanted) error {
	texts := make([][]string, 0, len(w.keys))
	for _, values := range w.keys {
		key := make([]string, len(values))
		for i, v := range values {
			key[i] = v.Text
		}
		texts = append(texts, key)
	}
	l.m.lookups.Inc()
	rows, err := l.relations.catalog.Rows(ctx, source.Query{Table: w.rel.RefTable, Columns: w.rel.RefColumns, Keys: texts})
	if err != nil {
		return fmt.Errorf("read related rows: %w", err)
	}
	l.keep(w, rows)
	return nil
}

// keep takes in what was read, rows that are not there included.
func (l *lookup) keep(w *wanted, rows source.RowSet) {
	for _, values := range w.keys {
		key := w.rel.key(values)
		l.rows[key] = related{seq: rows.Seq}
		l.bytes += len(key.key) + 100
	}
	l.m.unrelated.Add(float64(max(len(w.keys)-len(rows.Rows), 0)))
	if len(rows.Rows) == 0 {
		return
	}
	at := make([]int, len(w.rel.RefColumns))
	for i, c := range w.rel.RefColumns {
		if at[i] = rows.Table.Lookup(c); at[i] < 0 { // gone since the foreign keys were read
			return
		}
	}
	for _, row := range rows.Rows {
		values := make([]change.Value, len(at))
		for i, a := range at {
			values[i] = row[a]
		}
		l.rows[w.rel.key(values)] = related{row: &payload.Row{Table: rows.Table, Values: row}, seq: rows.Seq}
		l.bytes += weight(row)
	}
}

// weight is about how many bytes a row takes.
func weight(row []change.Value) int {
	n := 0
	for _, v := range row {
		n += len(v.Text) + 32
	}
	return n
}

// lookAhead reads the rows that the events of a batch refer to, and those of which the
// log does not hold what they name. A database that cannot be asked is waited for, but
// not for ever: then p.r.lookErr is set, and what needs it is rendered later.
func (p *Pipeline) lookAhead(ctx context.Context, batch source.Batch) error {
	p.r.fetched = nil
	var events []event
	for i := range batch {
		c := &batch[i]
		if c.Op == change.Commit || c.Row() == nil {
			continue
		}
		pl := p.plan(c.Table)
		if pl == nil || !pl.asks[c.Op] {
			continue
		}
		steps := pl.byOp[c.Op]
		for j := range steps {
			s := &steps[j]
			if c.Tx.Seq >= s.From && (s.follows() || p.r.fetches(s, c)) {
				events = append(events, event{s, c})
			}
		}
	}
	if len(events) == 0 {
		return nil
	}
	wait := backoff.WithMaxElapsedTime(lookupPatience)
	if p.r.lookErr != nil {
		wait = backoff.WithMaxTries(1) // it was waited for already
	}
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, p.r.ask(ctx, p.rows, events) }, wait, backoff.WithBackOff(b),
		backoff.WithNotify(func(err error, wait time.Duration) {
			p.log.Warn("trying again", "source", p.name, "wait", wait, "err", err)
		}))
	p.r.lookErr = err
	return ctx.Err()
}

// event is a change for which the database has to be asked before a step can be
// rendered.
type event struct {
	s *step
	c *change.Change
}

// ask asks the database for all that events need: the names of relations, rows that the
// log does not hold whole, and the rows that they refer to.
func (r *renderer) ask(ctx context.Context, rows *lookup, events []event) error {
	var whole []*change.Change
	for _, e := range events {
		for _, name := range e.s.references {
			if _, err := r.relations.find(ctx, e.c.Table, name); err != nil {
				return err
			}
		}
		if r.fetches(e.s, e.c) {
			whole = append(whole, e.c)
		}
	}
	if len(whole) > 0 {
		var err error
		r.m.lookups.Inc()
		if r.fetched, err = r.relations.fetch(ctx, whole); err != nil {
			return err
		}
	}
	var needs []need
	for _, e := range events {
		if !e.s.follows() {
			continue
		}
		h := hit{step: e.s, c: e.c}
		if row := r.fetched[e.c]; row != nil {
			r.patch(&h, row)
		}
		needs = append(needs, need{withoutHidden(h.c, r.event.Hidden.Of(h.c.Table)), e.s.Trigger.Relations, e.s.references})
	}
	return rows.read(ctx, needs)
}

// withoutHidden gives c without the values that may not leave: nothing is looked up by
// them.
func withoutHidden(c *change.Change, mask []bool) *change.Change {
	if mask == nil {
		return c
	}
	out := *c
	out.Before, out.After = slices.Clone(c.Before), slices.Clone(c.After)
	for i, hidden := range mask {
		for _, row := range [2][]change.Value{out.Before, out.After} {
			if hidden && row != nil {
				row[i] = change.Value{}
			}
		}
	}
	return &out
}
