package payload

import (
	"slices"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// Names are what templates may name: the first segments that belong to an event and
// therefore to no dynamic value.
var Names = []string{
	"instance", "before", "after", "changed", "missing", "before_complete", "signal", "operation", "created",
	"content_type", "table", "key", "source", "event", "transaction", "position",
}

// Event is a signal as templates see it. It is made for reuse: one goroutine fills it
// with Set and renders, again and again.
type Event struct {
	Source      string
	Kind        signal.Kind
	ContentType signal.ContentType
	Change      *change.Change
	Related     Related // nil: no relations
	// Follows: the templates follow relations. A column that is a foreign key is one
	// then, if its name is that of the relation.
	Follows bool
	// Values are what templates may name beside the event; nil = nothing.
	Values template.Object
	Hidden *Hidden // nil: nothing is hidden
	Origin *Origin // for Debezium's envelope; nil: unknown
	// Strict: a related row that lacks what a template names of it lost it, and the
	// rendering fails with a *LostError.
	Strict bool
	// Fetched are the columns of instance that the log did not hold and that were read
	// from the table instead.
	Fetched []int

	changed    []string
	changedFor *change.Change
	masks      [8]mask // of the tables of late, the event's and those it leads to
	lastMask   int
	scratch    []byte
	failure    error // what a template named and could not get
	references references
}

// Related finds the rows that a row refers to.
type Related interface {
	// Follow returns what the relation name of row leads to; false if the table has no
	// such relation.
	Follow(t *change.Table, row []change.Value, name string) (Reference, bool)
	// Field is the name that Django gives a column: that of the relation if it is a
	// foreign key of its own, else the column's.
	Field(t *change.Table, column string) string
}

// Reference is a row that another one refers to by a foreign key, or the rows that refer
// to it.
type Reference struct {
	Key    change.Value // what the foreign key holds, which prints instead of the row; Missing if Row refers to the row
	Row    *Row         // nil if there is no such row, or the key is null
	Unread bool         // Row is nil because nobody has looked
	Why    error        // why nobody has, where that is no fault of the template
	Set    Set          // not nil: the rows that refer to it, and nothing else is set
}

// Row is a row of a related table.
type Row struct {
	Table  *change.Table
	Values []change.Value
}

// Get implements template.Object.
func (e *Event) Get(name string) (template.Value, bool) {
	c := e.Change
	switch name {
	case "instance":
		if row := c.Row(); row != nil {
			return template.Of((*instanceObject)(e)), true
		}
	case "before":
		if c.Before != nil {
			return template.Of((*beforeObject)(e)), true
		}
	case "after":
		if c.After != nil {
			return template.Of((*afterObject)(e)), true
		}
	case "changed":
		if names, known := e.Changed(); known {
			return template.ListOf(list(names)), true
		}
	case "missing":
		return template.ListOf(list(e.Missing())), true
	case "before_complete":
		return template.String(c.Image.String()), true
	case "signal":
		return template.String(e.Kind.String()), true
	case "operation":
		return template.String(c.Op.String()), true
	case "created":
		if c.Op == change.Insert || c.Op == change.Update || c.Op == change.Read {
			return template.Bool(c.Op == change.Insert), true
		}
	case "content_type":
		return template.Of((*contentTypeObject)(e)), true
	case "table":
		return template.Of((*tableObject)(e)), true
	case "key":
		if len(c.Table.Key) > 0 && c.Row() != nil {
			return template.Of((*keyObject)(e)), true
		}
	case "source":
		return template.String(e.Source), true
	case "event":
		return template.Of((*eventObject)(e)), true
	case "transaction":
		return template.Of((*transactionObject)(e)), true
	case "position":
		return template.String(string(c.Tx.Position)), true
	default:
		if e.Values != nil {
			return e.Values.Get(name)
		}
		return template.Value{}, false
	}
	return template.None(), true
}

// AppendID appends the event's id, <source>_<position>_<ordinal>_<signal>: the same
// for the same change and signal whenever it is read.
func (e *Event) AppendID(dst []byte) []byte {
	dst = append(dst, e.Source...)
	dst = append(dst, '_')
	dst = append(dst, e.Change.Tx.Position...)
	dst = append(dst, '_')
	dst = strconv.AppendUint(dst, uint64(e.Change.Ordinal), 10)
	dst = append(dst, '_')
	return append(dst, e.Kind.String()...)
}

// Changed names the changed columns; false where the log cannot tell. It is good until
// the event gets another change.
func (e *Event) Changed() (names []string, known bool) {
	c := e.Change
	if c.Op == change.Update && c.Image != change.ImageFull {
		return nil, false
	}
	if e.changedFor == c {
		return e.changed, true
	}
	e.changedFor, e.changed = c, e.changed[:0]
	for i, col := range c.Table.Columns {
		if c.Op == change.Insert || c.Op == change.Update && Differs(c, i) && !slices.Contains(e.Fetched, i) {
			e.changed = append(e.changed, col.Name)
		}
	}
	return e.changed, true
}

// Differs reports whether an update whose old row the log holds whole changed a column.
func Differs(c *change.Change, column int) bool {
	return c.Before[column] != c.After[column] && c.After[column].Kind != change.Missing
}

// hidden tells for each column of t whether it is hidden; nil if none is.
func (e *Event) hidden(t *change.Table) []bool {
	if e.Hidden == nil {
		return nil
	}
	for i := range e.masks {
		if e.masks[i].of == t {
			return e.masks[i].hidden
		}
	}
	e.lastMask = (e.lastMask + 1) % len(e.masks)
	e.masks[e.lastMask] = mask{t, e.Hidden.Of(t)}
	return e.masks[e.lastMask].hidden
}

// mask tells which columns of a table are hidden.
type mask struct {
	of     *change.Table
	hidden []bool
}

// Missing names the columns of instance that the log does not hold.
func (e *Event) Missing() []string {
	names := []string{}
	mask := e.hidden(e.Change.Table)
	for i, v := range e.Change.Row() {
		if v.Kind == change.Missing && (mask == nil || !mask[i]) {
			names = append(names, e.Change.Table.Columns[i].Name)
		}
	}
	return names
}

// AppendKey appends the text of a row's key: of one column its plain text, of several a
// JSON array.
func AppendKey(dst []byte, t *change.Table, row []change.Value) []byte {
	if len(t.Key) == 1 {
		return append(dst, row[t.Key[0]].Text...)
	}
	for i, k := range t.Key {
		dst = append(dst, "[,"[min(i, 1)])
		dst = row[k].AppendJSON(dst)
	}
	return append(dst, ']')
}

func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z07:00")
}

// The objects of an event are views of it: no memory of their own.
type (
	instanceObject    Event
	beforeObject      Event
	afterObject       Event
	contentTypeObject Event
	tableObject       Event
	keyObject         Event
	eventObject       Event
	transactionObject Event
)

func (o *instanceObject) row() (*change.Table, []change.Value) { return o.Change.Table, o.Change.Row() }

func (o *instanceObject) Get(name string) (template.Value, bool) {
	t, row := o.row()
	return (*Event)(o).get(t, row, name)
}

func (o *instanceObject) Keys() []string { return (*Event)(o).columns(o.row()) }

func (o *instanceObject) AppendJSON(dst []byte) ([]byte, error) {
	t, row := o.row()
	return (*Event)(o).appendRow(dst, t, row), nil
}

func (o *beforeObject) Get(name string) (template.Value, bool) {
	return (*Event)(o).get(o.Change.Table, o.Change.Before, name)
}

func (o *beforeObject) Keys() []string { return (*Event)(o).columns(o.Change.Table, o.Change.Before) }

func (o *beforeObject) AppendJSON(dst []byte) ([]byte, error) {
	return (*Event)(o).appendRow(dst, o.Change.Table, o.Change.Before), nil
}

func (o *afterObject) Get(name string) (template.Value, bool) {
	return (*Event)(o).get(o.Change.Table, o.Change.After, name)
}

func (o *afterObject) Keys() []string { return (*Event)(o).columns(o.Change.Table, o.Change.After) }

func (o *afterObject) AppendJSON(dst []byte) ([]byte, error) {
	return (*Event)(o).appendRow(dst, o.Change.Table, o.Change.After), nil
}

func (o *contentTypeObject) Get(name string) (template.Value, bool) {
	switch name {
	case "app_label":
		return template.String(o.ContentType.AppLabel), true
	case "model_name", "model":
		return template.String(o.ContentType.ModelName), true
	}
	return template.Value{}, false
}

func (o *contentTypeObject) Keys() []string { return []string{"app_label", "model_name"} }

func (o *tableObject) Get(name string) (template.Value, bool) {
	switch name {
	case "schema":
		return template.String(o.Change.Table.Schema), true
	case "name":
		return template.String(o.Change.Table.Name), true
	}
	return template.Value{}, false
}

func (o *tableObject) Keys() []string { return []string{"schema", "name"} }

func (o *keyObject) Get(name string) (template.Value, bool) {
	t := o.Change.Table
	i := t.Lookup(name)
	if i < 0 || !slices.Contains(t.Key, i) || o.Change.Row()[i].Kind == change.Missing {
		return template.Value{}, false
	}
	if mask := (*Event)(o).hidden(t); mask != nil && mask[i] {
		return template.Value{}, false
	}
	return value(o.Change.Row()[i]), true
}

func (o *keyObject) Keys() []string {
	t := o.Change.Table
	names := make([]string, 0, len(t.Key))
	mask := (*Event)(o).hidden(t)
	for _, k := range t.Key {
		if o.Change.Row()[k].Kind != change.Missing && (mask == nil || !mask[k]) {
			names = append(names, t.Columns[k].Name)
		}
	}
	return names
}

func (o *keyObject) AppendJSON(dst []byte) ([]byte, error) {
	return (*Event)(o).appendKey(dst, o.Change.Table, o.Change.Row()), nil
}

func (o *eventObject) Get(name string) (template.Value, bool) {
	e := (*Event)(o)
	switch name {
	case "id":
		return template.String(string(e.AppendID(nil))), true
	case "committed_at":
		return template.Timestamp(string(appendTime(nil, e.Change.Tx.Committed))), true
	case "fetched":
		names := make(list, len(e.Fetched))
		for i, c := range e.Fetched {
			names[i] = e.Change.Table.Columns[c].Name
		}
		return template.ListOf(names), true
	}
	return template.Value{}, false
}

func (o *eventObject) Keys() []string {
	if len(o.Fetched) == 0 {
		return []string{"id", "committed_at"}
	}
	return []string{"id", "committed_at", "fetched"}
}

func (o *transactionObject) Get(name string) (template.Value, bool) {
	switch name {
	case "id":
		return template.String(o.Change.Tx.ID), true
	case "annotations":
		if o.Change.Tx.Annotations == "" {
			return template.None(), true
		}
		return template.JSON(o.Change.Tx.Annotations), true
	}
	return template.Value{}, false
}

func (o *transactionObject) Keys() []string { return []string{"id", "annotations"} }

// referenceObject is a related row. It prints as the foreign key's value.
type referenceObject struct {
	ref   Reference
	event *Event
}

func (o *referenceObject) Get(name string) (template.Value, bool) {
	if o.ref.Unread {
		o.event.fail(o.ref.unread())
		return template.Value{}, false
	}
	if o.ref.Row == nil {
		if name == "pk" {
			return value(o.ref.Key), true
		}
		return template.Value{}, false
	}
	return o.event.getRelated(o.ref.Row, name)
}

func (o *referenceObject) Keys() []string {
	if o.ref.Row == nil {
		return nil
	}
	return o.event.columns(o.ref.Row.Table, o.ref.Row.Values)
}

// Scalar is what the reference prints, alone and as JSON, and compares as.
func (o *referenceObject) Scalar() template.Value { return value(o.ref.Key) }

// get looks a name up in a row: a column, then pk, then a relation.
func (e *Event) get(t *change.Table, row []change.Value, name string) (template.Value, bool) {
	i := t.Lookup(name)
	if i < 0 && name == "pk" && len(t.Key) == 1 {
		i = t.Key[0]
	}
	if i < 0 || e.Follows && t.Columns[i].Name == name {
		if v, ok := e.follow(t, row, name); ok || i < 0 {
			return v, ok
		}
	}
	if row[i].Kind == change.Missing {
		return template.Value{}, false
	}
	if mask := e.hidden(t); mask != nil && mask[i] {
		return template.Value{}, false
	}
	return value(row[i]), true
}

func (e *Event) follow(t *change.Table, row []change.Value, name string) (template.Value, bool) {
	if e.Related == nil {
		return template.Value{}, false
	}
	if mask := e.hidden(t); mask != nil { // a reference prints what its column holds
		row = slices.Clone(row)
		for i, hidden := range mask {
			if hidden {
				row[i] = change.Value{}
			}
		}
	}
	ref, ok := e.Related.Follow(t, row, name)
	if !ok {
		return template.Value{}, false
	}
	if ref.Set != nil {
		return template.Of(&setObject{ref.Set, e}), true
	}
	switch {
	case ref.Key.Kind == change.Null:
		return template.None(), true
	case ref.Key.Kind == change.Missing && ref.Unread:
		e.fail(ref.unread())
		return template.Value{}, false
	case ref.Key.Kind == change.Missing:
		return e.row(ref.Row), true
	}
	return template.Of(e.references.of(ref, e)), true
}

func (e *Event) columns(t *change.Table, row []change.Value) []string {
	names := make([]string, 0, len(row))
	mask := e.hidden(t)
	for i, v := range row {
		if v.Kind != change.Missing && (mask == nil || !mask[i]) {
			names = append(names, t.Columns[i].Name)
		}
	}
	return names
}

// list is a template.List of names.
type list []string

func (l list) Len() int { return len(l) }

func (l list) At(i int) template.Value { return template.String(l[i]) }

// value gives a column's value the type it has in templates.
func value(v change.Value) template.Value {
	switch v.Kind {
	case change.Missing, change.Null:
		return template.None()
	case change.Bool:
		return template.Bool(v.Text == "true")
	case change.Int:
		return template.IntText(v.Text)
	case change.Float:
		return template.FloatText(v.Text)
	case change.Decimal:
		return template.Decimal(v.Text)
	case change.Bytes:
		return template.Bytes(v.Text)
	case change.Timestamp:
		return template.Timestamp(v.Text)
	case change.DateTime:
		return template.DateTimeText(v.Text)
	case change.Date:
		return template.DateText(v.Text)
	case change.Time:
		return template.TimeText(v.Text)
	case change.JSON, change.Array, change.Object:
		return template.JSON(v.Text)
	default:
		return template.String(v.Text)
	}
}
