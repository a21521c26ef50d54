package related

import (
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

var _ payload.Related = (*Lookup)(nil)

// binding is what a name means that templates ask of the rows of a table.
type binding struct {
	name string
	at   []int   // where a row holds the key; nil: the name means nothing
	row  *target // the row referred to, or the one that refers to it; nil: the name means a set
	back bool    // the latter
	all  *target
	one  *target // the first of a set
	num  *target
}

// Follow implements payload.Related.
func (l *Lookup) Follow(t *change.Table, row []change.Value, name string) (payload.Reference, bool) {
	b := l.binding(t, name)
	if b.at == nil {
		return payload.Reference{}, false
	}
	key, known, null := appendKey(l.scratch[:0], row, b.at)
	l.scratch = key
	switch {
	case !known:
		return payload.Reference{}, false
	case null && !b.back && b.row != nil:
		return payload.Reference{Key: change.Value{Kind: change.Null}}, true
	case null:
		return payload.Reference{}, false
	case b.row == nil:
		return payload.Reference{Set: &set{l, b, name, string(key)}}, true
	}
	e := l.used(b.row, key)
	ref := payload.Reference{Unread: e == nil}
	if e != nil {
		ref.Row = e.row
	} else {
		ref.Why = b.row.refusal(l.now)
	}
	if b.back {
		return ref, ref.Unread || ref.Row != nil
	}
	if ref.Key = row[b.at[0]]; len(b.at) > 1 {
		ref.Key = change.Value{Kind: change.Array, Text: string(key)}
	}
	return ref, true
}

// Field implements payload.Related.
func (l *Lookup) Field(t *change.Table, column string) string {
	if l.names != nil {
		for _, r := range l.names.from[source.NameOf(t)] {
			if len(r.Columns) == 1 && r.Columns[0] == column {
				return r.Name
			}
		}
	}
	return column
}

// binding finds what a name means for the rows of a table.
func (l *Lookup) binding(t *change.Table, name string) *binding {
	known := l.bindings[t]
	for _, b := range known { // a few
		if b.name == name {
			return b
		}
	}
	if len(l.bindings) > 10000 { // of tables that no longer exist
		clear(l.bindings)
	}
	b := &binding{name: strings.Clone(name)}
	l.bindings[t] = append(known, b)
	if l.names == nil {
		return b
	}
	r, way := l.names.Find(source.NameOf(t), name)
	switch {
	case r == nil || t.Lookup(name) >= 0 && !r.own(name, way): // a real column wins
	case way == Back:
		b.at, b.back = columnsOf(t, r.RefColumns), true
		b.row = l.cache.target(step{r, back})
	case way == Set:
		b.at = columnsOf(t, r.RefColumns)
		b.all, b.one, b.num = l.cache.target(step{r, all}), l.cache.target(step{r, first}), l.cache.target(step{r, count})
	default:
		b.at = columnsOf(t, r.Columns)
		b.row = l.cache.target(step{r, one})
	}
	return b
}

// used gives an entry that the last Read found good.
func (l *Lookup) used(t *target, key []byte) *entry {
	e := t.young[string(key)]
	if e == nil || e.used != l.reads {
		return nil
	}
	return e
}

// set is a payload.Set.
type set struct {
	l         *Lookup
	b         *binding
	name, key string
}

func (s *set) unread(t *target) error {
	if err := t.refusal(s.l.now); err != nil {
		return err
	}
	return fmt.Errorf("%s was not looked up: name it by its path from instance, before or after", s.name)
}

// Count implements payload.Set.
func (s *set) Count() (int64, error) {
	if e := s.l.used(s.b.num, []byte(s.key)); e != nil {
		return e.count, nil
	}
	return 0, s.unread(s.b.num)
}

// First implements payload.Set.
func (s *set) First() (*payload.Row, error) {
	if e := s.l.used(s.b.one, []byte(s.key)); e != nil {
		return e.row, nil
	}
	return nil, s.unread(s.b.one)
}

// All implements payload.Set.
func (s *set) All() ([]*payload.Row, error) {
	e := s.l.used(s.b.all, []byte(s.key))
	switch {
	case e == nil:
		return nil, s.unread(s.b.all)
	case e.cut:
		return nil, fmt.Errorf("%s.all has more than %d rows; .count, .exists and .first work for any number", s.name, MaxRows)
	}
	return e.rows, nil
}
