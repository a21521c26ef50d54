package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	connectTimeout = 5 * time.Second
	appName        = "waltrigger"

	// useTimeout ends a use of a connection whose other end is gone without a word: more
	// than the server's own statement_timeout.
	useTimeout = 20 * time.Second
	// A connection that nobody has used for idleTime is asked first whether it is still
	// one, for at most pingTimeout.
	idleTime    = 2 * time.Second
	pingTimeout = 3 * time.Second
)

// DialFunc opens the connections of a source.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// pinned are the settings on which the text of values, or the meaning of our queries,
// depends: those of the server, the database, the role and the url must not show through.
var pinned = map[string]string{
	"client_encoding":             "UTF8",
	"datestyle":                   "ISO",
	"lc_monetary":                 "C",
	"intervalstyle":               "iso_8601",
	"timezone":                    "UTC",
	"bytea_output":                "hex",
	"extra_float_digits":          "3",
	"quote_all_identifiers":       "off",
	"standard_conforming_strings": "on",
}

// connector opens connections of the two kinds.
type connector struct {
	url  string
	dial DialFunc
}

func (c connector) config(extra map[string]string) (*pgx.ConnConfig, error) {
	cfg, err := parseURL(c.url)
	if err != nil {
		return nil, fmt.Errorf("read url: %w", err)
	}
	if c.dial != nil {
		cfg.DialFunc = pgconn.DialFunc(c.dial)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	delete(cfg.RuntimeParams, "replication")
	cfg.RuntimeParams["application_name"] = appName
	for _, m := range []map[string]string{pinned, extra} {
		for k, v := range m {
			for name := range cfg.RuntimeParams { // the server does not tell DateStyle from datestyle: the last one would count
				if strings.EqualFold(name, k) {
					delete(cfg.RuntimeParams, name)
				}
			}
			cfg.RuntimeParams[k] = v
		}
	}
	return cfg, nil
}

// settleQuery reads what is in force of pinned (its %s) and wal_sender_timeout, and ends
// the time-outs that would end a session of ours. Not every version has all of these, and
// a start-up packet may not name one that is not known.
const settleQuery = `select (extract(epoch from current_setting('wal_sender_timeout')::interval) * 1000)::int,
  case when current_setting('idle_session_timeout', true) is not null then set_config('idle_session_timeout', '0', false) end,
  case when current_setting('transaction_timeout', true) is not null then set_config('transaction_timeout', '0', false) end%s`

// settle makes a new session what all that follows relies on. What stands between us and
// the server may have dropped our settings without a word.
func settle(ctx context.Context, conn *pgconn.PgConn) (senderTimeout time.Duration, err error) {
	want := maps.Clone(pinned)
	if conn.ParameterStatus("server_encoding") == noEncoding {
		// Asked for UTF8, the server would refuse to send what is none, and with it the
		// rest of its log.
		want["client_encoding"] = noEncoding
		if err := conn.Exec(ctx, "set client_encoding = "+noEncoding).Close(); err != nil {
			return 0, fmt.Errorf("set client_encoding: %w", err)
		}
	}
	names := slices.Sorted(maps.Keys(want))
	list := ""
	for _, name := range names {
		list += ", current_setting(" + literal(name) + ")"
	}
	res, err := conn.Exec(ctx, fmt.Sprintf(settleQuery, list)).ReadAll()
	if err != nil || len(res) != 1 || len(res[0].Rows) != 1 {
		return 0, fmt.Errorf("read settings of the session: %w", err)
	}
	row := res[0].Rows[0]
	for i, name := range names {
		if have, _, _ := strings.Cut(string(row[3+i]), ","); have != want[name] { // DateStyle is ISO, MDY
			return 0, &source.HaltError{
				State: source.Misconfigured, Reason: fmt.Sprintf("the server has %s = %s for our session, which asked for %s: the url leads to a connection pooler", name, row[3+i], want[name]),
				Mend: "use the address of the PostgreSQL server itself",
			}
		}
	}
	ms, err := strconv.Atoi(string(row[0]))
	if err != nil {
		return 0, fmt.Errorf("read wal_sender_timeout: %w", err)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// sql opens a connection for queries. Time-outs make sure that a lock held by the
// application is never waited for longer than a moment.
func (c connector) sql(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := c.config(map[string]string{
		"statement_timeout": "15s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "30s",
	})
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := settle(ctx, conn.PgConn()); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// walsender is a connection for replication.
type walsender struct {
	*pgconn.PgConn
	wire    *wire         // the frames that the server sends go through it
	timeout time.Duration // after which the server gives up a silent client; 0 = never
}

// patience is how long the server waits for a sign of life: a reader that is gone without
// a word keeps the slot from another one for so long.
const patience = 6 * time.Second

// replication opens a walsender session, with that patience unless the url names another.
func (c connector) replication(ctx context.Context, patience time.Duration) (walsender, error) {
	cfg, err := c.config(map[string]string{
		"replication": "database", "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"client_min_messages": "warning", // see session.notice
	})
	if err != nil {
		return walsender{}, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(cfg.RuntimeParams)), func(name string) bool { return strings.EqualFold(name, "wal_sender_timeout") }) {
		cfg.RuntimeParams["wal_sender_timeout"] = strconv.FormatInt(patience.Milliseconds(), 10)
	}
	var w walsender
	cfg.BuildFrontend = func(r io.Reader, wr io.Writer) *pgproto3.Frontend {
		w.wire = newWire(r)
		return pgproto3.NewFrontend(w.wire, wr)
	}
	if w.PgConn, err = pgconn.ConnectConfig(ctx, &cfg.Config); err != nil {
		return walsender{}, fmt.Errorf("connect for replication: %w", err)
	}
	if w.timeout, err = settle(ctx, w.PgConn); err != nil {
		_ = w.Close(context.WithoutCancel(ctx))
		return walsender{}, fmt.Errorf("connect for replication: %w", err)
	}
	return w, nil
}

// shared is one SQL connection for many callers, opened when it is first needed and
// again when it broke. Each use is short: a waiting caller waits for a query, not for
// a transaction of the application.
type shared struct {
	connector connector
	turn      chan struct{} // holds one token
	conn      *pgx.Conn
	used      time.Time
}

func newShared(c connector) *shared {
	s := &shared{connector: c, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

var errClosed = errors.New("source is closed")

// do runs f with the connection, under a context that ends soon. f must not keep it.
func (s *shared) do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	select {
	case _, open := <-s.turn:
		if !open {
			return errClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer func() {
		cancel()
		s.used = time.Now()
		s.turn <- struct{}{}
	}()
	if s.conn != nil && time.Since(s.used) > idleTime {
		ping(ctx, s.conn)
	}
	if s.conn == nil || s.conn.IsClosed() {
		conn, err := s.connector.sql(ctx)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	return f(ctx, s.conn)
}

// ping closes c if it is dead.
func ping(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_ = c.Ping(ctx) // the end of a context closes a connection in use
}

// ask is do for an f that only reads: it is called again if an older connection turns out
// to be dead.
func (s *shared) ask(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	return s.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		err := f(ctx, c)
		if err == nil || !c.IsClosed() || ctx.Err() != nil {
			return err
		}
		fresh, failed := s.connector.sql(ctx)
		if failed != nil {
			return err
		}
		s.conn = fresh
		return f(ctx, fresh)
	})
}

// close waits for the user of the moment and closes the connection for good.
func (s *shared) close(ctx context.Context) {
	select {
	case _, open := <-s.turn:
		if !open {
			return
		}
	case <-ctx.Done():
		return
	}
	if s.conn != nil {
		_ = s.conn.Close(ctx)
	}
	close(s.turn)
}

// sqlState returns the SQLSTATE in err, "" if the server did not answer with one.
func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}
