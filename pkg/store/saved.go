package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Saved gives how far each source was handled, as the store at url has it: nothing where
// there is no store yet. It makes and changes nothing, and others may have the store open.
func Saved(ctx context.Context, url string) (map[string]source.State, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	db, err := look(url)
	if err != nil || db == nil {
		return nil, err
	}
	defer db.Close()
	out, err := readSources(ctx, db)
	if err != nil && !noStore(err) {
		return nil, fmt.Errorf("read store: %w", err)
	}
	return out, nil
}

// look opens what is at url to be read; nil if there is nothing.
func look(url string) (*sql.DB, error) {
	switch kind, rest := cutScheme(url); kind {
	case "sqlite":
		return lookSQLite(strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		cfg, _, err := postgresConfig(url)
		if err != nil {
			return nil, err
		}
		return stdlib.OpenDB(*cfg), nil
	case "mysql", "mariadb":
		cfg, err := mysqlConfig(url)
		if err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(connector), nil
	default:
		return nil, unknownScheme(kind)
	}
}

// lookSQLite opens a file that a daemon may be writing. One that nobody has open, and that
// was closed in order, is read as it lies: else SQLite would make files beside it.
func lookSQLite(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path) // what lies beside it has its real name
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_pragma=busy_timeout(5000)"
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		dsn += "&immutable=1"
	}
	return sql.Open("sqlite", dsn)
}

func readSources(ctx context.Context, db *sql.DB) (map[string]source.State, error) {
	rows, err := db.QueryContext(ctx, `SELECT name, identity, end_position, tx_position, tx_done FROM sources`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]source.State{}
	for rows.Next() {
		var name string
		var st source.State
		if err := rows.Scan(&name, &st.Identity, &st.Mark.End, &st.Mark.Tx, &st.Mark.Done); err != nil {
			return nil, err
		}
		out[name] = st
	}
	return out, rows.Err()
}

// noTable is MySQL's number for that.
const noTable = 1146

// noStore reports whether a server says that there is no store.
func noStore(err error) bool {
	if me := (*mysql.MySQLError)(nil); errors.As(err, &me) {
		return me.Number == unknownDatabase || me.Number == noTable
	}
	pe := (*pgconn.PgError)(nil)
	return errors.As(err, &pe) && pe.Code == "42P01" // no such table
}
