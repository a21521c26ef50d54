package postgres

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ownServer is a server of one test, which may do with it what it likes.
type ownServer struct {
	tb   testing.TB
	name string
	env  []string
	dsn  string // once it has been started
}

// newServer makes a server, and does not start it. With a primary it is that one's standby
// once it was cloned, while the primary is stopped.
func newServer(tb testing.TB, major int, primary *ownServer, args ...string) *ownServer {
	tb.Helper()
	servers(tb) // skips where there are none at all
	s := &ownServer{tb: tb, name: fmt.Sprintf("t%d", time.Now().UnixNano())}
	s.env = append(os.Environ(), fmt.Sprintf("PG_MAJOR=%d", major), "PG_INSTANCE="+s.name, "PG_ARGS="+strings.Join(args, " "))
	if primary != nil {
		s.env = append(s.env, "PG_PRIMARY="+primary.name)
	}
	s.run("install")
	tb.Cleanup(func() { s.run("wipe") })
	return s
}

// everyMajor runs f with a database on each version that is known to work, all at the same
// time: those of servers, and of the others a server of the test's own.
func everyMajor(t *testing.T, f func(t *testing.T, db *database)) {
	t.Helper()
	have := map[int]bool{}
	for _, dsn := range servers(t) {
		db := newDatabase(t, dsn)
		have[db.major] = true
		t.Run(fmt.Sprintf("pg%d", db.major), func(t *testing.T) {
			t.Parallel()
			f(t, newDatabase(t, dsn))
		})
	}
	for major := 14; major <= 18; major++ {
		if have[major] {
			continue
		}
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			f(t, newDatabase(t, newServer(t, major, nil).start().dsn))
		})
	}
}

func (s *ownServer) run(verb string) string {
	s.tb.Helper()
	return service(s.tb, "postgres", verb, s.env)
}

// service runs a script of scripts/services. Where a service cannot be installed, the test
// is skipped unless all services are required.
func service(tb testing.TB, script, verb string, env []string) string {
	tb.Helper()
	path, err := filepath.Abs("../../../scripts/services/" + script + ".sh")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, verb)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if verb == "install" && os.Getenv("WALTRIGGER_TEST_REQUIRED") != "1" {
			tb.Skipf("%s cannot be installed: %s", script, &stderr)
		}
		tb.Fatalf("%s.sh %s: %v\n%s", script, verb, err, &stderr)
	}
	return strings.TrimSpace(stdout.String())
}

func (s *ownServer) start() *ownServer {
	s.tb.Helper()
	s.run("start")
	s.dsn = s.run("url")
	return s
}

func (s *ownServer) address() string {
	s.tb.Helper()
	c, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		s.tb.Fatal(err)
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// connect opens a connection to a database of the server.
func (s *ownServer) connect(database string) *pgx.Conn {
	s.tb.Helper()
	c, err := pgx.Connect(context.Background(), strings.Replace(s.dsn, "/postgres?", "/"+database+"?", 1))
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// text asks for one value.
func text1(tb testing.TB, c *pgx.Conn, sql string, args ...any) string {
	tb.Helper()
	var out *string
	if err := c.QueryRow(context.Background(), sql, args...).Scan(&out); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	if out == nil {
		return ""
	}
	return *out
}

// switchboard dials the server of the moment, whatever the url says: what a name or an
// address does that moves with the primary.
type switchboard struct{ to atomic.Pointer[string] }

func (b *switchboard) point(s *ownServer) {
	address := s.address()
	b.to.Store(&address)
}

func (b *switchboard) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, *b.to.Load())
}
