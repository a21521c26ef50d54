// Package mysql tails a MySQL (8.0 and later) or MariaDB (10.6 and later) server through
// its binary log, as a replica does. The server is used as it is: nothing is written and
// no setting is changed.
//
//	dump thread ──► wire ──► decoder (groups, rows) ──► out
//	                            │  ▲
//	         statements, notes  ▼  │ tables as they were
//	                          history ◄── catalog
//
// The library's goroutine, which Run starts, reads, decodes and hands over; while out is
// full it reads nothing and the server waits. Four connections for queries are opened when
// they are needed: for what the decoder asks the catalog, for rows that are looked up, for
// tables that are read whole, and for all else.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Source tails one server. Make it with New; Prepare, then Run, then Close.
type Source struct {
	cfg       Config
	connector *connector
	log       *slog.Logger
	notes     source.Notes
	history   *history
	clock     *clock
	admin     *shared // Prepare, the catalog for callers, the watch
	lookup    *shared // the reader of the log
	rows      *shared // Rows
	scans     *shared // Scan
	known     atomic.Pointer[server]

	events   atomic.Uint64
	connects atomic.Uint64
	publishM sync.Mutex
	loaded   map[string]string // notes as of Prepare

	mu       sync.Mutex
	progress *progress // of the running decoder
	acked    place
	lag      uint64
	shapes   rowShapes

	handed  source.Handed
	link    *source.Link
	scanned rowShapes // of scans
}

// New makes a source; it does not connect. dial opens its connections, nil means as
// package net does. What it must remember beside its position it keeps in notes.
func New(cfg Config, dial DialFunc, notes source.Notes, log *slog.Logger) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("configure source %q: %w", cfg.Name, errors.Join(errs...))
	}
	a, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("configure source %q: %w", cfg.Name, err)
	}
	con, err := newConnector(a, dial)
	if err != nil {
		return nil, fmt.Errorf("configure source %q: %w", cfg.Name, err)
	}
	log = log.With("source", cfg.Name)
	return &Source{
		cfg: cfg, connector: con, log: log, notes: notes, history: newHistory(notes), clock: &clock{notes: notes},
		admin: newShared(con), lookup: newShared(con), rows: newShared(con), scans: newShared(con),
		link: source.NewLink(log, 10*time.Second), shapes: rowShapes{}, scanned: rowShapes{},
	}, nil
}

// server asks what the server is, as often as it may have been exchanged.
func (s *Source) server(ctx context.Context, c *sql.Conn) (*server, error) {
	srv, err := readServer(ctx, c)
	if err == nil {
		s.known.Store(srv)
	}
	return srv, err
}

// Ack implements source.Source. What lies before it needs not be remembered any more.
func (s *Source) Ack(p change.Position) {
	at, err := parsePlace(p)
	if err != nil {
		s.log.Error("acknowledged position is not one of this source", "position", p)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.seq >= s.acked.seq {
		s.acked = at
	}
}

func (s *Source) ackedSeq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked.seq
}

// Status implements source.Source.
func (s *Source) Status() source.Status {
	var st source.Status
	st.State, st.Detail = s.link.State()
	s.mu.Lock()
	if s.acked.file != "" {
		st.Acked = change.Position(s.acked.String())
	}
	st.LagBytes = s.lag
	p := s.progress
	s.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		st.Received = change.Position(p.end.String())
		st.Unseen = p.unseen
		p.mu.Unlock()
		if st.Unseen > 0 {
			detail := fmt.Sprintf("statements that changed rows which the log does not hold: %d; a session has set binlog_format", st.Unseen)
			if st.Detail != "" {
				detail = st.Detail + "; " + detail
			}
			st.Detail = detail
		}
	}
	st.Events = s.events.Load()
	if n := s.connects.Load(); n > 1 {
		st.Reconnects = n - 1
	}
	return st
}

// Prepare implements source.Source. It waits, trying again, while the server cannot be
// reached; Status tells why.
func (s *Source) Prepare(ctx context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	return s.link.Prepare(ctx, func() (source.State, error) { return s.prepare(ctx, saved, save) }, s.judge())
}

func (s *Source) prepare(ctx context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	if err := s.loadNotes(ctx); err != nil {
		return saved, source.StoreError{Err: err}
	}
	out := saved
	err := s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err != nil {
			return err
		}
		if err := srv.check(); err != nil {
			return err
		}
		if saved.Mark.End != "" {
			at, err := parsePlace(saved.Mark.End)
			if err != nil {
				return lost(s.cfg.Name, "the saved position %s is none in a binary log: the source was another database", saved.Mark.End)
			}
			return s.readable(ctx, c, srv, at, saved.Identity)
		}
		out, err = s.begin(ctx, c, srv)
		if err != nil {
			return err
		}
		if err := save(out); err != nil {
			return source.StoreError{Err: fmt.Errorf("save state: %w", err)}
		}
		return nil
	})
	return out, refused(err)
}

func (s *Source) loadNotes(ctx context.Context) error {
	notes, err := s.notes.LoadNotes(ctx)
	if err != nil {
		return fmt.Errorf("load notes: %w", err)
	}
	s.loaded = notes
	return errors.Join(s.history.load(notes), s.clock.load(notes))
}

// begin makes the state of a source that is read from now on. What may be known of an
// earlier life is forgotten.
func (s *Source) begin(ctx context.Context, c *sql.Conn, srv *server) (source.State, error) {
	if err := s.forget(ctx); err != nil {
		return source.State{}, source.StoreError{Err: err}
	}
	at, err := srv.place(ctx, c)
	if err != nil {
		return source.State{}, err
	}
	if err := s.clock.connected(ctx, srv.identity, at.file, 0); err != nil {
		return source.State{}, source.StoreError{Err: err}
	}
	s.log.Info("reading begins at the end of the log", "position", at.String())
	return source.State{Identity: srv.identity, Mark: change.Mark{End: at.position()}}, nil
}

func (s *Source) forget(ctx context.Context) error {
	all := map[string]string{}
	for name := range s.loaded {
		all[name] = ""
	}
	if len(all) > 0 {
		if err := s.notes.SaveNotes(ctx, all); err != nil {
			return fmt.Errorf("remove notes: %w", err)
		}
	}
	s.loaded = nil
	return errors.Join(s.history.load(nil), s.clock.load(nil))
}

// readable says whether the log can be read on from at without a gap. identity is that of
// the server that was read last.
func (s *Source) readable(ctx context.Context, c *sql.Conn, srv *server, at place, identity string) error {
	switch {
	case at.set != nil && srv.mariadb != (at.set.domains != nil):
		return lost(s.cfg.Name, "the saved position is one of another product, and the url leads to %s", srv.product())
	case at.set != nil && srv.mariadb:
		return s.readableMariaDB(ctx, c, at)
	case at.set != nil && srv.named:
		return s.readableGTID(ctx, c, at)
	}
	return s.readableFile(ctx, c, srv, at, identity)
}

func (s *Source) readableGTID(ctx context.Context, c *sql.Conn, at place) error {
	var executed, purged string
	if err := c.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged").Scan(&executed, &purged); err != nil {
		return fmt.Errorf("read GTIDs: %w", err)
	}
	has, err := parseExecuted(executed)
	if err != nil {
		return err
	}
	gone, err := parseExecuted(purged)
	if err != nil {
		return err
	}
	switch {
	case !at.set.holds(gone):
		return lost(s.cfg.Name, "the server has removed transactions from its log that were not read: it purged %s, and %s was read", purged, at.set)
	case !has.holds(at.set):
		return &behindError{fmt.Sprintf("the server has executed %s, which lacks some of %s that was read: it is behind, or was restored to an older state", executed, at.set)}
	}
	return nil
}

func (s *Source) readableMariaDB(ctx context.Context, c *sql.Conn, at place) error {
	names, _, err := files(ctx, c)
	if err != nil || len(names) == 0 {
		return err
	}
	start, err := listedGTIDs(ctx, c, names[0])
	if err != nil {
		return err
	}
	var newest string
	if err := c.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&newest); err != nil {
		return fmt.Errorf("read GTIDs: %w", err)
	}
	has, err := parseMariaDBSet(newest)
	if err != nil {
		return err
	}
	switch {
	case !at.set.holds(start):
		return lost(s.cfg.Name, "the server has removed transactions from its log that were not read: its oldest file begins behind %s, and %s was read", start, at.set)
	case !has.holds(at.set):
		return &behindError{fmt.Sprintf("the server's log ends at %s, before %s that was read: it is behind, or was restored to an older state", has, at.set)}
	}
	return nil
}

// listedGTIDs gives what lies before a file of MariaDB's log, which stands at its
// beginning.
func listedGTIDs(ctx context.Context, c *sql.Conn, file string) (*executed, error) {
	list := ""
	err := each(ctx, c, "SHOW BINLOG EVENTS IN '"+strings.ReplaceAll(file, "'", "''")+"' LIMIT 3", nil, func(scan func(...any) error) error {
		var name, kind, info string
		var pos, id, end uint64
		err := scan(&name, &pos, &kind, &id, &end, &info)
		if kind == "Gtid_list" {
			list = strings.Trim(info, "[]")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the beginning of the log: %w", err)
	}
	all, err := parseMariaDBSet("")
	for _, part := range strings.Split(list, ",") { // of each domain and server, the last one of a domain at the end
		if part = strings.TrimSpace(part); part == "" || err != nil {
			continue
		}
		var g gtid
		if g, err = parseMariaDB(part); err == nil && g.sequence >= all.domains[g.domain].sequence {
			all.add(g)
		}
	}
	return all, err
}

func parseMariaDBSet(text string) (*executed, error) {
	if text == "" {
		text = "-"
	}
	return parseExecuted(text)
}

// readableFile is for servers whose transactions have no names: only the same server
// will do.
func (s *Source) readableFile(ctx context.Context, c *sql.Conn, srv *server, at place, identity string) error {
	if identity != srv.identity {
		return lost(s.cfg.Name, "the saved position belongs to another server (%s, now %s), and without GTIDs it means nothing here", identity, srv.identity)
	}
	names, sizes, err := files(ctx, c)
	if err != nil {
		return err
	}
	for i, name := range names {
		if name != at.file {
			continue
		}
		if at.pos > sizes[i] {
			return lost(s.cfg.Name, "file %s of the log ends at %d, before %d that was read: it was reset, or the server lost its end in a crash", name, sizes[i], at.pos)
		}
		return nil
	}
	return lost(s.cfg.Name, "the server has removed file %s of its log, in which %d was read last", at.file, at.pos)
}

// behindError says that a server lacks what was read before: a replica that lags catches
// up, so it is asked again, for a while.
type behindError struct{ text string }

func (e *behindError) Error() string { return e.text }

// behindFor is how long a server may lack what was read before.
const behindFor = 30 * time.Second

// judge ends waiting for a server that lacks for long what was read before.
func (s *Source) judge() func(err error, wait time.Duration) (time.Duration, error) {
	var behind time.Time
	return func(err error, wait time.Duration) (time.Duration, error) {
		var late *behindError
		switch {
		case !errors.As(err, &late):
			behind = time.Time{}
		case behind.IsZero():
			behind = time.Now()
		case time.Since(behind) > behindFor:
			return 0, lost(s.cfg.Name, "%s", late.text)
		}
		return wait, nil
	}
}

// Close frees the connections. Run must have returned.
func (s *Source) Close() error {
	s.admin.close()
	s.lookup.close()
	s.rows.close()
	s.scans.close()
	return nil
}
