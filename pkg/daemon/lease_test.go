package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
)

func TestMaySend(t *testing.T) {
	var alone *leader
	if !alone.maySend() {
		t.Error("where no other instance can be, sending waits")
	}
	l := &leader{began: time.Now()}
	if l.maySend() {
		t.Error("before it has a lease")
	}
	l.extend(time.Now())
	if !l.maySend() {
		t.Error("with a fresh lease")
	}
	wall := l.wall.Load()
	l.wall.Store(time.Now().UnixNano())
	if l.maySend() {
		t.Error("after the machine has slept: its clock stood still, the time of day went on")
	}
	l.wall.Store(wall + int64(24*time.Hour)) // the time of day was set back
	l.extend(time.Now().Add(-leaseTTL))
	l.wall.Store(wall + int64(24*time.Hour))
	if l.maySend() {
		t.Error("a lease that ran out holds because the time of day was set back")
	}
}

// TestBehind: whose word is waited for, and who is taken off.
func TestBehind(t *testing.T) {
	now := time.Now()
	l := &leader{name: "me/1", holder: "me/1#2", began: now, seen: map[string]sighting{}}
	l.extend(now)
	for name, c := range map[string]struct {
		lease store.Lease
		age   time.Duration
		want  string
	}{
		"nobody's":             {store.Lease{}, 0, "settled"},
		"of an earlier term":   {store.Lease{Holder: "me/1#1"}, 0, "over"},
		"mine":                 {store.Lease{Holder: "me/1#2"}, 0, "settled"},
		"another's, confirmed": {store.Lease{Holder: "you/1#1", Applied: 7}, 0, "settled"},
		"another's, older":     {store.Lease{Holder: "you/1#1", Applied: 6}, 0, "waits"},
		"another's, silent":    {store.Lease{Holder: "you/1#1", Applied: 6}, leaseTTL + time.Second, "over"},
	} {
		c.lease.Source = name
		l.seen[name] = sighting{c.lease, now.Add(-c.age)}
		waits, over := l.behind([]store.Lease{c.lease}, 7)
		got := "settled"
		switch {
		case waits:
			got = "waits"
		case len(over) > 0:
			got = "over"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	l.until.Store(0)
	if waits, _ := l.behind([]store.Lease{{Source: "mine", Holder: "me/1#2"}}, 7); !waits {
		t.Error("my own lease has run out: somebody else may be about to take it")
	}
}

// shared opens stores on one schema of the tests' PostgreSQL.
func shared(t *testing.T, n int) []*store.Store {
	t.Helper()
	server := os.Getenv("WALTRIGGER_TEST_POSTGRES")
	if server == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatal("WALTRIGGER_TEST_POSTGRES is not set")
		}
		t.Skip("WALTRIGGER_TEST_POSTGRES is not set")
	}
	schema := fmt.Sprintf("lease_%d_%d", os.Getpid(), time.Now().UnixNano())
	ctx := context.Background()
	t.Cleanup(func() {
		c, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	var out []*store.Store
	for range n {
		mark := "?"
		if strings.Contains(server, "?") {
			mark = "&"
		}
		s, err := store.Open(ctx, server+mark+"schema="+schema, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		out = append(out, s)
	}
	return out
}

func newTestLeader(s *store.Store) *leader {
	return newLeader(s, []string{"shop", "billing"}, slog.New(slog.DiscardHandler))
}

func acquire(t *testing.T, l *leader) *term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	term, err := l.acquire(ctx, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// TestTerms: one after the other is active, and each knows where the last one ended.
func TestTerms(t *testing.T) {
	t.Parallel()
	stores := shared(t, 2)
	one, two := newTestLeader(stores[0]), newTestLeader(stores[1])
	first := acquire(t, one)
	keep := stores[0].Held(first.holder)
	if err := keep.SaveSource(t.Context(), "shop", source.State{Identity: "x"}); err != nil {
		t.Error(err)
	}
	stood := make(chan struct{}, 100)
	taken := make(chan *term, 1)
	go func() {
		term, err := two.acquire(t.Context(), func() { stood <- struct{}{} })
		if err != nil {
			t.Error(err)
		}
		taken <- term
	}()
	for range int(2 * leaseTTL / leaseLook) { // longer than a lease lasts without a sign of life
		<-stood
	}
	if !one.maySend() || two.maySend() {
		t.Error("it did not stay the first one's")
	}
	if _, mine := two.of("shop"); mine {
		t.Error("both say that they are active")
	}
	first.stop()
	if one.maySend() {
		t.Error("it may send after it gave the lease back")
	}
	second := <-taken
	defer second.stop()
	if err := keep.SaveSource(t.Context(), "shop", source.State{Identity: "y"}); !errors.Is(err, store.ErrTaken) {
		t.Errorf("saved after it gave the lease back: %v", err)
	}
	if x, mine := two.of("billing"); !mine || x.Epoch != 2 {
		t.Errorf("epoch %d, mine %v", x.Epoch, mine)
	}
}

// TestSilentHolder: a holder that shows no life is waited for as long as its lease, and
// then loses it for good, be it to a call on a standby that needs its word.
func TestSilentHolder(t *testing.T) {
	t.Parallel()
	stores := shared(t, 2)
	leases, err := stores[0].Leases(t.Context(), []string{"billing", "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if err := stores[0].TakeLeases(t.Context(), "gone/1#1", leases); err != nil {
		t.Fatal(err)
	}
	l := newTestLeader(stores[1])
	began := time.Now()
	if err := l.settled(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < leaseTTL {
		t.Error("it was not waited for")
	}
	if err := stores[0].RenewLeases(t.Context(), "gone/1#1", 2, 0); !errors.Is(err, store.ErrTaken) {
		t.Errorf("it came back to life: %v", err)
	}
	term := acquire(t, l)
	defer term.stop()
	if err := l.settled(t.Context(), 1<<40); err != nil {
		t.Errorf("on the active instance: %v", err)
	}
}

// TestSuperseded: who loses one of its leases lets go of all.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	stores := shared(t, 2)
	l := newTestLeader(stores[0])
	term := acquire(t, l)
	defer term.stop()
	for taken := false; !taken; { // it beats in between
		leases, err := stores[1].Leases(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = stores[1].TakeLeases(t.Context(), "other/1#1", leases[:1])
		taken = err == nil
		if err != nil && !errors.Is(err, store.ErrTaken) {
			t.Fatal(err)
		}
	}
	select {
	case <-term.ctx.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it did not notice")
	}
	if !errors.Is(context.Cause(term.ctx), pipeline.ErrSuperseded) || l.maySend() {
		t.Errorf("cause %v, may send %v", context.Cause(term.ctx), l.maySend())
	}
}
