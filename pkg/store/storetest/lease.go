package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func testVersions(t *testing.T, url string) {
	s := open(t, url)
	last := int64(-1)
	grows := func(what string, want bool) {
		t.Helper()
		v, err := s.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if (v > last) != want {
			t.Errorf("%s: version %d after %d", what, v, last)
		}
		last = v
	}
	grows("at first", true)
	r := create(t, s, "")
	grows("create", true)
	if err := s.UpdateTrigger(t.Context(), &r, 0); err != nil {
		t.Fatal(err)
	}
	grows("update", true)
	if err := s.UpdateActivations(t.Context(), r.Trigger.ID, 0, none); err != nil {
		t.Fatal(err)
	}
	grows("activations", true)
	if err := s.SaveSource(t.Context(), "shop", source.State{Identity: "x"}); err != nil {
		t.Fatal(err)
	}
	grows("a position", false)
	if err := s.UpdateTrigger(t.Context(), &r, 99); !errors.Is(err, trigger.ErrStale) {
		t.Fatal(err)
	}
	grows("a refused update", false)
	if err := s.DeleteTrigger(t.Context(), r.Trigger.ID, 0); err != nil {
		t.Fatal(err)
	}
	grows("delete", true)
}

// leases gives those of a and b, after making sure that there are no others.
func leases(t *testing.T, s *store.Store) (a, b store.Lease) {
	t.Helper()
	ls, err := s.Leases(t.Context(), []string{"b", "a"})
	if err != nil || len(ls) != 2 || ls[0].Source != "a" || ls[1].Source != "b" {
		t.Fatalf("got %+v, %v", ls, err)
	}
	return ls[0], ls[1]
}

func testLeases(t *testing.T, url string) {
	s := open(t, url)
	if err := s.SaveSource(t.Context(), "b", source.State{Identity: "x", Mark: change.Mark{End: "0/7"}}); err != nil {
		t.Fatal(err)
	}
	a, b := leases(t, s)
	if a != (store.Lease{Source: "a"}) || b != (store.Lease{Source: "b", End: "0/7"}) {
		t.Errorf("at first %+v %+v", a, b)
	}
	if _, known, err := s.LoadSource(t.Context(), "a"); known || err != nil {
		t.Errorf("a lease makes the source known: %v", err)
	}
	must := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	must("take", s.TakeLeases(t.Context(), "one", []store.Lease{a, b}), nil)
	must("take what was taken", s.TakeLeases(t.Context(), "two", []store.Lease{a, b}), store.ErrTaken)
	a1, b1 := leases(t, s)
	if a1.Holder != "one" || b1.Holder != "one" || a1.Epoch != a.Epoch+1 || b1.End != "0/7" {
		t.Errorf("taken %+v %+v", a1, b1)
	}
	must("renew", s.RenewLeases(t.Context(), "one", 2, 42), nil)
	must("renew for another", s.RenewLeases(t.Context(), "two", 2, 42), store.ErrTaken)
	a2, b2 := leases(t, s)
	if a2.Beat <= a1.Beat || a2.Applied != 42 || a2.Epoch != a1.Epoch {
		t.Errorf("renewed %+v after %+v", a2, a1)
	}
	must("take, one is not as it was", s.TakeLeases(t.Context(), "two", []store.Lease{a2, b1}), store.ErrTaken)
	if a, b := leases(t, s); a != a2 || b != b2 {
		t.Errorf("one of two was taken: %+v %+v", a, b)
	}
	save := func(holder, position string) error {
		return s.Held(holder).SaveSource(t.Context(), "a", source.State{Identity: "x", Mark: change.Mark{End: change.Position(position)}})
	}
	must("save", save("one", "0/1"), nil)
	must("save the same again", save("one", "0/1"), nil)
	must("take over", s.TakeLeases(t.Context(), "two", []store.Lease{a2}), nil)
	must("save after it", save("one", "0/2"), store.ErrTaken)
	must("renew after it", s.RenewLeases(t.Context(), "one", 2, 43), store.ErrTaken)
	a3, b3 := leases(t, s)
	if a3.End != "0/1" || a3.Applied != 0 || a3.Epoch != a2.Epoch+1 {
		t.Errorf("after it %+v %+v", a3, b3)
	}
	must("save by the next", save("two", "0/3"), nil)
	park := func(holder string, id uint64) error {
		return s.Held(holder).Settle(t.Context(), &deliver.Changes{Park: []*deliver.Delivery{parked(id, "d")}})
	}
	must("park, holding one of two", park("one", 1), nil)
	must("park by nobody", park("three", 2), store.ErrTaken)
	must("park by the next", park("two", 3), nil)
	must("park where nobody else can be", park("", 4), nil)
	_, err := s.Held("three").Amend(t.Context(), &deliver.Request{Do: deliver.Erase, Now: epoch})
	must("erase by nobody", err, store.ErrTaken)
	if ds, err := s.List(t.Context(), &deliver.Filter{}); err != nil || !slices.Equal(ids(ds), []uint64{1, 3, 4}) {
		t.Errorf("parked %v, %v", ids(ds), err)
	}
	must("give back what another one has", s.ReleaseLeases(t.Context(), "one"), nil)
	a4, b4 := leases(t, s)
	if a4.Holder != "two" || b4.Holder != "" || b4.Beat == b3.Beat {
		t.Errorf("given back %+v %+v", a4, b4)
	}
	must("save after giving back", s.Held("one").SaveSource(t.Context(), "b", source.State{}), store.ErrTaken)
}

// testOneTaker: of many that see the same lease, one gets it.
func testOneTaker(t *testing.T, url string) {
	s := open(t, url)
	for range 5 {
		a, b := leases(t, s)
		var won atomic.Int32
		var g errgroup.Group
		for i := range 8 {
			g.Go(func() error {
				err := s.TakeLeases(t.Context(), fmt.Sprint(i), []store.Lease{a, b})
				if err == nil {
					won.Add(1)
				}
				if errors.Is(err, store.ErrTaken) {
					err = nil
				}
				return err
			})
		}
		if err := g.Wait(); err != nil || won.Load() != 1 {
			t.Errorf("%d of 8 took it, %v", won.Load(), err)
		}
	}
}
