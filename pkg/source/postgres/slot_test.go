package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// prepare runs Prepare once with a fresh source.
func prepare(t *testing.T, cfg Config, saved source.State) (source.State, *memory, error) {
	t.Helper()
	s := newSource(t, cfg)
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := &memory{}
	st, err := s.Prepare(ctx, saved, m.save)
	return st, m, err
}

func wantHalt(t *testing.T, err error, state, reason string) {
	t.Helper()
	var halt *source.HaltError
	if !errors.As(err, &halt) || halt.State != state || !strings.Contains(halt.Reason, reason) || halt.Mend == "" {
		t.Errorf("got %v, want %s: …%s…", err, state, reason)
	}
}

func TestPrepareSlotStates(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		cfg := db.config()
		st, m, err := prepare(t, cfg, source.State{})
		if err != nil {
			t.Fatal(err)
		}
		if len(m.states) != 2 || m.states[0].Mark.End != "" || m.states[0].Identity != st.Identity || m.states[1] != st || st.Mark.End == "" {
			t.Errorf("saved %+v, returned %+v", m.states, st)
		}
		if again, _, err := prepare(t, cfg, st); err != nil || again != st {
			t.Errorf("second start: %+v, %v", again, err)
		}
		// Stopped between creating the slot and saving its position.
		if mended, m, err := prepare(t, cfg, source.State{Identity: st.Identity}); err != nil || mended != st || m.last() != st {
			t.Errorf("start after a crash: %+v, %v", mended, err)
		}
		_, _, err = prepare(t, cfg, source.State{})
		wantHalt(t, err, stateUnknownSlot, "never read")

		behind := st
		behind.Mark.End = "0/1"
		_, _, err = prepare(t, cfg, behind)
		wantHalt(t, err, source.ResyncRequired, "beyond 0/1")
		ahead := st
		ahead.Mark.End = "FF/0"
		_, _, err = prepare(t, cfg, ahead)
		wantHalt(t, err, source.ResyncRequired, "before FF/0")
		other := st
		other.Identity = "1/2/other"
		_, _, err = prepare(t, cfg, other)
		wantHalt(t, err, source.ResyncRequired, "another server")

		db.exec("select pg_drop_replication_slot($1)", db.name)
		_, _, err = prepare(t, cfg, st)
		wantHalt(t, err, source.ResyncRequired, "does not exist any more")
		db.exec("select pg_create_logical_replication_slot($1, 'test_decoding')", db.name)
		_, _, err = prepare(t, cfg, st)
		wantHalt(t, err, source.Misconfigured, "test_decoding")
		db.exec("select pg_drop_replication_slot($1)", db.name)
		if db.major < 15 { // its pgoutput knows no two_phase
			return
		}
		db.exec("select pg_create_logical_replication_slot($1, 'pgoutput', false, true)", db.name)
		s := newSource(t, cfg)
		defer s.Close()
		_, err = s.Adopt(context.Background())
		wantHalt(t, err, source.Misconfigured, "two_phase")
		if st, _, err = s.Resync(context.Background(), nil, m.save); err != nil {
			t.Fatal(err)
		}
		if again, _, err := prepare(t, cfg, st); err != nil || again != st {
			t.Errorf("start after it was made anew: %+v, %v", again, err)
		}
	})
}

// TestPrepareWhileMade: what was stopped while the server made the slot waits for it. Whether
// the server then makes or discards it, nothing is lost and nothing needs an operator.
func TestPrepareWhileMade(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		ctx := context.Background()
		for _, end := range []string{"made", "discarded"} {
			cfg := db.config()
			cfg.Slot += end
			app := db.connect()
			execOn(t, app, "begin; select pg_current_xact_id()")
			killed := newSource(t, cfg)
			conn, err := killed.connector.replication(ctx, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			id, err := killed.identify(ctx, conn)
			if err != nil {
				t.Fatal(err)
			}
			made := make(chan error, 1)
			go func() {
				made <- conn.Exec(ctx, "CREATE_REPLICATION_SLOT "+quote(cfg.Slot)+" LOGICAL pgoutput NOEXPORT_SNAPSHOT").Close()
			}()
			eventually(t, "the slot", func() bool {
				return text1(t, db.Conn, "select count(*)::text from pg_replication_slots where slot_name = $1", cfg.Slot) == "1"
			})
			s := newSource(t, cfg)
			defer s.Close()
			if found := s.Check(ctx, source.State{}); !slices.ContainsFunc(found, func(f source.Finding) bool {
				return f.Level == source.LevelWarn && strings.Contains(f.Text, "still being made")
			}) {
				t.Errorf("findings %v", found)
			}
			st := &memory{states: []source.State{{Identity: id.identity}}}
			done := make(chan error, 1)
			go func() {
				_, err := s.Prepare(ctx, st.last(), st.save)
				done <- err
			}()
			eventually(t, "the reason", func() bool { return strings.Contains(s.Status().Detail, "still being made") })
			if end == "discarded" {
				db.exec("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", cfg.Slot)
				eventually(t, "the slot's end", func() bool {
					return text1(t, db.Conn, "select count(*)::text from pg_replication_slots where slot_name = $1 and active_pid = $2", cfg.Slot, conn.PID()) == "0"
				})
			}
			execOn(t, app, "commit")
			if err := <-made; (err == nil) != (end == "made") {
				t.Errorf("%s: the slot's maker got %v", end, err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			confirmed := text1(t, db.Conn, "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", cfg.Slot)
			if got := st.last(); got.Mark.End != change.Position(confirmed) || got.Identity != id.identity {
				t.Errorf("%s: saved %+v, the slot stands at %s", end, st.states, confirmed)
			}
		}
		// A position that was saved before there was one.
		nowhere := source.State{Mark: change.Mark{End: "0/0"}}
		for _, there := range []bool{true, false} {
			cfg := db.config()
			first, _, err := prepare(t, cfg, source.State{})
			if err != nil {
				t.Fatal(err)
			}
			if nowhere.Identity = first.Identity; !there {
				db.exec("select pg_drop_replication_slot($1)", cfg.Slot)
			}
			st, _, err := prepare(t, cfg, nowhere)
			if err != nil || there && st != first || st.Mark.End == "0/0" || st.Mark.End == "" {
				t.Errorf("slot %t: got %+v, %v", there, st, err)
			}
			db.exec("select pg_drop_replication_slot($1)", cfg.Slot)
		}
	})
}

// TestDatabaseOfTheUser: a url without a database leads to that of the user's name, which
// the slot then belongs to.
func TestDatabaseOfTheUser(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		execOn(t, db.server, "create role "+db.name+" superuser login password 'secret'")
		t.Cleanup(func() {
			db.exec("drop owned by " + db.name)
			execOn(t, db.server, "drop role "+db.name)
		})
		cfg := db.config()
		cfg.URL = strings.TrimSuffix(strings.Replace(db.url, "postgres:postgres@", db.name+":secret@", 1), db.name)
		if cfg.Database() != db.name || !strings.Contains(cfg.Grants(), `ON DATABASE "`+db.name+`"`) {
			t.Errorf("database %q, grants %s", cfg.Database(), cfg.Grants())
		}
		st, _, err := prepare(t, cfg, source.State{})
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := prepare(t, cfg, st); err != nil || again != st {
			t.Errorf("second start: %+v, %v", again, err)
		}
		for _, f := range []func(*Source) error{
			func(s *Source) error { _, err := s.Adopt(context.Background()); return err },
			func(s *Source) error { return s.Drop(context.Background()) },
		} {
			s := newSource(t, cfg)
			if err := f(s); err != nil {
				t.Error(err)
			}
			s.Close()
		}
	})
}

// TestSlotNames: names that are no identifiers to the server's grammar are slots all the
// same.
func TestSlotNames(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		cfg := db.config()
		cfg.Slot, cfg.NoFailover = "1"+db.name, true
		st := &memory{}
		start(t, cfg, st, "sale").close()
		cfg.NoFailover = false // which alters it
		r := start(t, cfg, st)
		db.exec("insert into sale values (1)")
		r.wantLines("insert sale none / none -> id=1")
	})
}

func TestPrepareRefusals(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		role := db.name + "_role"
		execOn(t, db.server, "create role "+role+" login password 'secret'")
		defer execOn(t, db.server, "drop role "+role)
		cfg := db.config()
		cfg.URL = strings.Replace(db.url, "postgres:postgres@", role+":secret@", 1)
		_, _, err := prepare(t, cfg, source.State{})
		wantHalt(t, err, source.Misconfigured, "permission denied") // may not create the publication
		db.exec("create publication shop")
		cfg.PublicationMode = ModeExisting
		_, _, err = prepare(t, cfg, source.State{})
		wantHalt(t, err, source.Misconfigured, "")

		cfg = db.config()
		cfg.Publication, cfg.PublicationMode = "absent", ModeExisting
		_, _, err = prepare(t, cfg, source.State{})
		wantHalt(t, err, source.Misconfigured, "absent does not exist")

		boom := errors.New("store is full")
		s := newSource(t, db.config())
		defer s.Close()
		if _, err := s.Prepare(context.Background(), source.State{}, func(source.State) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("got %v, want the store's error", err)
		}
		var n int
		if err := db.QueryRow(context.Background(), "select count(*) from pg_replication_slots where slot_name = $1", db.name).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d slots were made before the intent was saved (%v)", n, err)
		}
	})
}

// TestPrepareWaits shows that an unreachable server is waited for, without its secrets
// in what is said, and that the end of the context ends the waiting.
func TestPrepareWaits(t *testing.T) {
	s := newSource(t, Config{Name: "shop", URL: "postgres://u:secret@127.0.0.1:1/none"})
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := s.Prepare(ctx, source.State{}, func(source.State) error { return nil })
		done <- err
	}()
	eventually(t, "the reason", func() bool { return strings.Contains(s.Status().Detail, "refused") })
	if st := s.Status(); st.State != "connecting" || strings.Contains(st.Detail, "secret") {
		t.Errorf("status %+v", st)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	within(t, 20*time.Second, what, f)
}

func within(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestStandby: a second instance waits while the first reads, and takes over from what
// the first acknowledged when it was closed.
func TestStandby(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		st := &memory{}
		first := start(t, db.config(), st, "sale")
		db.exec("insert into sale values (1)")
		first.row()
		end := first.next().Tx.End
		saved := st.last()
		second := start(t, db.config(), &memory{states: []source.State{saved}})
		eventually(t, "standing by", func() bool { return strings.Contains(second.Status().Detail, "standing by") })
		first.stop()
		first.Ack(end) // after Run, before Close
		first.close()
		var confirmed string
		if err := db.QueryRow(context.Background(), "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", db.name).Scan(&confirmed); err != nil || confirmed != string(end) {
			t.Errorf("the slot stands at %s after Close, want %s (%v)", confirmed, end, err)
		}
		// Its own mark is behind by now: that is a gap, and is said.
		for late := time.After(30 * time.Second); second.done != nil; {
			select {
			case <-second.out:
				t.Error("changes behind a gap are sent")
			case err := <-second.done:
				second.done = nil
				wantHalt(t, err, source.ResyncRequired, "beyond")
				if got := second.Status().State; got != source.ResyncRequired {
					t.Errorf("state %s", got)
				}
				_ = second.Close()
			case <-late:
				t.Fatal("the second instance did not notice the gap")
			}
		}
		third := start(t, db.config(), &memory{states: []source.State{{Identity: saved.Identity, Mark: change.Mark{End: end}}}})
		db.exec("insert into sale values (2)")
		if c := third.row(); c.After[0].Text != "2" {
			t.Errorf("got %s", show(c, c.After))
		}
	})
}

func TestSlotDroppedWhileReading(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		r := start(t, db.config(), &memory{}, "sale")
		db.exec("insert into sale values (1)")
		r.row()
		db.dropSlots()
		for r.done != nil {
			select {
			case <-r.out:
			case err := <-r.done:
				r.done = nil
				wantHalt(t, err, source.ResyncRequired, "does not exist any more")
			}
		}
		_ = r.Close()
	})
}

// TestIdle: writes that are none of ours move the slot all the same, and an event that
// is not acknowledged holds it.
func TestIdle(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key); create table other (id int)")
		r := start(t, db.config(), &memory{}, "sale")
		acks := make(chan change.Position, 1000)
		go func() { // acknowledges everything at once
			for b := range r.out {
				for _, c := range b {
					if c.Op == change.Commit {
						r.Ack(c.Tx.End)
						acks <- c.Tx.End
					}
				}
			}
		}()
		defer func() { r.close(); close(r.out) }()
		confirmed := func() (l lsn) {
			var s string
			if err := db.QueryRow(context.Background(), "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", db.name).Scan(&s); err != nil {
				t.Fatal(err)
			}
			l, err := parseLSN(s)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		before := confirmed()
		for i := range 50 {
			db.exec(fmt.Sprintf("insert into other values (%d)", i))
		}
		var now string
		if err := db.QueryRow(context.Background(), "select pg_current_wal_lsn()::text").Scan(&now); err != nil {
			t.Fatal(err)
		}
		tip, _ := parseLSN(now)
		eventually(t, "the slot", func() bool { return confirmed() >= tip })
		if n := len(acks); n > 20 || before >= tip {
			t.Errorf("%d lone positions for 50 foreign transactions", n)
		}
		eventually(t, "no lag", func() bool { return r.Status().LagBytes < 1<<20 })
	})
}

func TestUnacknowledgedHoldsSlot(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key); create table other (id int)")
		r := start(t, db.config(), &memory{}, "sale")
		db.exec("insert into sale values (1)")
		c := r.row()
		r.next()
		// The position behind it comes, is not acknowledged, and must not count.
		db.exec("insert into other select generate_series(1, 1000)")
		lone := false
		for deadline := time.After(10 * time.Second); !lone; {
			select {
			case b := <-r.out:
				lone = b[len(b)-1].Op == change.Commit && b[len(b)-1].Tx.Position == ""
			case <-deadline:
				t.Fatal("no lone position came")
			}
		}
		r.close()
		var held bool
		if err := db.QueryRow(context.Background(), "select confirmed_flush_lsn <= $2::pg_lsn from pg_replication_slots where slot_name = $1", db.name, lsn(c.Tx.Seq).String()).Scan(&held); err != nil || !held {
			t.Errorf("the slot went past an event that was not acknowledged (%v)", err)
		}
	})
}

// TestSenderTimeout: the server's patience with us is ours unless the url says otherwise,
// and where it has none we say something all the same.
func TestSenderTimeout(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		db.exec("alter database " + db.name + " set wal_sender_timeout = '1h'")
		for param, want := range map[string]time.Duration{"": patience, "?wal_sender_timeout=0": 0, "?WAL_sender_timeout=1500": 1500 * time.Millisecond, "?wal_sender_timeout=1d": 24 * time.Hour} {
			w, err := connector{url: db.url + param}.replication(context.Background(), patience)
			if err != nil || w.timeout != want {
				t.Fatalf("%q: %s, %v", param, w.timeout, err)
			}
			_ = w.Close(context.Background())
		}
		cfg := db.config()
		cfg.URL += "?wal_sender_timeout=0"
		r := start(t, cfg, &memory{}, "sale")
		db.exec("insert into sale values (1)")
		r.row()
		r.Ack(r.next().Tx.End)
		eventually(t, "the acknowledgement", func() bool {
			return text1(t, db.Conn, "select (confirmed_flush_lsn >= $2::pg_lsn)::text from pg_replication_slots where slot_name = $1", db.name, string(r.mark.End)) == "true"
		})
	})
}

// TestSilence: a server that says nothing any more, while the connection seems to stand, is
// given up; with one that sent nothing at all we are more patient the next time.
func TestSilence(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		cfg := db.config()
		cfg.URL += "?wal_sender_timeout=400"
		hole := &blackHole{}
		s, err := New(cfg, hole.dial, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		r := startSource(t, s, &memory{}, "sale")
		db.exec("insert into sale values (1)")
		r.row()
		for before := r.Status().Reconnects; r.Status().Reconnects < before+2; { // idle, and alive
			hole.open(t, true)
			eventually(t, "giving up", func() bool {
				select {
				case <-r.out:
				default:
				}
				return strings.Contains(r.Status().Detail, "silent")
			})
			hole.open(t, false)
			db.exec("insert into sale select max(id) + 1 from sale")
			r.row()
		}
		r.close()
		if s.patience != patience {
			t.Errorf("patience %s after rows came", s.patience)
		}
		s.learn(&session{opened: time.Now().Add(-time.Hour)})
		s.learn(&session{opened: time.Now().Add(-time.Hour)})
		s.learn(&session{opened: time.Now()})
		if s.patience != 4*patience {
			t.Errorf("patience %s", s.patience)
		}
	})
}

// blackHole keeps what the server sends from connections for replication while it is open.
type blackHole struct {
	mu    sync.Mutex
	conns []*holeConn
}

type holeConn struct {
	net.Conn
	hole *atomic.Bool
}

func (b *blackHole) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	h := &holeConn{c, &atomic.Bool{}}
	b.mu.Lock()
	b.conns = append(b.conns, h)
	b.mu.Unlock()
	return h, nil
}

func (b *blackHole) open(t *testing.T, yes bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.hole.Store(yes)
	}
}

// Read reads nothing until the deadline while the hole is open.
func (c *holeConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.hole.Load() {
			return n, err
		}
	}
}

// TestPooler: a pooler in between is told by what it refuses, by what it drops, and by the
// session not being ours.
func TestPooler(t *testing.T) {
	t.Parallel()
	target, err := pgx.ParseConfig(servers(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	ignore := "ignore_startup_parameters = " + strings.Join(append(slices.Collect(maps.Keys(pinned)), "extra_float_digits", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "wal_sender_timeout"), ",")
	for conf, want := range map[string]string{
		"":     "unsupported startup parameter",
		ignore: "for our session, which asked for",
		ignore + "\ntrack_extra_parameters = " + strings.Join(slices.Collect(maps.Keys(pinned)), ","): "",
	} {
		env := append(os.Environ(), fmt.Sprintf("PGBOUNCER_INSTANCE=t%d", time.Now().UnixNano()), fmt.Sprintf("PGBOUNCER_TARGET=%d", target.Port), "PGBOUNCER_CONF="+conf)
		service(t, "pgbouncer", "install", env)
		service(t, "pgbouncer", "start", env)
		t.Cleanup(func() { service(t, "pgbouncer", "wipe", env) })
		cfg := Config{Name: "shop", URL: service(t, "pgbouncer", "url", env)}
		_, _, err := prepare(t, cfg, source.State{})
		wantHalt(t, err, source.Misconfigured, "pooler")
		wantHalt(t, err, source.Misconfigured, want)
	}
}
