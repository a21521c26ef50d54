package related

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Relation is a foreign key: the rows of From refer to those of RefTable.
type Relation struct {
	source.ForeignKey
	From source.TableName
	Name string // under which a row of From knows the one it refers to

	reverse string // the operator's name for the rows that refer to a row; "": by convention
	exact   bool   // equal keys have equal texts on both sides
	unique  bool   // there is one row of RefTable at most for a key
}

// Names are the relations of a source's tables under the names that templates use. They
// are immutable.
type Names struct {
	learnt   time.Time
	from, to map[source.TableName][]*Relation // by the table that refers, and that is referred to
	models   map[source.TableName]string      // of tables that go by another name
	safe     map[source.TableName]bool        // can be published without harm
	problems []Problem
}

// Problem says why a relation of the configuration cannot be used as things are now.
type Problem struct {
	At    int // which one
	Table source.TableName
	Text  string
}

// conventional is the name under which templates follow a foreign key: Django's, the
// column without _id; else the column; of several columns the constraint's name without
// _fkey.
func conventional(fk source.ForeignKey) string {
	if len(fk.Columns) > 1 {
		return strings.TrimSuffix(fk.Name, "_fkey")
	}
	if name, ok := strings.CutSuffix(fk.Columns[0], "_id"); ok && name != "" {
		return name
	}
	return fk.Columns[0]
}

// learn makes Names of the catalog, with what the operator says over it.
func learn(tables []source.TableInfo, given []Config, models map[source.TableName]string) *Names {
	l := learner{infos: make(map[source.TableName]*source.TableInfo, len(tables)), Names: &Names{
		learnt: time.Now(), models: models, safe: map[source.TableName]bool{},
		from: map[source.TableName][]*Relation{}, to: map[source.TableName][]*Relation{},
	}}
	for i := range tables {
		l.infos[tables[i].TableName] = &tables[i]
	}
	for i := range tables {
		for _, fk := range tables[i].ForeignKeys {
			if slices.ContainsFunc(l.from[tables[i].TableName], func(r *Relation) bool { return same(r.ForeignKey, fk) }) {
				continue // under a second name
			}
			l.add(&Relation{ForeignKey: fk, From: tables[i].TableName, Name: conventional(fk), unique: true})
		}
	}
	for i, c := range given {
		if text := l.given(c); text != "" {
			table, _ := tableName(c.Table)
			l.problems = append(l.problems, Problem{i, table, text})
		}
	}
	return l.Names
}

func same(a, b source.ForeignKey) bool {
	return a.RefTable == b.RefTable && slices.Equal(a.Columns, b.Columns) && slices.Equal(a.RefColumns, b.RefColumns)
}

type learner struct {
	*Names
	infos map[source.TableName]*source.TableInfo
}

func (l *learner) add(r *Relation) {
	r.exact = true
	for i := range r.Columns {
		a, _ := l.column(r.From, r.Columns[i])
		b, _ := l.column(r.RefTable, r.RefColumns[i])
		r.exact = r.exact && a.Equal != "" && a.Equal == b.Equal
	}
	l.from[r.From] = append(l.from[r.From], r)
	if info := l.infos[r.From]; info != nil && !info.Leaf { // the whole table has the same foreign key
		l.to[r.RefTable] = append(l.to[r.RefTable], r)
	}
	for _, t := range []source.TableName{r.From, r.RefTable} {
		if info := l.infos[t]; info != nil && info.IdentityUsable && !info.Leaf {
			l.safe[t] = true
		}
	}
}

func (l *learner) column(t source.TableName, name string) (source.ColumnInfo, bool) {
	if info := l.infos[t]; info != nil {
		for _, c := range info.Columns {
			if c.Name == name {
				return c, true
			}
		}
	}
	return source.ColumnInfo{}, false
}

// given takes in one relation of the configuration; the text says why it cannot.
func (l *learner) given(c Config) string {
	from, _ := tableName(c.Table)
	info := l.infos[from]
	if info == nil {
		return fmt.Sprintf("table %s does not exist", from)
	}
	for _, name := range c.Columns {
		if _, ok := l.column(from, name); !ok {
			return fmt.Sprintf("table %s has no column %s", from, name)
		}
	}
	r, text := l.target(c, from)
	if text != "" {
		return text
	}
	if c.Name != "" {
		r.Name = c.Name
	}
	if _, taken := l.column(from, r.Name); taken && (len(r.Columns) > 1 || r.Columns[0] != r.Name) {
		return fmt.Sprintf("table %s has a column %s, which wins: name the relation otherwise", from, r.Name)
	}
	for _, o := range l.from[from] {
		if o != r && o.Name == r.Name {
			return fmt.Sprintf("another foreign key of table %s goes by the name %s", from, r.Name)
		}
	}
	if r.reverse = c.ReverseName; r.reverse != "" {
		if _, taken := l.column(r.RefTable, r.reverse); taken {
			return fmt.Sprintf("table %s has a column %s, which wins: name the rows that refer to it otherwise", r.RefTable, r.reverse)
		}
	}
	return ""
}

// target finds the foreign key that c is about, or makes it.
func (l *learner) target(c Config, from source.TableName) (*Relation, string) {
	to, named := tableName(c.References)
	var found []*Relation
	for _, r := range l.from[from] {
		if slices.Equal(r.Columns, c.Columns) && (!named || r.RefTable == to) && (len(c.ReferencedColumns) == 0 || slices.Equal(r.RefColumns, c.ReferencedColumns)) {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], ""
	case len(found) > 1:
		return nil, fmt.Sprintf("table %s has several foreign keys on %s: name one with references", from, strings.Join(c.Columns, ", "))
	case !named:
		return nil, fmt.Sprintf("table %s has no foreign key on %s: say with references what they refer to", from, strings.Join(c.Columns, ", "))
	}
	info := l.infos[to]
	if info == nil {
		return nil, fmt.Sprintf("table %s does not exist", to)
	}
	columns := cmp.Or(strings.Join(c.ReferencedColumns, "\x00"), strings.Join(info.PrimaryKey, "\x00"))
	fk := source.ForeignKey{Name: c.Name, Columns: c.Columns, RefTable: to, RefColumns: strings.Split(columns, "\x00")}
	if columns == "" || len(fk.RefColumns) != len(fk.Columns) {
		return nil, fmt.Sprintf("table %s has a primary key of %d columns: name as many as there are columns with referenced_columns", to, len(info.PrimaryKey))
	}
	for i, name := range fk.RefColumns {
		a, _ := l.column(from, fk.Columns[i])
		b, ok := l.column(to, name)
		if !ok {
			return nil, fmt.Sprintf("table %s has no column %s", to, name)
		}
		if a.Type != b.Type && (a.Equal == "" || a.Equal != b.Equal) {
			return nil, fmt.Sprintf("column %s is %s and column %s of %s is %s: these cannot be compared", fk.Columns[i], a.Type, name, to, b.Type)
		}
	}
	r := &Relation{ForeignKey: fk, From: from, Name: conventional(fk), unique: slices.Equal(fk.RefColumns, info.PrimaryKey)}
	l.add(r)
	return r, ""
}

// Problems are the relations of the configuration that cannot be used.
func (n *Names) Problems() []Problem { return n.problems }

// Way is how a name follows a relation.
type Way uint8

// Ways.
const (
	To   Way = iota // to the row referred to
	Back            // to the one row that refers to it
	Set             // to the rows that do
)

// Find finds a relation by the name that a row of table knows it under. Nil if there is
// none, or several.
func (n *Names) Find(table source.TableName, name string) (*Relation, Way) {
	for _, r := range n.from[table] {
		if r.Name == name {
			return r, To
		}
	}
	var found *Relation
	var way Way
	for _, r := range n.to[table] {
		w, ok := n.named(r, name)
		switch {
		case !ok:
		case found != nil: // of two tables, such as a_sale and b_sale: the whole name tells them apart
			return nil, To
		default:
			found, way = r, w
		}
	}
	return found, way
}

// Columns are the places of the columns of t that a relation by that name is followed by.
func (n *Names) Columns(t *change.Table, name string) []int {
	if n == nil {
		return nil
	}
	switch r, way := n.Find(source.NameOf(t), name); {
	case r == nil:
		return nil
	case way == To:
		return columnsOf(t, r.Columns)
	default:
		return columnsOf(t, r.RefColumns)
	}
}

// named reports whether name means what refers to a row by r: Django's name, which is the
// model's in lower case with _set, or without it if there is one such row at most. A table
// holds its model's name behind that of its app, which ends at an underscore, but at
// which one cannot be told: so all that follows one will do. Of several relations from one
// table, name has to have the column as well.
func (n *Names) named(r *Relation, name string) (Way, bool) {
	way, single := Set, r.Unique
	if r.reverse != "" {
		if single {
			way = Back
		}
		return way, name == r.reverse
	}
	stem, set := strings.CutSuffix(name, "_set")
	if !set {
		way = Back
	}
	if !set && !single {
		return way, false
	}
	alone := true
	for _, o := range n.to[r.RefTable] {
		alone = alone && (o == r || o.From != r.From || o.reverse != "")
	}
	for _, model := range n.modelsOf(r.From) {
		rest, ok := strings.CutPrefix(stem, model)
		switch {
		case !ok:
		case rest == "":
			if alone {
				return way, true
			}
		case rest == "_"+r.Name || rest == "_"+r.Columns[0] && len(r.Columns) == 1:
			return way, true
		}
	}
	return way, false
}

// modelsOf are the names that a table's rows may go by, the most likely one first.
func (n *Names) modelsOf(t source.TableName) []string {
	var out []string
	if m := n.models[t]; m != "" {
		out = append(out, m)
	}
	for i := range len(t.Name) {
		if t.Name[i] == '_' && i+1 < len(t.Name) {
			out = append(out, t.Name[i+1:])
		}
	}
	return append(out, t.Name)
}

// Offers lists the names that a row of table knows relations under.
func (n *Names) Offers(table source.TableName) []string {
	var out []string
	for _, r := range n.from[table] {
		out = append(out, r.Name)
	}
	for _, r := range n.to[table] {
		model := n.modelsOf(r.From)[0]
		set := "_set"
		if r.Unique {
			set = ""
		}
		for _, name := range []string{r.reverse, model + set, model + "_" + r.Name + set, r.From.Name + set} {
			if found, _ := n.Find(table, name); found == r {
				out = append(out, name)
				break
			}
		}
	}
	return out
}
