package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// sqliteDialect is a file that this process alone has open.
var sqliteDialect = dialect{
	goose: goose.DialectSQLite3, suffix: ".sqlite.sql",
	view:     sql.TxOptions{ReadOnly: true},
	answered: func(error) bool { return true },
}

// applicationID marks a file as ours ("walt"), so that another program's database is
// not migrated.
const applicationID = 0x77616c74

// openSQLite opens the file at path for this process alone.
func (s *Store) openSQLite(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	path, err := prepareFile(path)
	if err != nil {
		return err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return err
	}
	s.close = append(s.close, unlock)
	if err := checkHeader(path); err != nil {
		return err
	}
	unclean := hasLog(path)
	// A commit must survive a power cut: FULL syncs the log at each one.
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=cache_size(-1024)"
	write, err := sql.Open("sqlite", dsn+"&_txlock=immediate")
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.close = append(s.close, write.Close)
	write.SetMaxOpenConns(1) // writers queue here instead of meeting SQLITE_BUSY
	s.write = &pool{write, &sqliteDialect}
	if s.lost, err = sameFile(path); err != nil {
		return err
	}
	if err := claim(ctx, write, path); err != nil {
		return err
	}
	if unclean {
		if err := checkPages(ctx, write, path); err != nil {
			return err
		}
	}
	if err := migrate(ctx, s.write); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	read, err := sql.Open("sqlite", dsn+"&_pragma=query_only(1)")
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.close = append(s.close, read.Close)
	read.SetMaxOpenConns(4)
	read.SetMaxIdleConns(1)
	s.read = &pool{read, &sqliteDialect}
	return nil
}

func checkPath(path string) error {
	if strings.Trim(path, "/") == "" || strings.HasPrefix(path, ":memory:") {
		return errors.New("the url names no file; write sqlite:PATH")
	}
	return nil
}

// prepareFile proves that path can be written, creating it, and gives its real path, so
// that two names of one file share one lock.
func prepareFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the directory %s does not exist; create it, writable for the user that runs waltrigger", dir)
	case err != nil:
		return "", fmt.Errorf("look at the directory %s: %w", dir, err)
	case !info.IsDir():
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // it holds secrets
	if err != nil {
		return "", fmt.Errorf("%s cannot be written by this user: %w", path, errors.Unwrap(err))
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("create %s: %w", path, err)
	}
	return filepath.EvalSymlinks(path)
}

// checkHeader refuses a file that is something else. It must not run while SQLite has
// the file open: closing a second descriptor would drop SQLite's locks.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, errors.Unwrap(err))
	}
	defer f.Close()
	magic := []byte("SQLite format 3\x00")
	head := make([]byte, len(magic))
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil // new
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read %s: %w", path, err)
	case !bytes.Equal(head, magic):
		return fmt.Errorf("%s is not a SQLite database; name another file", path)
	}
	return nil
}

// hasLog reports whether the last process that had path open did not close it.
func hasLog(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

// maxCheck bounds the file that is checked as a whole at the start, bytes: it is to be
// read within a second.
const maxCheck = 256 << 20

// checkPages refuses a file that a machine that went down left damaged, rather than find
// out in the middle.
func checkPages(ctx context.Context, db *sql.DB, path string) error {
	if info, err := os.Stat(path); err != nil || info.Size() > maxCheck {
		return err
	}
	var said string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&said); err != nil {
		said = err.Error()
	}
	if said == "ok" {
		return nil
	}
	return fmt.Errorf("%s is damaged (%s): put a copy of it in its place; or move it away, with %[1]s-wal and %[1]s-shm: then its triggers and what is parked in it are lost, and `waltrigger source adopt` says where to go on",
		path, strings.Join(strings.Fields(said), " "))
}

// sameFile returns a check that path still leads to the file that it leads to now.
func sameFile(path string) (check func() error, err error) {
	opened, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	return func() error {
		now, err := os.Stat(path)
		if err == nil && os.SameFile(opened, now) {
			return nil
		}
		return fmt.Errorf("the store %s was removed or replaced while it was open: put it back, and start waltrigger again", path)
	}, nil
}

// lockFile takes the lock that keeps a second process out. The kernel drops it with the
// process, however that ends; the file stays.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the directory cannot be written by this user: create %s: %w", path, errors.Unwrap(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20)) // only to name it
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another waltrigger (process %s) has the store open, and a SQLite store serves one; stop that one or give this one a store of its own", bytes.TrimSpace(holder))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	pid := fmt.Appendf(nil, "%d\n", os.Getpid())
	if err := errors.Join(f.Truncate(0), second(f.WriteAt(pid, 0))); err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close, nil
}

func second(_ int, err error) error { return err }

// claim marks an empty database as ours and refuses one that is not.
func claim(ctx context.Context, db *sql.DB, path string) error {
	var id, tables int
	err := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), count(*) FROM sqlite_master`).Scan(&id, &tables)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if id == applicationID {
		return nil
	}
	if id != 0 || tables > 0 {
		return fmt.Errorf("%s is a SQLite database of another program; name another file", path)
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
