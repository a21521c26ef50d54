package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// pair is a primary and its standby, which keeps a copy of the slot.
type pair struct {
	primary, standby *ownServer
	board            switchboard
	cfg              Config
}

func newPair(t *testing.T, major int, args ...string) *pair {
	t.Helper()
	p := &pair{primary: newServer(t, major, nil, "-c", "wal_keep_size=64MB")}
	p.primary.start()
	execOn(t, p.primary.connect("postgres"), "select pg_create_physical_replication_slot('standby')")
	execOn(t, p.primary.connect("postgres"), "create table sale (id int primary key)")
	p.primary.run("stop")
	p.standby = newServer(t, major, p.primary, append(args, "-c", "primary_slot_name=standby", "-c", "hot_standby_feedback=on")...)
	p.standby.run("clone")
	p.primary.start()
	p.standby.start()
	p.board.point(p.primary)
	p.cfg = Config{Name: "shop", URL: p.primary.dsn, Slot: "shop", Publication: "shop"}
	return p
}

func (p *pair) source(t *testing.T) *Source {
	t.Helper()
	s, err := New(p.cfg, p.board.dial, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// synced waits until the standby has the slot, and all that the primary has written.
func (p *pair) synced(t *testing.T) {
	t.Helper()
	primary, standby := p.primary.connect("postgres"), p.standby.connect("postgres")
	within(t, 90*time.Second, "the slot on the standby", func() bool { // its worker looks every 30 s where little happens
		text1(t, primary, "select pg_log_standby_snapshot()::text")
		return text1(t, standby, "select (synced and not temporary)::text from pg_replication_slots where slot_name = 'shop' union all select 'false' limit 1") == "true"
	})
	p.caughtUp(t, primary, standby)
}

// caughtUp waits until the standby has all that the primary has written.
func (p *pair) caughtUp(t *testing.T, primary, standby *pgx.Conn) {
	t.Helper()
	execOn(t, primary, "select pg_logical_emit_message(true, 'test', '')") // its commit flushes what open transactions have written
	end := text1(t, primary, "select pg_current_wal_lsn()::text")
	eventually(t, "the standby", func() bool {
		return text1(t, standby, "select (pg_last_wal_replay_lsn() >= $1::pg_lsn)::text", end) == "true"
	})
}

// TestFailover: a standby that has received everything takes over, with the slot. Reading
// goes on; what it writes has positions of its timeline.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, major := range []int{17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, major, "-c", "sync_replication_slots=on")
			st := &memory{}
			r := startSource(t, p.source(t), st, "sale")
			execOn(t, p.primary.connect("postgres"), "insert into sale values (1)")
			first := r.row()
			if end := r.next().Tx.End; strings.Count(string(end), "-") > 0 || strings.Count(string(first.Tx.Position), "-") != 1 {
				t.Errorf("positions %s, %s on the first timeline", first.Tx.Position, end)
			} else {
				r.Ack(end)
			}
			p.synced(t)
			p.primary.run("stop") // sends all it has to the standby first
			execOn(t, p.standby.connect("postgres"), "select pg_promote()")
			p.board.point(p.standby)
			execOn(t, p.standby.connect("postgres"), "insert into sale values (2)")
			c := r.row()
			if c.After[0].Text != "2" || !strings.HasSuffix(string(c.Tx.Position), "-2") || c.Tx.Seq <= first.Tx.Seq {
				t.Errorf("got %s at %s", show(c, c.After), c.Tx.Position)
			}
			end := r.next().Tx.End
			if !strings.HasSuffix(string(end), "-2") {
				t.Errorf("ends at %s", end)
			}
			r.Ack(end)
			r.close()
			// From what was saved on either timeline.
			for _, mark := range []change.Position{first.Tx.End, end} {
				saved := source.State{Identity: st.last().Identity, Mark: change.Mark{End: mark}}
				s := p.source(t)
				got, err := s.Prepare(context.Background(), saved, func(source.State) error { return nil })
				if mark == end && (err != nil || got != saved) {
					t.Errorf("from %s: %+v, %v", mark, got, err)
				}
				if mark != end {
					wantHalt(t, err, source.ResyncRequired, "beyond")
				}
				_ = s.Close()
			}
			// A mark of a timeline that this server knows nothing of.
			s := p.source(t)
			_, err := s.Prepare(context.Background(), source.State{Identity: st.last().Identity, Mark: change.Mark{End: end + "3"}}, func(source.State) error { return nil })
			wantHalt(t, err, source.ResyncRequired, "does not continue timeline 23")
			_ = s.Close()
		})
	}
}

// TestRewound: a standby takes over that lacks what was read already. Reading goes back to
// where the logs part, says so, and what comes from there has other positions.
func TestRewound(t *testing.T) {
	t.Parallel()
	p := newPair(t, 17, "-c", "sync_replication_slots=on")
	st := &memory{}
	r := startSource(t, p.source(t), st, "sale")
	execOn(t, p.primary.connect("postgres"), "insert into sale values (1)")
	r.row()
	r.Ack(r.next().Tx.End)
	p.synced(t)
	p.standby.run("stop")
	execOn(t, p.primary.connect("postgres"), "insert into sale values (2)") // is lost by the database
	lost := r.row()
	if lost.After[0].Text != "2" {
		t.Fatalf("got %s", show(lost, lost.After))
	}
	end := r.next().Tx.End
	r.Ack(end)
	p.primary.run("kill")
	p.standby.start()
	execOn(t, p.standby.connect("postgres"), "select pg_promote()")
	p.board.point(p.standby)
	rewound := (*source.RewoundError)(nil)
	for r.done != nil {
		select {
		case b := <-r.out:
			for _, c := range b {
				if c.Op != change.Commit {
					t.Errorf("got %s", line(c))
				}
				end = c.Tx.End
			}
		case err := <-r.done:
			r.done = nil
			if !errors.As(err, &rewound) || rewound.From != end {
				t.Fatalf("Run ended with %v, want to be rewound from %s", err, end)
			}
		}
	}
	// As the daemon does: from what was saved, with the same source.
	m := &memory{}
	state, err := r.Prepare(context.Background(), source.State{Identity: st.last().Identity, Mark: change.Mark{End: end}}, m.save)
	if err != nil || state.Mark.End != rewound.To || len(m.states) != 1 || m.last().Rewound == nil || m.last().Rewound.From != end || m.last().Mark != state.Mark {
		t.Fatalf("goes back to %+v, saved %+v, %v", state, m.states, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, make(chan error, 1)
	go func() { r.done <- r.Run(ctx, state.Mark, r.out) }()
	execOn(t, p.standby.connect("postgres"), "insert into sale values (3)")
	c := r.row()
	if c.After[0].Text != "3" || !strings.HasSuffix(string(c.Tx.Position), "-2") {
		t.Errorf("got %s at %s", show(c, c.After), c.Tx.Position)
	}
	if acked := r.Status().Acked; acked >= lost.Tx.End {
		t.Errorf("%s is acknowledged before anything of the new timeline is done", acked)
	}
	r.Ack(r.next().Tx.End)
	// A mark inside a transaction that is gone.
	s := p.source(t)
	defer s.Close()
	m = &memory{}
	inside := change.Mark{End: rewound.To, Tx: lost.Tx.Position, Done: 1}
	if _, err := s.Prepare(context.Background(), source.State{Identity: st.last().Identity, Mark: inside}, m.save); err != nil || m.last().Mark != (change.Mark{End: rewound.To}) || m.last().Rewound == nil {
		t.Errorf("saved %+v, %v", m.states, err)
	}
}

// TestStandbySource tails a standby, and goes on when that becomes a primary.
func TestStandbySource(t *testing.T) {
	t.Parallel()
	for _, major := range []int{16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, major)
			primary := p.primary.connect("postgres")
			cfg := p.cfg
			cfg.URL = p.standby.dsn
			standby := p.standby.connect("postgres")
			caughtUp := func() { t.Helper(); p.caughtUp(t, primary, standby) }
			caughtUp()
			_, _, err := prepare(t, cfg, source.State{})
			wantHalt(t, err, source.Misconfigured, "read-only")
			execOn(t, primary, "create publication shop for table sale with (publish_via_partition_root = true)")
			caughtUp()
			stop := make(chan struct{})
			go func() { // the slot is not made before the primary tells of its transactions
				c := p.primary.connect("postgres")
				for {
					select {
					case <-stop:
						return
					case <-time.After(100 * time.Millisecond):
						_, _ = c.Exec(context.Background(), "select pg_log_standby_snapshot()")
					}
				}
			}()
			r := start(t, cfg, &memory{}, "sale")
			close(stop)
			open := p.primary.connect("postgres")
			execOn(t, open, "begin; insert into sale values (1)")
			caughtUp()
			blocked, done := make(chan string, 10), make(chan uint64, 1)
			go func() {
				seq, err := r.Barrier(context.Background(), names("sale"), func(text string) { blocked <- text })
				if err != nil {
					t.Error(err)
				}
				done <- seq
			}()
			select {
			case text := <-blocked:
				if !strings.Contains(text, "of the primary") {
					t.Errorf("blocker %q", text)
				}
			case <-done:
				t.Fatal("an open transaction is not waited for")
			}
			execOn(t, open, "commit")
			seq := <-done
			execOn(t, primary, "insert into sale values (2)")
			r.wantLines("insert sale none / none -> id=1")
			if c := r.row(); c.After[0].Text != "2" || c.Tx.Seq < seq {
				t.Errorf("got %s at %s", show(c, c.After), c.Tx.Position)
			}
			got, err := r.Rows(context.Background(), source.Query{Table: names("sale")[0], Columns: []string{"id"}, Keys: [][]string{{"2"}}})
			if err != nil || len(got.Rows) != 1 || got.Seq <= seq {
				t.Errorf("rows %+v, %v", got, err)
			}
			_, err = r.Publish(context.Background(), names("sale", "other"))
			if err != nil {
				t.Errorf("publish: %v", err) // other does not exist
			}
			caughtUp()
			p.primary.run("stop")
			execOn(t, standby, "select pg_promote()")
			r.suspect() // the watch looks at once
			eventually(t, "noticing", func() bool {
				select {
				case <-r.out: // a lone position
				default:
				}
				return r.Status().Reconnects > 0
			})
			execOn(t, standby, "insert into sale values (3)")
			if c := r.row(); c.After[0].Text != "3" || !strings.HasSuffix(string(c.Tx.Position), "-2") {
				t.Errorf("got %s at %s", show(c, c.After), c.Tx.Position)
			}
		})
	}
}

// TestStandbyTooOld: before version 16 a standby cannot be tailed.
func TestStandbyTooOld(t *testing.T) {
	t.Parallel()
	p := newPair(t, 15)
	cfg := p.cfg
	cfg.URL = p.standby.dsn
	_, _, err := prepare(t, cfg, source.State{})
	wantHalt(t, err, source.Misconfigured, "standby")
	// Nor does it have the slot when it takes over.
	st := &memory{}
	start(t, p.cfg, st, "sale").close()
	standby := p.standby.connect("postgres")
	p.caughtUp(t, p.primary.connect("postgres"), standby)
	p.primary.run("stop")
	execOn(t, standby, "select pg_promote()")
	_, _, err = prepare(t, cfg, st.last())
	wantHalt(t, err, source.ResyncRequired, "does not exist any more")
}
