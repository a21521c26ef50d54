package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// ownMark is the comment by which a publication is known to be ours in mode auto.
const ownMark = "managed by waltrigger"

// publication is what the catalog says of ours.
type publication struct {
	oid                 uint32
	all                 bool // FOR ALL TABLES
	changes             bool // publishes updates or deletes: identities matter
	generated           bool // publishes stored generated columns
	mine                bool // owned by us and marked
	alterable, existing bool
}

func (s *Source) quotedPublication() string { return pgx.Identifier{s.cfg.Publication}.Sanitize() }

func (s *Source) readPublication(ctx context.Context, c *pgx.Conn) (*publication, error) {
	var p publication
	var standby bool
	err := c.QueryRow(ctx, `
select oid, puballtables, pubupdate or pubdelete, coalesce(pg_catalog.to_jsonb(p)->>'pubgencols', 'n') in ('s', 'true'),
       pg_catalog.pg_get_userbyid(pubowner) = current_user and coalesce(pg_catalog.obj_description(oid, 'pg_publication'), '') = $2, pg_catalog.pg_is_in_recovery()
from pg_catalog.pg_publication p where pubname = $1`, s.cfg.Publication, ownMark).
		Scan(&p.oid, &p.all, &p.changes, &p.generated, &p.mine, &standby)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read publication: %w", err)
	}
	p.existing = s.cfg.PublicationMode == ModeExisting
	p.alterable = !standby && (s.cfg.PublicationMode == ModeManaged || (s.cfg.PublicationMode == ModeAuto && p.mine))
	if p.all && p.alterable {
		return nil, &source.HaltError{
			State: stateMisconfig, Reason: fmt.Sprintf("publication %s is FOR ALL TABLES, which cannot be managed", s.cfg.Publication),
			Mend: "set publication_mode: existing, or name another publication",
		}
	}
	return &p, nil
}

// ensurePublication returns the publication, creating it without tables if the mode
// allows. It must exist before the slot does: a slot decodes each change with the
// catalog as it was then.
func (s *Source) ensurePublication(ctx context.Context, c *pgx.Conn) (*publication, error) {
	p, err := s.readPublication(ctx, c)
	if p != nil || err != nil {
		return p, err
	}
	create := "CREATE PUBLICATION " + s.quotedPublication()
	if s.cfg.PublicationMode == ModeExisting {
		return nil, &source.HaltError{State: stateMisconfig, Reason: "publication " + s.cfg.Publication + " does not exist", Mend: create + " FOR TABLE …;"}
	}
	var version int
	if err := c.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, fmt.Errorf("read version: %w", err)
	}
	create += " WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true"
	if version >= 180000 {
		create += ", publish_generated_columns = stored"
	}
	create += ")"
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, create); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "COMMENT ON PUBLICATION "+s.quotedPublication()+" IS "+literal(ownMark))
		return err
	})
	switch sqlState(err) {
	case "42710": // somebody was faster
		return s.readPublication(ctx, c)
	case "25006": // a standby, or a role that only reads
		return nil, &source.HaltError{State: stateMisconfig, Reason: err.Error(), Mend: "on the primary, as the owner of the tables: CREATE PUBLICATION " + s.quotedPublication() + " FOR TABLE …; and publication_mode: existing"}
	case "42501":
		return nil, &source.HaltError{State: stateMisconfig, Reason: err.Error(), Mend: "GRANT CREATE ON DATABASE … TO …; or as the tables' owner: " + create + "; and publication_mode: existing"}
	}
	if err != nil {
		return nil, fmt.Errorf("create publication: %w", err)
	}
	s.log.Info("created publication", "publication", s.cfg.Publication)
	return s.readPublication(ctx, c)
}

// usable is true where updates and deletes of relation %[1]s can be published without
// the server refusing them. $gen: the publication carries stored generated columns.
const usable = `(case %[1]s.relreplident
  when 'f' then not (current_setting('server_version_num')::int >= 180000 and exists(select from pg_catalog.pg_attribute a
    where a.attrelid = %[1]s.oid and not a.attisdropped and (a.attgenerated = 'v' or (a.attgenerated = 's' and not @gen::bool))))
  when 'd' then exists(select from pg_catalog.pg_index i where i.indrelid = %[1]s.oid and i.indisprimary and i.indimmediate and i.indisvalid)
  when 'i' then exists(select from pg_catalog.pg_index i where i.indrelid = %[1]s.oid and i.indisreplident and i.indimmediate and i.indisvalid and i.indpred is null)
  else false end)`

// usableTree also asks the partitions, where the rows are: a partition does not
// inherit its parent's replica identity.
var usableTree = fmt.Sprintf(`(case when c.relkind <> 'p' then %s
  when not exists(select from pg_catalog.pg_partition_tree(c.oid) t where t.isleaf) then %s
  else not exists(select from pg_catalog.pg_partition_tree(c.oid) t join pg_catalog.pg_class l on l.oid = t.relid
    where t.isleaf and l.relkind = 'r' and not %s) end)`,
	fmt.Sprintf(usable, "c"), fmt.Sprintf(usable, "c"), fmt.Sprintf(usable, "l"))

// tableState is what deciding about a table's membership takes.
type tableState struct {
	name      source.TableName
	oid       uint32
	kind      string // relkind
	permanent bool
	usable    bool
	member    bool // listed in the publication by itself
	published bool // in the log, for whatever reason
	ancestors []uint32
}

func (t *tableState) quoted() string { return pgx.Identifier{t.name.Schema, t.name.Name}.Sanitize() }

const tableStates = `
select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'p', %s,
  exists(select from pg_catalog.pg_publication_rel r where r.prrelid = c.oid and r.prpubid = @pub),
  exists(select from pg_catalog.pg_publication_tables p where p.pubname = @name and p.schemaname = n.nspname and p.tablename = c.relname),
  array(select relid::oid from pg_catalog.pg_partition_ancestors(c.oid) relid where relid <> c.oid)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where `

func (s *Source) readTables(ctx context.Context, c *pgx.Conn, p *publication, where string, args pgx.NamedArgs) ([]tableState, error) {
	args["pub"], args["name"], args["gen"] = p.oid, s.cfg.Publication, p.generated
	rows, err := c.Query(ctx, fmt.Sprintf(tableStates, usableTree)+where+" order by 2, 3", args)
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tableState, err error) {
		err = row.Scan(&t.oid, &t.name.Schema, &t.name.Name, &t.kind, &t.permanent, &t.usable, &t.member, &t.published, &t.ancestors)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	return out, nil
}

const namedTables = `(n.nspname, c.relname) in (select s, t from unnest(@schemas::text[], @tables::text[]) w(s, t)) and c.relkind in ('r', 'p', 'v', 'm', 'f')`

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

// Publish implements source.Catalog. A table that cannot be published without harm, or
// that we may not publish, is left out and reported as a *source.TableError, one for
// each, joined. Any other error means that the server could not be asked.
func (s *Source) Publish(ctx context.Context, tables []source.TableName) (missing []source.TableName, err error) {
	s.mu.Lock()
	s.want, s.wanted = slices.Clone(tables), true
	s.mu.Unlock()
	var refusals []error
	err = s.admin.do(ctx, func(c *pgx.Conn) error {
		p, err := s.ensurePublication(ctx, c)
		if err != nil {
			return err
		}
		missing, refusals, err = s.align(ctx, c, p, tables, true)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publish tables: %w", err)
	}
	return missing, errors.Join(refusals...)
}

// align makes the publication hold tables, and with exact nothing else.
func (s *Source) align(ctx context.Context, c *pgx.Conn, p *publication, tables []source.TableName, exact bool) (missing []source.TableName, refusals []error, err error) {
	states, err := s.readNamed(ctx, c, p, tables)
	if err != nil {
		return nil, nil, err
	}
	found := map[source.TableName]bool{}
	wanted := map[uint32]bool{}
	for _, t := range states {
		found[t.name], wanted[t.oid] = true, true
	}
	for _, name := range tables {
		if !found[name] && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	var add []tableState
	for _, t := range states {
		refusal := s.refuse(p, t, wanted)
		switch {
		case refusal != nil:
			refusals = append(refusals, refusal)
		case p.alterable && !t.member:
			add = append(add, t)
		}
	}
	if !p.alterable {
		return missing, refusals, nil
	}
	members, err := s.readTables(ctx, c, p, "c.oid in (select prrelid from pg_catalog.pg_publication_rel where prpubid = @pub)", pgx.NamedArgs{})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range members {
		if (exact && !wanted[t.oid]) || (p.changes && !t.usable) {
			if err := s.drop(ctx, c, t); err != nil {
				return nil, nil, err
			}
		}
	}
	more, err := s.addTables(ctx, c, p, add)
	return missing, append(refusals, more...), err
}

// refuse says why t is not to be published, or not by us; nil if nothing is against it.
func (s *Source) refuse(p *publication, t tableState, wanted map[uint32]bool) error {
	no := func(reason, mend string) error { return &source.TableError{Table: t.name, Reason: reason, Mend: mend} }
	switch {
	case t.kind != "r" && t.kind != "p":
		return no("it is a view or a foreign table, whose changes are not in the log", "name the table itself")
	case !t.permanent:
		return no("it is temporary or unlogged, its changes are not in the log", "ALTER TABLE "+t.quoted()+" SET LOGGED;")
	case !p.alterable && !t.published:
		return no("it is not in publication "+s.cfg.Publication+", which is not ours to alter",
			"ALTER PUBLICATION "+s.quotedPublication()+" ADD TABLE ONLY "+t.quoted()+"; or set publication_mode: managed")
	case p.alterable && p.changes && !t.usable:
		return no("it has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail",
			"ALTER TABLE "+t.quoted()+" ADD PRIMARY KEY (…); or ALTER TABLE "+t.quoted()+" REPLICA IDENTITY FULL; (each partition by itself)")
	case slices.ContainsFunc(t.ancestors, func(oid uint32) bool { return wanted[oid] }):
		return no("its changes come under the name of the partitioned table, which is wanted too", "name the partitioned table only")
	}
	return nil
}

func (s *Source) drop(ctx context.Context, c *pgx.Conn, t tableState) error {
	if _, err := c.Exec(ctx, "ALTER PUBLICATION "+s.quotedPublication()+" DROP TABLE ONLY "+t.quoted()); err != nil && sqlState(err) != "42704" {
		return fmt.Errorf("take table %s out of publication: %w", t.name, err)
	}
	s.log.Info("table left the publication", "table", t.name.String(), "publication", s.cfg.Publication)
	return nil
}

// addTables adds all at once, or, if that is refused, one by one to find out which.
func (s *Source) addTables(ctx context.Context, c *pgx.Conn, p *publication, tables []tableState) (refusals []error, err error) {
	for chunk := range slices.Chunk(tables, 500) {
		err := s.addSafely(ctx, c, p, chunk)
		if err != nil && len(chunk) > 1 {
			for i := range chunk {
				more, err := s.addTables(ctx, c, p, chunk[i:i+1])
				if err != nil {
					return refusals, err
				}
				refusals = append(refusals, more...)
			}
			continue
		}
		var refusal *source.TableError
		switch {
		case errors.As(err, &refusal):
			refusals = append(refusals, refusal)
		case err != nil && sqlState(err) == "":
			return refusals, err
		case err != nil:
			t := chunk[0]
			refusals = append(refusals, &source.TableError{
				Table: t.name, Reason: err.Error(),
				Mend: "ALTER PUBLICATION " + s.quotedPublication() + " ADD TABLE ONLY " + t.quoted() + "; as the owner of the table and of the publication",
			})
		}
	}
	return refusals, nil
}

// addSafely adds tables and looks at their identities again before it commits: the
// lock that ALTER PUBLICATION takes keeps them from changing in between.
func (s *Source) addSafely(ctx context.Context, c *pgx.Conn, p *publication, tables []tableState) error {
	var names []source.TableName
	var list []string
	for _, t := range tables {
		names, list = append(names, t.name), append(list, "ONLY "+t.quoted())
	}
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+s.quotedPublication()+" ADD TABLE "+strings.Join(list, ", ")); err != nil {
			if sqlState(err) == "42710" && len(tables) == 1 { // a member already
				return nil
			}
			return err
		}
		states, err := s.readNamed(ctx, c, p, names)
		if err != nil {
			return err
		}
		for _, t := range states {
			if refusal := s.refuse(p, t, nil); refusal != nil {
				return refusal
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	for _, n := range names {
		s.log.Info("table joined the publication", "table", n.String(), "publication", s.cfg.Publication)
	}
	return nil
}
