package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	connectTimeout = 10 * time.Second
	appName        = "waltrigger"
)

// DialFunc opens the connections of a source.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// pinned are the settings on which the text of values depends; the server's, the
// database's and the role's own settings must not show through.
var pinned = map[string]string{
	"application_name":   appName,
	"client_encoding":    "UTF8",
	"datestyle":          "ISO",
	"intervalstyle":      "iso_8601",
	"timezone":           "UTC",
	"bytea_output":       "hex",
	"extra_float_digits": "3",
	"lc_monetary":        "C",
}

// connector opens connections of the two kinds.
type connector struct {
	url  string
	dial DialFunc
}

func (c connector) config(extra map[string]string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(c.url)
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
	for _, m := range []map[string]string{pinned, extra} {
		for k, v := range m {
			cfg.RuntimeParams[k] = v
		}
	}
	return cfg, nil
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
	return conn, nil
}

// replication opens a walsender session. The frames that the server sends go through
// the returned wire.
func (c connector) replication(ctx context.Context) (*pgconn.PgConn, *wire, error) {
	cfg, err := c.config(map[string]string{
		"replication": "database", "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		// The slot of a reader that is gone without a word is free for the next one after that.
		"wal_sender_timeout": "6s",
	})
	if err != nil {
		return nil, nil, err
	}
	var w *wire
	cfg.BuildFrontend = func(r io.Reader, wr io.Writer) *pgproto3.Frontend {
		w = newWire(r)
		return pgproto3.NewFrontend(w, wr)
	}
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect for replication: %w", err)
	}
	return conn, w, nil
}

// shared is one SQL connection for many callers, opened when it is first needed and
// again when it broke. Each use is short: a waiting caller waits for a query, not for
// a transaction of the application.
type shared struct {
	connector connector
	turn      chan struct{} // holds one token
	conn      *pgx.Conn
}

func newShared(c connector) *shared {
	s := &shared{connector: c, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

var errClosed = errors.New("source is closed")

// do runs f with the connection. f must not keep it.
func (s *shared) do(ctx context.Context, f func(*pgx.Conn) error) error {
	select {
	case _, open := <-s.turn:
		if !open {
			return errClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	if s.conn == nil || s.conn.IsClosed() {
		conn, err := s.connector.sql(ctx)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	return f(s.conn)
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
