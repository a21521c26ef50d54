package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// stateUnknownSlot is the State of a source.HaltError: the store does not know the slot.
const stateUnknownSlot = "store_unknown_slot"

// logEnd and insertEnd are the end of the server's log: as it was written, and with what
// is being written. A standby has what it has replayed.
const (
	logEnd    = `(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end)`
	insertEnd = `(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end)`
)

// serverState is what checkServer looks at.
type serverState struct {
	version  int // 150018
	walLevel string
	standby  bool
}

// checkServer refuses, with the way out, what can never be tailed.
func checkServer(ctx context.Context, c *pgx.Conn) (st serverState, err error) {
	var pid uint32
	err = c.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('wal_level'), pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid()`).
		Scan(&st.version, &st.walLevel, &st.standby, &pid)
	if err != nil {
		return st, fmt.Errorf("inspect server: %w", err)
	}
	switch {
	case st.version < minVersion:
		return st, &source.HaltError{State: source.Misconfigured, Reason: fmt.Sprintf("server version %d is older than %d", st.version/10000, minVersion/10000), Mend: "upgrade PostgreSQL"}
	case pid != c.PgConn().PID():
		return st, &source.HaltError{State: source.Misconfigured, Reason: "the url leads to a connection pooler", Mend: "use the address of the PostgreSQL server itself"}
	case st.standby && st.version < standbyVersion:
		return st, &source.HaltError{State: source.Misconfigured, Reason: fmt.Sprintf("the server is a standby, which can be tailed from version %d on", standbyVersion/10000), Mend: "use the address of the primary"}
	case st.walLevel != "logical":
		return st, &source.HaltError{
			State: source.Misconfigured, Reason: "wal_level is " + st.walLevel,
			Mend: "ALTER SYSTEM SET wal_level = 'logical'; and restart PostgreSQL (managed services: turn on logical replication)",
		}
	}
	return st, nil
}

// identified is what a server says of itself.
type identified struct {
	identity string // of the server, database and slot; see source.State
	version  int    // 150018
	standby  bool
	started  string // when
	end      lsn    // of its log
	history  history
}

// identify proves the right to replicate and names server, database and slot.
func (s *Source) identify(ctx context.Context, conn walsender) (identified, error) {
	sys, err := pglogrepl.IdentifySystem(ctx, conn.PgConn)
	if err != nil {
		return identified{}, fmt.Errorf("identify system: %w", err)
	}
	res, err := conn.Exec(ctx, "select oid, current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time() from pg_catalog.pg_database where datname = pg_catalog.current_database()").ReadAll()
	if err != nil || len(res) != 1 || len(res[0].Rows) != 1 {
		return identified{}, fmt.Errorf("identify database: %w", err)
	}
	row := res[0].Rows[0]
	id := identified{identity: sys.SystemID + "/" + string(row[0]) + "/" + s.cfg.Slot, end: lsn(sys.XLogPos), standby: string(row[2]) == "t", started: string(row[3])}
	if id.version, err = strconv.Atoi(string(row[1])); err != nil {
		return identified{}, fmt.Errorf("identify version: %w", err)
	}
	id.history, err = readHistory(ctx, conn.PgConn, sys.Timeline)
	return id, err
}

// fails reports whether the slot is to be one that standbys keep a copy of.
func (s *Source) fails(id identified) bool {
	return !s.cfg.NoFailover && id.version >= failoverVersion && !id.standby
}

// meet gives how far what was read up to end, and of tx, is in the server's log. Less
// than that is the case after a failover to a server that had not received all of it.
func (s *Source) meet(h history, end, tx place) (place, error) {
	to, known := h.common(end)
	if !known {
		return to, &source.HaltError{
			State: source.ResyncRequired, Reason: fmt.Sprintf("the server is on timeline %d, which does not continue timeline %d that was read up to %s last: it was restored, or another server took over", h.current, end.line, end.at),
			Mend: "point the source back, or accept the gap: `waltrigger source resync " + s.cfg.Name + " --accept-gap`",
		}
	}
	if to == end && tx.at != 0 && h.of(tx.at).line != tx.line {
		return to, &source.RewoundError{From: tx.position(), To: to.position()}
	}
	if to != end {
		return to, &source.RewoundError{From: end.position(), To: to.position()}
	}
	return to, nil
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
			State: source.Misconfigured, Reason: pe.Message,
			Mend: "ALTER ROLE … WITH REPLICATION; (managed services: grant their replication role)",
		}
	case pe.Code == "53400":
		return &source.HaltError{State: source.Misconfigured, Reason: pe.Message, Mend: "raise max_replication_slots, or drop a slot that nobody uses"}
	case pe.Code == "08P01" && strings.Contains(pe.Message, "unsupported startup parameter"): // no code of its own
		return &source.HaltError{State: source.Misconfigured, Reason: "the url leads to a connection pooler (" + pe.Message + ")", Mend: "use the address of the PostgreSQL server itself"}
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
	Failover             bool   // 17 and later
	Confirmed            lsn
	RetainedBytes        int64
	SafeBytes            int64 // so much more log, and the server gives the slot up; -1: it does not
	logical, provisional bool
	twoPhase             bool // 15 and later: sends prepared transactions before their second phase
}

func readSlot(ctx context.Context, c *pgx.Conn, name string) (*slotInfo, error) {
	var i slotInfo
	var confirmed string
	err := c.QueryRow(ctx, `
select coalesce(plugin::text, ''), coalesce(database::text, ''), active, coalesce(active_pid, 0), coalesce(wal_status, ''),
       coalesce(pg_catalog.to_jsonb(s)->>'invalidation_reason', ''), coalesce((pg_catalog.to_jsonb(s)->>'failover')::bool, false), coalesce(confirmed_flush_lsn::text, '0/0'),
       coalesce(`+logEnd+` - restart_lsn, 0)::bigint, coalesce(safe_wal_size, -1), slot_type = 'logical', temporary or confirmed_flush_lsn is null,
       current_setting('server_version_num')::int >= 150000 and coalesce((pg_catalog.to_jsonb(s)->>'two_phase')::bool, false)
from pg_catalog.pg_replication_slots s where slot_name = $1`, name).
		Scan(&i.Plugin, &i.Database, &i.Active, &i.ActivePID, &i.WALStatus, &i.Invalidation, &i.Failover, &confirmed, &i.RetainedBytes, &i.SafeBytes, &i.logical, &i.provisional, &i.twoPhase)
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
	halt := func(reason string) error { return source.PositionLost(s.cfg.Name, reason) }
	foreign := s.foreignSlot(slot, database)
	switch {
	case slot == nil:
		return halt(fmt.Sprintf("replication slot %s does not exist any more, and %s was read last", s.cfg.Slot, end))
	case foreign != nil:
		return foreign
	case slot.twoPhase:
		return &source.HaltError{
			State: source.Misconfigured, Reason: fmt.Sprintf("replication slot %s was made with two_phase: it sends transactions when they are prepared, which may never be committed", s.cfg.Slot),
			Mend: "configure another slot name, or have the slot made anew: `waltrigger source resync " + s.cfg.Name + " --accept-gap`",
		}
	case slot.provisional:
		return fmt.Errorf("replication slot %s is still being made, which waits for open transactions to end", s.cfg.Slot)
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
	return s.link.Prepare(ctx, func() (st source.State, err error) {
		saved, err = s.prepare(ctx, saved, save) // a slot that an attempt made is ours for the next one
		return saved, err
	}, judge)
}

func (s *Source) prepare(ctx context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	store := save
	save = func(st source.State) error {
		if err := store(st); err != nil {
			return source.StoreError{Err: fmt.Errorf("save state: %w", err)}
		}
		return nil
	}
	var slot *slotInfo
	var database string
	err := s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if _, err = checkServer(ctx, c); err != nil {
			return err
		}
		database = c.Config().Database
		if slot, err = readSlot(ctx, c, s.cfg.Slot); err != nil {
			return err
		}
		_, err = s.ensurePublication(ctx, c, slot != nil)
		return err
	})
	if err != nil {
		return saved, s.refused(err)
	}
	conn, err := s.connector.replication(ctx, patience)
	if err != nil {
		return saved, s.refused(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	id, err := s.identify(ctx, conn)
	if err != nil {
		return saved, s.refused(err)
	}
	s.server.Store(&id)

	if saved.Identity != "" && saved.Identity != id.identity {
		return saved, &source.HaltError{
			State:  source.ResyncRequired,
			Reason: fmt.Sprintf("the saved position belongs to another server, database or slot (%s, now %s)", saved.Identity, id.identity),
			Mend:   "point the source back, or accept the gap: `waltrigger source resync " + s.cfg.Name + " --accept-gap`",
		}
	}
	if end, _, err := parseMark(saved.Mark); err == nil && end.at == 0 {
		saved.Mark.End = "" // nothing was read
	}
	switch {
	case saved.Mark.End != "":
		return s.goOn(ctx, conn, saved, slot, database, id, save)
	case saved.Identity == "" && slot != nil:
		if err := s.foreignSlot(slot, database); err != nil {
			return saved, err
		}
		return saved, s.unknownSlot()
	case slot != nil:
		// We were about to create it when we were stopped: it is ours, and nothing of it was read.
		if err := s.checkSlot(slot, database, slot.Confirmed, id.end); err != nil {
			return saved, err
		}
		saved.Mark.End = id.history.end(slot.Confirmed).position()
		return saved, save(saved)
	}
	return s.createSlot(ctx, conn, id, save)
}

// goOn says from where what was read before is read on.
func (s *Source) goOn(ctx context.Context, conn walsender, saved source.State, slot *slotInfo, database string, id identified, save func(source.State) error) (source.State, error) {
	end, tx, err := parseMark(saved.Mark)
	if err != nil {
		return saved, source.StoreError{Err: err}
	}
	to, err := s.meet(id.history, end, tx)
	rewound := (*source.RewoundError)(nil)
	if err != nil && !errors.As(err, &rewound) {
		return saved, err
	}
	if err := s.checkSlot(slot, database, to.at, id.end); err != nil {
		return saved, err
	}
	if s.fails(id) && !slot.Failover && !slot.Active {
		if err := conn.Exec(ctx, "ALTER_REPLICATION_SLOT "+quote(s.cfg.Slot)+" (FAILOVER)").Close(); err != nil {
			return saved, fmt.Errorf("make the slot one that standbys keep: %w", err)
		}
		s.log.Info("made the replication slot one that standbys keep", "slot", s.cfg.Slot)
	}
	if rewound == nil {
		return saved, nil
	}
	s.log.Error("the server's log does not hold all that was read: it took over without it", "read", rewound.From, "goes on from", rewound.To)
	st := source.State{Identity: saved.Identity, Mark: change.Mark{End: to.position()}}
	told := st
	told.Rewound = &source.Rewind{From: rewound.From, Seq: uint64(to.at)}
	return st, save(told)
}

func (s *Source) unknownSlot() error {
	return &source.HaltError{
		State: stateUnknownSlot, Reason: fmt.Sprintf("replication slot %s exists, but this store has never read it: somebody else's position would be overwritten", s.cfg.Slot),
		Mend: "use the store it belongs to, `waltrigger source adopt " + s.cfg.Name + "` to go on from where the slot stands, or another slot name",
	}
}

// createSlot records the intent first: a slot found after a crash in between is ours.
func (s *Source) createSlot(ctx context.Context, conn walsender, id identified, save func(source.State) error) (source.State, error) {
	st := source.State{Identity: id.identity}
	if err := save(st); err != nil {
		return st, err
	}
	// The server first waits for every transaction that is open.
	why := "creating the replication slot waits for open transactions to end"
	if id.standby {
		why += ", and for the primary to tell of them: SELECT pg_log_standby_snapshot(); there makes it"
	}
	slow := time.AfterFunc(5*time.Second, func() {
		s.log.Warn("waiting", "why", why, "slot", s.cfg.Slot)
		s.link.Set(source.Connecting, why)
	})
	defer slow.Stop()
	create := "CREATE_REPLICATION_SLOT " + quote(s.cfg.Slot) + " LOGICAL pgoutput NOEXPORT_SNAPSHOT"
	if s.fails(id) {
		create = "CREATE_REPLICATION_SLOT " + quote(s.cfg.Slot) + " LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER)"
	}
	made, err := pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx, create))
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
	st.Mark.End = id.history.end(start).position()
	s.log.Info("created replication slot", "slot", s.cfg.Slot, "position", st.Mark.End)
	return st, save(st)
}
