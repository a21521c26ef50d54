package trigger

import (
	"math"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
)

// Set is an immutable index of triggers: what a change costs does not depend on the
// number of triggers of other tables.
type Set struct {
	tables map[Table]*Matches
	all    []*Compiled
}

// Matches are the triggers of one table.
type Matches struct {
	byOp [change.Commit + 1][]Match
}

// Match is a signal that a change raises for a trigger.
type Match struct {
	Trigger     *Compiled
	Kind        signal.Kind
	ContentType signal.ContentType
	From        uint64   // fires for transactions with this Tx.Seq or a higher one
	Columns     []string // of the table, on which the trigger depends
}

// NewSet indexes the active ones of triggers, which are ordered by id.
func NewSet(triggers []*Compiled) *Set {
	s := &Set{tables: map[Table]*Matches{}, all: triggers}
	// Signals outside, triggers inside: all pre_save come before the first post_save.
	for kind := range signal.Kinds {
		for _, t := range triggers {
			if t.Trigger.Active && t.Paused != PausedDrop {
				s.add(t, kind)
			}
		}
	}
	return s
}

// add adds t for one signal. Two content types of t may name the same table: it then
// fires once, as the first of them, from where the earlier of them is active.
func (s *Set) add(t *Compiled, kind signal.Kind) {
	type place struct {
		Table
		Match
	}
	var places []place
	for _, a := range t.Activations {
		if a.Signal != kind || a.Table == "" {
			continue
		}
		p := place{Table{a.ContentType.Source, a.Schema, a.Table}, Match{t, kind, a.ContentType, math.MaxUint64, a.Columns}}
		if a.State == Active {
			p.From = a.Seq
		}
		if i := slices.IndexFunc(places, func(o place) bool { return o.Table == p.Table }); i >= 0 {
			places[i].From = min(places[i].From, p.From)
			continue
		}
		places = append(places, p)
	}
	for _, p := range places {
		s.index(p.Table, p.Match)
	}
}

func (s *Set) index(table Table, match Match) {
	m, ok := s.tables[table]
	if !ok {
		m = &Matches{}
		s.tables[table] = m
	}
	for op := range m.byOp {
		if signal.Of(change.Op(op)).Has(match.Kind) {
			m.byOp[op] = append(m.byOp[op], match)
		}
	}
}

// Table returns the triggers of a table, nil if it has none.
func (s *Set) Table(source, schema, name string) *Matches {
	return s.tables[Table{source, schema, name}]
}

// For returns what op raises, in the order in which it fires.
func (m *Matches) For(op change.Op) []Match { return m.byOp[op] }

// Tables lists the tables of a source that have triggers.
func (s *Set) Tables(source string) []Table {
	var out []Table
	for t := range s.tables {
		if t.Source == source {
			out = append(out, t)
		}
	}
	return out
}

// Triggers lists all triggers of the set, inactive ones included.
func (s *Set) Triggers() []*Compiled { return s.all }
