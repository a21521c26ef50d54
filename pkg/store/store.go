// Package store keeps the daemon's own metadata: triggers with their activations, and
// how far each source has been handled. It is one Store over database/sql; what differs
// between databases is in the file of the database and in the migrations.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Store is the metadata store. Any goroutine may use it. Errors that are none of package
// trigger's are ErrUnavailable, ErrInDoubt, ErrTaken, the caller's context's, or say that
// a row is damaged.
type Store struct {
	read  *pool
	write *pool
	keys  *Keys
	log   *slog.Logger
	now   func() time.Time
	close []func() error // in reverse order
	lost  func() error   // says that what is written goes nowhere; nil = cannot be
	doubt func()         // closes idle connections: a use of one had no answer; nil = there are none

	mu     sync.Mutex
	proven time.Time // when a write last succeeded
}

// Open opens the store at url, creating and migrating it where needed. sqlite:PATH is a
// file that one process at a time may have open, postgres://…/DATABASE?schema=NAME a
// schema and mysql://…/DATABASE a database of its own, for one process or several.
// With keys, secrets in it are encrypted by the first one; the others open what they
// encrypted when they were the first. Errors say what to do.
func Open(ctx context.Context, url string, log *slog.Logger, keys ...Key) (*Store, error) {
	s := &Store{log: log, now: time.Now}
	var err error
	switch kind, rest := cutScheme(url); kind {
	case "sqlite":
		err = s.openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		err = s.openPostgres(ctx, url)
	case "mysql", "mariadb":
		err = s.openMySQL(ctx, url)
	default:
		err = unknownScheme(kind)
	}
	if err == nil {
		err = s.useKeys(ctx, keys)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
	}
	return s, nil
}

// CheckURL says what is wrong with the form of a url. No error carries the password.
func CheckURL(url string) error {
	var err error
	switch kind, rest := cutScheme(url); kind {
	case "sqlite":
		err = checkPath(strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		_, _, err = postgresConfig(url)
	case "mysql", "mariadb":
		_, err = mysqlConfig(url)
	default:
		err = unknownScheme(kind)
	}
	return err
}

func cutScheme(url string) (kind, rest string) {
	kind, rest, ok := strings.Cut(url, ":")
	if !ok {
		return "", url
	}
	return kind, rest
}

func unknownScheme(kind string) error {
	const want = "write sqlite:PATH, postgres://… or mysql://…"
	if kind == "" {
		return errors.New("the url has no scheme; " + want)
	}
	return fmt.Errorf("the scheme %q is not known; %s", kind, want)
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
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.mu.Lock()
	fresh := s.now().Sub(s.proven) < probeEvery
	s.mu.Unlock()
	if fresh {
		return nil
	}
	now := s.now()
	if _, err := s.exec(ctx, "write store", s.write.d.upsert("probe", "one", "written_at"), 1, timestamp(now)); err != nil {
		return err
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

// patience is how long one use of the store may take: a database that does not answer
// must not hold up its user for ever.
const patience = 10 * time.Second

// update runs f in a transaction that changes triggers: it sees no other such one, and
// those who follow the version hear of it.
func (s *Store) update(ctx context.Context, what string, f func(tx *transaction) error) error {
	return s.transact(ctx, what, func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `UPDATE changes SET version = version + 1`); err != nil {
			return err
		}
		return f(tx)
	})
}

// Version is a number that grows with each change of triggers, whoever made it.
func (s *Store) Version(ctx context.Context) (version int64, err error) {
	err = s.ask(ctx, "read version", func(ctx context.Context) error {
		return s.read.QueryRowContext(ctx, `SELECT version FROM changes`).Scan(&version)
	})
	return version, err
}

// Shared reports whether other processes may have the store open.
func (s *Store) Shared() bool { return s.write.d.shared }

// transact runs f in a transaction.
func (s *Store) transact(ctx context.Context, what string, f func(tx *transaction) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.gone(); err != nil {
		return s.fault(ctx, what, err)
	}
	tx, err := s.write.begin(ctx, &s.write.d.update)
	if err != nil {
		return s.fault(ctx, what, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if err := f(tx); err != nil {
		return s.fault(ctx, what, err)
	}
	return s.committed(ctx, what, tx.Commit())
}

// committed makes of what a commit returned what the caller is told.
func (s *Store) committed(ctx context.Context, what string, err error) error {
	if err != nil && !s.write.d.answered(err) {
		return fmt.Errorf("%s: %w: %w", what, ErrInDoubt, err)
	}
	return s.fault(ctx, what, err)
}

// view runs f in a transaction that sees one state of the store.
func (s *Store) view(ctx context.Context, what string, f func(tx *transaction) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tx, err := s.read.begin(ctx, &s.read.d.view)
	if err != nil {
		return s.fault(ctx, what, err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	return s.fault(ctx, what, f(tx))
}

// ask runs f, which makes one query.
func (s *Store) ask(ctx context.Context, what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.fault(ctx, what, f(ctx))
}

// exec runs one statement and gives the number of rows that it is about. It may have
// been done even if it failed, and must bear to be run again.
func (s *Store) exec(ctx context.Context, what, query string, args ...any) (rows int64, err error) {
	err = s.ask(ctx, what, func(ctx context.Context) error {
		if err := s.gone(); err != nil {
			return err
		}
		res, err := s.write.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		rows, err = res.RowsAffected()
		return err
	})
	return rows, err
}

// fault makes of an error what the caller is told: package trigger's errors, those of
// a damaged row and the end of the caller's context are what they are, all others mean
// that the store cannot be used.
func (s *Store) fault(ctx context.Context, what string, err error) error {
	var conflict *trigger.ConflictError
	var damage *damagedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, trigger.ErrNotFound), errors.Is(err, trigger.ErrStale), errors.Is(err, ErrTaken), errors.As(err, &conflict), errors.As(err, &damage):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case ctx.Err() != nil && s.doubt != nil:
		s.doubt()
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
}

// damagedError says that a row cannot be what was stored.
type damagedError struct{ err error }

func damaged(format string, args ...any) error { return &damagedError{fmt.Errorf(format, args...)} }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// timestamp is the form in which times are stored: it sorts, and keeps microseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func parseTimestamp(s string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05.000000Z", s)
	if err != nil {
		return t, damaged("read stored time: %w", err)
	}
	return t, nil
}
