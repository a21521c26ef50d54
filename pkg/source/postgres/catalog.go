package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// userTables leaves out the schema of a store, marked by its table of versions: a trigger
// there would be fired by what each of its own deliveries makes the store write.
const userTables = `
  n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p') and c.relpersistence <> 't'
  and pg_catalog.has_schema_privilege(n.oid, 'usage')
  and not exists (select from pg_catalog.pg_class v where v.relnamespace = n.oid and v.relname = 'waltrigger_version')`

// identityOf is the replica identity by which the rows of relation c are logged: those
// of a partitioned table lie in its partitions.
var identityOf = `case when c.relkind = 'p' and c.relreplident = 'f' and exists(select from ` + belowC + ` t
    join pg_catalog.pg_class l on l.oid = t.relid where l.relkind <> 'p' and l.relreplident <> 'f') then 'd' else c.relreplident end`

var tablesQuery = fmt.Sprintf(`
select c.oid, n.nspname::text, c.relname::text, (%[1]s)::text, c.relkind = 'p', c.relispartition,
  n.nspname = any(pg_catalog.current_schemas(false)), not pg_catalog.has_table_privilege(c.oid, 'select'), %[2]s,
  array(select a.attname::text from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey::int2[])
    where i.indrelid = c.oid and i.indisprimary order by pg_catalog.array_position(i.indkey::int2[], a.attnum)),
  array(select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and case %[1]s when 'f' then true when 'n' then false else exists(select from pg_catalog.pg_index i where i.indrelid = c.oid
      and a.attnum = any(i.indkey::int2[]) and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end) end order by a.attnum),
  %[4]s
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where %[3]s order by 2, 3`, identityOf, usableTree, userTables, wholeSQL)

const columnsQuery = `
select c.oid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '' and not (@gen::bool and a.attgenerated = 's'),
  case when a.atttypid in (20, 21, 23) then 'int' when a.atttypid in (25, 1043) and coalesce(o.collisdeterministic, true) then 'text'
    when a.atttypid in (16, 17, 1082, 1114, 1184, 2950) then a.atttypid::text else '' end
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_collation o on o.oid = a.attcollation
where ` + userTables + ` order by c.oid, a.attnum`

// Of a foreign key that refers to a partitioned table there is one more for each
// partition: these are left out.
const foreignKeysQuery = `
select c.oid, k.conname::text, rn.nspname::text, r.relname::text,
  array(select a.attname::text from unnest(k.conkey) with ordinality u(n, i) join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by u.i),
  array(select a.attname::text from unnest(k.confkey) with ordinality u(n, i) join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by u.i),
  exists(select from pg_catalog.pg_index i where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null and (i.indkey::int2[])[0:cardinality(k.conkey)-1] @> k.conkey),
  exists(select from pg_catalog.pg_index i where i.indrelid = k.conrelid and i.indisvalid and i.indisunique and i.indimmediate and i.indpred is null
    and i.indnkeyatts = cardinality(k.conkey) and (i.indkey::int2[])[0:i.indnkeyatts-1] @> k.conkey)
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class r on r.oid = k.confrelid join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
where k.contype = 'f' and not exists(select from pg_catalog.pg_constraint w where w.oid = k.conparentid and w.conrelid = k.conrelid) and ` + userTables + ` order by c.oid, k.conname`

// Tables implements source.Catalog.
func (s *Source) Tables(ctx context.Context) ([]source.TableInfo, error) {
	var out []source.TableInfo
	err := s.admin.ask(ctx, func(ctx context.Context, c *pgx.Conn) error {
		p, err := s.readPublication(ctx, c)
		if err != nil {
			return err
		}
		args := pgx.NamedArgs{"gen": p != nil && p.generated, "pub": uint32(0)}
		if p != nil {
			args["pub"] = p.oid
		}
		defer func() { out = carried(out, p) }()
		// One snapshot for the three queries, and nothing written.
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			out, err = readCatalog(ctx, tx, args)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return out, nil
}

// carried says what of each table is in the log, as the publication is.
func carried(tables []source.TableInfo, p *publication) []source.TableInfo {
	for i := range tables {
		t := &tables[i]
		switch {
		case p != nil && !p.alterable:
			t.Unlogged = p.lacks
			t.IdentityUsable = t.IdentityUsable || !p.changes
		case !t.IdentityUsable:
			t.Unlogged = []change.Op{change.Update, change.Delete}
		}
	}
	return tables
}

func readCatalog(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs) ([]source.TableInfo, error) {
	rows, err := tx.Query(ctx, tablesQuery, args)
	if err != nil {
		return nil, err
	}
	at := map[uint32]int{}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t source.TableInfo, err error) {
		var oid uint32
		var identity string
		var whole *string
		err = row.Scan(&oid, &t.Schema, &t.Name, &identity, &t.Partitioned, &t.Leaf, &t.InSearchPath, &t.Unreadable, &t.IdentityUsable, &t.PrimaryKey, &t.OldColumns, &whole)
		if whole != nil {
			t.WholeOldRow = *whole
		}
		if err == nil {
			t.Identity = identities[identity[0]]
			at[oid] = len(at)
		}
		return t, err
	})
	if err != nil {
		return nil, err
	}
	if err := readColumns(ctx, tx, args, out, at); err != nil {
		return nil, err
	}
	return out, readForeignKeys(ctx, tx, out, at)
}

func readColumns(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs, tables []source.TableInfo, at map[uint32]int) error {
	rows, err := tx.Query(ctx, columnsQuery, args)
	if err != nil {
		return err
	}
	var oid uint32
	var c source.ColumnInfo
	_, err = pgx.ForEachRow(rows, []any{&oid, &c.Name, &c.Type, &c.NotNull, &c.Generated, &c.Equal}, func() error {
		if i, ok := at[oid]; ok {
			tables[i].Columns = append(tables[i].Columns, c)
		}
		return nil
	})
	return err
}

func readForeignKeys(ctx context.Context, tx pgx.Tx, tables []source.TableInfo, at map[uint32]int) error {
	rows, err := tx.Query(ctx, foreignKeysQuery)
	if err != nil {
		return err
	}
	var oid uint32
	var k source.ForeignKey
	_, err = pgx.ForEachRow(rows, []any{&oid, &k.Name, &k.RefTable.Schema, &k.RefTable.Name, &k.Columns, &k.RefColumns, &k.Indexed, &k.Unique}, func() error {
		if i, ok := at[oid]; ok {
			tables[i].ForeignKeys = append(tables[i].ForeignKeys, k)
			k.Columns, k.RefColumns = nil, nil
		}
		return nil
	})
	return err
}
