package store_test

import (
	"database/sql"
	"log/slog"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSQLite(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		NewURL: func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "a b%?#.db") },
		Raw: func(t *testing.T, url string) *sql.DB {
			return raw(t, "sqlite", "file:"+(&neturl.URL{Path: strings.TrimPrefix(url, "sqlite:")}).EscapedPath()+"?_txlock=immediate")
		},
		Lock: `SELECT 1`, // the transaction itself is the lock
	})
}

func raw(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openErr(t *testing.T, url string) string {
	t.Helper()
	s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err == nil {
		s.Close()
		t.Fatalf("%s was opened", url)
	}
	return err.Error()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, url, want string }{
		{"empty", "", "no scheme"},
		{"no scheme", "waltrigger.db", "no scheme"},
		{"other scheme", "oracle:x", `"oracle" is not known`},
		{"no path", "sqlite:", "names no file"},
		{"bad url", "postgres://u:hunter2@h:port/d", "not proper"},
		{"bad parameter", "postgres://u:hunter2@h/d?sslmode=maybe", "sslmode"},
		{"bad schema", "postgres://u:hunter2@h/d?schema=a%3B", `schema "a;"`},
		{"no server", "postgres://u:hunter2@127.0.0.1:1/d", "refused"},
		{"mysql: bad url", "mysql://u:hunter2@h:port/d", "not proper"},
		{"mysql: no user", "mysql://h/d", "no user"},
		{"mysql: no database", "mysql://u:hunter2@h/", "no database"},
		{"mysql: bad parameter", "mysql://u:hunter2@h/d?charset=x", `"charset"`},
		{"mysql: bad tls", "mysql://u:hunter2@h/d?tls=maybe", "tls=maybe"},
		{"mysql: no file", "mysql://u:hunter2@h/d?tls_ca=" + dir + "/none.pem", "none.pem"},
		{"mysql: no certificate", "mysql://u:hunter2@h/d?tls_ca=" + write("ca.pem", "x", 0o600), "no certificate"},
		{"mysql: no server", "mysql://u:hunter2@127.0.0.1:1/d", "refused"},
		{"memory", "sqlite::memory:", "names no file"},
		{"no directory", "sqlite:" + dir + "/none/x.db", "/none does not exist"},
		{"file as directory", "sqlite:" + write("file", "x", 0o600) + "/x.db", "not a directory"},
		{"directory as file", "sqlite:" + dir, "not a regular file"},
		{"other file", "sqlite:" + write("other", "hello, I am a text file", 0o600), "not a SQLite database"},
		{"short file", "sqlite:" + write("short", "hello", 0o600), "not a SQLite database"},
		{"torn database", "sqlite:" + write("torn", "SQLite format 3\x00"+strings.Repeat("x", 200), 0o600), "not a database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := openErr(t, c.url); !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may write everywhere: only the message for a read-only directory is out of reach")
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if got := openErr(t, "sqlite:"+dir+"/x.db"); !strings.Contains(got, "cannot be written by this user") {
		t.Error(got)
	}
}

func TestOnlyOneProcess(t *testing.T) {
	dir := t.TempDir()
	url := "sqlite:" + dir + "/x.db"
	s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/x.db", dir+"/link.db"); err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{url, "sqlite:" + dir + "/link.db"} {
		if got := openErr(t, u); !strings.Contains(got, "another waltrigger (process ") {
			t.Error(got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestMode: others could read secrets.
func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := store.Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestRemovedWhileOpen: what is written to a file without a name is lost with the
// process, so it must not count as saved.
func TestRemovedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := store.Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Writable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := s.Writable(t.Context()); err == nil || !strings.Contains(err.Error(), "removed or replaced") {
		t.Errorf("writable: %v", err)
	}
	if err := s.SaveSource(t.Context(), "shop", source.State{}); err == nil {
		t.Error("a position was saved")
	}
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSource(t.Context(), "shop", source.State{}); err != nil {
		t.Errorf("put back: %v", err)
	}
}
