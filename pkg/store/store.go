// Package store keeps the daemon's own metadata: triggers with their activations, and
// how far each source has been handled. It is one Store over database/sql; what differs
// between databases is in the file of the database and in the migrations.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Store is the metadata store. Any goroutine may use it. An error that is none of
// package trigger's means that the store cannot be used now; nothing was changed then.
type Store struct {
	read  *sql.DB
	write *sql.DB // one connection: writers queue here instead of meeting SQLITE_BUSY
	log   *slog.Logger
	now   func() time.Time
	close []func() error // in reverse order
	lost  func() error   // says that what is written goes nowhere; nil = cannot be

	mu     sync.Mutex
	proven time.Time // when a write last succeeded
}

// Open opens the store at url, creating and migrating it where needed. sqlite:PATH is a
// file that one process at a time may have open. Errors say what to do.
func Open(ctx context.Context, url string, log *slog.Logger) (*Store, error) {
	kind, rest, ok := strings.Cut(url, ":")
	if !ok {
		return nil, errors.New("open store: the url has no scheme; write sqlite:PATH")
	}
	s := &Store{log: log, now: time.Now}
	var err error
	switch kind {
	case "sqlite":
		err = s.openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	default:
		err = fmt.Errorf("the scheme %q is not known; write sqlite:PATH", kind)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
	}
	return s, nil
}

// Close closes the store. Nothing may use it afterwards.
func (s *Store) Close() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// probeEvery bounds how often asking whether the store can be written costs a write.
const probeEvery = time.Second

// Writable proves that the store can be written, by writing; at most once a second.
func (s *Store) Writable(ctx context.Context) error {
	if err := s.gone(); err != nil {
		return err
	}
	s.mu.Lock()
	fresh := s.now().Sub(s.proven) < probeEvery
	s.mu.Unlock()
	if fresh {
		return nil
	}
	now := s.now()
	_, err := s.write.ExecContext(ctx, `INSERT INTO probe (one, written_at) VALUES (1, ?)
		ON CONFLICT (one) DO UPDATE SET written_at = excluded.written_at`, timestamp(now))
	if err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	s.mu.Lock()
	s.proven = now
	s.mu.Unlock()
	return nil
}

// gone says that the store was removed or replaced under us: writes would succeed and
// be lost with the process.
func (s *Store) gone() error {
	if s.lost == nil {
		return nil
	}
	return s.lost()
}

// update runs f in a transaction that sees no other writer.
func (s *Store) update(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	if err := s.gone(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if err := f(tx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// view runs f in a transaction that sees one state of the store.
func (s *Store) view(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	if err := f(tx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// timestamp is the form in which times are stored: it sorts, and keeps microseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func parseTimestamp(s string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05.000000Z", s)
	if err != nil {
		return t, fmt.Errorf("read stored time: %w", err)
	}
	return t, nil
}
