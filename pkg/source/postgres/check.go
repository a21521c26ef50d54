package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Levels of a Finding.
const (
	LevelOK    = "ok"
	LevelWarn  = "warn"  // works, and should be known
	LevelError = "error" // the source cannot be tailed before this is mended
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level string `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // what to do, SQL included
}

// retained is how much log a slot may hold back before Check warns, bytes.
const retained = 1 << 30

// Check looks at everything that tailing needs, and changes nothing. It stops where
// what follows cannot be asked.
func (s *Source) Check(ctx context.Context) []Finding {
	c := &check{s: s}
	if err := s.admin.do(ctx, func(conn *pgx.Conn) error { return c.server(ctx, conn) }); err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	conn, err := s.connector.replication(ctx, patience)
	if err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := s.identify(ctx, conn); err != nil {
		c.fail(s.refused(err))
		return c.found
	}
	c.add(LevelOK, "the role may replicate", "")
	if err := s.admin.do(ctx, func(conn *pgx.Conn) error { return c.publication(ctx, conn) }); err != nil {
		c.fail(err)
		return c.found
	}
	if err := c.tables(ctx); err != nil {
		c.fail(err)
	}
	return c.found
}

type check struct {
	s     *Source
	found []Finding
}

func (c *check) add(level, text, mend string) {
	c.found = append(c.found, Finding{level, text, mend})
}

func (c *check) fail(err error) {
	if halt := (*source.HaltError)(nil); errors.As(err, &halt) {
		c.add(LevelError, halt.Reason, halt.Mend)
		return
	}
	c.add(LevelError, err.Error(), reach(err))
}

func (c *check) server(ctx context.Context, conn *pgx.Conn) error {
	st, err := checkServer(ctx, conn)
	if err != nil {
		return err
	}
	c.add(LevelOK, fmt.Sprintf("PostgreSQL %d, wal_level is logical", st.version/10000), "")
	var free, senders int
	var keep string
	err = conn.QueryRow(ctx, `select current_setting('max_replication_slots')::int - (select count(*) from pg_catalog.pg_replication_slots),
		current_setting('max_wal_senders')::int - (select count(*) from pg_catalog.pg_stat_replication), current_setting('max_slot_wal_keep_size')`).
		Scan(&free, &senders, &keep)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if senders < 1 {
		c.add(LevelError, "no walsender is free", "raise max_wal_senders")
	}
	if keep != "-1" {
		c.add(LevelWarn, "max_slot_wal_keep_size is "+keep+": a stop of the daemon that lasts longer than this much log invalidates the slot", "")
	}
	slot, err := readSlot(ctx, conn, c.s.cfg.Slot)
	if err != nil {
		return err
	}
	c.slot(slot, free, conn.Config().Database)
	return nil
}

func (c *check) slot(slot *slotInfo, free int, database string) {
	name := c.s.cfg.Slot
	switch {
	case slot == nil && free < 1:
		c.add(LevelError, "slot "+name+" does not exist and no slot is free", "raise max_replication_slots, or drop a slot that nobody uses")
	case slot == nil:
		c.add(LevelOK, "slot "+name+" does not exist yet: it is made at the first start", "")
	default:
		if err := c.s.checkSlot(slot, database, max(slot.Confirmed, 1), slot.Confirmed); err != nil {
			c.fail(err)
			return
		}
		c.add(LevelOK, fmt.Sprintf("slot %s stands at %s and holds back %d MiB of log", name, slot.Confirmed, slot.RetainedBytes>>20), "")
		if slot.Active {
			c.add(LevelWarn, fmt.Sprintf("slot %s is being read by process %d", name, slot.ActivePID), "")
		}
		if slot.RetainedBytes > retained {
			c.add(LevelWarn, "the log held back grows until the daemon reads it", "start the daemon, or drop the slot: SELECT pg_drop_replication_slot("+literal(name)+");")
		}
	}
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
	case p == nil && c.s.cfg.PublicationMode == ModeExisting:
		c.add(LevelError, "publication "+name+" does not exist", "CREATE PUBLICATION "+c.s.quotedPublication()+" FOR TABLE …;")
	case p == nil && !create:
		c.add(LevelError, "publication "+name+" does not exist, and the role may not create it",
			"GRANT CREATE ON DATABASE "+pgx.Identifier{conn.Config().Database}.Sanitize()+" TO "+pgx.Identifier{conn.Config().User}.Sanitize()+";")
	case p == nil:
		c.add(LevelOK, "publication "+name+" does not exist yet: it is made at the first start", "")
	case !p.alterable:
		c.add(LevelOK, "publication "+name+" is used as it is: tables are added to it by its owner", "")
	default:
		c.add(LevelOK, "publication "+name+" is ours", "")
	}
	if p == nil && c.s.cfg.PublicationMode != ModeExisting || p != nil && p.alterable {
		return c.owners(ctx, conn)
	}
	return nil
}

func (c *check) tables(ctx context.Context) error {
	tables, err := c.s.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if !t.IdentityUsable {
			c.add(LevelWarn, fmt.Sprintf("table %s has no usable replica identity: triggers on it are refused", t.TableName),
				"give it a primary key, or ALTER TABLE "+pgx.Identifier{t.Schema, t.Name}.Sanitize()+" REPLICA IDENTITY FULL;")
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
	if url, err := pgx.ParseConfig(c.URL); err == nil {
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
