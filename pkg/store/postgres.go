package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// postgresDialect is PostgreSQL 14 or later. The database may be one that is tailed.
var postgresDialect = dialect{
	goose: goose.DialectPostgres, suffix: ".postgres.sql", shared: true, rowLocks: true, numbered: true, returning: true,
	view:   sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	update: sql.TxOptions{Isolation: sql.LevelReadCommitted},
	answered: func(err error) bool {
		var pe *pgconn.PgError // pgconn.SafeToRetry is true of a commit whose answer was lost
		return errors.As(err, &pe)
	},
}

const defaultSchema = "waltrigger"

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// postgresSettings are those of each session. A process that is stopped inside a
// transaction must not keep the others out, and a commit must survive a power cut.
var postgresSettings = map[string]string{
	"synchronous_commit": "on", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "5s",
}

// postgresConfig reads postgres://user:password@host:port/database?schema=waltrigger;
// the other parameters are libpq's.
func postgresConfig(text string) (cfg *pgx.ConnConfig, schema string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("the url is not proper: %w", withoutURL(err))
	}
	q := u.Query()
	schema = defaultSchema
	if q.Has("schema") {
		schema = q.Get("schema")
		q.Del("schema")
	}
	if !schemaName.MatchString(schema) {
		return nil, "", fmt.Errorf("the schema %q may hold lower-case letters, digits and _ only", schema)
	}
	u.RawQuery = q.Encode()
	if cfg, err = pgx.ParseConfig(u.String()); err != nil {
		return nil, "", err // it hides the password by itself
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	for k, v := range postgresSettings {
		cfg.RuntimeParams[k] = v
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "waltrigger store"
	}
	cfg.RuntimeParams["search_path"] = schema
	return cfg, schema, nil
}

// withoutURL gives what is wrong with a url without repeating it: it holds a password.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// openPostgres opens the schema that url names, made if it is not there.
func (s *Store) openPostgres(ctx context.Context, url string) error {
	cfg, schema, err := postgresConfig(url)
	if err != nil {
		return err
	}
	s.useServer(stdlib.OpenDB(*cfg), &postgresDialect)
	return s.locked(ctx, func(conn *sql.Conn) error {
		// Another instance may be migrating.
		if _, err := conn.ExecContext(ctx, `SET lock_timeout = '60s'`); err != nil {
			return err
		}
		_, err := conn.ExecContext(ctx, `SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('waltrigger store ' || $1, 0))`, schema)
		return err
	}, func(conn *sql.Conn) error {
		if err := claimSchema(ctx, conn, schema, cfg.User); err != nil {
			return err
		}
		return migrate(ctx, s.write)
	})
}

// claimSchema makes the schema, and refuses one that holds something else.
func claimSchema(ctx context.Context, conn *sql.Conn, schema, user string) error {
	var standby, exists, ours, others bool
	err := conn.QueryRowContext(ctx, `SELECT pg_catalog.pg_is_in_recovery(),
		EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
		EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2),
		EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1)`, schema, versionTable).Scan(&standby, &exists, &ours, &others)
	switch {
	case err != nil:
		return fmt.Errorf("read the schema: %w", err)
	case standby:
		return errors.New("the server is a standby: use the address of the primary")
	case ours:
		return nil
	case others:
		return fmt.Errorf("the schema %s holds tables of another program; name one of waltrigger's own with ?schema=", schema)
	case exists:
		return nil
	}
	if _, err := conn.ExecContext(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize()); err != nil {
		return fmt.Errorf("create the schema: %w; let somebody who may do it: CREATE SCHEMA %s AUTHORIZATION %s;",
			err, pgx.Identifier{schema}.Sanitize(), pgx.Identifier{user}.Sanitize())
	}
	return nil
}

const (
	connectTimeout = 5 * time.Second
	serverConns    = 8
	idleConns      = 2
	idleTime       = 5 * time.Second // less than a server lets a session idle
)

// useServer makes db, a server's, the store's.
func (s *Store) useServer(db *sql.DB, d *dialect) {
	db.SetMaxOpenConns(serverConns)
	db.SetMaxIdleConns(idleConns)
	db.SetConnMaxIdleTime(idleTime)
	db.SetConnMaxLifetime(10 * time.Minute) // names may lead elsewhere by then
	s.read = &pool{db, d}
	s.write = s.read
	s.close = append(s.close, db.Close)
	// If the way to the server was lost the others would find out one by one.
	s.doubt = func() {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(idleConns)
	}
}

// locked runs f on a session that lock made keep out other processes that start.
func (s *Store) locked(ctx context.Context, lock, f func(*sql.Conn) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		// The lock ends with the session.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	if err := lock(conn); err != nil {
		return fmt.Errorf("wait for another instance that starts: %w", err)
	}
	return f(conn)
}
