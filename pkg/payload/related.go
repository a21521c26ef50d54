package payload

import (
	"errors"
	"fmt"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// Set is the rows that refer to a row. An error fails the rendering.
type Set interface {
	Count() (int64, error)
	First() (*Row, error) // nil if there is none
	All() ([]*Row, error)
}

var errUnread = errors.New("a related row was not looked up: name it by its path from instance, before or after")

func (r *Reference) unread() error {
	if r.Why != nil {
		return r.Why
	}
	return errUnread
}

// references are used again for each change: a template is done with them by then.
type references struct {
	all  []*referenceObject
	used int
	made *change.Change // what they were made for
}

// maxReferences bounds those that are kept.
const maxReferences = 64

func (r *references) of(ref Reference, e *Event) *referenceObject {
	if r.made != e.Change {
		r.made, r.used = e.Change, 0
	}
	if r.used == maxReferences {
		return &referenceObject{ref, e}
	}
	if r.used == len(r.all) {
		r.all = append(r.all, &referenceObject{})
	}
	o := r.all[r.used]
	r.used++
	o.ref, o.event = ref, e
	return o
}

// Failure implements template.Failer.
func (e *Event) Failure() error {
	err := e.failure
	e.failure = nil
	return err
}

// fail makes the rendering fail: what a template asked for could not be got, and to leave
// it out would be a lie.
func (e *Event) fail(err error) {
	if e.failure == nil {
		e.failure = err
	}
}

// LostError says that a related table does not have what a template names of it, and had
// when the trigger was stored.
type LostError struct {
	Table *change.Table
	Name  string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("table %s.%s has no column %s any more", e.Table.Schema, e.Table.Name, e.Name)
}

// ofDicts are the names that every row has because it is a dict to templates.
var ofDicts = []string{"items", "keys", "values", "copy", "get", "pop", "setdefault", "fromkeys"}

// getRelated is get for a related row.
func (e *Event) getRelated(r *Row, name string) (template.Value, bool) {
	v, ok := e.get(r.Table, r.Values, name)
	if !ok && e.Strict && name != "pk" && r.Table.Lookup(name) < 0 && !slices.Contains(ofDicts, name) {
		e.fail(&LostError{r.Table, name})
	}
	return v, ok
}

// setObject is a Set as templates see it, with the names that Django's managers have.
type setObject struct {
	set   Set
	event *Event
}

func (o *setObject) Get(name string) (v template.Value, ok bool) {
	var err error
	switch name {
	case "count":
		var n int64
		n, err = o.set.Count()
		v = template.Int(n)
	case "exists", "first":
		var row *Row
		row, err = o.set.First()
		if v = template.Bool(row != nil); name == "first" {
			v = o.event.row(row)
		}
	case "all":
		var rows []*Row
		rows, err = o.set.All()
		v = template.ListOf(&rowList{rows, o.event})
	default:
		return v, false
	}
	if err != nil {
		o.event.fail(fmt.Errorf("related rows: %w", err))
		return template.None(), false
	}
	return v, true
}

// rowList is a template.List of rows. As JSON it is an array of objects.
type rowList struct {
	rows  []*Row
	event *Event
}

func (l *rowList) Len() int { return len(l.rows) }

func (l *rowList) At(i int) template.Value { return l.event.row(l.rows[i]) }

func (l *rowList) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	for i, r := range l.rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = l.event.appendRow(dst, r.Table, r.Values)
	}
	return append(dst, ']'), nil
}

// row is a row of a Set; None if it is nil.
func (e *Event) row(r *Row) template.Value {
	if r == nil {
		return template.None()
	}
	return template.Of(&rowObject{r, e})
}

// rowObject is a row of a Set. It prints as its key; as JSON it is the whole row.
type rowObject struct {
	row   *Row
	event *Event
}

func (o *rowObject) Get(name string) (template.Value, bool) {
	return o.event.getRelated(o.row, name)
}

func (o *rowObject) Keys() []string { return o.event.columns(o.row.Table, o.row.Values) }

func (o *rowObject) AppendJSON(dst []byte) ([]byte, error) {
	return o.event.appendRow(dst, o.row.Table, o.row.Values), nil
}

// Scalar is what the row prints and compares as.
func (o *rowObject) Scalar() template.Value {
	t := o.row.Table
	if mask := o.event.hidden(t); mask != nil && slices.ContainsFunc(t.Key, func(k int) bool { return mask[k] }) {
		return template.None()
	}
	switch len(t.Key) {
	case 0:
		return template.None()
	case 1:
		return value(o.row.Values[t.Key[0]])
	}
	return value(change.Value{Kind: change.Array, Text: string(AppendKey(nil, t, o.row.Values))})
}
