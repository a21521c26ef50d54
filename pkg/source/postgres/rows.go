package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	shapeFor   = 5 * time.Second       // how long a table's columns are believed without asking
	rowsSettle = 25 * time.Millisecond // how long Rows waits for writers of the moment
)

// shape is a table as the catalog has it, for Rows.
type shape struct {
	relation
	casts []string // of table.Columns: the type as an SQL name
	read  time.Time
}

// reader answers Rows. It has a connection of its own: nobody else waits for it.
type reader struct {
	conn   *shared
	types  *types // guarded by conn's turn, as shapes is
	shapes map[source.TableName]*shape
}

const shapeQuery = `
select a.attname::text, a.atttypid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
  exists(select from pg_catalog.pg_index i where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any(i.indkey::int2[]))
from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where a.attrelid = (select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace where s.nspname = $1 and c.relname = $2)
  and a.attnum > 0 and not a.attisdropped order by a.attnum`

func (r *reader) shape(ctx context.Context, c *pgx.Conn, name source.TableName) (*shape, error) {
	r.types.serve(c.PgConn())
	old := r.shapes[name]
	if old != nil && time.Since(old.read) < shapeFor {
		return old, nil
	}
	rows, err := c.Query(ctx, shapeQuery, name.Schema, name.Name)
	if err != nil {
		return nil, err
	}
	sh := &shape{read: time.Now()}
	var columns []change.Column
	var oids []uint32
	var key []int
	var col, cast string
	var oid uint32
	var primary bool
	if _, err = pgx.ForEachRow(rows, []any{&col, &oid, &cast, &primary}, func() error {
		if primary {
			key = append(key, len(columns))
		}
		columns = append(columns, change.Column{Name: col, Identity: primary})
		sh.casts, oids = append(sh.casts, cast), append(oids, oid)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, &source.TableError{Table: name, Reason: "it does not exist", Mend: "create it"}
	}
	if unknown := slices.DeleteFunc(slices.Clone(oids), r.types.final); len(unknown) > 0 {
		if err := r.types.load(ctx, c, unknown); err != nil {
			return nil, err
		}
	}
	for i, oid := range oids {
		sh.relation.types = append(sh.relation.types, r.types.get(oid))
		columns[i].Type = sh.relation.types[i].name
	}
	sh.table = change.NewTable(name.Schema, name.Name, columns, key, len(key) > 0, change.IdentityDefault)
	if old != nil && sameTable(old.table, sh.table) {
		sh.table = old.table
	}
	r.shapes[name] = sh
	return sh, nil
}

// Rows implements source.Catalog. The values are decoded exactly as those of the log.
//
// Seq is the end of the log before the rows were read, if nobody who held a write lock
// on the table then was still at it when they were read: a transaction's commit is in
// the log a moment before it can be seen, and it keeps its locks until it can. Else
// Seq is 0, which promises nothing.
func (s *Source) Rows(ctx context.Context, table source.TableName, columns []string, keys [][]string) (source.RowSet, error) {
	out := source.RowSet{}
	if len(keys) == 0 || len(columns) == 0 {
		return out, errors.New("read rows: no keys")
	}
	err := s.reader.conn.do(ctx, func(c *pgx.Conn) error {
		sh, err := s.reader.shape(ctx, c, table)
		if err != nil {
			return err
		}
		out.Table = sh.table
		if err = readRows(ctx, c, sh, columns, keys, &out); err != nil {
			delete(s.reader.shapes, table) // perhaps it changed just now
		}
		return err
	})
	if err != nil {
		return source.RowSet{}, fmt.Errorf("read rows of %s: %w", table, err)
	}
	return out, nil
}

var settledQuery = `
with p as materialized (select ` + insertEnd + ` as at),
tree as (select relid as oid from ` + fmt.Sprintf(below, "$1::regclass") + ` t)
select p.at::text, (select count(*) from pg_catalog.pg_locks l where p.at is not null and l.locktype = 'relation' and l.relation in (select oid from tree)
  and l.granted and l.mode in ` + writeLocks + ` and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())) from p`

func readRows(ctx context.Context, c *pgx.Conn, sh *shape, columns []string, keys [][]string, out *source.RowSet) error {
	sql, params, err := sh.selection(columns, keys)
	if err != nil {
		return err
	}
	table := pgx.Identifier{sh.table.Schema, sh.table.Name}.Sanitize()
	name := []source.TableName{{Schema: sh.table.Schema, Name: sh.table.Name}}
	var at string
	var writers int
	if err := c.QueryRow(ctx, settledQuery, table).Scan(&at, &writers); err != nil {
		return err
	}
	if writers > 0 {
		open, err := readHolders(ctx, c, name)
		for until := time.Now().Add(rowsSettle); err == nil && len(open) > 0 && time.Now().Before(until); {
			open, _, err = readOpen(ctx, c, open)
			if len(open) > 0 {
				pause(ctx, time.Millisecond)
			}
		}
		if err != nil {
			return err
		}
		if len(open) > 0 {
			at = "0/0"
		}
	}
	seq, err := parseLSN(at)
	if err != nil {
		return err
	}
	out.Seq = uint64(seq)
	res := c.PgConn().ExecParams(ctx, sql, params, nil, nil, nil).Read()
	if res.Err != nil {
		return res.Err
	}
	return sh.decode(res, out)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (sh *shape) decode(res *pgconn.Result, out *source.RowSet) error {
	for _, raw := range res.Rows {
		if len(raw) != len(sh.relation.types) {
			return fmt.Errorf("row has %d columns, want %d", len(raw), len(sh.relation.types))
		}
		row := make([]change.Value, len(raw))
		for i, text := range raw {
			if text == nil {
				row[i].Kind = change.Null
			} else {
				row[i] = sh.relation.types[i].value(text) // text is a copy of its own
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return nil
}

// selection builds the query for keys, one array parameter a column.
func (sh *shape) selection(columns []string, keys [][]string) (sql string, params [][]byte, err error) {
	var list, named, arrays []string
	for _, c := range sh.table.Columns {
		list = append(list, pgx.Identifier{c.Name}.Sanitize())
	}
	for n, name := range columns {
		i := sh.table.Lookup(name)
		if i < 0 || sh.table.Columns[i].Name != name {
			return "", nil, fmt.Errorf("column %q does not exist", name)
		}
		array := []byte{'{'}
		for k, key := range keys {
			if len(key) != len(columns) {
				return "", nil, fmt.Errorf("key %d has %d values, want %d", k, len(key), len(columns))
			}
			if k > 0 {
				array = append(array, ',')
			}
			if array, err = sh.relation.types[i].appendKey(array, key[n]); err != nil {
				return "", nil, fmt.Errorf("column %q: %w", name, err)
			}
		}
		params = append(params, append(array, '}'))
		named = append(named, pgx.Identifier{name}.Sanitize())
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", n+1, sh.casts[i]))
	}
	from := "select " + strings.Join(list, ", ") + " from " + pgx.Identifier{sh.table.Schema, sh.table.Name}.Sanitize() + " where "
	if len(columns) == 1 {
		return from + named[0] + " = any(" + arrays[0] + ")", params, nil
	}
	return from + "(" + strings.Join(named, ", ") + ") in (select * from unnest(" + strings.Join(arrays, ", ") + "))", params, nil
}

// appendKey appends the canonical text of a value of type t as an array element.
func (t *pgType) appendKey(dst []byte, text string) ([]byte, error) {
	switch t.class {
	case classArray, classComposite, classHstore, classVector:
		return dst, fmt.Errorf("rows cannot be looked up by %s", t.name)
	case classBytes:
		text = `\x` + hex.EncodeToString([]byte(text))
	}
	dst = append(dst, '"')
	for i := range len(text) {
		switch text[i] {
		case 0:
			return dst, errors.New("key holds a zero byte")
		case '"', '\\':
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"'), nil
}
