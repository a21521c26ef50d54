package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// relation is what decoding a row of one table needs. It follows the Relation
// messages of the stream, which describe the table as it was when the row changed.
type relation struct {
	table *change.Table
	types []*pgType // of the columns that the log holds
	at    []int     // where these are in table.Columns; nil: each in its own place
	tree  bool      // a partitioned table: the rows are those of partitions
	whole bool      // of a tree: every partition has REPLICA IDENTITY FULL now

	// The server does not describe a table again when a composite type or a partition's
	// replica identity is altered. So trees and loose relations are resolved again.
	message  relationMessage
	loose    bool // ALTER TYPE may change what its values are
	settled  bool // a value did not fit its type, and asking again did not help: it is of the past
	resolved time.Time
}

const relationFor = shapeFor // how long a relation that may change unseen is believed

// relationMessage is R of the protocol, as sent.
type relationMessage struct {
	oid          uint32
	schema, name string
	identity     byte // d, n, f, i
	columns      []relationColumn
}

type relationColumn struct {
	name string
	key  bool // part of the replica identity; under FULL, every column
	typ  uint32
}

func parseRelation(p *parser) relationMessage {
	m := relationMessage{oid: p.uint32(), schema: p.cstring(), name: p.cstring(), identity: p.byte()}
	if m.schema == "" {
		m.schema = "pg_catalog"
	}
	n := int(p.uint16())
	for range n {
		if p.bad {
			break
		}
		c := relationColumn{key: p.byte()&1 != 0, name: p.cstring(), typ: p.uint32()}
		p.uint32() // type modifier
		m.columns = append(m.columns, c)
	}
	return m
}

var identities = map[byte]change.Identity{
	'd': change.IdentityDefault, 'i': change.IdentityIndex, 'f': change.IdentityFull, 'n': change.IdentityNothing,
}

// harmful says that the server will refuse the application's updates and deletes of
// this table for as long as it is published.
func (m *relationMessage) harmful() bool {
	if m.identity == 'f' {
		return false
	}
	for _, c := range m.columns {
		if c.key {
			return false
		}
	}
	return true
}

// relations turns Relation messages into relations. It belongs to one goroutine.
type relations struct {
	types        *types
	publications []string
	lookup       func(ctx context.Context, f func(context.Context, *pgx.Conn) error) error // the catalog of now
	// known outlives connections: the server repeats messages, and whoever compares
	// Table pointers must see a new one only if the shape changed.
	known map[uint32]*relation
}

// lookupError says that the catalog could not be asked. It passes: guessing would make
// other events of the same rows.
type lookupError struct{ error }

func (e lookupError) Unwrap() error { return e.error }

// resolve makes the relation for m. The catalog is asked for what the message does not
// say: types that are not built in, the primary key where the replica identity is
// something else, and the columns that the log does not hold. The table may be altered,
// renamed or gone by now, so the catalog's answer is used only where it fits m.
func (r *relations) resolve(ctx context.Context, m relationMessage) (*relation, error) {
	var oids []uint32
	for _, c := range m.columns {
		if !r.types.final(c.typ) {
			oids = append(oids, c.typ)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var now catalogTable
	err := r.lookup(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if len(oids) > 0 {
			if err = r.types.load(ctx, c, oids); err != nil {
				return err
			}
		}
		now, err = readTable(ctx, c, m.oid, r.publications)
		return err
	})
	if err != nil {
		return nil, lookupError{fmt.Errorf("look up table %s.%s: %w", m.schema, m.name, err)}
	}
	rel := r.build(m, now)
	if old := r.known[m.oid]; old != nil && sameTable(old.table, rel.table) {
		rel.table = old.table
	}
	rel.message, rel.resolved = m, time.Now()
	rel.loose = slices.ContainsFunc(m.columns, func(c relationColumn) bool { return !r.types.final(c.typ) })
	r.known[m.oid] = rel
	return rel, nil
}

func (r *relations) build(m relationMessage, now catalogTable) *relation {
	rel := &relation{types: make([]*pgType, len(m.columns)), tree: now.tree, whole: now.whole}
	columns := make([]change.Column, len(m.columns))
	var flagged []int
	for i, c := range m.columns {
		rel.types[i] = r.types.get(c.typ)
		columns[i] = change.Column{Name: c.name, Type: rel.types[i].name, Identity: c.key}
	}
	if at := now.fit(m.columns); at != nil {
		rel.at = at
		columns = spread(columns, at, now.columns)
	}
	for i, c := range columns {
		if c.Identity {
			flagged = append(flagged, i)
		}
	}
	key, isPrimary := flagged, m.identity == 'd' && len(flagged) > 0
	if !isPrimary { // also a primary key that is DEFERRABLE is no identity
		if found := r.primary(m, columns, now); len(found) > 0 && rel.logs(found) {
			key, isPrimary = found, true
		} else if m.identity == 'f' {
			key = nil // every column is flagged: that orders nothing
		}
	}
	id := identities[m.identity]
	if id == change.IdentityFull && now.tree && !now.whole {
		id = change.IdentityDefault // what the log holds is up to the partitions
	}
	rel.table = change.NewTable(m.schema, m.name, columns, key, isPrimary, id)
	return rel
}

// primary finds the primary key of now among columns. It may have had other names when the
// row was written.
func (r *relations) primary(m relationMessage, columns []change.Column, now catalogTable) []int {
	at := now.primary()
	if now.columns != nil && len(at) == 0 {
		return nil
	}
	var names []string
	for _, i := range at {
		names = append(names, now.columns[i].name)
	}
	if found := positions(columns, names); len(found) > 0 {
		return found
	}
	if len(at) > 0 && at[len(at)-1] < len(m.columns) && now.begins(m.columns) {
		return at
	}
	// The table is gone, or not to be recognized: what was right for it before is the
	// better guess.
	old := r.known[m.oid]
	if old == nil || !old.table.KeyIsPrimary {
		return nil
	}
	names = nil
	for _, i := range old.table.Key {
		names = append(names, old.table.Columns[i].Name)
	}
	return positions(columns, names)
}

// logs reports whether the log holds these columns.
func (rel *relation) logs(columns []int) bool {
	return rel.at == nil || !slices.ContainsFunc(columns, func(i int) bool { return !slices.Contains(rel.at, i) })
}

// spread puts columns where at says among those of the catalog.
func spread(columns []change.Column, at []int, now []catalogColumn) []change.Column {
	out := make([]change.Column, len(now))
	for i, c := range now {
		out[i] = change.Column{Name: c.name, Type: c.typeName}
	}
	for i, c := range columns {
		out[at[i]] = c
	}
	return out
}

// positions finds names among columns, in column order; nil unless all are there.
func positions(columns []change.Column, names []string) []int {
	var out []int
	for i, c := range columns {
		if slices.Contains(names, c.Name) {
			out = append(out, i)
		}
	}
	if len(out) != len(names) {
		return nil
	}
	return out
}

func sameTable(a, b *change.Table) bool {
	return a.Schema == b.Schema && a.Name == b.Name && a.Identity == b.Identity && a.KeyIsPrimary == b.KeyIsPrimary &&
		slices.Equal(a.Key, b.Key) && slices.Equal(a.Columns, b.Columns)
}

// catalogTable is a table as the catalog has it now; without columns if there is none.
type catalogTable struct {
	columns     []catalogColumn
	dropped     bool // a column was dropped: those that are left have moved up
	tree, whole bool // as of a relation
}

type catalogColumn struct {
	name, typeName string
	typ            uint32
	primary        bool // part of the primary key
	unlogged       bool // generated, or not in the publication's list of columns
}

// readTable reads the table with that OID. A partition's replica identity is its own,
// so that of the table at the root says nothing of the rows.
func readTable(ctx context.Context, c *pgx.Conn, oid uint32, publications []string) (catalogTable, error) {
	rows, err := c.Query(ctx, `
with tree as (select c.relkind = 'p' as tree, not exists(select from `+belowC+` p join pg_catalog.pg_class l on l.oid = p.relid
    where l.relkind <> 'p' and l.relreplident <> 'f') as whole from pg_catalog.pg_class c where c.oid = $1),
list as (select to_jsonb(r)->'prattrs' as attrs from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
  where r.prrelid = $1 and p.pubname = any($2) and to_jsonb(r)->>'prattrs' is not null limit 1)
select tree.tree, tree.whole, a.attname::text, pg_catalog.format_type(a.atttypid, null), a.atttypid,
  exists(select from pg_catalog.pg_index i where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any(i.indkey::int2[])),
  a.attgenerated <> '' or coalesce(not list.attrs @> to_jsonb(a.attnum), false), a.attnum
from pg_catalog.pg_attribute a cross join tree left join list on true where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`, oid, publications)
	if err != nil {
		return catalogTable{}, err
	}
	var t catalogTable
	var col catalogColumn
	var number int
	_, err = pgx.ForEachRow(rows, []any{&t.tree, &t.whole, &col.name, &col.typeName, &col.typ, &col.primary, &col.unlogged, &number}, func() error {
		t.columns = append(t.columns, col)
		t.dropped = t.dropped || number != len(t.columns)
		return nil
	})
	return t, err
}

// fit says where the columns of a message are among those of the catalog, if what the
// catalog has besides is what the log does not hold; nil if there is nothing besides, or
// the table had another shape then.
func (t catalogTable) fit(columns []relationColumn) []int {
	if len(columns) == len(t.columns) {
		return nil
	}
	var at []int
	for i, c := range t.columns {
		switch n := len(at); {
		case n < len(columns) && columns[n].name == c.name && columns[n].typ == c.typ:
			at = append(at, i)
		case !c.unlogged:
			return nil
		}
	}
	if len(at) != len(columns) {
		return nil
	}
	return at
}

// begins reports whether the columns of a message are the first of the catalog, whatever
// they are called by now. Columns are only ever added at the end.
func (t catalogTable) begins(columns []relationColumn) bool {
	if t.dropped || len(columns) > len(t.columns) {
		return false
	}
	for i, c := range columns {
		if now := t.columns[i]; now.unlogged || now.typ != c.typ {
			return false
		}
	}
	return true
}

// primary is the places of the primary key.
func (t catalogTable) primary() []int {
	var at []int
	for i, c := range t.columns {
		if c.primary {
			at = append(at, i)
		}
	}
	return at
}
