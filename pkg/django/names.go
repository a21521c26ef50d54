package django

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// ending is what a path of a template comes to.
type ending uint8

const (
	toValue ending = iota
	toTime         // a date, a time or both
	toSpan         // a duration
	toRow
	toReference // a row that a foreign key refers to
	toRows
)

// walk follows one path of Django's names through the models, and writes down the same
// path in the names that the database has.
type walk struct {
	models *Models
	tables []source.TableInfo
	needs  *Needs
	out    []string
	end    ending
}

// row goes on from a row of m.
func (w *walk) row(m *Model, path []string) error {
	if len(path) == 0 {
		return nil
	}
	name := path[0]
	if name == "pk" {
		w.out, w.end = append(w.out, path...), toValue
		return nil
	}
	f := m.field(name)
	if f == nil {
		f = m.column(name)
	}
	if f != nil {
		return w.field(m, f, path)
	}
	for i := range m.Reverse {
		r := &m.Reverse[i]
		if r.Name == name {
			return w.reverse(m, r, path[1:])
		}
	}
	switch {
	case slices.Contains(m.Many, name):
		return fmt.Errorf("%s of %s is many-to-many: it is not in the row; name the rows of the table in between", name, m)
	case slices.Contains(m.Python, name):
		return fmt.Errorf("%s is Python code of %s (a property, a method or a constant), which the database does not have; it has %s", name, m, strings.Join(m.names(), ", "))
	case name == "*":
		return fmt.Errorf("a row of %s is no list", m)
	}
	return fmt.Errorf("%s has no %s%s; it has %s", m, name, trigger.DidYouMean(name, m.names()), strings.Join(m.names(), ", "))
}

// field goes on from a field of m, which may be a column of a parent's table.
func (w *walk) field(m *Model, f *Field, path []string) error {
	links, ok := w.models.ancestry(m, f.Model, 0)
	if !ok {
		return fmt.Errorf("models.json does not say how %s leads to %s", m, f.Model)
	}
	for _, l := range links {
		if err := w.refer(l); err != nil {
			return err
		}
	}
	if f.To != "" && path[0] == f.Name {
		if err := w.refer(f); err != nil {
			return err
		}
		if w.end = toReference; len(path) == 1 {
			return nil
		}
		to := w.models.concrete(f.To)
		if to == nil {
			return fmt.Errorf("models.json has no model %s, which %s refers to", f.To, f.Name)
		}
		w.end = toRow
		return w.row(to, path[1:])
	}
	if o := m.field(f.Column); o != nil && o != f {
		return fmt.Errorf("%s of %s is the column %s, which is the name of another field", f.Name, m, f.Column)
	}
	w.out = append(append(w.out, f.Column), path[1:]...)
	w.end = toValue
	if len(path) == 1 {
		switch f.Type {
		case "DateTimeField", "DateField", "TimeField":
			w.end = toTime
		case "DurationField":
			w.end = toSpan
		}
	}
	return nil
}

// refer takes the step to the row that f refers to, under Django's name of it.
func (w *walk) refer(f *Field) error {
	w.out = append(w.out, f.Name)
	if holder := w.models.find(f.Model); holder != nil {
		w.name(holder, f)
		return nil
	}
	return fmt.Errorf("models.json has no model %s, which has the field %s", f.Model, f.Name)
}

// name notes how the configuration has to name the relation of f, if it has to.
func (w *walk) name(holder *Model, f *Field) {
	table := w.models.table(holder, w.tables)
	r := Relation{Table: table, Column: f.Column}
	if info := find(w.tables, table); info != nil && !slices.ContainsFunc(info.ForeignKeys, func(fk source.ForeignKey) bool {
		return len(fk.Columns) == 1 && fk.Columns[0] == f.Column
	}) {
		if to := w.models.concrete(f.To); to != nil && w.models.table(to, w.tables).Schema != "" {
			r.References, r.RefColumn, r.Name = w.models.table(to, w.tables), f.ToColumn, f.Name
		}
	}
	if conventional, ok := strings.CutSuffix(f.Column, "_id"); !ok && f.Column != f.Name || ok && conventional != f.Name {
		r.Name = f.Name
	}
	if r.Name != "" {
		w.need(r)
	}
}

// need notes what the configuration has to say, of tables that there are.
func (w *walk) need(r Relation) {
	if r.Table.Schema != "" {
		w.needs.relation(r)
	}
}

// reverse goes on from the rows, or the one row, that refer to a row of m.
func (w *walk) reverse(m *Model, r *Reverse, path []string) error {
	child := w.models.find(r.Model)
	if child == nil || child.field(r.Field) == nil {
		return fmt.Errorf("models.json has no field %s of %s, which refers to %s", r.Field, r.Model, m)
	}
	w.out = append(w.out, r.Name)
	w.nameReverse(child, child.field(r.Field), r)
	if !r.Many {
		w.end = toValue // the daemon says what to name of it
		return w.row(child, path)
	}
	w.end = toRows
	for i, step := range path {
		w.out = append(w.out, step)
		switch {
		case step == "all":
		case step == "first" || step == "last" || step == "*" || digits.MatchString(step):
			w.end = toRow
			return w.row(child, path[i+1:])
		default:
			w.out, w.end = append(w.out, path[i+1:]...), toValue
			return nil
		}
	}
	return nil
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// nameReverse notes how the configuration has to name the rows of child, if it has to.
func (w *walk) nameReverse(child *Model, f *Field, r *Reverse) {
	several := 0
	for i := range child.Fields {
		if strings.EqualFold(child.Fields[i].To, f.To) {
			several++
		}
	}
	name := child.Model
	if r.Many {
		name += "_set"
	}
	if r.Name != name || several > 1 || child.Table != child.AppLabel+"_"+child.Model {
		w.need(Relation{Table: w.models.table(child, w.tables), Column: f.Column, ReverseName: r.Name})
	}
	w.name(child, f)
}

// table finds the table of a model: among those of the search path, else of any schema.
// db_table may hold the schema, in the one way that Django lets through. A table that is
// not there is in no schema.
func (m *Models) table(model *Model, tables []source.TableInfo) source.TableName {
	name := source.TableName{Name: model.Table}
	if schema, rest, ok := strings.Cut(strings.Trim(model.Table, `"`), `"."`); ok {
		return source.TableName{Schema: schema, Name: rest}
	}
	for _, searched := range []bool{true, false} {
		for i := range tables {
			if tables[i].Name == name.Name && tables[i].InSearchPath == searched {
				return tables[i].TableName
			}
		}
	}
	return name
}

// find gives a table, nil if there is none of that name.
func find(tables []source.TableInfo, name source.TableName) *source.TableInfo {
	i := slices.IndexFunc(tables, func(t source.TableInfo) bool { return t.TableName == name })
	if i < 0 {
		return nil
	}
	return &tables[i]
}
