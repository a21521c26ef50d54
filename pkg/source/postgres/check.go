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

// retained is how much log a slot may hold back before Check warns, bytes.
const retained = 1 << 30

// Check implements source.Managed.
func (s *Source) Check(ctx context.Context, saved source.State) []source.Finding {
	c := &check{s: s, saved: saved}
	if err := s.admin.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return c.server(ctx, conn) }); err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	conn, err := s.connector.replication(ctx, patience)
	if err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if c.id, err = s.identify(ctx, conn); err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	c.add(source.LevelOK, "the role may replicate", "")
	for _, look := range []func(context.Context, *pgx.Conn) error{c.slot, c.publication, c.tables, c.access, c.types} {
		if err := s.admin.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return look(ctx, conn) }); err != nil {
			c.fail(err)
		}
	}
	return c.found
}

type check struct {
	s     *Source
	saved source.State
	st    serverState
	known bool // there is a slot to go on with
	id    identified
	found []source.Finding
}

func (c *check) add(level, text, mend string) {
	c.found = append(c.found, source.Finding{Level: level, Text: text, Mend: mend})
}

func (c *check) fail(err error) {
	if halt := (*source.HaltError)(nil); errors.As(err, &halt) {
		reason := halt.Reason
		if halt.State == source.ResyncRequired {
			reason = "the position is lost (" + source.ResyncRequired + "): " + reason
		}
		c.add(source.LevelError, reason, halt.Mend)
		return
	}
	c.add(source.LevelError, err.Error(), reach(err))
}

// server looks at settings that concern every reader of logs.
func (c *check) server(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if c.st, err = checkServer(ctx, conn); err != nil {
		return err
	}
	what := "PostgreSQL"
	if c.st.standby {
		what = "a standby of PostgreSQL"
	}
	c.add(source.LevelOK, fmt.Sprintf("%s %d, wal_level is logical", what, c.st.version/10000), "")
	var senders int
	var keep, idle, feedback, standbys, encoding string
	err = conn.QueryRow(ctx, `select current_setting('max_wal_senders')::int - (select count(*) from pg_catalog.pg_stat_replication), current_setting('max_slot_wal_keep_size'),
		coalesce(current_setting('idle_replication_slot_timeout', true), '0'), current_setting('hot_standby_feedback'), coalesce(current_setting('synchronized_standby_slots', true), ''), current_setting('server_encoding')`).
		Scan(&senders, &keep, &idle, &feedback, &standbys, &encoding)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if senders < 1 {
		c.add(source.LevelError, "no walsender is free", "ALTER SYSTEM SET max_wal_senders = …; and restart PostgreSQL")
	}
	if keep != "-1" {
		c.add(source.LevelWarn, "max_slot_wal_keep_size is "+keep+": a stop of the daemon that lasts longer than this much log invalidates the slot", "")
	}
	if idle != "0" {
		c.add(source.LevelWarn, "idle_replication_slot_timeout is "+idle+": a stop of the daemon that lasts longer invalidates the slot", "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();")
	}
	if c.st.standby && feedback != "on" {
		c.add(source.LevelWarn, "hot_standby_feedback is off: the primary may remove rows that decoding on this standby needs, which invalidates the slot", "on the standby: ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf();")
	}
	if standbys != "" && !c.s.cfg.NoFailover {
		c.add(source.LevelWarn, "synchronized_standby_slots is "+standbys+": nothing is sent that these standbys have not received, so one that is down stops all deliveries", "remove it from synchronized_standby_slots while it is down, or set no_failover")
	}
	if encoding == noEncoding {
		c.add(source.LevelWarn, "the database has no encoding (SQL_ASCII): bytes that are no UTF-8 are sent as U+FFFD", "")
	}
	return nil
}

func (c *check) slot(ctx context.Context, conn *pgx.Conn) error {
	slot, err := readSlot(ctx, conn, c.s.cfg.Slot)
	if err != nil {
		return err
	}
	name := c.s.cfg.Slot
	if slot == nil && c.used() {
		c.fail(c.goesOn(nil, conn.Config().Database))
		return nil
	}
	if slot == nil {
		var free int
		err := conn.QueryRow(ctx, `select current_setting('max_replication_slots')::int - (select count(*) from pg_catalog.pg_replication_slots)`).Scan(&free)
		if err != nil {
			return fmt.Errorf("count slots: %w", err)
		}
		if free < 1 {
			c.add(source.LevelError, "slot "+name+" does not exist and no slot is free", "ALTER SYSTEM SET max_replication_slots = …; and restart PostgreSQL, or drop a slot that nobody uses")
			return nil
		}
		c.add(source.LevelOK, "slot "+name+" does not exist yet: it is made at the first start", "")
	} else if err := c.existingSlot(slot, conn.Config().Database); err != nil {
		c.fail(err)
		return nil
	}
	who, err := oldestWriter(ctx, conn, 10*oldAge)
	if err == nil && who != "" {
		c.add(source.LevelWarn, "log is held back, for every slot, by "+who, "end it")
	}
	return err
}

func (c *check) existingSlot(slot *slotInfo, database string) error {
	name := c.s.cfg.Slot
	if slot.provisional {
		c.add(source.LevelWarn, "slot "+name+" is still being made, which waits for open transactions to end", "end them")
		return nil
	}
	err := c.s.checkSlot(slot, database, max(slot.Confirmed, 1), slot.Confirmed)
	if err == nil && c.used() && !slot.Active { // else its reader has gone on since
		err = c.goesOn(slot, database)
	}
	if err != nil {
		return err
	}
	c.known = true
	c.add(source.LevelOK, fmt.Sprintf("slot %s stands at %s and holds back %d MiB of log", name, slot.Confirmed, slot.RetainedBytes>>20), "")
	if slot.Active {
		c.add(source.LevelWarn, fmt.Sprintf("slot %s is being read by process %d", name, slot.ActivePID), "")
	}
	if slot.RetainedBytes > retained {
		c.add(source.LevelWarn, "the log held back grows until the daemon reads it", "start the daemon, or drop the slot: SELECT pg_drop_replication_slot("+literal(name)+");")
	}
	if c.st.version >= failoverVersion && !c.st.standby && !slot.Failover && !c.s.cfg.NoFailover {
		c.add(source.LevelWarn, "slot "+name+" is not one that standbys keep a copy of: after a failover it is gone", "start the daemon: it makes it one")
	}
	return nil
}

// used reports whether the store has read the source before.
func (c *check) used() bool { return c.saved.Mark.End != "" }

// goesOn says whether reading may go on from what was saved.
func (c *check) goesOn(slot *slotInfo, database string) error {
	if c.saved.Identity != c.id.identity {
		return source.PositionLost(c.s.cfg.Name, fmt.Sprintf("what was read last is of another server, database or slot (%s, now %s)", c.saved.Identity, c.id.identity))
	}
	end, tx, err := parseMark(c.saved.Mark)
	if err != nil {
		return err
	}
	to, err := c.s.meet(c.id.history, end, tx)
	if rewound := (*source.RewoundError)(nil); errors.As(err, &rewound) {
		c.add(source.LevelWarn, rewound.Error(), "")
	} else if err != nil {
		return err
	}
	return c.s.checkSlot(slot, database, to.at, c.id.end)
}

func (c *check) publication(ctx context.Context, conn *pgx.Conn) error {
	p, err := c.s.readPublication(ctx, conn)
	if err != nil {
		return err
	}
	var create bool
	if err := conn.QueryRow(ctx, `select pg_catalog.has_database_privilege(current_database(), 'create')`).Scan(&create); err != nil {
		return fmt.Errorf("read privileges: %w", err)
	}
	name := c.s.cfg.Publication
	switch {
	case p == nil && (c.known || c.used()):
		c.fail(c.s.publicationGone())
		return nil
	case p == nil && (c.s.cfg.PublicationMode == ModeExisting || c.st.standby):
		c.add(source.LevelError, "publication "+name+" does not exist", "CREATE PUBLICATION "+c.s.quotedPublication()+" FOR TABLE … WITH (publish_via_partition_root = true);")
	case p == nil && !create:
		c.add(source.LevelError, "publication "+name+" does not exist, and the role may not create it",
			"GRANT CREATE ON DATABASE "+quote(conn.Config().Database)+" TO "+quote(conn.Config().User)+";")
	case p == nil:
		c.add(source.LevelOK, "publication "+name+" does not exist yet: it is made at the first start", "")
	case !p.alterable:
		c.add(source.LevelOK, "publication "+name+" is used as it is: tables are added to it by its owner", "")
		return c.foreign(ctx, conn, p)
	case c.s.unmanageable(p) != nil:
		c.fail(c.s.unmanageable(p))
		return nil
	default:
		c.add(source.LevelOK, "publication "+name+" is ours", "")
	}
	if p == nil && c.s.cfg.PublicationMode != ModeExisting || p != nil && p.alterable {
		return c.owners(ctx, conn)
	}
	return nil
}

// foreign looks at a publication that is not ours to alter.
func (c *check) foreign(ctx context.Context, conn *pgx.Conn, p *publication) error {
	alter := "ALTER PUBLICATION " + c.s.quotedPublication()
	var lacks []string
	for _, op := range p.lacks {
		lacks = append(lacks, op.String()+"s")
	}
	if len(lacks) > 0 {
		slices.Sort(lacks)
		c.add(source.LevelWarn, "publication "+c.s.cfg.Publication+" does not carry "+strings.Join(lacks, ", ")+": no trigger fires for them", alter+" SET (publish = 'insert, update, delete, truncate');")
	}
	tables, err := c.s.readTables(ctx, conn, p, userTables, pgx.NamedArgs{})
	if err != nil {
		return err
	}
	for _, t := range tables {
		err := c.s.refuse(p, t, nil)
		switch {
		case !t.published && !t.member:
		case err == nil:
			c.found = append(c.found, c.s.remarks(p, t)...)
		default:
			refusal := (*source.TableError)(nil)
			errors.As(err, &refusal)
			c.add(source.LevelWarn, fmt.Sprintf("table %s: %s", t.name, refusal.Reason), refusal.Mend)
		}
	}
	return nil
}

// Grants is the SQL of a role that may do just what tailing needs. In mode existing it
// owns nothing.
func (c Config) Grants() string {
	c = c.WithDefaults()
	publication := pgx.Identifier{c.Publication}.Sanitize()
	role, database := "waltrigger", "…"
	if url, err := parseURL(c.URL); err == nil {
		role, database = pgx.Identifier{url.User}.Sanitize(), pgx.Identifier{url.Database}.Sanitize()
	}
	sql := `-- Source ` + c.Name + `: run in its database, as a superuser or the owner of the tables.
CREATE ROLE ` + role + ` LOGIN REPLICATION PASSWORD '…';
GRANT USAGE ON SCHEMA public TO ` + role + `;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO ` + role + `; -- for related rows in templates
`
	if c.PublicationMode == ModeExisting {
		return sql + "CREATE PUBLICATION " + publication + " FOR TABLE …; -- the tables that triggers name\n"
	}
	return sql + `-- A publication's tables can only be changed by an owner of both. Either the role joins
-- the tables' owner and may create publications in the database,
GRANT owner_of_the_tables TO ` + role + `;
GRANT CREATE ON DATABASE ` + database + ` TO ` + role + `;
-- or you keep the publication, and set publication_mode: existing:
-- CREATE PUBLICATION ` + publication + " FOR TABLE …;\n"
}
