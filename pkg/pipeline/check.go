package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// check is what has to be seen of a change of one table before it fires a step.
type check struct {
	fields []int    // an update fires only if it changed one of them; nil = whatever it changed
	keys   []string // the same: foreign keys, whose columns the catalog knows
	old    bool     // whether an update fires cannot be told without the whole old row
	needs  []int    // columns that the templates name
	lost   []string // columns that the trigger depends on and that the table has no more
	hidden []string // columns that the templates name and that may not leave

	needsAll  []int          // needs, and the columns of the relations that are named
	learnt    *related.Names // from which needsAll was made
	lostNow   *trigger.Broken
	untoldNow *trigger.Broken
}

func newCheck(m *trigger.Match, t *change.Table, hides *payload.Hidden) *check {
	k := &check{}
	mask := hides.Of(t)
	named := m.Trigger.Instance
	if m.Trigger.Payload.Whole() {
		named = nil
		for i, c := range t.Columns {
			if mask == nil || !mask[i] {
				named = append(named, c.Name)
			}
		}
	}
	for _, name := range named {
		if i := t.Lookup(name); i >= 0 {
			k.needs = append(k.needs, i)
		}
	}
	for _, name := range m.Trigger.Names {
		if i := t.Lookup(name); i >= 0 && mask != nil && mask[i] {
			k.hidden = append(k.hidden, name)
		}
	}
	for _, name := range m.Columns {
		if t.Lookup(name) < 0 && m.Trigger.Trigger.OnMissingColumn != trigger.Empty {
			k.lost = append(k.lost, name)
		}
	}
	for _, name := range m.Trigger.Old {
		i := t.Lookup(name)
		k.old = k.old || name == "" || i < 0 || !slices.Contains(t.Key, i)
	}
	for _, name := range m.Trigger.Trigger.Fields {
		if columns := fieldColumns(t, name); columns != nil {
			k.fields = append(k.fields, columns...)
		} else {
			k.keys = append(k.keys, name)
		}
	}
	return k
}

// fieldColumns are the columns that a name in fields stands for: a column, the key, or a
// foreign key by Django's usual name; nil if t alone does not tell.
func fieldColumns(t *change.Table, name string) []int {
	if i := t.Lookup(name); i >= 0 {
		return []int{i}
	}
	if name == "pk" {
		return t.Key
	}
	if i := t.Lookup(name + "_id"); i >= 0 {
		return []int{i}
	}
	return nil
}

// empty reports whether nothing has to be seen.
func (k *check) empty() bool {
	return !k.compares() && len(k.needs) == 0 && k.can()
}

// compares reports whether the old row has to be looked at.
func (k *check) compares() bool { return k.filters() || k.old }

// filters reports whether not every update fires.
func (k *check) filters() bool { return k.fields != nil || k.keys != nil }

// can reports whether what the templates name can be had of the table.
func (k *check) can() bool { return len(k.lost) == 0 && len(k.hidden) == 0 }

// look looks at h's change, and reports whether it can fire h as far as the check goes.
// If that, or what is to be said, cannot be told, h.err says why.
func (r *renderer) look(h *hit) (fires bool) {
	k, c := h.check, h.c
	if !k.can() {
		h.err = k.broken(h)
		return true
	}
	if c.Op == change.Update && k.compares() {
		switch {
		case c.Image == change.ImageFull:
			if k.filters() && !r.differs(k, c) {
				return false
			}
		case h.Trigger.Trigger.OnMissingColumn != trigger.Empty:
			h.err = k.untold(h)
			return true
		}
	}
	row := c.Row()
	for _, i := range r.needs(h.step, c.Table) {
		if row != nil && row[i].Kind == change.Missing {
			r.fill(h)
			break
		}
	}
	return true
}

// needs are the columns that templates of s name or follow.
func (r *renderer) needs(s *step, t *change.Table) []int {
	k := s.check
	if len(s.references) == 0 || r.rows == nil || r.rows.Names() == nil {
		return k.needs
	}
	if known := r.rows.Names(); known != k.learnt {
		k.learnt, k.needsAll = known, slices.Clone(k.needs)
		for _, name := range s.references {
			k.needsAll = append(k.needsAll, known.Columns(t, name)...)
		}
	}
	return k.needsAll
}

// differs reports whether an update changed one of the fields.
func (r *renderer) differs(k *check, c *change.Change) bool {
	if slices.ContainsFunc(k.fields, func(i int) bool { return payload.Differs(c, i) }) {
		return true
	}
	return slices.ContainsFunc(k.keys, func(name string) bool {
		return slices.ContainsFunc(r.rows.Names().Columns(c.Table, name), func(i int) bool { return payload.Differs(c, i) })
	})
}

// broken says what the table lacks, from the first change on that was seen so.
func (k *check) broken(h *hit) error {
	if k.lostNow != nil {
		return k.lostNow
	}
	t := h.c.Table
	b := &trigger.Broken{Source: h.ContentType.Source, Schema: t.Schema, Table: t.Name, Position: h.c.Tx.Position}
	if len(k.hidden) > 0 {
		b.Reason = fmt.Sprintf("the trigger names %s of %s.%s, which settings.hidden_columns hides: change the trigger or the setting",
			strings.Join(k.hidden, ", "), t.Schema, t.Name)
	} else {
		b.Columns = k.lost
		b.Reason = fmt.Sprintf("table %s.%s has no column %s any more, from position %s on: change the trigger, put the column back, or set on_missing_column to empty",
			t.Schema, t.Name, strings.Join(k.lost, ", "), b.Position)
	}
	k.lostNow = b
	return b
}

// lost makes of an error that says so what a trigger is broken by: a related table lost
// what it names.
func lost(h *hit, err error) error {
	gone := (*payload.LostError)(nil)
	if err == nil || !errors.As(err, &gone) {
		return err
	}
	t := gone.Table
	return &trigger.Broken{
		Source: h.ContentType.Source, Schema: t.Schema, Table: t.Name, Columns: []string{gone.Name}, Position: h.c.Tx.Position,
		Reason: fmt.Sprintf("%s, as seen at position %s: change the trigger, put the column back, or set on_missing_column to empty", gone, h.c.Tx.Position),
	}
}

// untold says that the log does not hold the old row, from the first change on that was
// seen so.
func (k *check) untold(h *hit) error {
	if k.untoldNow == nil {
		t := h.c.Table
		k.untoldNow = &trigger.Broken{Source: h.ContentType.Source, Schema: t.Schema, Table: t.Name, Position: h.c.Tx.Position, Reason: fmt.Sprintf(
			"the log of %s.%s does not hold the old row any more, from position %s on, so it cannot be told whether an update fires: "+
				"ALTER TABLE %s.%s REPLICA IDENTITY FULL mends it for the updates to come; for those that wait, change the trigger or set on_missing_column to empty",
			t.Schema, t.Name, h.c.Tx.Position, t.Schema, t.Name)}
	}
	return k.untoldNow
}
