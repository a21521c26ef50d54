package postgres

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // these tests wait more than they compute
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// servers gives the DSNs to test against: all of WALTRIGGER_TEST_POSTGRES_ALL, else
// the one of WALTRIGGER_TEST_POSTGRES.
func servers(tb testing.TB) []string {
	tb.Helper()
	list := strings.Fields(os.Getenv("WALTRIGGER_TEST_POSTGRES_ALL"))
	if len(list) == 0 {
		list = strings.Fields(os.Getenv("WALTRIGGER_TEST_POSTGRES"))
	}
	if len(list) == 0 {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			tb.Fatal("WALTRIGGER_TEST_POSTGRES is not set")
		}
		tb.Skip("WALTRIGGER_TEST_POSTGRES is not set")
	}
	return list
}

// each runs f once per server, in a database of its own.
func each(t *testing.T, f func(t *testing.T, db *database)) {
	t.Helper()
	eachServer(t, func(t *testing.T, dsn string) { f(t, newDatabase(t, dsn)) })
}

// eachServer runs f for all servers at the same time.
func eachServer(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Helper()
	for _, dsn := range servers(t) {
		c, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		version, _, _ := strings.Cut(c.PgConn().ParameterStatus("server_version"), " ")
		_ = c.Close(context.Background())
		t.Run("pg"+version, func(t *testing.T) {
			t.Parallel()
			f(t, dsn)
		})
	}
}

// database is a new database with a connection of the application's.
type database struct {
	*pgx.Conn
	url    string
	dsn    string // of the server
	name   string
	major  int
	tb     testing.TB
	server *pgx.Conn
}

func newDatabase(tb testing.TB, dsn string) *database {
	tb.Helper()
	return newDatabaseWith(tb, dsn, "")
}

// newDatabaseWith adds options to CREATE DATABASE.
func newDatabaseWith(tb testing.TB, dsn, options string) *database {
	tb.Helper()
	ctx := context.Background()
	server, err := pgx.Connect(ctx, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	db := &database{dsn: dsn, name: fmt.Sprintf("wt_%d_%d", os.Getpid(), time.Now().UnixNano()), tb: tb, server: server}
	if db.major, err = strconv.Atoi(regexp.MustCompile(`^\d+`).FindString(server.PgConn().ParameterStatus("server_version"))); err != nil {
		tb.Fatal(err)
	}
	if _, err := server.Exec(ctx, "create database "+db.name+options); err != nil {
		tb.Fatal(err)
	}
	cfg := server.Config()
	db.url = fmt.Sprintf("postgres://%s:%s@%s:%d/%s", cfg.User, cfg.Password, cfg.Host, cfg.Port, db.name)
	tb.Cleanup(func() {
		db.dropSlots()
		if _, err := server.Exec(ctx, "drop database "+db.name+" with (force)"); err != nil {
			tb.Error(err)
		}
		_ = server.Close(ctx)
	})
	db.Conn = db.connect()
	return db
}

// connect opens one more connection of the application's.
func (db *database) connect() *pgx.Conn {
	db.tb.Helper()
	c, err := pgx.Connect(context.Background(), db.url)
	if err != nil {
		db.tb.Fatal(err)
	}
	db.tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (db *database) dropSlots() {
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := db.server.Exec(context.Background(), `select pg_terminate_backend(active_pid) from pg_replication_slots where active and database = $1`, db.name)
		if err == nil {
			_, err = db.server.Exec(context.Background(), `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1`, db.name)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			db.tb.Error(err)
			return
		}
	}
}

func (db *database) exec(sql string, args ...any) {
	db.tb.Helper()
	execOn(db.tb, db.Conn, sql, args...)
}

func execOn(tb testing.TB, c *pgx.Conn, sql string, args ...any) {
	tb.Helper()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func (db *database) config() Config {
	return Config{Name: "shop", URL: db.url, Slot: db.name, Publication: "shop", PublicationMode: ModeManaged}
}

// memory is a store of one State.
type memory struct{ states []source.State }

func (m *memory) save(s source.State) error { m.states = append(m.states, s); return nil }

func (m *memory) last() source.State {
	if len(m.states) == 0 {
		return source.State{}
	}
	return m.states[len(m.states)-1]
}

func newSource(tb testing.TB, cfg Config) *Source {
	tb.Helper()
	s, err := New(cfg, nil, slog.New(slog.NewTextHandler(tb.Output(), nil)))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
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
}

func start(tb testing.TB, cfg Config, st *memory, tables ...string) *running {
	tb.Helper()
	return startSource(tb, newSource(tb, cfg), st, tables...)
}

func startSource(tb testing.TB, s *Source, st *memory, tables ...string) *running {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	state, err := s.Prepare(ctx, st.last(), st.save)
	if err != nil {
		tb.Fatal(err)
	}
	if len(tables) > 0 {
		var names []source.TableName
		for _, t := range tables {
			names = append(names, source.TableName{Schema: "public", Name: t})
		}
		if missing, err := s.Publish(ctx, names); err != nil || len(missing) > 0 {
			tb.Fatalf("missing %v, error %v", missing, err)
		}
	}
	r := &running{Source: s, tb: tb, out: make(chan source.Batch), stop: stop, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, state.Mark, r.out) }()
	tb.Cleanup(func() { r.close() })
	return r
}

func (r *running) close() {
	if err := r.end(); err != nil {
		r.tb.Error(err)
	}
}

// end closes r; the error is that of a connection which broke meanwhile.
func (r *running) end() error {
	r.stop()
	if r.done == nil {
		return nil
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
	return r.Close()
}

// next returns the next change that is not a lone Commit.
func (r *running) next() change.Change {
	r.tb.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for len(r.rest) > 0 {
			c := r.rest[0]
			r.rest = r.rest[1:]
			if c.Op == change.Commit {
				r.mark = change.Mark{End: c.Tx.End}
				if c.Tx.Position == "" {
					continue
				}
			}
			return c
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

// show prints a row as JSON, Missing columns as such.
func show(c change.Change, row []change.Value) string {
	if row == nil {
		return "none"
	}
	var b []byte
	for i, v := range row {
		b = append(append(b, c.Table.Columns[i].Name...), '=')
		if v.Kind == change.Missing {
			b = append(b, "missing "...)
			continue
		}
		b = append(v.AppendJSON(b), ' ')
	}
	return strings.TrimSpace(string(b))
}

func TestStreamsRows(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key, note text)")
		r := start(t, db.config(), &memory{}, "sale")
		db.exec("insert into sale values (1, 'a'), (2, null)")
		db.exec("update sale set note = 'b' where id = 1")
		db.exec("update sale set id = 3 where id = 1")
		db.exec("delete from sale where id = 2")
		db.exec("truncate sale")
		want := []string{
			"insert 1 none / none -> id=1 note=\"a\"",
			"insert 2 none / none -> id=2 note=null",
			"commit",
			"update 1 none / none -> id=1 note=\"b\"",
			"commit",
			"update 1 key_only / id=1 note=missing -> id=3 note=\"b\"",
			"commit",
			"delete 1 key_only / id=2 note=missing -> none",
			"commit",
			"truncate 1 none / none -> none",
			"commit",
		}
		for _, w := range want {
			c := r.next()
			got := c.Op.String()
			if c.Op != change.Commit {
				got = fmt.Sprintf("%s %d %s / %s -> %s", c.Op, c.Ordinal, c.Image, show(c, c.Before), show(c, c.After))
			}
			if got != w {
				t.Errorf("got %s, want %s", got, w)
			}
		}
	})
}
