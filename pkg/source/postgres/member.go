package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Queries of the catalog take no lock on the application's tables, which the server's
// functions for partitions and publications do: waiting for one while we hold another,
// we could be half of a deadlock that ends the application's transaction.

// below are the relations (relid, level) of the partition tree with %[1]s at its root.
const below = `(with recursive t(relid, level) as (select %[1]s::oid, 0 union all select i.inhrelid, t.level + 1
    from t join pg_catalog.pg_class p on p.oid = t.relid and p.relkind = 'p' join pg_catalog.pg_inherits i on i.inhparent = t.relid) select relid, level from t)`

// above are the tables (relid) that %[1]s is a partition of, the nearest first.
const above = `(with recursive t(relid, part) as (select p.oid, p.relispartition from pg_catalog.pg_class p where p.oid = %[1]s union all select p.oid, p.relispartition
    from t join pg_catalog.pg_inherits i on i.inhrelid = t.relid and t.part join pg_catalog.pg_class p on p.oid = i.inhparent) select relid from t where relid <> %[1]s)`

var (
	belowC = fmt.Sprintf(below, "c.oid")
	aboveC = fmt.Sprintf(above, "c.oid")
)

// computed is true where the replica identity of relation %[1]s needs a generated column
// that the log does not hold.
const computed = `(not @gen::bool and exists(select from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid
    and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts-1]) where i.indrelid = %[1]s.oid and a.attgenerated <> ''
      and case %[1]s.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
  and not exists(select from pg_catalog.pg_publication_rel r where r.prrelid = %[1]s.oid and r.prpubid = @pub and pg_catalog.to_jsonb(r)->>'prattrs' is not null))`

// usable is true where updates and deletes of relation %[1]s can be published without
// the server refusing them. @gen: the publication carries stored generated columns; those
// of publication @pub's list of columns it does carry.
const usable = `(case when current_setting('server_version_num')::int >= 180000 and ` + computed + ` then false else case %[1]s.relreplident
  when 'f' then not (current_setting('server_version_num')::int >= 180000 and exists(select from pg_catalog.pg_attribute a
    where a.attrelid = %[1]s.oid and not a.attisdropped and (a.attgenerated = 'v' or (a.attgenerated = 's' and not @gen::bool))))
  when 'd' then exists(select from pg_catalog.pg_index i where i.indrelid = %[1]s.oid and i.indisprimary and i.indimmediate and i.indisvalid)
  when 'i' then exists(select from pg_catalog.pg_index i where i.indrelid = %[1]s.oid and i.indisreplident and i.indimmediate and i.indisvalid and i.indpred is null)
  else false end end)`

// usableTree also asks the partitions, where the rows are: a partition does not
// inherit its parent's replica identity.
var usableTree = fmt.Sprintf(`(case when c.relkind <> 'p' then %[1]s
  when not exists(select from %[3]s t join pg_catalog.pg_class l on l.oid = t.relid where l.relkind <> 'p') then %[1]s
  else not exists(select from %[3]s t join pg_catalog.pg_class l on l.oid = t.relid where l.relkind = 'r' and not %[2]s) end)`,
	fmt.Sprintf(usable, "c"), fmt.Sprintf(usable, "l"), belowC)

// wholeSQL are the statements that make the log hold the whole old rows of relation c.
var wholeSQL = `(select string_agg(pg_catalog.format('ALTER TABLE %I.%I REPLICA IDENTITY FULL;', ln.nspname, l.relname), ' ' order by t.level, l.oid)
    from ` + belowC + ` t join pg_catalog.pg_class l on l.oid = t.relid join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace where l.relreplident <> 'f')`

// layout is how relation %[1]s keeps its columns.
const layout = `(select string_agg(pg_catalog.format('%%s %%I %%s %%s', a.attnum, a.attname, a.atttypid, a.attisdropped), ',' order by a.attnum) from pg_catalog.pg_attribute a where a.attrelid = %[1]s and a.attnum > 0)`

// twisted is true for a partitioned table c with a partition that keeps its columns
// otherwise. PostgreSQL 14 forgets to convert the rows of such a partition when it is
// altered while they are decoded: then values come under the names of other columns.
var twisted = fmt.Sprintf(`(current_setting('server_version_num')::int < 150000 and c.relkind = 'p' and exists(select from %s t join pg_catalog.pg_class l on l.oid = t.relid
    where l.relkind <> 'p' and %s is distinct from %s))`, belowC, fmt.Sprintf(layout, "t.relid"), fmt.Sprintf(layout, "c.oid"))

// filtered is true where the server refuses updates and deletes of relation c because of
// the rows and columns that publication @pub carries of it: a WHERE may only look at
// columns of the replica identity, and a list of columns must hold them all.
const filtered = `exists(select from pg_catalog.pg_publication_rel r, lateral (select to_jsonb(r)->'prattrs' as list,
    array(select a.attnum from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and case c.relreplident when 'f' then a.attgenerated = '' when 'n' then false else exists(select from pg_catalog.pg_index i where i.indrelid = c.oid
        and a.attnum = any(i.indkey::int2[]) and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end) end) as identity) x
  where r.prrelid = c.oid and r.prpubid = @pub and (
    to_jsonb(r)->>'prattrs' is not null and not x.list @> to_jsonb(x.identity)
    or exists(select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_publication_rel'::regclass and d.objid = r.oid
      and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid > 0 and to_jsonb(r)->>'prqual' is not null
      and d.refobjsubid <> all(x.identity) and (to_jsonb(r)->>'prattrs' is null or not x.list @> to_jsonb(d.refobjsubid)))))`

// tableState is what deciding about a table's membership takes.
type tableState struct {
	name      source.TableName
	oid       uint32
	kind      string // relkind
	permanent bool
	usable    bool
	member    bool // listed in the publication by itself
	listed    bool // that, or with all tables or those of its schema
	inserts   bool // listed in the one for inserts
	published bool // in the log under its own name, for whatever reason
	above     bool // in the log under the name of a table that it is a partition of
	twisted   bool
	filtered  bool
	whole     string
	ancestors []uint32
	mute      []string // partitions whose rows are in no log
	where     bool     // published with a WHERE
	list      bool     // published with a list of columns
	computed  bool     // its key has a column that is not in the log
}

func (t *tableState) quoted() string { return quote(t.name.Schema, t.name.Name) }

const tableStates = `
select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'p', %s,
  exists(select from pg_catalog.pg_publication_rel r where r.prrelid = c.oid and r.prpubid = @pub),
  exists(select from pg_catalog.pg_publication_rel r where r.prrelid = c.oid and r.prpubid = @inserts),
  %s, exists(select from %s t where %s), %s, %s, coalesce(%s, ''), array(select relid from %[3]s t), %[8]s, %[9]s, %[10]s, %[11]s
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where `

// lists says that publication @pub lists relation %[1]s, one way or another.
func (p *publication) lists(oid string) string {
	if p.all {
		return "true"
	}
	sql := "exists(select from pg_catalog.pg_publication_rel r where r.prrelid = " + oid + " and r.prpubid = @pub)"
	if p.version >= schemasVersion {
		sql = "(" + sql + " or exists(select from pg_catalog.pg_publication_namespace s join pg_catalog.pg_class sc on sc.relnamespace = s.pnnspid where sc.oid = " + oid + " and s.pnpubid = @pub))"
	}
	return sql
}

func (s *Source) readTables(ctx context.Context, c *pgx.Conn, p *publication, where string, args pgx.NamedArgs) ([]tableState, error) {
	args["pub"], args["inserts"], args["gen"] = p.oid, p.inserts, p.generated
	rows, err := c.Query(ctx, fmt.Sprintf(tableStates, usableTree, p.lists("c.oid"), aboveC, p.lists("t.relid"), twisted, filtered, wholeSQL,
		muteLeaves, fmt.Sprintf(cut, "prqual"), fmt.Sprintf(cut, "prattrs"), fmt.Sprintf(computed, "c"))+where+" order by 2, 3", args)
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tableState, err error) {
		var above bool
		err = row.Scan(&t.oid, &t.name.Schema, &t.name.Name, &t.kind, &t.permanent, &t.usable, &t.member, &t.inserts, &t.listed, &above,
			&t.twisted, &t.filtered, &t.whole, &t.ancestors,
			&t.mute, &t.where, &t.list, &t.computed)
		if t.above = above && p.viaRoot; p.viaRoot {
			t.published = t.listed && !above
		} else {
			t.published = t.kind != "p" && (t.listed || above)
		}
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	return out, nil
}

const (
	namedTables  = `(n.nspname, c.relname) in (select s, t from unnest(@schemas::text[], @tables::text[]) w(s, t)) and c.relkind in ('r', 'p', 'v', 'm', 'f')`
	memberTables = `c.oid in (select prrelid from pg_catalog.pg_publication_rel where prpubid in (@pub, @inserts))`
)

func (s *Source) readNamed(ctx context.Context, c *pgx.Conn, p *publication, names []source.TableName) ([]tableState, error) {
	schemas, tables := split(names)
	return s.readTables(ctx, c, p, namedTables, pgx.NamedArgs{"schemas": schemas, "tables": tables})
}

func split(names []source.TableName) (schemas, tables []string) {
	schemas, tables = []string{}, []string{}
	for _, n := range names {
		schemas, tables = append(schemas, n.Schema), append(tables, n.Name)
	}
	return schemas, tables
}

// refuse says why t is not to be published, or not by us; nil if nothing is against it.
func (s *Source) refuse(p *publication, t tableState, wanted map[uint32]bool) error {
	no := func(reason, mend string) error { return &source.TableError{Table: t.name, Reason: reason, Mend: mend} }
	name := s.quotedPublication()
	switch {
	case t.kind != "r" && t.kind != "p":
		return no("it is a view or a foreign table, whose changes are not in the log", "name the table itself")
	case !t.permanent:
		return no("it is temporary or unlogged, its changes are not in the log", "ALTER TABLE "+t.quoted()+" SET LOGGED;")
	case !p.alterable && !t.published && t.above && p.viaRoot:
		return no("its changes come under the name of the table that it is a partition of", "name that table")
	case !p.alterable && !t.published && t.kind == "p" && !p.viaRoot && t.listed:
		return no("publication "+s.cfg.Publication+" gives the changes of each partition the partition's name", "ALTER PUBLICATION "+name+" SET (publish_via_partition_root = true); or name the partitions")
	case !p.alterable && !t.published:
		return no("it is not in publication "+s.cfg.Publication+", which is not ours to alter",
			"ALTER PUBLICATION "+name+" ADD TABLE ONLY "+t.quoted()+"; or set publication_mode: managed")
	case p.changes && !t.usable && !s.insertOnly(p, t):
		mend := "ALTER TABLE " + t.quoted() + " ADD PRIMARY KEY (…); or " + t.whole
		if !p.alterable {
			if t.member { // else there is nothing to drop
				mend += " or ALTER PUBLICATION " + name + " DROP TABLE " + t.quoted() + ";"
			}
			return no("it has no usable replica identity, and publication "+s.cfg.Publication+" makes the application's UPDATE and DELETE of it fail", mend)
		}
		if p.inserts == 0 {
			return no("it has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail, and there was no publication for inserts alone when the slot was made", mend+" or `waltrigger source resync "+s.cfg.Name+" --accept-gap`, which makes one")
		}
		return no("it has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail", mend+" or say allow_insert_only, for inserts alone")
	case p.changes && t.filtered:
		return no("the WHERE or the columns of publication "+s.cfg.Publication+" make the application's UPDATE and DELETE of it fail: they do not go with its replica identity",
			"ALTER PUBLICATION "+name+" DROP TABLE "+t.quoted()+"; ALTER PUBLICATION "+name+" ADD TABLE ONLY "+t.quoted()+";")
	case t.twisted:
		return no("a partition keeps its columns in another order, or has lost other ones: when it is altered, PostgreSQL 14 takes its columns for each other",
			"upgrade PostgreSQL, or make the partition anew and copy its rows")
	case p.viaRoot && (p.alterable || t.above) && slices.ContainsFunc(t.ancestors, func(oid uint32) bool { return wanted[oid] }):
		return no("its changes come under the name of the partitioned table, which is wanted too", "name the partitioned table only")
	}
	return nil
}

// insertOnly says that t goes to the publication for inserts.
func (s *Source) insertOnly(p *publication, t tableState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.alterable && p.inserts != 0 && p.changes && !t.usable && slices.Contains(s.fewer, t.name)
}
