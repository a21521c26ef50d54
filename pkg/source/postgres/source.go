// Package postgres tails a PostgreSQL database (14 and later) through a logical
// replication slot and the built-in output plugin pgoutput. The server is used as it
// is: no extension, no table, no setting is changed.
//
//	walsender ──► wire (frames) ──► decoder (changes) ──► out
//	    ▲                                                  │
//	    └── status: received, acknowledged ◄── Ack ◄───────┘
//
// One goroutine, Run's, owns the replication connection: it reads, decodes, hands over
// and answers keepalives, also while out is full. Four more connections are opened when
// they are needed: for what the decoder asks the catalog, for rows that are looked up, for
// tables that are read whole, and for all else.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Source tails one database. Make it with New; Prepare, then Run, then Close.
type Source struct {
	cfg       Config
	connector connector
	log       *slog.Logger
	admin     *shared // Prepare, the catalog for callers, the watch
	lookup    *shared // the reader of the log
	reader    *reader // Rows and Counts
	scanner   *scanner
	sent      sent
	handed    source.Handed
	link      *source.Link
	types     *typeLog
	patience  time.Duration // of Run's goroutine: wal_sender_timeout of the next connection
	server    atomic.Pointer[identified]

	acked    atomic.Uint64
	received atomic.Uint64
	tip      atomic.Uint64 // the server's end of log, as last heard
	events   atomic.Uint64
	skipped  atomic.Uint64
	retained atomic.Uint64
	connects atomic.Uint64

	mu     sync.Mutex
	harm   string // what the watch has to say
	want   []source.TableName
	fewer  []source.TableName // those of which inserts alone may be published
	join   func(table source.TableName, before change.Position)
	wanted bool     // Publish was called
	linger *session // after Run, until Close

	recheck chan struct{} // asks the watch to look now

	// Only for who has admin, by OID:
	watched  map[uint32]source.TableName // what want denoted when last looked at
	remarked map[uint32]string           // what remark said of it last
}

var (
	_ source.Managed    = (*Source)(nil)
	_ source.InsertOnly = (*Source)(nil)
	_ source.Joiner     = (*Source)(nil)
)

// New makes a source; it does not connect. dial opens its connections, nil means as
// package net does.
func New(cfg Config, dial func(ctx context.Context, network, addr string) (net.Conn, error), log *slog.Logger) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("configure source %q: %w", cfg.Name, errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	con := connector{url: cfg.URL, dial: dial}
	log = log.With("source", cfg.Name)
	types := newTypeLog(func(name, why string) { log.Warn("values of a type are sent as text", "type", name, "why", why) })
	return &Source{
		cfg: cfg, connector: con, log: log, types: types, patience: patience,
		admin: newShared(con), lookup: newShared(con),
		reader:  &reader{conn: newShared(con), types: newTypes(types), shapes: map[source.TableName]*shape{}},
		scanner: &scanner{reader: &reader{conn: newShared(con), types: newTypes(types), shapes: map[source.TableName]*shape{}}},
		link:    source.NewLink(log, 4*time.Second), recheck: make(chan struct{}, 1),
	}, nil
}

// Ack implements source.Source. The server hears of it within a second, and at the
// latest from Close.
func (s *Source) Ack(p change.Position) {
	at, err := parsePlace(string(p))
	if err != nil {
		s.log.Error("acknowledged position is not one of this source", "position", p)
		return
	}
	raise(&s.acked, uint64(at.at))
}

func raise(a *atomic.Uint64, v uint64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// Status implements source.Source.
func (s *Source) Status() source.Status {
	var st source.Status
	st.State, st.Detail = s.link.State()
	s.mu.Lock()
	if s.harm != "" {
		if st.Detail != "" {
			st.Detail += "; "
		}
		st.Detail += s.harm
	}
	s.mu.Unlock()
	acked, received := s.acked.Load(), s.received.Load()
	if acked > 0 {
		st.Acked = change.Position(lsn(acked).String())
		if tip := max(s.tip.Load(), received); tip > acked {
			st.LagBytes = tip - acked
		}
	}
	if received > 0 {
		st.Received = change.Position(lsn(received).String())
	}
	st.Events, st.Skipped, st.RetainedBytes = s.events.Load(), s.skipped.Load(), s.retained.Load()
	if n := s.connects.Load(); n > 1 {
		st.Reconnects = n - 1
	}
	return st
}

// Run implements source.Source. When ctx ends it returns, but the connection is kept
// alive until Close, which tells the server the last position given to Ack: so what is
// still on its way may be finished and acknowledged in between.
func (s *Source) Run(ctx context.Context, from change.Mark, out chan<- source.Batch) error {
	rels := &relations{types: newTypes(s.types), publications: []string{s.cfg.Publication, s.insertsName()}, lookup: s.lookup.ask, known: map[uint32]*relation{}}
	dec, err := newDecoder(from, rels, s.rules(), s.suspect, s.log)
	if err != nil {
		s.link.Ended(err)
		return fmt.Errorf("start reading: %w", err)
	}
	// Not raised: after a failover reading may go back, and nothing is under way.
	s.acked.Store(uint64(dec.end.at))
	s.received.Store(0)
	s.tip.Store(0)
	s.sent.reset()
	s.handed.Reset()
	watching, stop := context.WithCancel(ctx)
	kick := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.watch(watching, kick)
	}()
	defer func() { stop(); <-done }()
	err = s.link.Retry(ctx, func() error {
		sess, err := s.open(ctx, dec)
		if err != nil {
			return err
		}
		return sess.run(ctx, out, kick)
	}, judge)
	if ctx.Err() != nil {
		s.link.Set("stopped", "")
		return nil
	}
	s.link.Ended(err)
	return err
}

// rules say what the decoder leaves out, of what this server sends.
func (s *Source) rules() rules {
	r := rules{ignoreSkip: s.cfg.IgnoreSkip}
	if server := s.server.Load(); s.cfg.Origin == OriginNone && (server == nil || server.version < originVersion) {
		r.localOnly = true
	}
	return r
}

// judge has a slot in use tried again soon: whoever had it may be gone.
func judge(err error, wait time.Duration) (time.Duration, error) {
	if sqlState(err) == slotInUse {
		wait = min(wait, 500*time.Millisecond)
	}
	return wait, nil
}

// Close tells the server the last acknowledged position and frees the connections.
// Run must have returned. It takes at most a few seconds.
func (s *Source) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.mu.Lock()
	sess := s.linger
	s.linger = nil
	s.mu.Unlock()
	var err error
	if sess != nil {
		err = sess.finish()
	}
	s.admin.close(ctx)
	s.lookup.close(ctx)
	s.reader.conn.close(ctx)
	s.scanner.conn.close(ctx)
	return err
}
