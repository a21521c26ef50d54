package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Server is what the suite needs of a database that is a server.
type Server struct {
	// At gives url at another address, unencrypted.
	At func(t *testing.T, url, address string) string
	// Drop removes everything that the store keeps.
	Drop func(t *testing.T, url string)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testLocked: a lock that somebody holds fails a write after a while, and changes
// nothing.
func (b Backend) testLocked(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, "")
	tx, err := b.Raw(t, url).Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(b.Lock); err != nil {
		t.Fatal(err)
	}
	next := trigger.Record{Trigger: r.Trigger.Clone()}
	next.Trigger.Description = "changed"
	if err := s.UpdateTrigger(t.Context(), &next, 0); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while it is locked: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	same(t, get(t, s, r.Trigger.ID), r)
	if err := s.UpdateTrigger(t.Context(), &next, 0); err != nil {
		t.Errorf("once it is not: %v", err)
	}
}

func refused(t *testing.T, url, want string) {
	t.Helper()
	s, err := store.Open(t.Context(), url, discard())
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func (b Backend) testForeign(t *testing.T, url string) {
	if _, err := b.Raw(t, url).Exec(`CREATE TABLE cookies (id INTEGER)`); err != nil {
		t.Fatal(err)
	}
	refused(t, url, "of another program")
}

func (b Backend) testNewer(t *testing.T, url string) {
	s, err := store.Open(t.Context(), url, discard())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Raw(t, url).Exec(`INSERT INTO waltrigger_version (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	refused(t, url, "a newer waltrigger wrote it")
}

// testOpenTogether: instances that start at the same time make one schema.
func testOpenTogether(t *testing.T, url string) {
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			s, err := store.Open(t.Context(), url, discard())
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// testSeveral: writers of two processes see what the other one has committed.
func testSeveral(t *testing.T, url string) {
	stores := []*store.Store{open(t, url), open(t, url)}
	r := create(t, stores[0], `,"name":"a"`)
	taken := trigger.Record{Trigger: decode(t, `,"name":"a"`)}
	var conflict *trigger.ConflictError
	if err := stores[1].CreateTrigger(t.Context(), &taken); !errors.As(err, &conflict) {
		t.Errorf("the name of the other process's: %v", err)
	}
	won := make(chan int, 16)
	var g errgroup.Group
	for i := range 16 {
		g.Go(func() error {
			mine := trigger.Record{Trigger: r.Trigger.Clone()}
			mine.Trigger.Description = fmt.Sprint(i)
			err := stores[i%2].UpdateTrigger(t.Context(), &mine, 1)
			if errors.Is(err, trigger.ErrStale) {
				return nil
			}
			won <- i
			return err
		})
	}
	if err := g.Wait(); err != nil || len(won) != 1 {
		t.Errorf("%d of 16 writers of revision 1 won, %v", len(won), err)
	}
}

// testConnection: while the server cannot be reached every call says so, nothing is
// changed, and afterwards the same store goes on.
func (b Backend) testConnection(t *testing.T, url string) {
	line := newLine(t, url)
	s := open(t, b.Server.At(t, url, line.address))
	r := create(t, s, "")
	next := trigger.Record{Trigger: r.Trigger.Clone()}
	next.Trigger.Description = "changed"
	for range 3 {
		line.down()
		for what, err := range map[string]error{
			"update":   s.UpdateTrigger(t.Context(), &next, 0),
			"get":      second(s.Trigger(t.Context(), r.Trigger.ID)),
			"save":     s.SaveSource(t.Context(), "shop", source.State{Identity: "x"}),
			"writable": s.Writable(t.Context()),
		} {
			if what != "writable" && !errors.Is(err, store.ErrUnavailable) { // that may have been proven a moment ago
				t.Errorf("%s: %v", what, err)
			}
		}
		line.up()
		same(t, get(t, s, r.Trigger.ID), r)
		if err := s.SaveSource(t.Context(), "shop", source.State{Identity: "x"}); err != nil {
			t.Error(err)
		}
	}
}

// testCommit: when the answer to a commit is lost, the store does not say that nothing
// was changed.
func (b Backend) testCommit(t *testing.T, url string) {
	line := newLine(t, url)
	s := open(t, b.Server.At(t, url, line.address))
	r := create(t, s, "")
	r.Trigger.Description = "changed"
	line.cutAtCommit()
	if err := s.UpdateTrigger(t.Context(), &r, 0); !errors.Is(err, store.ErrInDoubt) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, r.Trigger.ID); got.Trigger.Description != "changed" {
		t.Error("the line was cut before the commit: nothing is proven")
	}
}

// testLate: what arrives on a connection that was given up sets no position back.
func (b Backend) testLate(t *testing.T, url string) {
	line := newLine(t, url)
	there, here := open(t, b.Server.At(t, url, line.address)), open(t, url)
	leases, err := here.Leases(t.Context(), []string{"shop"})
	if err != nil {
		t.Fatal(err)
	}
	if err := here.TakeLeases(t.Context(), "one", leases); err != nil {
		t.Fatal(err)
	}
	save := func(s *store.Store, position change.Position, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return s.Held("one").SaveSource(ctx, "shop", source.State{Identity: "x", Mark: change.Mark{End: position}})
	}
	if err := save(there, "0/1", time.Minute); err != nil { // the connection is there, and knows the statement
		t.Fatal(err)
	}
	line.late(time.Second)
	if err := save(there, "0/2", 300*time.Millisecond); err == nil {
		t.Fatal("it was not late")
	}
	if err := save(here, "0/3", time.Minute); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // by then it has arrived
	if st, _, err := here.LoadSource(t.Context(), "shop"); st.Mark.End != "0/3" || err != nil {
		t.Errorf("%+v is saved, %v", st, err)
	}
}

// testRemoved: what cannot be kept does not count as saved.
func (b Backend) testRemoved(t *testing.T, url string) {
	s := open(t, url)
	if err := s.Writable(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Server.Drop(t, url)
	if err := s.SaveSource(t.Context(), "shop", source.State{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a position was saved: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for s.Writable(t.Context()) == nil { // was proven a moment ago
		if time.Now().After(deadline) {
			t.Fatal("it counts as writable")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
