package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

// parked makes a delivery with something in every field that is kept.
func parked(id uint64, destination string) *deliver.Delivery {
	return &deliver.Delivery{
		ID: id, Destination: destination, Trigger: 7, Source: "shop", NLane: 2, Lanes: [2]uint64{1<<63 + id, id}, Table: 1 << 63, Barrier: id%2 == 0,
		Message: sink.Message{
			ID: fmt.Sprintf("shop_0-1_%d_post_save_%s", id, destination), Key: []byte{0, 255, byte(id)}, Body: []byte("{\"name\":\"O'Brien\"}\x00\xff"),
			ContentType: "application/json", Signal: "post_save", Model: "myapp.Sale", Committed: epoch,
		},
		Rendered: []sink.Header{{Name: "X-Name", Value: "{{ é \" }}"}}, ParkedAt: epoch.Add(time.Second),
		Fate: deliver.Fate{
			Attempts: 3, Refusals: 2, NextAt: epoch.Add(time.Hour), FailedAt: epoch.Add(time.Minute), Class: "rejected", Code: "http_400", Error: "400",
			Tries: []deliver.Try{{At: epoch, Class: "rejected", Code: "http_400", Error: "400 \"é\""}},
		},
	}
}

func ids(ds []*deliver.Delivery) (out []uint64) {
	for _, d := range ds {
		out = append(out, d.ID)
	}
	return out
}

func testDeliveries(t *testing.T, url string) {
	s := open(t, url)
	ctx := t.Context()
	settle := func(c *deliver.Changes) {
		t.Helper()
		if err := s.Settle(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	list := func(f deliver.Filter) []*deliver.Delivery {
		t.Helper()
		ds, err := s.List(ctx, &f)
		if err != nil {
			t.Fatal(err)
		}
		return ds
	}
	expect := func(what string, f deliver.Filter, want ...uint64) {
		t.Helper()
		if got := ids(list(f)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	var all []*deliver.Delivery
	for i := range uint64(200) {
		d := parked(i+1, []string{"d1", "d2"}[i%2])
		if i == 5 {
			d.Message.Body, d.Event, d.Rendered = nil, []byte("{\"op\":1}\xff"), nil
		}
		all = append(all, d)
	}
	settle(&deliver.Changes{Park: all})
	settle(&deliver.Changes{Park: all[:70]}) // again, as after a commit in doubt
	got := list(deliver.Filter{})
	for i, d := range got {
		want := *all[i]
		if len(d.Message.Body) == 0 { // nil on some databases
			d.Message.Body = nil
		}
		if !reflect.DeepEqual(*d, want) {
			t.Fatalf("delivery %d came back as\n%+v, want\n%+v", want.ID, *d, want)
		}
	}
	expect("of a destination", deliver.Filter{Destination: "d1", Limit: 3, After: 10}, 11, 13, 15)
	key := string(all[41].Message.Key)
	expect("of a key", deliver.Filter{Key: &key}, 42)
	expect("of several things", deliver.Filter{Trigger: 7, Source: "shop", Class: "rejected", Code: "http_400", IDs: []uint64{3, 2, 500}}, 2, 3)
	expect("of no id", deliver.Filter{IDs: []uint64{}})
	expect("of another trigger", deliver.Filter{Trigger: 8})
	if brief := list(deliver.Filter{Limit: 1, Brief: true}); len(brief) != 1 || len(brief[0].Message.Body) > 0 || brief[0].Error != "400" {
		t.Errorf("brief: %+v", brief[0])
	}
	sums, err := s.Summary(ctx)
	if err != nil || len(sums) != 2 || sums[1].Destination != "d2" || sums[1].Deliveries != 100 || sums[1].LastID != 200 || !sums[1].Oldest.Equal(epoch) || sums[1].Bytes < 100*all[0].Bytes()/2 {
		t.Errorf("summary: %+v, %v", sums, err)
	}
	places, err := s.Places(ctx, "d1", 5, 2)
	want := deliver.Place{ID: 7, Source: "shop", Lanes: all[6].Lanes, NLane: 2, Table: 1 << 63, Refusals: 2, NextAt: epoch.Add(time.Hour)}
	if err != nil || len(places) != 2 || places[0] != want || places[1].ID != 9 {
		t.Errorf("places: %+v, %v; want first %+v", places, err, want)
	}

	back, gone := *all[2], *all[3]
	back.Attempts, back.Refusals, back.NextAt, back.Mended, back.Message.Body = 9, 4, epoch.Add(2*time.Hour), true, []byte("new")
	gone.Dead, gone.NextAt, gone.Class = true, time.Time{}, "permanent"
	settle(&deliver.Changes{Back: []*deliver.Delivery{&back, &gone}, Done: []uint64{1, 5, 999}})
	got = list(deliver.Filter{IDs: []uint64{1, 3, 4, 5}})
	if len(got) != 2 || got[0].Attempts != 9 || !got[0].NextAt.Equal(back.NextAt) || string(got[0].Message.Body) != "new" || !got[1].Dead || got[1].Class != "permanent" || len(got[1].Message.Body) == 0 {
		t.Errorf("put back: %+v", got)
	}
	gone.Dead = false
	settle(&deliver.Changes{Back: []*deliver.Delivery{&gone}}) // the dead stay dead
	loaded, err := s.Load(ctx, []uint64{3, 4, 7, 999})
	if err != nil || !reflect.DeepEqual(ids(loaded), []uint64{3, 7}) {
		t.Errorf("loaded %v, %v", ids(loaded), err)
	}
	settle(&deliver.Changes{Free: []string{"d1"}, Bury: []deliver.Burial{{Destination: "d2", Class: "deleted", Why: "gone"}}})
	if p, err := s.Places(ctx, "d1", 0, 1); err != nil || len(p) != 1 || p[0].Refusals != 0 || !p[0].NextAt.IsZero() {
		t.Errorf("freed: %+v, %v", p, err)
	}
	if p, err := s.Places(ctx, "d2", 0, 1); err != nil || len(p) != 0 {
		t.Errorf("buried: %+v, %v", p, err)
	}
	dead := true
	expect("dead", deliver.Filter{Dead: &dead, Limit: 2, After: 4}, 6, 8)
	if d := list(deliver.Filter{IDs: []uint64{4, 6}}); d[0].Class != "permanent" || d[1].Class != "deleted" || d[1].Error != "gone" {
		t.Errorf("buried: %+v", d)
	}
}

func testAmendments(t *testing.T, url string) {
	s := open(t, url)
	ctx := t.Context()
	var all []*deliver.Delivery
	for i := range uint64(10) {
		d := parked(i+1, []string{"d1", "d2"}[i%2])
		d.Dead = i >= 6
		all = append(all, d)
	}
	if err := s.Settle(ctx, &deliver.Changes{Park: all}); err != nil {
		t.Fatal(err)
	}
	amend := func(f deliver.Filter, a deliver.Amendment, every time.Duration, want ...deliver.Amended) {
		t.Helper()
		got, err := s.Amend(ctx, &f, a, epoch, every)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("amended %+v, %v; want %+v", got, err, want)
		}
	}
	size := all[0].Bytes()
	dead := true
	amend(deliver.Filter{Dead: &dead, Limit: 3}, deliver.Retry, time.Minute, deliver.Amended{Destination: "d1", Deliveries: 2, Parked: 5, Bytes: 2 * size}, deliver.Amended{Destination: "d2", Deliveries: 1, Parked: 4, Bytes: size})
	if ds, err := s.List(ctx, &deliver.Filter{IDs: []uint64{7, 8, 9, 10}}); err != nil || ds[0].Dead || !ds[1].NextAt.Equal(epoch.Add(time.Minute)) || ds[2].Refusals != 0 || !ds[3].Dead {
		t.Errorf("retried: %+v, %v", ds, err)
	}
	amend(deliver.Filter{IDs: []uint64{2, 10}}, deliver.Skip, 0, deliver.Amended{Destination: "d2", Deliveries: 2, Parked: 3, Bytes: -size})
	if ds, err := s.List(ctx, &deliver.Filter{IDs: []uint64{2, 10}}); err != nil || !ds[0].Dead || ds[0].Class != "skipped" || ds[1].Class != "rejected" {
		t.Errorf("skipped: %+v, %v", ds, err)
	}
	amend(deliver.Filter{Destination: "d1"}, deliver.Erase, 0, deliver.Amended{Destination: "d1", Deliveries: 5, Bytes: -5 * size})
	amend(deliver.Filter{Destination: "d1"}, deliver.Retry, 0)
	if ds, err := s.List(ctx, &deliver.Filter{}); err != nil || len(ds) != 5 {
		t.Errorf("%d are left, %v", len(ds), err)
	}
	// 2 and 10 are dead, of other times.
	if n, err := s.Expire(ctx, epoch.Add(30*time.Second), 0); err != nil || n != 1 {
		t.Errorf("%d expired, %v; want the one that died before", n, err)
	}
	if n, err := s.Expire(ctx, time.Time{}, size/2); err != nil || n != 1 {
		t.Errorf("%d expired, %v; want the one that is too much", n, err)
	}
}
