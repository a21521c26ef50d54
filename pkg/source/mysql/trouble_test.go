package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// kinds of servers that tests start for themselves.
var ownKinds = []struct{ name, script, prefix, version, args string }{
	{"mysql", "mysql", "MYSQL", "", ""},
	{"mysql without GTIDs", "mysql", "MYSQL", "", "--gtid-mode=OFF --enforce-gtid-consistency=OFF"},
	{"mariadb", "mariadb", "MARIADB", "11.8", ""},
}

// ownServers runs f with servers of the test's own, which it may stop and reset.
func ownServers(t *testing.T, f func(t *testing.T, o *brokertest.Own, db *testDB)) {
	t.Helper()
	for _, k := range ownKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			brokertest.Server(t, "WALTRIGGER_TEST_"+k.prefix)
			o := startOwn(t, k.script, k.prefix, k.version, k.args, 1)
			f(t, o, newTestDB(t, o.URL))
		})
	}
}

func startOwn(t *testing.T, script, prefix, version, args string, id int) *brokertest.Own {
	t.Helper()
	env := []string{prefix + "_ARGS=" + args, fmt.Sprintf("%s_SERVER_ID=%d", prefix, id)}
	if version != "" {
		env = append(env, prefix+"_VERSION="+version)
	}
	return brokertest.Start(t, script, prefix, nil, env...)
}

// TestSuiteWithoutGTIDs runs the suite where only files and positions tell places.
func TestSuiteWithoutGTIDs(t *testing.T) {
	brokertest.Server(t, "WALTRIGGER_TEST_MYSQL")
	o := startOwn(t, "mysql", "MYSQL", "", ownKinds[1].args, 1)
	sourcetest.Run(t, sourcetest.Harness{Vague: true, New: func(t *testing.T) sourcetest.Database { return suiteDatabase{newTestDB(t, o.URL)} }})
}

// TestMixedWithoutGTIDs: MySQL lets mix tables of both kinds there.
func TestMixedWithoutGTIDs(t *testing.T) {
	brokertest.Server(t, "WALTRIGGER_TEST_MYSQL")
	o := startOwn(t, "mysql", "MYSQL", "", ownKinds[1].args, 1)
	db := newTestDB(t, o.URL)
	db.exec("create table safe (id int primary key) engine = innodb\ncreate table loose (id int primary key) engine = myisam")
	r := start(t, db, "safe", "loose")
	db.exec(`begin
		insert into safe values (8)
		savepoint a
		insert into safe values (9)
		insert into loose values (9)
		savepoint b
		insert into safe values (10)
		rollback to b
		rollback to a
		insert into safe values (11)
		commit`)
	c := r.row()
	got := line(c)
	if !strings.Contains(string(c.Tx.Position), "-") || strings.Contains(string(c.Tx.Position), ":") {
		t.Errorf("position %s", c.Tx.Position)
	}
	for range 2 {
		got += "; " + line(r.row())
	}
	if got != "insert loose -> (id=9); insert safe -> (id=8); insert safe -> (id=11)" {
		t.Errorf("got %s", got)
	}
}

// TestServerRestarts: stopped, and killed, under a reader.
func TestServerRestarts(t *testing.T) {
	ownServers(t, func(t *testing.T, o *brokertest.Own, db *testDB) {
		db.exec("create table item (id int primary key)")
		r := start(t, db, "item")
		for id, verb := range []string{"stop", "kill"} {
			db.exec(fmt.Sprintf("insert into item values (%d)", 2*id))
			r.want(fmt.Sprintf("insert item -> (id=%d)", 2*id))
			o.Run(t, verb)
			o.Run(t, "start")
			db.reconnect()
			db.exec(fmt.Sprintf("insert into item values (%d)", 2*id+1))
			r.want(fmt.Sprintf("insert item -> (id=%d)", 2*id+1))
		}
		if n := r.Status().Reconnects; n < 2 {
			t.Errorf("%d reconnects", n)
		}
	})
}

// halted waits for Run to end, and wants a HaltError of that state.
func halted(t *testing.T, r *running, state, text string) {
	t.Helper()
	select {
	case err := <-r.done:
		wantHalt(t, err, state, text)
	case <-time.After(20 * time.Second):
		t.Fatalf("Run goes on; status %+v", r.Status())
	}
	r.done = nil
	if got := r.Status().State; got != state {
		t.Errorf("state %s, want %s", got, state)
	}
	_ = r.Close()
}

func wantHalt(t *testing.T, err error, state, text string) {
	t.Helper()
	halt := (*source.HaltError)(nil)
	if !errors.As(err, &halt) || halt.State != state || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s: %s", err, state, text)
	}
}

// resetLog makes the log of a server that nobody uses begin anew.
func resetLog(t *testing.T, url string, mariadb bool) {
	t.Helper()
	a, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	db := &testDB{tb: t, mariadb: mariadb, root: openRoot(t, a, "")}
	defer db.root.Close()
	db.reset()
}

func (db *testDB) reset() {
	db.tb.Helper()
	q := "reset binary logs and gtids"
	if db.mariadb {
		q = "reset master"
	}
	db.admin(q)
}

// TestLogIsGone: what was not read is purged, or the log was reset; and the way out.
func TestLogIsGone(t *testing.T) {
	ownServers(t, func(t *testing.T, o *brokertest.Own, db *testDB) {
		db.exec("create table item (id int primary key)")
		r := start(t, db, "item")
		db.exec("insert into item values (1)")
		r.want("insert item -> (id=1)")
		r.next()
		r.close()
		db.exec("insert into item values (2)")
		db.admin("flush binary logs")
		db.exec("insert into item values (3)")
		db.admin("flush binary logs")
		eventually(t, "the server lets go of the files", func() bool { // a reader that is gone may hold them for a moment
			db.admin("purge binary logs to '" + logFiles(t, db)[len(logFiles(t, db))-1] + "'")
			return len(logFiles(t, db)) == 1
		})
		s := newSource(t, db.config(), db.notes)
		_, err := s.Prepare(t.Context(), db.notes.last(), db.notes.save)
		wantHalt(t, err, source.ResyncRequired, "removed")
		if p, err := s.Place(t.Context(), db.notes.last()); err != nil || !strings.Contains(p.Remark, "removed") {
			t.Errorf("place %+v, error %v", p, err)
		}
		if found := s.Check(t.Context(), source.State{}); findLevel(found, source.LevelError) != "" {
			t.Errorf("check: %s", findLevel(found, source.LevelError))
		}
		st, seq, err := s.Resync(t.Context(), []source.TableName{db.table("item")}, db.notes.save)
		if err != nil || st != db.notes.last() || st.Mark.End == "" {
			t.Fatalf("resync: %+v, saved %+v, error %v", st, db.notes.last(), err)
		}
		_ = s.Close()
		db.exec("insert into item values (4)")
		r = start(t, db)
		c := r.row()
		if got := line(c); got != "insert item -> (id=4)" || c.Tx.Seq < seq {
			t.Errorf("got %s at %d, promised from %d", got, c.Tx.Seq, seq)
		}
		r.next()
		// Reset under the reader, which sees it when it connects anew.
		db.reset()
		db.exec("insert into item values (5)")
		halted(t, r, source.ResyncRequired, "")
		s = newSource(t, db.config(), db.notes)
		defer s.Close()
		if _, _, err := s.Resync(t.Context(), nil, db.notes.save); err != nil {
			t.Fatal(err)
		}
		if err := s.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if notes, _ := db.notes.LoadNotes(t.Context()); len(notes) != 0 {
			t.Errorf("notes stay: %v", notes)
		}
	})
}

func logFiles(t *testing.T, db *testDB) []string {
	t.Helper()
	c, err := db.root.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names, _, err := files(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func findLevel(found []source.Finding, level string) string {
	for _, f := range found {
		if f.Level == level {
			return f.Text
		}
	}
	return ""
}

// TestOtherServer: a position without GTIDs means nothing to another server, and GTIDs
// that it never had neither.
func TestOtherServer(t *testing.T) {
	ownServers(t, func(t *testing.T, o *brokertest.Own, db *testDB) {
		db.exec("create table item (id int primary key)\ninsert into item values (1)\ninsert into item values (2)")
		r := start(t, db, "item")
		db.exec("insert into item values (3)")
		r.row()
		r.next()
		r.close()
		notes := db.notes
		for _, k := range ownKinds {
			if k.script != map[bool]string{true: "mariadb", false: "mysql"}[db.mariadb] || strings.Contains(t.Name(), "without") != strings.Contains(k.name, "without") {
				continue
			}
			other := newTestDB(t, startOwn(t, k.script, k.prefix, k.version, k.args, 7).URL)
			s := newSource(t, other.config(), notes)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err := s.Prepare(ctx, notes.last(), notes.save)
			cancel()
			if k.args != "" {
				wantHalt(t, err, source.ResyncRequired, "another server")
			} else if err == nil || !strings.Contains(err.Error(), "behind") { // it may be a replica that catches up
				t.Errorf("got %v", err)
			}
			_ = s.Close()
		}
	})
}

// TestOtherProduct: a source whose url led to PostgreSQL before.
func TestOtherProduct(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		s := newSource(t, db.config(), db.notes)
		defer s.Close()
		saved := source.State{Identity: "7123/shop/slot", Mark: change.Mark{End: "0/1E2C2AB8"}}
		_, err := s.Prepare(t.Context(), saved, db.notes.save)
		wantHalt(t, err, source.ResyncRequired, "another database")
		st, seq, err := s.Resync(t.Context(), nil, db.notes.save)
		if err != nil || seq == 0 || db.notes.last() != st {
			t.Errorf("resync: %+v, %d, %v", st, seq, err)
		}
	})
}

// TestFailOver goes on with a replica that becomes the primary, in the middle of a
// transaction and while a Barrier's answer lies ahead of what was read.
func TestFailOver(t *testing.T) {
	for _, k := range ownKinds {
		if k.args != "" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			brokertest.Server(t, "WALTRIGGER_TEST_"+k.prefix)
			args := ""
			if k.script == "mariadb" {
				args = "--log-slave-updates=ON"
			}
			first, second := startOwn(t, k.script, k.prefix, k.version, args, 1), startOwn(t, k.script, k.prefix, k.version, args, 2)
			resetLog(t, first.URL, k.script == "mariadb")
			testFailOver(t, newTestDB(t, first.URL), first, second)
		})
	}
}

func testFailOver(t *testing.T, db *testDB, first, second *brokertest.Own) {
	a, err := parseURL(first.URL)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseURL(second.URL)
	if err != nil {
		t.Fatal(err)
	}
	// The replica's log is longer, with other contents: its positions mean nothing here.
	replica := openRoot(t, b, "")
	defer replica.Close()
	on := func(q string) {
		t.Helper()
		if _, err := replica.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	host, port, _ := net.SplitHostPort(a.host)
	if db.mariadb {
		on("set global gtid_slave_pos = ''")
		on("reset master")
		on(fmt.Sprintf("change master to master_host = '%s', master_port = %s, master_user = 'root', master_password = 'root', master_use_gtid = slave_pos", host, port))
		on("start slave")
	} else {
		on("reset binary logs and gtids")
		on(fmt.Sprintf("change replication source to source_host = '%s', source_port = %s, source_user = 'root', source_password = 'root', source_auto_position = 1, get_source_public_key = 1", host, port))
		on("start replica")
	}
	db.exec("create table item (id int primary key, note varchar(100))")
	// The address moves, as that of a load balancer does.
	var to atomic.Pointer[string]
	to.Store(&a.host)
	var open atomic.Pointer[[]net.Conn]
	open.Store(&[]net.Conn{})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, *to.Load())
		if err == nil {
			all := append(*open.Load(), c)
			open.Store(&all)
		}
		return c, err
	}
	s, err := New(db.config(), dial, db.notes, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s, db, "item")
	db.exec("insert into item values (0, 'first')")
	r.want(`insert item -> (id=0 note="first")`)
	r.next()
	insert := strings.Builder{}
	insert.WriteString("insert into item values (1, 'x')")
	for id := 2; id <= 3000; id++ {
		fmt.Fprintf(&insert, ", (%d, 'x')", id)
	}
	db.exec(insert.String())
	var last change.Change
	for id := 1; id <= 1000; id++ {
		last = r.row()
	}
	seq, err := r.Barrier(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.exec("insert into item values (5000, 'after the barrier')")
	eventually(t, "the replica has all", func() bool {
		var n int
		_ = replica.QueryRowContext(t.Context(), "select count(*) from "+db.name+".item where id = 5000").Scan(&n)
		return n == 1
	})
	to.Store(&b.host)
	for _, c := range *open.Load() {
		_ = c.Close()
	}
	for id := 1001; id <= 3000; id++ {
		c := r.row()
		if c.After[0].Text != fmt.Sprint(id) || c.Ordinal != uint32(id) || c.Tx.Position != last.Tx.Position {
			t.Fatalf("got %s, ordinal %d of %s, want %d of %s", c.After[0].Text, c.Ordinal, c.Tx.Position, id, last.Tx.Position)
		}
	}
	c := r.row()
	if c.After[0].Text != "5000" || c.Tx.Seq < seq {
		t.Errorf("got %s at %d, want what was committed after the barrier %d", line(c), c.Tx.Seq, seq)
	}
	r.next()
	on("insert into " + db.name + ".item values (5001, 'of the new primary')")
	after := r.row()
	if after.After[0].Text != "5001" || after.Tx.Seq <= c.Tx.Seq {
		t.Errorf("got %s at %d", line(after), after.Tx.Seq)
	}
	r.next()
	seq, err = r.Barrier(t.Context(), nil, nil)
	if err != nil || seq <= after.Tx.Seq {
		t.Errorf("barrier %d after %d, error %v", seq, after.Tx.Seq, err)
	}
}

// TestSameServerID: two readers with one number take the log away from each other, on
// servers that allow only one, and say so.
func TestSameServerID(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)")
		cfg := db.config()
		cfg.ServerID = 77
		r := startWith(t, db, cfg, "item")
		db.exec("insert into item values (1)")
		r.want("insert item -> (id=1)")
		checked(t, cfg) // leaves the reader alone
		db.exec("insert into item values (11)")
		r.want("insert item -> (id=11)")
		if n := r.Status().Reconnects; n != 0 {
			t.Errorf("%d reconnects after a check", n)
		}
		db.notes = &memory{}
		other := startWith(t, db, cfg, "item")
		if !db.mariadb { // MySQL tells readers apart by more than their numbers
			db.exec("insert into item values (2)")
			r.want("insert item -> (id=2)")
			other.want("insert item -> (id=2)")
			return
		}
		eventually(t, "one of them says it", func() bool {
			return strings.Contains(r.Status().Detail+other.Status().Detail, "same server_id")
		})
	})
}

// TestDeadPeer: a server that sends no sign of life any more is left.
func TestDeadPeer(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)")
		p := &proxy{to: db.addr}
		s, err := New(db.config(), p.dial, db.notes, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		s.connector.patience = time.Second
		r := run(t, s, db, "item")
		db.exec("insert into item values (1)")
		r.want("insert item -> (id=1)")
		p.hole.Store(true)
		db.exec("insert into item values (2)")
		eventually(t, "the connection is given up", func() bool { return r.Status().State == "connecting" })
		p.hole.Store(false)
		r.want("insert item -> (id=2)")
	})
}

// proxy gives connections out of which nothing comes while hole is set.
type proxy struct {
	to   string
	hole atomic.Bool
}

type holed struct {
	net.Conn
	p *proxy
}

// Read swallows what comes, up to the deadline.
func (h *holed) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.p.hole.Load() {
			return n, err
		}
	}
}

func (p *proxy) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, p.to)
	if err != nil {
		return nil, err
	}
	return &holed{c, p}, nil
}

// TestStoreFails: what must be remembered cannot be saved, so nothing is read on.
func TestStoreFails(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)")
		r := start(t, db, "item")
		db.exec("insert into item values (1)")
		r.want("insert item -> (id=1)")
		r.next()
		db.notes.refuse(errors.New("disk full"))
		db.exec("alter table item add n int\ninsert into item values (2, 3)")
		eventually(t, "the failure is told", func() bool { return strings.Contains(r.Status().Detail, "disk full") })
		if _, err := r.Publish(context.Background(), nil); err == nil {
			t.Error("tables are published although that cannot be remembered")
		}
		db.notes.refuse(nil)
		r.want("insert item -> (id=2 n=3)")
	})
}

// refuse makes the store fail.
func (m *memory) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}
