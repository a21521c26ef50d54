package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// States of a source.HaltError, as Status.State shows them.
const (
	stateResync      = "resync_required"
	stateUnknownSlot = "store_unknown_slot"
	stateMisconfig   = "misconfigured"
)

const minVersion = 140000

// server is what does not change while a server lives.
type server struct {
	version  int    // 150018
	identity string // system identifier, database, slot; see source.State
}

// checkServer refuses, with the way out, what can never be tailed.
func checkServer(ctx context.Context, c *pgx.Conn) (version int, err error) {
	var walLevel string
	var standby bool
	var pid uint32
	err = c.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(), pg_backend_pid()`).
		Scan(&version, &walLevel, &standby, &pid)
	if err != nil {
		return 0, fmt.Errorf("inspect server: %w", err)
	}
	switch {
	case version < minVersion:
		return 0, &source.HaltError{State: stateMisconfig, Reason: fmt.Sprintf("server version %d is older than 14", version/10000), Mend: "upgrade PostgreSQL"}
	case pid != c.PgConn().PID():
		return 0, &source.HaltError{State: stateMisconfig, Reason: "the url leads to a connection pooler", Mend: "use the address of the PostgreSQL server itself"}
	case standby:
		return 0, &source.HaltError{State: stateMisconfig, Reason: "the server is a standby", Mend: "use the address of the primary"}
	case walLevel != "logical":
		return 0, &source.HaltError{
			State: stateMisconfig, Reason: "wal_level is " + walLevel,
			Mend: "ALTER SYSTEM SET wal_level = 'logical'; and restart PostgreSQL (managed services: turn on logical replication)",
		}
	}
	return version, nil
}

// identify proves the right to replicate and names server, database and slot.
func (s *Source) identify(ctx context.Context, conn *pgconn.PgConn) (string, lsn, error) {
	sys, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return "", 0, fmt.Errorf("identify system: %w", err)
	}
	res, err := conn.Exec(ctx, "select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()").ReadAll()
	if err != nil || len(res) != 1 || len(res[0].Rows) != 1 {
		return "", 0, fmt.Errorf("identify database: %w", err)
	}
	return sys.SystemID + "/" + string(res[0].Rows[0][0]) + "/" + s.cfg.Slot, lsn(sys.XLogPos), nil
}

// refused turns the server's refusal of a replication connection into a HaltError
// where waiting cannot help.
func (s *Source) refused(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	switch {
	case pe.Code == "42501":
		return &source.HaltError{
			State: stateMisconfig, Reason: pe.Message,
			Mend: "ALTER ROLE … WITH REPLICATION; (managed services: grant their replication role)",
		}
	case pe.Code == "53400":
		return &source.HaltError{State: stateMisconfig, Reason: pe.Message, Mend: "raise max_replication_slots, or drop a slot that nobody uses"}
	case pe.Code == "08P01" && strings.Contains(pe.Message, "unsupported startup parameter"): // no code of its own
		return &source.HaltError{State: stateMisconfig, Reason: "the url leads to a connection pooler (" + pe.Message + ")", Mend: "use the address of the PostgreSQL server itself"}
	}
	return err
}

// slotInfo is a row of pg_replication_slots.
type slotInfo struct {
	Plugin, Database     string
	Active               bool
	ActivePID            uint32
	WALStatus            string // reserved, extended, unreserved, lost
	Invalidation         string // 17 and later
	Confirmed            lsn
	RetainedBytes        int64
	logical, provisional bool
}

func readSlot(ctx context.Context, c *pgx.Conn, name string) (*slotInfo, error) {
	var i slotInfo
	var confirmed string
	err := c.QueryRow(ctx, `
select coalesce(plugin::text, ''), coalesce(database::text, ''), active, coalesce(active_pid, 0), coalesce(wal_status, ''),
       coalesce(pg_catalog.to_jsonb(s)->>'invalidation_reason', ''), coalesce(confirmed_flush_lsn::text, '0/0'),
       coalesce(pg_catalog.pg_current_wal_lsn() - restart_lsn, 0)::bigint, slot_type = 'logical', temporary or confirmed_flush_lsn is null
from pg_catalog.pg_replication_slots s where slot_name = $1`, name).
		Scan(&i.Plugin, &i.Database, &i.Active, &i.ActivePID, &i.WALStatus, &i.Invalidation, &confirmed, &i.RetainedBytes, &i.logical, &i.provisional)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read slot: %w", err)
	}
	i.Confirmed, err = parseLSN(confirmed)
	return &i, err
}

// checkSlot says whether reading may go on from end without a gap.
func (s *Source) checkSlot(slot *slotInfo, database string, end, serverEnd lsn) error {
	halt := func(reason string) error {
		return &source.HaltError{
			State: stateResync, Reason: reason,
			Mend: "changes in between are lost to this source: `waltrigger source resync " + s.cfg.Name + " --accept-gap` goes on from now",
		}
	}
	switch {
	case slot == nil:
		return halt(fmt.Sprintf("replication slot %s does not exist any more, and %s was read last", s.cfg.Slot, end))
	case !slot.logical || slot.Plugin != "pgoutput" || slot.Database != database:
		return &source.HaltError{
			State: stateMisconfig, Reason: fmt.Sprintf("replication slot %s is of plugin %q in database %q, want pgoutput in %q", s.cfg.Slot, slot.Plugin, slot.Database, database),
			Mend: "configure another slot name",
		}
	case slot.WALStatus == "lost" || slot.Invalidation != "":
		return halt(fmt.Sprintf("replication slot %s was invalidated by the server (%s), its log is gone", s.cfg.Slot, strings.Trim(slot.WALStatus+" "+slot.Invalidation, " ")))
	case slot.Confirmed > end:
		return halt(fmt.Sprintf("replication slot %s stands at %s, beyond %s which was read last", s.cfg.Slot, slot.Confirmed, end))
	case serverEnd < end:
		return halt(fmt.Sprintf("the server's log ends at %s, before %s which was read last: it was restored or failed over to an older state", serverEnd, end))
	}
	return nil
}

// Prepare implements source.Source. It waits, trying again, while the server cannot be
// reached; Status tells why.
func (s *Source) Prepare(ctx context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	var out source.State
	err := s.retry(ctx, func() error {
		var err error
		out, err = s.prepare(ctx, saved, save)
		return err
	})
	if err != nil {
		s.setHalt(err)
	}
	return out, err
}

// saveError is a failure of the store, which is not the server's: not tried again.
type saveError struct{ error }

func (e saveError) Unwrap() error { return e.error }

func (s *Source) prepare(ctx context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	store := save
	save = func(st source.State) error {
		if err := store(st); err != nil {
			return saveError{fmt.Errorf("save state: %w", err)}
		}
		return nil
	}
	var version int
	var slot *slotInfo
	var database string
	err := s.admin.do(ctx, func(c *pgx.Conn) (err error) {
		if version, err = checkServer(ctx, c); err != nil {
			return err
		}
		database = c.Config().Database
		if _, err = s.ensurePublication(ctx, c); err != nil { // before the slot: a slot decodes with the catalog of its time
			return err
		}
		slot, err = readSlot(ctx, c, s.cfg.Slot)
		return err
	})
	if err != nil {
		return saved, s.refused(err)
	}
	conn, err := s.connector.replication(ctx)
	if err != nil {
		return saved, s.refused(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	identity, serverEnd, err := s.identify(ctx, conn.PgConn)
	if err != nil {
		return saved, s.refused(err)
	}
	s.server.Store(&server{version: version, identity: identity})

	if saved.Identity != "" && saved.Identity != identity {
		return saved, &source.HaltError{
			State:  stateResync,
			Reason: fmt.Sprintf("the saved position belongs to another server, database or slot (%s, now %s)", saved.Identity, identity),
			Mend:   "point the source back, or accept the gap: `waltrigger source resync " + s.cfg.Name + " --accept-gap`",
		}
	}
	switch {
	case saved.Mark.End != "":
		end, _, err := parseMark(saved.Mark)
		if err != nil {
			return saved, saveError{err}
		}
		return saved, s.checkSlot(slot, database, end, serverEnd)
	case saved.Identity == "" && slot != nil:
		if err := s.foreignSlot(slot, database); err != nil {
			return saved, err
		}
		return saved, s.unknownSlot()
	case slot != nil:
		// We were about to create it when we were stopped: it is ours, and nothing of it was read.
		if err := s.checkSlot(slot, database, slot.Confirmed, serverEnd); err != nil {
			return saved, err
		}
		saved.Mark = change.Mark{End: slot.Confirmed.position()}
		return saved, save(saved)
	}
	return s.createSlot(ctx, conn.PgConn, identity, save)
}

func (s *Source) unknownSlot() error {
	return &source.HaltError{
		State: stateUnknownSlot, Reason: fmt.Sprintf("replication slot %s exists, but this store has never read it: somebody else's position would be overwritten", s.cfg.Slot),
		Mend: "use the store it belongs to, `waltrigger source adopt " + s.cfg.Name + "` to go on from where the slot stands, or another slot name",
	}
}

// createSlot records the intent first: a slot found after a crash in between is ours.
func (s *Source) createSlot(ctx context.Context, conn *pgconn.PgConn, identity string, save func(source.State) error) (source.State, error) {
	st := source.State{Identity: identity}
	if err := save(st); err != nil {
		return st, err
	}
	// The server first waits for every transaction that is open.
	slow := time.AfterFunc(5*time.Second, func() {
		s.log.Warn("creating the replication slot waits for open transactions to end", "slot", s.cfg.Slot)
		s.setState("connecting", "creating the replication slot waits for open transactions to end")
	})
	defer slow.Stop()
	made, err := pglogrepl.CreateReplicationSlot(ctx, conn, s.cfg.Slot, "pgoutput",
		pglogrepl.CreateReplicationSlotOptions{Mode: pglogrepl.LogicalReplication, SnapshotAction: "NOEXPORT_SNAPSHOT"})
	if sqlState(err) == "42710" { // made by somebody else meanwhile: not ours after all
		if err := save(source.State{}); err != nil {
			return source.State{}, err
		}
		return source.State{}, s.unknownSlot()
	}
	if err != nil {
		return st, s.refused(fmt.Errorf("create replication slot: %w", err))
	}
	start, err := parseLSN(made.ConsistentPoint)
	if err != nil {
		return st, err
	}
	st.Mark.End = start.position()
	s.log.Info("created replication slot", "slot", s.cfg.Slot, "position", st.Mark.End)
	return st, save(st)
}
