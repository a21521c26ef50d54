package related

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// MaxRows is how many rows a set may have for a template to go through them: more is an
// error when the message is rendered. They can be counted however many there are.
const MaxRows = 100

// what is looked up of a relation.
type what uint8

const (
	one   what = iota // the row referred to
	all               // the rows that refer to one, MaxRows at most
	first             // the first of them: also tells whether there is one
	count             // their number
	back              // the row that refers to one, where there is one at most
)

// step is a relation that a path follows.
type step struct {
	*Relation
	what
}

// next is the table that the step leads to.
func (s step) next() source.TableName {
	if s.what == one {
		return s.RefTable
	}
	return s.From
}

// PathError says what is wrong with a path.
type PathError struct {
	Table source.TableName
	Name  string // that the table has not; "" if it is something else
	Text  string
}

func (e *PathError) Error() string { return e.Text }

// steps gives the relations that a path follows from a row of table. column reports
// whether a table has a column: what is behind one looks into its value; nil knows no
// columns. bound: the end of the path is only given another name.
func (n *Names) steps(table source.TableName, path []string, bound bool, column func(t source.TableName, name string) bool) ([]step, error) {
	out, _, err := n.follow(table, path, bound, column)
	return out, err
}

// follow is steps, and gives what is read of the last table.
func (n *Names) follow(table source.TableName, path []string, bound bool, column func(t source.TableName, name string) bool) (out []step, rest string, err error) {
	sets := false
	for i := 0; i < len(path); {
		name, last := path[i], i+1 == len(path)
		r, way := n.Find(table, name)
		if column != nil && column(table, name) && (r == nil || last || !r.own(name, way)) || name == "pk" {
			return out, name, nil
		}
		switch {
		case r == nil:
			return out, name, &PathError{table, name, fmt.Sprintf("table %s has no column %s", table, name)}
		case last && bound:
			return out, name, nil
		case last && way == Back:
			return out, name, &PathError{Table: table, Text: name + " is a row that refers to this one: name a column of it, or " + name + ".pk"}
		case way == Back:
			out = append(out, step{r, back})
			i++
		case last && way == Set:
			return out, name, &PathError{Table: table, Text: name + " is a set of rows: name " + name + ".count, .exists, .first or .all"}
		case last: // prints the key, which the row has itself
			return out, name, nil
		case way == To:
			out = append(out, step{r, one})
			i++
		default:
			what, err := setOf(name, path[i+1:], sets)
			if err != nil {
				return out, "", &PathError{Table: table, Text: err.Error()}
			}
			out = append(out, step{r, what})
			if i += 2; what == all {
				i, sets = i+1, true // the item
			}
			if what == count || path[min(i, len(path))-1] == "exists" {
				return out, "", nil
			}
		}
		table = out[len(out)-1].next()
	}
	return out, "", nil
}

// own reports whether the relation is that of the column name.
func (r *Relation) own(name string, way Way) bool {
	return way == To && len(r.Columns) == 1 && r.Columns[0] == name
}

// setOf says what path reads of the set name. inside: it is one of a row that is itself
// an item of a set.
func setOf(name string, path []string, inside bool) (what, error) {
	switch path[0] {
	case "count":
		return count, nil
	case "exists", "first":
		return first, nil
	case "all":
	case "*":
		return 0, fmt.Errorf("%s is a set of rows: loop over %s.all", name, name)
	default:
		return 0, fmt.Errorf("%s is a set of rows and has no %s: name %s.count, .exists, .first or .all", name, path[0], name)
	}
	if inside {
		return 0, fmt.Errorf("%s.all is within a loop over another set, which could be %d rows: count them, or have a trigger on the rows themselves", name, MaxRows*MaxRows)
	}
	if len(path) > 1 && path[1] != "*" && strings.Trim(path[1], "0123456789") != "" {
		return 0, fmt.Errorf("%s.all is a list and has no %s: loop over it, or name %s.count, .exists or .first", name, path[1], name)
	}
	return all, nil
}

// Check says why a path of a template leads nowhere from a row of a table, nil if it
// leads somewhere. find gives the tables as they are now.
func (n *Names) Check(table source.TableName, path []string, bound bool, find Find) error {
	steps, err := n.steps(table, path, bound, find.column)
	for _, s := range steps {
		switch info, ok := find(s.next()); {
		case !ok:
			return &PathError{Table: table, Text: fmt.Sprintf("table %s, which the path leads to, cannot be read", s.next())}
		case info.Unreadable:
			return &PathError{Table: table, Text: fmt.Sprintf("table %s, which the path leads to, cannot be read: GRANT SELECT ON %s to the source's role", s.next(), s.next())}
		}
	}
	return err
}

// Find gives a table as it is now.
type Find func(source.TableName) (source.TableInfo, bool)

// column reports whether a table has a column, or its row as a mapping an attribute.
func (find Find) column(t source.TableName, name string) bool {
	if name == "*" || name == "items" || name == "keys" || name == "values" {
		return true
	}
	info, ok := find(t)
	return ok && slices.ContainsFunc(info.Columns, func(c source.ColumnInfo) bool { return c.Name == name || strings.EqualFold(c.Name, name) })
}

// Read is what a path reads of one table.
type Read struct {
	Table   source.TableName
	Columns []string
	Name    string // instead of Columns: what the path ends with
}

// Reads lists what a path reads of each table on its way: the columns by which it goes on,
// and what it ends with.
func (n *Names) Reads(table source.TableName, path []string, find Find) []Read {
	steps, rest, _ := n.follow(table, path, true, find.column)
	var out []Read
	for _, s := range steps {
		out = append(out, Read{Table: table, Columns: s.key()})
		if s.what != one {
			out = append(out, Read{Table: s.From, Columns: s.Columns})
		}
		table = s.next()
	}
	if rest != "" {
		out = append(out, Read{Table: table, Name: rest})
	}
	return out
}

// Unindexed lists the columns that a path looks rows up by although no index has them, as
// table (columns).
func (n *Names) Unindexed(table source.TableName, path []string) []string {
	steps, _ := n.steps(table, path, true, nil)
	var out []string
	for _, s := range steps {
		if s.what != one && !s.Indexed {
			out = append(out, fmt.Sprintf("%s (%s)", s.From, strings.Join(s.Columns, ", ")))
		}
	}
	return out
}

// Tables adds to set the tables that paths lead to from a row of table, if these can be
// published without harm.
func (n *Names) Tables(set map[source.TableName]bool, table source.TableName, paths [][]string) {
	for _, p := range paths {
		steps, _ := n.steps(table, p, true, nil)
		for _, s := range steps {
			if n.safe[s.next()] {
				set[s.next()] = true
			}
		}
	}
}
