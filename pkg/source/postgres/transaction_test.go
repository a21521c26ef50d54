package postgres

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestLogicalMessages(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key)")
		r := start(t, db.config(), &memory{}, "t")
		db.exec(`begin; select pg_logical_emit_message(false, 'waltrigger', '{"not":"transactional"}'); select pg_logical_emit_message(true, 'other', '{}');
			select pg_logical_emit_message(true, 'waltrigger', '{"user":"ann"}'); insert into t values (1); commit`)
		db.exec(`begin; insert into t values (2); select pg_logical_emit_message(true, 'waltrigger', '{"after":"rows"}'); commit`)
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger', 'no json'); insert into t values (3); commit`)
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger', '{"a":1,"b":1}'); insert into t values (4); savepoint s;
			select pg_logical_emit_message(true, 'waltrigger', '{"b":"rolled back"}'); rollback to s; select pg_logical_emit_message(true, 'waltrigger', '{"b":2}'); commit`)
		for _, want := range []string{`{"user":"ann"}`, `{"after":"rows"}`, "", `{"a":1,"b":2}`} {
			if c := r.row(); c.Tx.Annotations != want || c.Ordinal != 1 {
				t.Errorf("%s: annotations %q, want %q", show(c, c.After), c.Tx.Annotations, want)
			}
		}
		// From a transaction that is rolled back only what is not transactional comes.
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger.skip', ''); select pg_logical_emit_message(false, 'waltrigger.skip', ''); insert into t values (5); rollback`)
		db.exec(`insert into t values (6)`)
		db.exec(`begin; insert into t values (7); select pg_logical_emit_message(true, 'waltrigger.skip', 'a backfill of ours'); insert into t values (8); commit; insert into t values (9)`)
		r.wantLines("insert t none / none -> id=6", "insert t none / none -> id=9")
		eventually(t, "counting it", func() bool { return r.Status().Skipped == 1 })
		// One that is too large to be held fires, and says so.
		db.exec(`begin; insert into t select generate_series(1001, 2000); select pg_logical_emit_message(true, 'waltrigger.skip', ''); commit`)
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger.skip', ''); insert into t select generate_series(2001, 3000); commit; insert into t values (10)`)
		for i := 1001; i <= 2000; i++ {
			if c := r.row(); c.After[0].Text != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", show(c, c.After), i)
			}
		}
		r.wantLines("insert t none / none -> id=10")
		r.close()
		cfg := db.config()
		cfg.Slot, cfg.IgnoreSkip = cfg.Slot+"2", true
		r = start(t, cfg, &memory{}, "t")
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger.skip', ''); insert into t values (11); commit`)
		r.wantLines("insert t none / none -> id=11")
	})
}

// TestOrigin: what was replicated from elsewhere fires, or does not if so configured.
func TestOrigin(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key)")
		db.exec("select pg_replication_origin_create($1)", db.name)
		defer db.exec("select pg_replication_origin_drop($1)", db.name)
		anyOrigin, none := db.config(), db.config()
		none.Slot, none.Origin = none.Slot+"_none", OriginNone
		all, local := start(t, anyOrigin, &memory{}, "t"), start(t, none, &memory{}, "t")
		replica := db.connect()
		execOn(t, replica, "select pg_replication_origin_session_setup($1)", db.name)
		execOn(t, replica, "insert into t values (1)")
		db.exec("insert into t values (2)") // right behind it: its origin is none
		execOn(t, replica, "begin; insert into t select generate_series(1000, 1999); commit")
		db.exec("insert into t values (3)")
		execOn(t, replica, "select pg_replication_origin_session_reset()")
		execOn(t, replica, "insert into t values (4)")
		for i := range 1004 {
			if c := all.row(); i == 0 && c.After[0].Text != "1" {
				t.Errorf("got %s", show(c, c.After))
			}
		}
		local.wantLines("insert t none / none -> id=2", "insert t none / none -> id=3", "insert t none / none -> id=4")
	})
}

// TestTwoPhase: a prepared transaction comes with its second phase, at the place of that.
func TestTwoPhase(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		var n string
		if err := db.QueryRow(context.Background(), "show max_prepared_transactions").Scan(&n); err != nil || n == "0" {
			t.Skipf("the server allows no prepared transactions (%v)", err)
		}
		db.exec("create table t (id int primary key)")
		r := start(t, db.config(), &memory{}, "t")
		for _, gid := range []string{"stays", "goes"} {
			c := db.connect()
			execOn(t, c, "begin; insert into t values ("+map[string]string{"stays": "1", "goes": "2"}[gid]+"); prepare transaction '"+db.name+gid+"'")
		}
		db.exec("insert into t values (3)")
		db.exec("rollback prepared '" + db.name + "goes'")
		db.exec("insert into t values (4)")
		db.exec("commit prepared '" + db.name + "stays'")
		db.exec("insert into t values (5)")
		r.wantLines("insert t none / none -> id=3", "insert t none / none -> id=4", "insert t none / none -> id=1", "insert t none / none -> id=5")
	})
}

// TestInterleaved: transactions whose rows lie between each other's in the log come one
// after the other, in the order of their commits, although the positions of their rows go
// backwards; those of one COPY share theirs. None is lost, wherever the reader stops.
func TestInterleaved(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, who text)")
		st := &memory{}
		r := start(t, db.config(), st, "t")
		first, second := db.connect(), db.connect()
		execOn(t, first, "begin; insert into t values (1, 'first')")
		execOn(t, second, "begin; insert into t values (2, 'second')")
		execOn(t, first, "insert into t values (3, 'first')")
		if n, err := second.CopyFrom(context.Background(), pgx.Identifier{"t"}, []string{"id", "who"}, pgx.CopyFromRows([][]any{{10, "copy"}, {11, "copy"}, {12, "copy"}})); err != nil || n != 3 {
			t.Fatal(n, err)
		}
		execOn(t, second, "commit")
		execOn(t, first, "insert into t values (4, 'first'); commit")
		want := []string{"2 second", "10 copy", "11 copy", "12 copy", "1 first", "3 first", "4 first"}
		for stop := 0; stop <= len(want); stop++ { // stops after so many rows, and goes on from there
			r.close()
			cfg, saved := db.config(), st.last()
			cfg.Slot = fmt.Sprintf("%s_%d", db.name, stop)
			db.exec("select pg_copy_logical_replication_slot($1, $2)", db.name, cfg.Slot)
			saved.Identity = strings.Replace(saved.Identity, db.name, cfg.Slot, 1)
			var got []string
			for _, part := range []int{stop, len(want) - stop} {
				r = start(t, cfg, &memory{states: []source.State{saved}})
				for range part {
					c := r.row()
					got = append(got, c.After[0].Text+" "+c.After[1].Text)
					saved.Mark.Tx, saved.Mark.Done = c.Tx.Position, c.Ordinal
					if id := c.After[0].Text; id == "12" || id == "4" { // the last of its transaction
						saved.Mark = change.Mark{End: r.next().Tx.End}
					}
				}
				r.close()
			}
			if strings.Join(got, ", ") != strings.Join(want, ", ") {
				t.Errorf("stopped after %d: got %v", stop, got)
			}
		}
	})
}

// soak says that the long forms are wanted.
func soak() bool { return os.Getenv("WALTRIGGER_TEST_SOAK") == "1" }

// TestHugeTransaction: all rows of a transaction of 200,000 (in its long form 5,000,000)
// come, in order, in bounded memory and over one connection, whose server is impatient.
func TestHugeTransaction(t *testing.T) {
	rows := 200_000
	if soak() {
		rows = 5_000_000
	}
	eachServer(t, func(t *testing.T, dsn string) {
		if soak() {
			alone.Lock() // five of them would measure each other's memory
			defer alone.Unlock()
		}
		db := newDatabase(t, dsn)
		db.exec("create table big (id int primary key, note text, price numeric(10,2), at timestamptz)")
		cfg := db.config()
		cfg.URL += "?wal_sender_timeout=3000"
		r := start(t, cfg, &memory{}, "big")
		writer := db.connect()
		written := make(chan error, 1)
		go func() {
			_, err := writer.Exec(context.Background(), "insert into big select i, repeat('x', 100), 1.50, now() from generate_series(1, $1::int) i", rows)
			written <- err
		}()
		var most uint64
		for i := 1; i <= rows; i++ {
			c := r.row()
			if c.After[0].Text != strconv.Itoa(i) || c.Ordinal != uint32(i) {
				t.Fatalf("row %d is %s with ordinal %d", i, show(c, c.After), c.Ordinal)
			}
			if i%20_000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if c := r.next(); c.Op != change.Commit {
			t.Errorf("got %s, want the end", c.Op)
		}
		t.Logf("%d rows, at most %d MB in use", rows, most>>20)
		if most > 128<<20 {
			t.Errorf("%d MB are in use", most>>20)
		}
		if n := r.Status().Reconnects; n != 0 {
			t.Errorf("%d reconnects", n)
		}
	})
}

var alone sync.Mutex

// TestSavepoints: of 2,000 savepoints every second one is rolled back.
func TestSavepoints(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key)")
		r := start(t, db.config(), &memory{}, "t")
		db.exec(`do $$ begin for i in 1..2000 loop
			begin insert into t values (i); if i % 2 = 0 then raise exception 'no'; end if; exception when raise_exception then null; end;
			end loop; end $$`)
		for i := 1; i <= 2000; i += 2 {
			if c := r.row(); c.After[0].Text != strconv.Itoa(i) || c.Ordinal != uint32(i/2+1) {
				t.Fatalf("got %s with ordinal %d, want %d", show(c, c.After), c.Ordinal, i)
			}
		}
		db.exec("insert into t values (0)")
		r.wantLines("insert t none / none -> id=0")
	})
}

// TestTruncate: one statement may empty several tables; a cascade reaches those that are
// published.
func TestTruncate(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table a (id serial primary key); create table b (id int primary key references a); create table c (id int primary key); create table unpublished (id int references a);
			create table p (id int primary key) partition by range (id); create table p1 partition of p for values from (0) to (10)`)
		r := start(t, db.config(), &memory{}, "a", "b", "c", "p")
		db.exec("begin; insert into c values (1); truncate a restart identity cascade; insert into c values (2); truncate c, p; commit")
		db.exec("truncate p1; insert into p values (1)") // a partition alone: not in the log under its root's name
		var got []string
		for i := range 7 {
			c := r.row()
			got = append(got, line(c))
			if want := uint32(i + 1); c.Ordinal != want && i < 6 {
				t.Errorf("ordinal %d, want %d", c.Ordinal, want)
			}
		}
		slices.Sort(got[1:3]) // the order within a statement is the server's
		slices.Sort(got[4:6])
		want := []string{
			"insert c none / none -> id=1", "truncate a none / none -> none", "truncate b none / none -> none",
			"insert c none / none -> id=2", "truncate c none / none -> none", "truncate p none / none -> none", "insert p none / none -> id=1",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}
