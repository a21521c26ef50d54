package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	driversql "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// servers gives the URLs to test against: those of WALTRIGGER_TEST_MYSQL, and of
// WALTRIGGER_TEST_MARIADB_ALL, else the one of WALTRIGGER_TEST_MARIADB.
func servers(tb testing.TB) []string {
	tb.Helper()
	var list []string
	for _, names := range [][]string{{"WALTRIGGER_TEST_MYSQL"}, {"WALTRIGGER_TEST_MARIADB_ALL", "WALTRIGGER_TEST_MARIADB"}} {
		found := ""
		for _, name := range names {
			if found == "" {
				found = os.Getenv(name)
			}
		}
		if found == "" && os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			tb.Fatalf("%s is not set", names[0])
		}
		list = append(list, strings.Fields(found)...)
	}
	if len(list) == 0 {
		tb.Skip("WALTRIGGER_TEST_MYSQL and WALTRIGGER_TEST_MARIADB are not set")
	}
	return list
}

// everywhere runs f once per server, in a database of its own.
func everywhere(t *testing.T, f func(t *testing.T, db *testDB)) {
	t.Helper()
	for _, url := range servers(t) {
		db := newTestDB(t, url)
		t.Run(db.version, func(t *testing.T) {
			db.tb = t
			f(t, db)
		})
	}
}

// testDB is a new database with a connection of the application's, and a user that may
// do what Grants says and nothing else.
type testDB struct {
	tb      testing.TB
	addr    string
	name    string // of the database, and of the user
	version string
	mariadb bool
	root    *sql.DB
	app     *sql.Conn
	notes   *memory
}

func newTestDB(tb testing.TB, url string) *testDB {
	tb.Helper()
	ctx := context.Background()
	a, err := parseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	db := &testDB{tb: tb, addr: a.host, name: fmt.Sprintf("wt_%d_%d", os.Getpid()%10000, time.Now().UnixNano()%1e12), notes: &memory{}}
	db.root = openRoot(tb, a, "")
	var version string
	if err := db.root.QueryRowContext(ctx, "select version()").Scan(&version); err != nil {
		tb.Fatal(err)
	}
	db.mariadb = strings.Contains(version, "MariaDB")
	db.version = "mysql-" + strings.SplitN(version, "-", 2)[0]
	if db.mariadb {
		db.version = "mariadb-" + strings.SplitN(version, "-", 2)[0]
	}
	db.admin("create database " + db.name)
	db.admin("create user " + db.name + "@'%' identified by 'secret'")
	tb.Cleanup(func() {
		for _, q := range []string{"drop database " + db.name, "drop user " + db.name + "@'%'"} {
			if _, err := db.root.ExecContext(ctx, q); err != nil {
				tb.Error(err)
			}
		}
		_ = db.root.Close()
	})
	for _, q := range strings.Split(db.config().Grants(), "\n") {
		if strings.HasPrefix(q, "GRANT") {
			db.admin(q)
		}
	}
	db.app = db.connect()
	return db
}

func openRoot(tb testing.TB, a address, name string) *sql.DB {
	tb.Helper()
	cfg := driversql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = a.user, a.password, "tcp", a.host, name
	cfg.Collation, cfg.Logger = "utf8mb4_general_ci", &driversql.NopLogger{}
	c, err := driversql.NewConnector(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return sql.OpenDB(c)
}

func (db *testDB) admin(q string) {
	db.tb.Helper()
	if _, err := db.root.ExecContext(context.Background(), q); err != nil {
		db.tb.Fatalf("%s: %v", q, err)
	}
}

// connect opens one more connection of the application's.
func (db *testDB) connect() *sql.Conn {
	db.tb.Helper()
	pool := openRoot(db.tb, address{user: "root", password: "root", host: db.addr}, db.name)
	c, err := pool.Conn(context.Background())
	if err != nil {
		db.tb.Fatal(err)
	}
	db.tb.Cleanup(func() {
		_ = c.Close()
		_ = pool.Close()
	})
	return c
}

// reconnect drops the application's connection and opens another one.
func (db *testDB) reconnect() {
	db.tb.Helper()
	_ = db.app.Raw(func(any) error { return driver.ErrBadConn })
	db.app = db.connect()
}

// exec runs statements, one a line.
func (db *testDB) exec(statements string) {
	db.tb.Helper()
	execOn(db.tb, db.app, statements)
}

func execOn(tb testing.TB, c *sql.Conn, statements string) {
	tb.Helper()
	for q := range strings.Lines(statements) {
		if q = strings.TrimSpace(q); q == "" {
			continue
		}
		if _, err := c.ExecContext(context.Background(), q); err != nil {
			tb.Fatalf("%s: %v", q, err)
		}
	}
}

func (db *testDB) config() Config {
	return Config{Name: "shop", URL: fmt.Sprintf("mysql://%s:secret@%s/%s", db.name, db.addr, db.name)}
}

func (db *testDB) table(name string) source.TableName {
	return source.TableName{Schema: db.name, Name: name}
}

// memory is a store of one source.
type memory struct {
	mu     sync.Mutex
	states []source.State
	notes  map[string]string
	fail   error
}

func (m *memory) save(s source.State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states = append(m.states, s)
	return nil
}

func (m *memory) last() source.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.states) == 0 {
		return source.State{}
	}
	return m.states[len(m.states)-1]
}

func (m *memory) LoadNotes(context.Context) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.notes), nil
}

func (m *memory) SaveNotes(_ context.Context, changed map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.notes == nil {
		m.notes = map[string]string{}
	}
	for name, text := range changed {
		if text == "" {
			delete(m.notes, name)
		} else {
			m.notes[name] = text
		}
	}
	return nil
}

func newSource(tb testing.TB, cfg Config, notes source.Notes) *Source {
	tb.Helper()
	s, err := New(cfg, nil, notes, slog.New(slog.NewTextHandler(tb.Output(), nil)))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// running is a source with its reader.
type running struct {
	*Source
	tb   testing.TB
	out  chan source.Batch
	stop context.CancelFunc
	done chan error
	mark change.Mark
	rest source.Batch
	mem  *memory
}

// start reads from where mem says, and publishes tables if there are any.
func start(tb testing.TB, db *testDB, tables ...string) *running {
	tb.Helper()
	return startWith(tb, db, db.config(), tables...)
}

func startWith(tb testing.TB, db *testDB, cfg Config, tables ...string) *running {
	tb.Helper()
	return run(tb, newSource(tb, cfg, db.notes), db, tables...)
}

// run is start for a source that was made already.
func run(tb testing.TB, s *Source, db *testDB, tables ...string) *running {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	state, err := s.Prepare(ctx, db.notes.last(), db.notes.save)
	if err != nil {
		tb.Fatal(err)
	}
	if len(tables) > 0 {
		var names []source.TableName
		for _, t := range tables {
			names = append(names, db.table(t))
		}
		if missing, err := s.Publish(ctx, names); err != nil || len(missing) > 0 {
			tb.Fatalf("missing %v, error %v", missing, err)
		}
	}
	r := &running{Source: s, tb: tb, out: make(chan source.Batch), stop: stop, done: make(chan error, 1), mark: state.Mark, mem: db.notes}
	go func() { r.done <- s.Run(ctx, state.Mark, r.out) }()
	tb.Cleanup(func() { r.close() })
	return r
}

// close stops, and saves how far changes were taken.
func (r *running) close() {
	r.stop()
	if r.done == nil {
		return
	}
	select {
	case err := <-r.done:
		if err != nil {
			r.tb.Error(err)
		}
	case <-time.After(20 * time.Second):
		r.tb.Error("Run did not return")
	}
	r.done = nil
	if err := r.Close(); err != nil {
		r.tb.Error(err)
	}
	st := r.mem.last()
	st.Mark = r.mark
	_ = r.mem.save(st)
}

// next returns the next change that is not a lone Commit.
func (r *running) next() change.Change {
	r.tb.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for len(r.rest) > 0 {
			c := r.rest[0]
			r.rest = r.rest[1:]
			if c.Op != change.Commit {
				r.mark.Tx, r.mark.Done = c.Tx.Position, c.Ordinal
				return c
			}
			r.mark = change.Mark{End: c.Tx.End}
			if c.Tx.Position != "" {
				return c
			}
		}
		select {
		case r.rest = <-r.out:
		case err := <-r.done:
			r.tb.Fatalf("Run ended: %v", err)
		case <-deadline:
			r.tb.Fatalf("nothing came; status %+v", r.Status())
		}
	}
}

// row returns the next row change.
func (r *running) row() change.Change {
	r.tb.Helper()
	for {
		if c := r.next(); c.Op != change.Commit {
			return c
		}
	}
}

// want takes as many row changes as there are lines and compares them with what line
// prints.
func (r *running) want(lines string) {
	r.tb.Helper()
	for want := range strings.Lines(lines) {
		if want = strings.TrimSpace(want); want == "" {
			continue
		}
		if got := line(r.row()); got != want {
			r.tb.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// line prints a change: operation, table, image, old row / new row.
func line(c change.Change) string {
	s := fmt.Sprintf("%s %s", c.Op, c.Table.Name)
	if c.Op == change.Truncate {
		return s
	}
	if c.Before != nil {
		s += " " + c.Image.String() + " " + show(c, c.Before)
	}
	if c.After != nil {
		s += " -> " + show(c, c.After)
	}
	return s
}

// show prints a row as JSON, without Missing columns.
func show(c change.Change, row []change.Value) string {
	var b []byte
	for i, v := range row {
		if v.Kind != change.Missing {
			b = append(append(b, c.Table.Columns[i].Name...), '=')
			b = append(v.AppendJSON(b), ' ')
		}
	}
	return "(" + strings.TrimSpace(string(b)) + ")"
}

func TestStreamsRows(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table sale (id int primary key, note text)")
		r := start(t, db, "sale")
		db.exec(`insert into sale values (1, 'a'), (2, null)
			update sale set note = 'b' where id = 1
			update sale set id = 3 where id = 1
			delete from sale where id = 2
			truncate sale
			insert into sale values (9, 'z')`)
		r.want(`insert sale -> (id=1 note="a")
			insert sale -> (id=2 note=null)
			update sale full (id=1 note="a") -> (id=1 note="b")
			update sale full (id=1 note="b") -> (id=3 note="b")
			delete sale full (id=2 note=null)
			truncate sale
			insert sale -> (id=9 note="z")`)
	})
}
