package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// SlotStatus is what the server says of a source's slot.
type SlotStatus struct {
	Name          string
	Exists        bool
	Confirmed     string // everything before it is acknowledged
	ReaderPID     uint32 // the server's process that reads it; 0 = nobody does
	RetainedBytes int64  // log held back for it
	Lost          string // why the server invalidated it; "" = it did not
}

// Slot asks the server for the slot. It changes nothing.
func (s *Source) Slot(ctx context.Context) (SlotStatus, error) {
	out := SlotStatus{Name: s.cfg.Slot}
	err := s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		slot, err := readSlot(ctx, c, s.cfg.Slot)
		if err != nil || slot == nil {
			return err
		}
		out.Exists, out.Confirmed, out.RetainedBytes, out.Lost = true, slot.Confirmed.String(), slot.RetainedBytes, slot.Invalidation
		if slot.WALStatus == "lost" && out.Lost == "" {
			out.Lost = "lost"
		}
		if slot.Active {
			out.ReaderPID = slot.ActivePID
		}
		return nil
	})
	return out, err
}

// Place implements source.Managed.
func (s *Source) Place(ctx context.Context, saved source.State) (source.Place, error) {
	slot, err := s.Slot(ctx)
	p := source.Place{Name: "slot " + slot.Name}
	if slot.Exists {
		p.At, p.Held = change.Position(slot.Confirmed), slot.RetainedBytes
	}
	known := saved.Identity != ""
	switch {
	case err != nil:
	case slot.Lost != "":
		p.Remark = "invalidated by the server: " + slot.Lost
	case slot.ReaderPID != 0:
		p.Remark = fmt.Sprintf("read by the server's process %d", slot.ReaderPID)
	case !slot.Exists && known:
		p.Remark = "the slot is gone"
	case !slot.Exists:
		p.Remark = "the slot is made at the first start"
	case !known:
		p.Remark = "this store has never read the slot"
	}
	return p, err
}

// operated is what an operator's step on a source that nobody reads starts from.
type operated struct {
	slot     *slotInfo // nil: there is none
	database string
	id       identified
	conn     walsender
}

// operate looks at the server and calls f, unless somebody reads the slot.
func (s *Source) operate(ctx context.Context, f func(operated) error) error {
	var o operated
	err := s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if _, err = checkServer(ctx, c); err != nil {
			return err
		}
		o.database = c.Config().Database
		o.slot, err = readSlot(ctx, c, s.cfg.Slot)
		return err
	})
	if err != nil {
		return s.refused(err)
	}
	if o.slot != nil && o.slot.Active {
		return fmt.Errorf("replication slot %s is being read by the server's process %d: stop its reader first, or, if that is gone, SELECT pg_terminate_backend(%d);",
			s.cfg.Slot, o.slot.ActivePID, o.slot.ActivePID)
	}
	if o.conn, err = s.connector.replication(ctx, patience); err != nil {
		return s.refused(err)
	}
	defer o.conn.Close(context.WithoutCancel(ctx))
	if o.id, err = s.identify(ctx, o.conn); err != nil {
		return s.refused(err)
	}
	return f(o)
}

// Adopt gives the state with which reading goes on from where the slot stands. It
// changes nothing on the server. In the place of Prepare and Run, before Close.
func (s *Source) Adopt(ctx context.Context) (source.State, error) {
	var st source.State
	err := s.operate(ctx, func(o operated) error {
		if o.slot == nil {
			return fmt.Errorf("replication slot %s does not exist, so there is nothing to adopt: it is made when waltrigger is started", s.cfg.Slot)
		}
		if err := s.checkSlot(o.slot, o.database, o.slot.Confirmed, o.id.end); err != nil {
			return err
		}
		st = source.State{Identity: o.id.identity, Mark: change.Mark{End: o.id.history.end(o.slot.Confirmed).position()}}
		return nil
	})
	return st, err
}

// Resync makes slot and publication anew, the latter with tables: reading goes on from
// now, and every transaction with a Tx.Seq of seq or above is seen. save is called as by
// Prepare, the last time with the state that is returned. In the place of Prepare and
// Run, before Close.
func (s *Source) Resync(ctx context.Context, tables []source.TableName, save func(source.State) error) (st source.State, seq uint64, err error) {
	err = s.operate(ctx, func(o operated) error {
		if err := s.dropSlot(ctx, o, func() error { return save(source.State{Identity: o.id.identity}) }); err != nil {
			return err
		}
		missing, err := s.Publish(ctx, tables) // before the slot: it decodes with the catalog of its time
		for _, t := range missing {
			s.log.Warn("table does not exist", "table", t.String())
		}
		if err != nil && !source.OnlyTables(err) {
			return err
		}
		if err != nil {
			s.log.Warn("some tables are not published", "err", err)
		}
		st, err = s.createSlot(ctx, o.conn, o.id, save)
		return err
	})
	if err != nil {
		return st, 0, err
	}
	end, _, err := parseMark(st.Mark)
	return st, uint64(end.at), err
}

// foreignSlot says why the slot of our name cannot be one of ours.
func (s *Source) foreignSlot(slot *slotInfo, database string) error {
	if slot == nil || slot.logical && slot.Plugin == "pgoutput" && slot.Database == database {
		return nil
	}
	return &source.HaltError{
		State:  source.Misconfigured,
		Reason: fmt.Sprintf("replication slot %s is of plugin %q in database %q, want pgoutput in %q", s.cfg.Slot, slot.Plugin, slot.Database, database),
		Mend:   "configure another slot name",
	}
}

// dropSlot drops the slot if it is one of ours by its kind; first is called before that.
func (s *Source) dropSlot(ctx context.Context, o operated, first func() error) error {
	if err := s.foreignSlot(o.slot, o.database); err != nil {
		return err
	}
	if err := first(); err != nil || o.slot == nil {
		return err
	}
	return s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "select pg_catalog.pg_drop_replication_slot($1)", s.cfg.Slot); err != nil && sqlState(err) != "42704" {
			return fmt.Errorf("drop replication slot %s: %w", s.cfg.Slot, err)
		}
		s.log.Info("dropped replication slot", "slot", s.cfg.Slot)
		return nil
	})
}

// Drop removes from the server what was made there: the slot, and the publication if we
// own it. In the place of Prepare and Run, before Close.
func (s *Source) Drop(ctx context.Context) error {
	return s.operate(ctx, func(o operated) error {
		if err := s.dropSlot(ctx, o, func() error { return nil }); err != nil {
			return err
		}
		return s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error { return s.dropPublication(ctx, c) })
	})
}

func (s *Source) dropPublication(ctx context.Context, c *pgx.Conn) error {
	p, err := s.readPublication(ctx, c)
	if err != nil || p == nil {
		return err
	}
	var names []string
	if p.mine {
		names = append(names, s.cfg.Publication)
	} else {
		s.log.Warn("the publication stays: it was not made by waltrigger, or another role owns it", "publication", s.cfg.Publication)
	}
	if p.inserts != 0 {
		names = append(names, s.insertsName())
	}
	for _, name := range names {
		if _, err := c.Exec(ctx, "DROP PUBLICATION IF EXISTS "+quote(name)); err != nil {
			return fmt.Errorf("drop publication %s: %w", name, err)
		}
		s.log.Info("dropped publication", "publication", name)
	}
	return nil
}

// owners warns of tables that the role cannot add to a publication of its own.
func (c *check) owners(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
select r.rolname::text, r.rolsuper, count(*)::int, min(pg_catalog.format('%I.%I', n.nspname, c.relname))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace join pg_catalog.pg_roles r on r.oid = c.relowner
where c.relkind in ('r', 'p') and c.relpersistence = 'p' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
  and not pg_catalog.pg_has_role(c.relowner, 'usage')
group by 1, 2 order by 1`)
	if err != nil {
		return fmt.Errorf("read owners: %w", err)
	}
	var owner, example string
	var super bool
	var n int
	_, err = pgx.ForEachRow(rows, []any{&owner, &super, &n, &example}, func() error {
		mend := "GRANT " + pgx.Identifier{owner}.Sanitize() + " TO " + pgx.Identifier{conn.Config().User}.Sanitize() + ";"
		if super { // its powers are not to be handed out
			mend = "ALTER TABLE … OWNER TO a role that is no superuser, and grant that;"
		}
		c.add(source.LevelWarn, fmt.Sprintf("tables that belong to %s (%d, such as %s) cannot be published by the role, so triggers on them are refused", owner, n, example),
			mend+" or publish them yourself, with publication_mode: existing")
		return nil
	})
	if err != nil {
		return fmt.Errorf("read owners: %w", err)
	}
	return nil
}

// reach says what to do about a server that does not let us in.
func reach(err error) string {
	switch text := err.Error(); {
	case sqlState(err) == "28P01" || sqlState(err) == "28000":
		return "correct user and password in the source's url, or let them in: pg_hba.conf of the server"
	case sqlState(err) == "3D000":
		return "correct the name of the database in the source's url"
	case sqlState(err) == "53300":
		return "raise max_connections, or close some"
	case strings.Contains(text, "tls error"):
		return "correct sslmode in the source's url"
	case strings.Contains(text, "hostname resolving error"):
		return "correct the host in the source's url"
	}
	return "make the server reachable at the source's url"
}
