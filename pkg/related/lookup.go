package related

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Metrics counts what a Lookup does.
type Metrics struct {
	Queries, Hits, Misses, Gone func(n int)
}

// Lookup holds the rows that events refer to. For one goroutine: it is told what the log
// says (Advance), reads what the events of a batch need and it does not have (Read), and
// then answers what their templates ask (Follow).
type Lookup struct {
	catalog *Catalog
	src     source.Catalog
	leases  *Leases
	m       Metrics
	cache   cache

	names    *Names // of the plans and bindings in use
	bindings map[*change.Table][]*binding
	alike    [2]*change.Table // the last two with the same columns
	received uint64           // highest Tx.Seq of a change that was told
	through  uint64           // everything up to it was told
	reads    uint64           // calls of Read
	now      int64            // of the last Read, as Leases.now
	wanted   []*target
	scratch  []byte
	refused  []Refusal // since the last call of Refused
}

// NewLookup makes a Lookup that keeps about so many bytes of rows.
func NewLookup(src source.Catalog, c *Catalog, l *Leases, keep int, m Metrics) *Lookup {
	return &Lookup{catalog: c, src: src, leases: l, m: m, cache: newCache(keep), bindings: map[*change.Table][]*binding{}}
}

// Refusal is a table that the database will not be asked for again at once, because it
// would answer the same (source.Lasting).
type Refusal struct {
	Table source.TableName
	Err   error
}

// refusedFor is how long a table is left alone then.
const refusedFor = 5 * time.Second

// Refused are those since its last call, without what was refused before for the same
// reason. Read does not fail for them: what leads to their rows cannot be rendered.
func (l *Lookup) Refused() []Refusal {
	refused := l.refused
	l.refused = nil
	return refused
}

// Plan is what a trigger's templates follow from a row of one table. It belongs to one
// Lookup.
type Plan struct {
	table *change.Table
	paths [][]string
	names *Names
	tree  []*node
	// unknown: the templates name what is neither a column nor a relation.
	unknown bool
}

// node is a relation that is followed, and what is followed from there.
type node struct {
	step
	target *target
	next   []*node
	table  *change.Table // at is where its rows hold the key
	at     []int
}

// NewPlan makes a plan of the paths that templates follow from a row of t.
func NewPlan(t *change.Table, paths [][]string) *Plan { return &Plan{table: t, paths: paths} }

// Asks reports whether names have to be known before a template can be rendered.
func (p *Plan) Asks() bool { return len(p.paths) > 0 }

// Follows reports whether rows may have to be read as well.
func (p *Plan) Follows() bool {
	return slices.ContainsFunc(p.paths, func(path []string) bool { return len(path) > 1 })
}

// Need is an event, and what its templates follow.
type Need struct {
	*Plan
	Change *change.Change
}

// Read reads what needs have to have and the Lookup has not got, or not new enough: of
// each table in one query, then what these rows lead to, and so on.
func (l *Lookup) Read(ctx context.Context, needs []Need) error {
	if err := l.Learn(ctx, needs); err != nil {
		return err
	}
	l.reads++
	l.now = l.leases.now()
	l.cache.rotate()
	found, read := 0, 0
	for len(needs) > 0 {
		var rest []Need
		for _, n := range needs {
			visited, complete := l.walkChange(n)
			if complete {
				found += visited
			} else {
				rest = append(rest, n)
			}
		}
		for _, t := range l.wanted {
			read += len(t.wanted)
			if err := l.fetch(ctx, t); err != nil {
				l.forget()
				return err
			}
		}
		l.wanted = l.wanted[:0]
		needs = rest
	}
	l.m.Misses(read)
	l.m.Hits(max(found-read, 0))
	return nil
}

// forget gives up what was to be read.
func (l *Lookup) forget() {
	for _, t := range l.wanted {
		clear(t.wanted)
	}
	l.wanted = l.wanted[:0]
}

// Names are those that the last call of Learn or Read went by, nil before it.
func (l *Lookup) Names() *Names { return l.names }

// Learn brings the plans up to the names of now. Read does so too.
func (l *Lookup) Learn(ctx context.Context, needs []Need) error {
	for again := false; ; again = true {
		names, err := l.catalog.Names(ctx, again)
		if err != nil {
			return err
		}
		if names != l.names {
			l.names = names
			clear(l.bindings)
		}
		unknown := false
		for _, n := range needs {
			if n.names != names {
				l.plan(n.Plan)
			}
			unknown = unknown || n.unknown
		}
		if again || !unknown {
			return nil
		}
	}
}

// plan works out the tree of a plan.
func (l *Lookup) plan(p *Plan) {
	p.names, p.tree, p.unknown = l.names, nil, false
	table := source.NameOf(p.table)
	column := func(t source.TableName, name string) bool { return t == table && p.table.Lookup(name) >= 0 }
	for _, path := range p.paths {
		steps, err := l.names.steps(table, path, true, column)
		if unknown := (*PathError)(nil); len(steps) == 0 && errors.As(err, &unknown) && unknown.Name != "" {
			p.unknown = true
		}
		nodes := &p.tree
		for _, s := range steps {
			i := slices.IndexFunc(*nodes, func(n *node) bool { return n.step == s })
			if i < 0 {
				i = len(*nodes)
				*nodes = append(*nodes, &node{step: s, target: l.cache.target(s)})
			}
			nodes = &(*nodes)[i].next
		}
	}
}

// walkChange looks at all that a need has to have, and notes what is to be read.
func (l *Lookup) walkChange(n Need) (visited int, complete bool) {
	c := n.Change
	complete = true
	for _, row := range [2][]change.Value{c.After, c.Before} {
		if row != nil {
			v, ok := l.walk(n.tree, c.Table, row, c.Tx.Seq)
			visited, complete = visited+v, complete && ok
		}
	}
	return visited, complete
}

func (l *Lookup) walk(nodes []*node, t *change.Table, row []change.Value, seq uint64) (visited int, complete bool) {
	complete = true
	for _, n := range nodes {
		if n.table != t {
			n.table, n.at = t, columnsOf(t, n.key())
		}
		if n.at == nil {
			continue
		}
		key, known, null := appendKey(l.scratch[:0], row, n.at)
		l.scratch = key
		if !known || null {
			continue
		}
		e := l.cache.get(n.target, key)
		good := e != nil && l.good(n.target, e, seq)
		if !good && n.target.refusal(l.now) != nil {
			continue
		}
		visited++
		if !good {
			l.want(n.target, string(key), row, n.at)
			complete = false
			continue
		}
		e.used = l.reads
		if len(n.next) == 0 {
			continue
		}
		if e.row != nil {
			v, ok := l.walk(n.next, e.row.Table, e.row.Values, seq)
			visited, complete = visited+v, complete && ok
		}
		for _, r := range e.rows {
			v, ok := l.walk(n.next, r.Table, r.Values, seq)
			visited, complete = visited+v, complete && ok
		}
	}
	return visited, complete
}

// key are the columns of the row where one begins that hold what is looked up.
func (s step) key() []string {
	if s.what == one {
		return s.Columns
	}
	return s.RefColumns
}

// good reports whether an entry serves an event of the transaction at seq. See the
// comment of the package.
func (l *Lookup) good(t *target, e *entry, seq uint64) bool {
	switch {
	case e.read == l.reads: // for this very event, among others
		return true
	case e.seq <= t.floor:
		return false
	case e.seq > seq:
		return true
	case e.lease != nil && l.now < e.lease.until.Load():
		return seq <= l.through
	}
	return l.now-e.at < int64(stale)
}

func (l *Lookup) want(t *target, key string, row []change.Value, at []int) {
	if len(t.wanted) == 0 {
		if t.wanted == nil {
			t.wanted = map[string][]string{}
		}
		l.wanted = append(l.wanted, t)
	}
	if _, ok := t.wanted[key]; ok {
		return
	}
	texts := make([]string, len(at))
	for i, a := range at {
		texts[i] = row[a].Text
	}
	t.wanted[key] = texts
}

// maxKeys bounds the keys of one query.
const maxKeys = 1000

// fetch reads what is wanted of a target.
func (l *Lookup) fetch(ctx context.Context, t *target) error {
	keys := make([]string, 0, len(t.wanted))
	for key := range t.wanted {
		keys = append(keys, key)
	}
	slices.Sort(keys) // pages of the database in order, for some types
	for chunk := range slices.Chunk(keys, maxKeys) {
		q := source.Query{Table: t.table, Columns: t.columns, Limit: t.limit, First: t.limit == 1}
		for _, key := range chunk {
			q.Keys = append(q.Keys, t.wanted[key])
		}
		at, lease := l.leases.now(), l.leases.on(t.table)
		l.m.Queries(1)
		entries, err := l.ask(ctx, t, q, chunk)
		if err != nil {
			err = fmt.Errorf("read related rows: %w", err)
		}
		if source.Lasting(err) {
			l.refuse(t, err)
			break
		}
		if t.refused = nil; err != nil {
			return err
		}
		for i, e := range entries {
			e.at, e.read, e.used = at, l.reads, l.reads
			switch {
			case lease == nil || !t.exact:
			case e.seq > l.received:
				e.lease = lease
			default: // it promises too little to be kept, and the table is one of which more is promised
				e.at -= int64(stale)
			}
			e.weight = weigh(chunk[i], e)
			l.cache.put(t, chunk[i], e)
		}
	}
	clear(t.wanted)
	return nil
}

// refuse takes in that the database does not answer for t.
func (l *Lookup) refuse(t *target, err error) {
	if t.refused == nil || t.refused.Error() != err.Error() {
		l.refused = append(l.refused, Refusal{t.table, err})
	}
	t.refused, t.asks = err, l.now+int64(refusedFor)
}

// refusal is why t is not asked for now, nil if it is.
func (t *target) refusal(now int64) error {
	if now < t.asks {
		return t.refused
	}
	return nil
}

// ask asks the source, and gives an entry for each of keys, which are sorted.
func (l *Lookup) ask(ctx context.Context, t *target, q source.Query, keys []string) ([]*entry, error) {
	entries := make([]*entry, len(keys))
	if t.what == count {
		q.Limit, q.First = 0, false
		set, err := l.src.Counts(ctx, q)
		if err != nil {
			return nil, err
		}
		if len(set.Counts) != len(keys) {
			return nil, fmt.Errorf("%d counts for %d keys", len(set.Counts), len(keys))
		}
		for i := range entries {
			entries[i] = &entry{count: set.Counts[i], seq: set.Seq, until: set.Until}
		}
		return entries, nil
	}
	set, err := l.src.Rows(ctx, q)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		entries[i] = &entry{seq: set.Seq, until: set.Until}
	}
	at := []int(nil)
	if set.Of == nil && len(set.Rows) > 0 {
		if at = columnsOf(set.Table, t.columns); at == nil {
			return nil, fmt.Errorf("table %s has changed just now", t.table)
		}
	}
	for i, values := range set.Rows {
		var of int
		if set.Of != nil {
			of = set.Of[i]
		} else {
			key, _, _ := appendKey(nil, values, at)
			var ok bool
			if of, ok = slices.BinarySearch(keys, string(key)); !ok {
				continue
			}
		}
		e, row := entries[of], &payload.Row{Table: set.Table, Values: values}
		if t.what == all {
			e.rows = append(e.rows, row)
		} else {
			e.row = row
		}
	}
	for _, e := range entries {
		t.finish(e)
		if t.what == one && e.row == nil {
			l.m.Gone(1)
		}
	}
	return entries, nil
}

// finish puts the rows of a set in order, and notes whether these are all.
func (t *target) finish(e *entry) {
	if e.cut = len(e.rows) > MaxRows; e.cut {
		e.rows = nil // whichever they are
		return
	}
	slices.SortStableFunc(e.rows, func(a, b *payload.Row) int {
		for _, k := range a.Table.Key {
			if d := compare(a.Values[k], b.Values[k]); d != 0 {
				return d
			}
		}
		return 0
	})
}

// compare orders values of one column: whole numbers by what they are, else by the text.
func compare(a, b change.Value) int {
	if a.Kind != change.Int || b.Kind != change.Int {
		return cmp.Compare(a.Text, b.Text)
	}
	x, negative := strings.CutPrefix(a.Text, "-")
	y, other := strings.CutPrefix(b.Text, "-")
	switch {
	case negative != other:
		return map[bool]int{true: -1, false: 1}[negative]
	case negative:
		x, y = y, x
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
}
