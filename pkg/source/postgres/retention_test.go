package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// TestInvalidated: a slot that the server is about to give up is told of; once it has,
// the source stops for good, while it reads and at the next start, and can go on from now.
func TestInvalidated(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, major, nil, "-c max_slot_wal_keep_size=64MB -c min_wal_size=32MB -c max_wal_size=32MB").start()
			app := s.connect("postgres")
			execOn(t, app, "create table sale (id int primary key, body text); create table other (body text); alter table other alter body set storage external")
			fill := func() { // 4 MB
				t.Helper()
				execOn(t, app, "insert into other select repeat('x', 1000000) from generate_series(1, 4)")
			}
			cfg, st := Config{Name: "shop", URL: s.dsn, Slot: "shop"}, &memory{}
			r := start(t, cfg, st, "sale")
			execOn(t, app, "insert into sale values (1, 'never acknowledged')")
			r.row()
			for range 16 {
				fill() // and nobody takes what comes
				if err := r.look(context.Background()); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(r.Status().Detail, "max_slot_wal_keep_size") {
					break
				}
			}
			if st := r.Status(); !strings.Contains(st.Detail, "max_slot_wal_keep_size") || st.RetainedBytes < 30<<20 {
				t.Errorf("nothing is said of a slot under strain: %+v", st)
			}
			for range 40 {
				fill()
				execOn(t, app, "checkpoint")
			}
			for r.done != nil {
				select {
				case <-r.out:
				case err := <-r.done:
					r.done = nil
					wantHalt(t, err, source.ResyncRequired, "invalidated by the server")
				case <-time.After(30 * time.Second):
					t.Fatalf("nothing happens: %+v", r.Status())
				}
			}
			if got := r.Status().State; got != source.ResyncRequired {
				t.Errorf("state %s", got)
			}
			_ = r.Close()
			_, _, err := prepare(t, cfg, st.last())
			wantHalt(t, err, source.ResyncRequired, "invalidated by the server")
			again := newSource(t, cfg)
			m := &memory{}
			_, _, err = again.Resync(context.Background(), names("sale"), m.save)
			if err != nil {
				t.Fatal(err)
			}
			_ = again.Close()
			r = start(t, cfg, m)
			execOn(t, app, "insert into sale values (2, 'seen')")
			r.wantLines(`insert sale none / none -> id=2 body="seen"`)
		})
	}
}

// TestOldTransactions: what holds back log for every slot is named.
func TestOldTransactions(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key)")
		s := newSource(t, db.config())
		defer s.Close()
		strain := func(slot slotInfo) string {
			t.Helper()
			text, err := s.strain(context.Background(), db.Conn, &slot, 0)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		held := slotInfo{RetainedBytes: muchLog + 1, SafeBytes: -1}
		open := db.connect()
		execOn(t, open, "begin; insert into t values (1)")
		if got := strain(held); !strings.Contains(got, "1024 MiB of log are held back by") {
			t.Errorf("got %q", got)
		}
		var n string
		if err := db.QueryRow(context.Background(), "show max_prepared_transactions").Scan(&n); err == nil && n != "0" {
			execOn(t, open, "prepare transaction '"+db.name+"'")
			eventually(t, "the prepared one", func() bool { return strings.Contains(strain(held), "ROLLBACK PREPARED") }) // others' transactions may be older
			execOn(t, open, "rollback prepared '"+db.name+"'")
		}
		if got := strain(slotInfo{RetainedBytes: 1 << 20, SafeBytes: -1}) + strain(slotInfo{RetainedBytes: 90 << 20, SafeBytes: 60 << 20}); got != "" {
			t.Errorf("got %q of nothing", got)
		}
		if got := strain(slotInfo{RetainedBytes: 90 << 20, SafeBytes: 10 << 20}); !strings.Contains(got, "10 MiB more") {
			t.Errorf("got %q", got)
		}
	})
}

// TestIdleForLong: writes to another table and to another database, with nothing for us,
// hold back little log; one event that is not acknowledged holds back all that follows it.
// A server notes every 15 seconds from where on its log is needed, so about 30 seconds of
// it are always there, whoever reads: in its long form of ten minutes the test writes 1 MB/s.
// In the short one the server is made to note it every second.
func TestIdleForLong(t *testing.T) {
	t.Parallel()
	rounds, majors := 12, []int{17}
	if soak() {
		rounds, majors = 600, []int{14, 15, 16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, major, nil).start()
			const others = "create table other (body text); alter table other alter body set storage external"
			app := s.connect("postgres")
			execOn(t, app, "create table sale (id int primary key); "+others)
			execOn(t, app, "create database elsewhere")
			elsewhere := s.connect("elsewhere")
			execOn(t, elsewhere, others)
			r := start(t, Config{Name: "shop", URL: s.dsn, Slot: "shop"}, &memory{}, "sale")
			held, taken := make(chan lsn, 1), make(chan struct{})
			go func() { // acknowledges all up to the first event
				defer close(taken)
				hold := false
				for b := range r.out {
					for _, c := range b {
						switch {
						case c.Op == change.Insert:
							hold = true
							held <- lsn(c.Tx.Seq)
						case c.Op == change.Commit && !hold:
							r.Ack(c.Tx.End)
						}
					}
				}
			}()
			defer func() { r.close(); close(r.out); <-taken }()
			slot := func(what string) string {
				t.Helper()
				return text1(t, app, "select ("+what+")::text from pg_replication_slots where slot_name = 'shop'")
			}
			write := func() {
				t.Helper()
				halves := 1 // of a MB, to each database
				if !soak() {
					halves = 10
					execOn(t, app, "checkpoint")
				}
				for _, c := range []*pgx.Conn{app, elsewhere} {
					execOn(t, c, "insert into other select repeat('x', 500000) from generate_series(1, $1::int)", halves)
					execOn(t, c, "truncate other")
				}
			}
			most, behind := 0, 0
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for range rounds {
				write()
				<-tick.C
				mb, err := strconv.Atoi(slot("((pg_current_wal_lsn() - restart_lsn) / 1048576)::int"))
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, mb)
				if mb, err = strconv.Atoi(slot("((pg_current_wal_lsn() - confirmed_flush_lsn) / 1048576)::int")); err != nil {
					t.Fatal(err)
				}
				behind = max(behind, mb)
			}
			t.Logf("%d s: at most %d MB of log are held back, %d MB not acknowledged", rounds, most, behind)
			if most > 64 || behind > 32 {
				t.Errorf("%d MB of log are held back with nothing to deliver, %d MB of it not acknowledged", most, behind)
			}
			execOn(t, app, "insert into sale values (1)")
			event := <-held
			for range 3 {
				write()
				<-tick.C
			}
			if slot("confirmed_flush_lsn <= '"+event.String()+"'") != "true" {
				t.Errorf("the slot went to %s, past an event at %s that is not acknowledged", slot("confirmed_flush_lsn"), event)
			}
		})
	}
}
