package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// relation is what decoding a row of one table needs. It follows the Relation
// messages of the stream, which describe the table as it was when the row changed.
type relation struct {
	table *change.Table
	types []*pgType // of table.Columns
}

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
	types  *types
	lookup func(ctx context.Context, f func(*pgx.Conn) error) error // the catalog of now; may fail
	warn   func(msg string, args ...any)
	// known outlives connections: the server repeats messages, and whoever compares
	// Table pointers must see a new one only if the shape changed.
	known map[uint32]*relation
}

// resolve makes the relation for m. The catalog is asked, once and with a time-out,
// only where the message does not say enough: types that are not built in, and the
// primary key where the replica identity is something else. The table may be altered,
// renamed or gone by now, so the catalog's answer is used only where it fits m.
func (r *relations) resolve(ctx context.Context, m relationMessage) *relation {
	var oids []uint32
	for _, c := range m.columns {
		if !r.types.final(c.typ) {
			oids = append(oids, c.typ)
		}
	}
	var primary []string
	if len(oids) > 0 || m.identity != 'd' {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		err := r.lookup(ctx, func(c *pgx.Conn) error {
			var err error
			if len(oids) > 0 {
				err = r.types.load(ctx, c, oids)
			}
			if m.identity != 'd' {
				var err2 error
				primary, err2 = readPrimaryKey(ctx, c, m.oid)
				err = errors.Join(err, err2)
			}
			return err
		})
		cancel()
		if err != nil {
			r.warn("catalog lookup failed, using what the log says", "table", m.schema+"."+m.name, "error", err)
		}
	}
	rel := r.build(m, primary)
	if old := r.known[m.oid]; old != nil && sameTable(old.table, rel.table) {
		rel.table = old.table
	}
	r.known[m.oid] = rel
	return rel
}

func (r *relations) build(m relationMessage, primary []string) *relation {
	columns := make([]change.Column, len(m.columns))
	rel := &relation{types: make([]*pgType, len(m.columns))}
	var flagged []int
	for i, c := range m.columns {
		rel.types[i] = r.types.get(c.typ)
		columns[i] = change.Column{Name: c.name, Type: rel.types[i].name, Identity: c.key}
		if c.key {
			flagged = append(flagged, i)
		}
	}
	if primary == nil && m.identity != 'd' {
		// The catalog gave nothing (perhaps the table is gone): what was right for
		// the table before is the better guess.
		if old := r.known[m.oid]; old != nil && old.table.KeyIsPrimary {
			for _, i := range old.table.Key {
				primary = append(primary, old.table.Columns[i].Name)
			}
		}
	}
	key, isPrimary := flagged, m.identity == 'd' && len(flagged) > 0
	if found := positions(m.columns, primary); len(found) > 0 {
		key, isPrimary = found, true
	} else if m.identity == 'f' {
		key = nil // every column is flagged: that orders nothing
	}
	id := identities[m.identity]
	rel.table = change.NewTable(m.schema, m.name, columns, key, isPrimary, id)
	return rel
}

// positions finds names among columns, in column order; nil unless all are there.
func positions(columns []relationColumn, names []string) []int {
	var out []int
	for i, c := range columns {
		if slices.Contains(names, c.name) {
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

// readPrimaryKey returns the names of the columns of the primary key of relation oid;
// empty if it has none, nil if there is no such relation any more.
func readPrimaryKey(ctx context.Context, c *pgx.Conn, oid uint32) ([]string, error) {
	var names []string
	err := c.QueryRow(ctx, `
select coalesce((select array_agg(a.attname::text order by a.attnum) from pg_catalog.pg_index i
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey::int2[])
  where i.indrelid = c.oid and i.indisprimary), '{}')
from pg_catalog.pg_class c where c.oid = $1`, oid).Scan(&names)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read primary key: %w", err)
	}
	return names, nil
}
