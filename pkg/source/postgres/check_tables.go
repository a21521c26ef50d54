package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// tables warns of tables that triggers cannot have, or not in full.
func (c *check) tables(ctx context.Context, conn *pgx.Conn) error {
	p, err := c.s.readPublication(ctx, conn)
	if err != nil {
		return err
	}
	if p == nil { // as it will be
		p = &publication{version: c.st.version, viaRoot: true, changes: true, generated: c.st.version >= generatedVersion, alterable: true}
	}
	if !p.alterable {
		return nil // what is wrong with its tables was said
	}
	tables, err := c.s.readTables(ctx, conn, p, userTables, pgx.NamedArgs{})
	if err != nil {
		return err
	}
	for _, t := range tables {
		switch {
		case !t.usable && len(t.ancestors) == 0:
			c.add(source.LevelWarn, fmt.Sprintf("table %s has no usable replica identity: triggers on it are refused, unless inserts alone will do (allow_insert_only)", t.name),
				"give it a primary key, or "+t.whole)
		case t.twisted:
			c.add(source.LevelWarn, fmt.Sprintf("table %s has a partition that keeps its columns in another order, or has lost other ones: PostgreSQL 14 may take them for each other, so triggers on it are refused", t.name),
				"upgrade PostgreSQL, or make the partition anew and copy its rows")
		case len(t.ancestors) == 0:
			c.found = append(c.found, c.s.remarks(p, t)...)
		}
	}
	return nil
}

// Missing implements source.Missing.
func (s *Source) Missing(ctx context.Context, tables []source.TableName) ([]source.TableName, error) {
	schemas, names := split(tables)
	var out []source.TableName
	err := s.admin.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `select w.s, w.t from unnest(@schemas::text[], @tables::text[]) w(s, t) where not exists
(select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = w.s and c.relname = w.t and `+userTables+`)`,
			pgx.NamedArgs{"schemas": schemas, "tables": names})
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[source.TableName])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	return out, nil
}

// hiddenTables are those that userTables leaves out because of the role.
const hiddenTables = `
  n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p') and c.relpersistence <> 't'
  and not pg_catalog.has_schema_privilege(n.oid, 'usage')
  and not exists (select from pg_catalog.pg_class v where v.relnamespace = n.oid and v.relname = 'waltrigger_version')`

// access warns of tables whose rows the role cannot read, or not all of them: the log
// holds them all the same, but related rows, fetched columns and backfills come from the
// tables.
func (c *check) access(ctx context.Context, conn *pgx.Conn) error {
	user := quote(conn.Config().User)
	selects := "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO " + user + ";"
	for _, look := range []struct{ where, text, mend string }{
		{hiddenTables, "are not seen by the role, which lacks USAGE on the schema: triggers find no such tables, and nothing of them can be read", "GRANT USAGE ON SCHEMA %s TO " + user + "; " + selects},
		{userTables + " and not pg_catalog.has_table_privilege(c.oid, 'select')", "cannot be read by the role: no related rows, no fetched columns, no backfill of them", selects},
		{userTables + " and pg_catalog.row_security_active(c.oid)", "show the role only the rows that their row security policies let it see: related rows and backfills lack the others", "ALTER ROLE " + user + " BYPASSRLS;"},
	} {
		rows, err := conn.Query(ctx, `select n.nspname::text, count(*)::int, min(pg_catalog.format('%I.%I', n.nspname, c.relname))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where `+look.where+" group by 1 order by 1")
		if err != nil {
			return fmt.Errorf("read privileges: %w", err)
		}
		var schema, example string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&schema, &n, &example}, func() error {
			c.add(source.LevelWarn, fmt.Sprintf("tables of schema %s (%d, such as %s) %s", schema, n, example, look.text), strings.ReplaceAll(look.mend, "%s", quote(schema)))
			return nil
		})
		if err != nil {
			return fmt.Errorf("read privileges: %w", err)
		}
	}
	return nil
}

// types warns of columns whose type has no mapping of its own.
func (c *check) types(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `select distinct a.atttypid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped where `+userTables)
	if err != nil {
		return fmt.Errorf("read types: %w", err)
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("read types: %w", err)
	}
	var unknown []uint32
	t := newTypes(newTypeLog(func(name, why string) {
		c.add(source.LevelWarn, fmt.Sprintf("values of type %s are sent as text: %s", name, why), "")
	}))
	for _, oid := range oids {
		if !t.final(oid) {
			unknown = append(unknown, oid)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return t.load(ctx, conn, unknown)
}
