package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const shapeFor = 5 * time.Second // how long a table's columns are believed without asking

// shape is a table as the catalog has it, for Rows and Counts.
type shape struct {
	relation
	casts   []string   // of table.Columns: the type as an SQL name
	from    string     // the table as it is read: rows of tables that inherit from it are not its own
	indexes [][]string // columns of those that hold all rows
	read    time.Time
}

// reader answers Rows and Counts. It has a connection of its own: nobody else waits for
// it.
type reader struct {
	conn   *shared
	types  *types // guarded by conn's turn, as shapes is
	shapes map[source.TableName]*shape
}

const shapeQuery = `
select a.attname::text, a.atttypid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname), r.relkind = 'r',
  exists(select from pg_catalog.pg_index i where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any(i.indkey::int2[]))
from pg_catalog.pg_class r join pg_catalog.pg_namespace s on s.oid = r.relnamespace join pg_catalog.pg_attribute a on a.attrelid = r.oid
join pg_catalog.pg_type t on t.oid = a.atttypid join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where s.nspname = $1 and r.relname = $2 and a.attnum > 0 and not a.attisdropped order by a.attnum`

const indexesQuery = `
select array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(n, at) join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n
  where k.at <= i.indnkeyatts order by k.at)
from pg_catalog.pg_index i join pg_catalog.pg_class r on r.oid = i.indrelid join pg_catalog.pg_namespace s on s.oid = r.relnamespace
where s.nspname = $1 and r.relname = $2 and i.indisvalid and i.indpred is null and i.indexprs is null`

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
	var plain, primary bool
	if _, err = pgx.ForEachRow(rows, []any{&col, &oid, &cast, &plain, &primary}, func() error {
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
	if rows, err = c.Query(ctx, indexesQuery, name.Schema, name.Name); err != nil {
		return nil, err
	}
	if sh.indexes, err = pgx.CollectRows(rows, pgx.RowTo[[]string]); err != nil {
		return nil, err
	}
	if sh.from = (pgx.Identifier{name.Schema, name.Name}).Sanitize(); plain {
		sh.from = "only " + sh.from
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

// indexed reports whether rows are found by columns without reading the whole table.
func (sh *shape) indexed(columns []string) bool {
	return slices.ContainsFunc(sh.indexes, func(index []string) bool {
		return len(index) >= len(columns) && !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(index[:len(columns)], c) })
	})
}
