package related

import (
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// entry is what was looked up for one key. It shows every transaction below seq, and
// none from until on.
type entry struct {
	row        *payload.Row // one, back, first: nil if there is none
	rows       []*payload.Row
	count      int64
	cut        bool // there are more rows
	seq, until uint64
	at         int64  // when it was read, as Leases.now
	lease      *lease // under which it was read; nil: the log does not keep it current
	read       uint64 // the Lookup.Read that read it
	used       uint64 // the Lookup.Read that found it good for all that asked
	weight     int
}

// target is what is looked up of one table by some of its columns. Its entries are in two
// generations: what is used moves to the young one, and when that is large enough, the
// old one goes and the young one gets old.
type target struct {
	table      source.TableName
	columns    []string
	what       what
	limit      int  // of the query
	exact      bool // the log can tell which keys a change is about
	young, old map[string]*entry
	floor      uint64              // what does not show the transaction there is out of date
	wanted     map[string][]string // to be read: the values of each key

	refused error // what the database answered last instead of rows
	asks    int64 // it is not asked again before, as Leases.now
}

// cache holds the entries of all targets within bounds.
type cache struct {
	targets   map[string]*target
	by        map[source.TableName][]*target
	shapes    map[*change.Table][]shaped
	keep      int // bytes
	weight    int // of the young entries
	rotations uint64
}

// shaped is a target with its columns in a table as the log has it.
type shaped struct {
	*target
	at       []int
	identity bool // the log tells of each change what they held before
}

func newCache(keep int) cache {
	return cache{targets: map[string]*target{}, by: map[source.TableName][]*target{}, shapes: map[*change.Table][]shaped{}, keep: keep}
}

// target finds or makes what s looks up.
func (c *cache) target(s step) *target {
	columns, limit := s.RefColumns, 0
	switch {
	case s.what == all:
		columns, limit = s.Columns, MaxRows+1
	case s.what == first:
		columns, limit = s.Columns, 1
	case s.what == count || s.what == back:
		columns = s.Columns
	case !s.unique:
		limit = 1
	}
	table := s.next()
	exact := s.exact && (s.what != one || s.unique)
	id := strings.Join(append([]string{table.Schema, table.Name, string('0' + rune(s.what)), string('0' + rune(limit&1)), map[bool]string{true: "exact"}[exact]}, columns...), "\x00")
	t := c.targets[id]
	if t == nil {
		t = &target{table: table, columns: columns, what: s.what, limit: limit, exact: exact, young: map[string]*entry{}}
		c.targets[id] = t
		c.by[table] = append(c.by[table], t)
		clear(c.shapes)
	}
	return t
}

// get finds an entry and keeps it.
func (c *cache) get(t *target, key []byte) *entry {
	if e := t.young[string(key)]; e != nil {
		return e
	}
	e := t.old[string(key)]
	if e != nil {
		text := string(key)
		delete(t.old, text)
		c.put(t, text, e)
	}
	return e
}

// put adds an entry in the place of one that was there.
func (c *cache) put(t *target, key string, e *entry) {
	c.drop(t, key)
	t.young[key] = e
	c.weight += e.weight
}

func (c *cache) drop(t *target, key string) {
	if e := t.young[key]; e != nil {
		delete(t.young, key)
		c.weight -= e.weight
	}
	delete(t.old, key)
}

// rotate lets go of what has not been used for long if the cache has grown too much.
func (c *cache) rotate() {
	if c.weight <= c.keep/2 {
		return
	}
	for _, t := range c.targets {
		t.old, t.young = t.young, map[string]*entry{}
	}
	c.weight = 0
	c.rotations++
}

// weigh is about how many bytes an entry takes; that of a row which is not there is small,
// and not nothing: the number of entries is bounded as well.
func weigh(key string, e *entry) int {
	n := len(key) + 250
	if e.row != nil {
		n += weighRow(e.row)
	}
	for _, r := range e.rows {
		n += weighRow(r)
	}
	return n
}

func weighRow(r *payload.Row) int {
	n := 64
	for _, v := range r.Values {
		n += len(v.Text) + 24
	}
	return n
}

// appendKey appends the text by which keys are told apart; complete is false where a
// value is missing, and null says that one is null.
func appendKey(dst []byte, row []change.Value, at []int) (key []byte, complete, null bool) {
	if len(at) == 1 {
		v := &row[at[0]]
		return append(dst, v.Text...), v.Kind != change.Missing, v.Kind == change.Null
	}
	complete = true
	for i, a := range at {
		v := row[a]
		complete = complete && v.Kind != change.Missing
		null = null || v.Kind == change.Null
		dst = append(dst, "[,"[min(i, 1)])
		dst = v.AppendJSON(dst)
	}
	return append(dst, ']'), complete, null
}

// columnsOf are the places of columns in a table, nil if it has not got all of them.
func columnsOf(t *change.Table, columns []string) []int {
	at := make([]int, len(columns))
	for i, c := range columns {
		if at[i] = t.Lookup(c); at[i] < 0 {
			return nil
		}
	}
	return at
}

// shapesOf are the targets that changes of a table concern.
func (c *cache) shapesOf(t *change.Table) []shaped {
	s, ok := c.shapes[t]
	if ok {
		return s
	}
	if len(c.shapes) > 10000 { // of tables that no longer exist
		clear(c.shapes)
	}
	for _, target := range c.by[source.NameOf(t)] {
		at := columnsOf(t, target.columns)
		identity := at != nil && !slices.ContainsFunc(at, func(i int) bool { return !t.Columns[i].Identity })
		s = append(s, shaped{target, at, identity})
	}
	c.shapes[t] = s
	return s
}
