package store_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	neturl "net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/store/storetest"
)

// service gives the address of a service, or skips the test where there is none.
func service(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatalf("%s is not set", variable)
		}
		t.Skipf("%s is not set", variable)
	}
	return v
}

var names atomic.Int64

// fresh is a name that nothing on a server has.
func fresh() string {
	return fmt.Sprintf("store_%d_%d_%d", os.Getpid(), time.Now().UnixNano(), names.Add(1))
}

// edit changes a url.
func edit(t testing.TB, url string, f func(u *neturl.URL)) string {
	t.Helper()
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	f(u)
	return u.String()
}

func run(t testing.TB, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

// dsn is a url as the driver of MySQL has it.
func dsn(t testing.TB, url string) (dsn string) {
	edit(t, url, func(u *neturl.URL) { dsn = fmt.Sprintf("%s@tcp(%s)%s", u.User, u.Host, u.Path) })
	return dsn
}

func withQuery(u *neturl.URL, f func(neturl.Values)) {
	q := u.Query()
	f(q)
	u.RawQuery = q.Encode()
}

func TestPostgres(t *testing.T) {
	server := service(t, "WALTRIGGER_TEST_POSTGRES")
	schema := func(t *testing.T, url string) (name string) {
		edit(t, url, func(u *neturl.URL) { name = u.Query().Get("schema") })
		return name
	}
	beside := func(t *testing.T, url string) *sql.DB {
		return raw(t, "pgx", edit(t, url, func(u *neturl.URL) {
			withQuery(u, func(q neturl.Values) {
				q.Set("search_path", q.Get("schema"))
				q.Del("schema")
			})
		}))
	}
	admin := raw(t, "pgx", server)
	storetest.Run(t, storetest.Backend{
		NewURL: func(t *testing.T) string {
			name := fresh()
			t.Cleanup(func() { run(t, admin, "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
			return edit(t, server, func(u *neturl.URL) { withQuery(u, func(q neturl.Values) { q.Set("schema", name) }) })
		},
		Raw: func(t *testing.T, url string) *sql.DB {
			run(t, admin, "CREATE SCHEMA IF NOT EXISTS "+schema(t, url))
			return beside(t, url)
		},
		Lock: `SELECT 1 FROM changes FOR UPDATE`,
		Server: &storetest.Server{
			At: func(t *testing.T, url, address string) string {
				return edit(t, url, func(u *neturl.URL) { u.Host = address })
			},
			Drop: func(t *testing.T, url string) { run(t, admin, "DROP SCHEMA "+schema(t, url)+" CASCADE") },
		},
	})
}

func TestMySQL(t *testing.T)   { testMySQL(t, "WALTRIGGER_TEST_MYSQL") }
func TestMariaDB(t *testing.T) { testMySQL(t, "WALTRIGGER_TEST_MARIADB") }

func testMySQL(t *testing.T, variable string) {
	server := service(t, variable)
	database := func(t *testing.T, url string) (name string) {
		edit(t, url, func(u *neturl.URL) { name = strings.TrimPrefix(u.Path, "/") })
		return name
	}
	admin := raw(t, "mysql", dsn(t, server))
	storetest.Run(t, storetest.Backend{
		NewURL: func(t *testing.T) string {
			name := fresh()
			t.Cleanup(func() { run(t, admin, "DROP DATABASE IF EXISTS "+name) })
			return edit(t, server, func(u *neturl.URL) { u.Path = "/" + name })
		},
		Raw: func(t *testing.T, url string) *sql.DB {
			run(t, admin, "CREATE DATABASE IF NOT EXISTS "+database(t, url))
			return raw(t, "mysql", dsn(t, url))
		},
		Lock: `SELECT 1 FROM changes FOR UPDATE`,
		Server: &storetest.Server{
			At: func(t *testing.T, url, address string) string {
				return edit(t, url, func(u *neturl.URL) {
					u.Host = address
					withQuery(u, func(q neturl.Values) { q.Set("tls", "false") })
				})
			},
			Drop: func(t *testing.T, url string) { run(t, admin, "DROP DATABASE "+database(t, url)) },
		},
	})
}

// TestServersRefuse: what the role may not do itself is told with the SQL that does it.
func TestServersRefuse(t *testing.T) {
	server := service(t, "WALTRIGGER_TEST_POSTGRES")
	admin, role := raw(t, "pgx", server), fresh()
	run(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'pw'")
	t.Cleanup(func() { run(t, admin, "DROP ROLE "+role) })
	as := func(user *neturl.Userinfo) string {
		return edit(t, server, func(u *neturl.URL) {
			u.User = user
			withQuery(u, func(q neturl.Values) { q.Set("schema", role) })
		})
	}
	if got := openErr(t, as(neturl.UserPassword(role, "pw"))); !strings.Contains(got, `CREATE SCHEMA "`+role+`" AUTHORIZATION "`+role+`";`) {
		t.Error(got)
	}
	if got := openErr(t, as(neturl.UserPassword(role, "hunter2"))); !strings.Contains(got, "authentication failed") || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}

// TestMySQLRefuses is the same for MySQL.
func TestMySQLRefuses(t *testing.T) {
	server := service(t, "WALTRIGGER_TEST_MYSQL")
	user := fresh()[:30]
	admin := raw(t, "mysql", dsn(t, server))
	run(t, admin, "CREATE USER "+user+" IDENTIFIED BY 'pw'")
	t.Cleanup(func() { run(t, admin, "DROP USER "+user) })
	as := func(password string) string {
		return edit(t, server, func(u *neturl.URL) { u.User, u.Path = neturl.UserPassword(user, password), "/"+user })
	}
	if got := openErr(t, as("pw")); !strings.Contains(got, "CREATE DATABASE IF NOT EXISTS `"+user+"`") || !strings.Contains(got, "GRANT ALL") {
		t.Error(got)
	}
	if got := openErr(t, as("hunter2")); !strings.Contains(got, "Access denied") || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}

// TestMySQLMigratesAgain: a migration that was cut off between its statements, each of
// which commits by itself, is run again.
func TestMySQLMigratesAgain(t *testing.T) {
	for _, variable := range []string{"WALTRIGGER_TEST_MYSQL", "WALTRIGGER_TEST_MARIADB"} {
		t.Run(variable, func(t *testing.T) {
			server, name := service(t, variable), fresh()
			admin := raw(t, "mysql", dsn(t, server))
			t.Cleanup(func() { run(t, admin, "DROP DATABASE IF EXISTS "+name) })
			url := edit(t, server, func(u *neturl.URL) { u.Path = "/" + name })
			for range 2 {
				s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				run(t, admin, "DELETE FROM "+name+".waltrigger_version WHERE version_id > 0")
			}
		})
	}
}
