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
		Rendered: []sink.Header{{Name: "X-Name", Value: "{{ é \" }}"}}, ParkedAt: epoch.Add(time.Second), Origin: []byte("{\"op\":1}\xff"),
		Row: deliver.Row{Table: "public.myapp_sale", Key: []byte{255, byte(id), 0}},
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
			d.Message.Body, d.Event, d.Origin, d.Rendered = nil, d.Origin, nil, nil
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
	expect("of a destination", deliver.Filter{Destination: "d1", Limit: 3, After: deliver.Mark{ID: 10}}, 11, 13, 15)
	key := string(all[41].Row.Key)
	expect("of a row", deliver.Filter{Table: "public.myapp_sale", Key: &key}, 42)
	expect("of a row of another table", deliver.Filter{Table: "public.myapp_customer", Key: &key})
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
	gone.State, gone.NextAt, gone.Class = deliver.Dead, time.Time{}, "permanent"
	settle(&deliver.Changes{Back: []*deliver.Delivery{&back, &gone}, Done: []uint64{1, 5, 999}})
	got = list(deliver.Filter{IDs: []uint64{1, 3, 4, 5}})
	if len(got) != 2 || got[0].Attempts != 9 || !got[0].NextAt.Equal(back.NextAt) || string(got[0].Message.Body) != "new" || got[1].State != deliver.Dead || got[1].Class != "permanent" || len(got[1].Message.Body) == 0 {
		t.Errorf("put back: %+v", got)
	}
	gone.State, gone.Bare, gone.Attempts = deliver.Parked, true, 10
	bare := *all[6]
	bare.Bare, bare.Attempts, bare.Message.Body, bare.Rendered, bare.Origin = true, 10, nil, nil, nil
	settle(&deliver.Changes{Back: []*deliver.Delivery{&gone, &bare}}) // the dead stay dead
	if got = list(deliver.Filter{IDs: []uint64{4, 7}}); got[0].Bare || got[0].Attempts != 3 || len(got[0].Message.Body) == 0 || !got[1].Bare || got[1].Attempts != 10 || len(got[1].Message.Body) > 0 || got[1].Origin != nil {
		t.Errorf("put back without what they say: %+v", got)
	}
	var many []*deliver.Delivery
	for i := range uint64(150) { // in several statements
		d := *all[20+i]
		d.Fate = deliver.Fate{Attempts: int(i), Refusals: int(i) + 1, NextAt: epoch.Add(time.Duration(i) * time.Minute), FailedAt: epoch.Add(time.Duration(i) * time.Second), Class: fmt.Sprint(i), Code: "é", Error: fmt.Sprintf("'%d\\\"", i)}
		many = append(many, &d)
	}
	settle(&deliver.Changes{Back: append(many, many[3])}) // one of them was tried twice
	for i, d := range list(deliver.Filter{IDs: ids(many)}) {
		if !reflect.DeepEqual(d.Fate, many[i].Fate) || len(d.Message.Body) == 0 {
			t.Errorf("put back %d as %+v, want %+v", d.ID, d.Fate, many[i].Fate)
		}
	}
	settle(&deliver.Changes{Back: all[20:170]})
	loaded, err := s.Load(ctx, []uint64{3, 4, 7, 999})
	if err != nil || !reflect.DeepEqual(ids(loaded), []uint64{3, 7}) {
		t.Errorf("loaded %v, %v", ids(loaded), err)
	}
	bury := []deliver.Burial{{Destination: "d2", Class: "deleted", Why: "gone"}}
	settle(&deliver.Changes{Free: []string{"d1"}, Bury: bury})
	if size := all[7].Bytes(); bury[0].Bytes < 98*size || bury[0].Bytes > 100*size {
		t.Errorf("%d bytes buried", bury[0].Bytes)
	}
	if p, err := s.Places(ctx, "d1", 0, 1); err != nil || len(p) != 1 || p[0].Refusals != 0 || !p[0].NextAt.IsZero() {
		t.Errorf("freed: %+v, %v", p, err)
	}
	if p, err := s.Places(ctx, "d2", 0, 1); err != nil || len(p) != 0 {
		t.Errorf("buried: %+v, %v", p, err)
	}
	expect("dead", deliver.Filter{States: []deliver.State{deliver.Dead}, Limit: 2, After: deliver.Mark{ID: 4}}, 6, 8)
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
		if i >= 6 {
			d.State = deliver.Dead
		}
		all = append(all, d)
	}
	if err := s.Settle(ctx, &deliver.Changes{Park: all}); err != nil {
		t.Fatal(err)
	}
	amend := func(r deliver.Request, want deliver.Outcome) {
		t.Helper()
		r.Now = epoch
		got, err := s.Amend(ctx, &r)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("amended %+v, %v; want %+v", got, err, want)
		}
	}
	size := all[0].Bytes()
	dead := []deliver.State{deliver.Dead}
	amend(deliver.Request{Filter: deliver.Filter{States: dead, Limit: 3}, From: epoch, Every: time.Minute}, deliver.Outcome{Picked: 3, Changed: 3, Last: deliver.Mark{ID: 9, At: epoch}, Amended: []deliver.Amended{
		{Destination: "d1", Parked: 5, Bytes: [3]int64{2 * size, -2 * size, 0}}, {Destination: "d2", Parked: 4, Bytes: [3]int64{size, -size, 0}},
	}})
	if ds, err := s.List(ctx, &deliver.Filter{IDs: []uint64{7, 8, 9, 10}}); err != nil || ds[0].State != deliver.Parked || !ds[1].NextAt.Equal(epoch.Add(time.Minute)) || ds[2].Refusals != 0 || ds[3].State != deliver.Dead {
		t.Errorf("retried: %+v, %v", ds, err)
	}
	amend(deliver.Request{Filter: deliver.Filter{States: dead}, Known: func(id string) bool { return id != "d2" }}, deliver.Outcome{Picked: 1, Homeless: 1, Last: deliver.Mark{ID: 10, At: epoch}})
	amend(deliver.Request{Filter: deliver.Filter{IDs: []uint64{2, 10}}, Do: deliver.Skip}, deliver.Outcome{Picked: 2, Changed: 1, Last: deliver.Mark{ID: 10, At: epoch}, Amended: []deliver.Amended{
		{Destination: "d2", Left: []uint64{2}, Parked: 3, Bytes: [3]int64{-size, size, 0}},
	}})
	if ds, err := s.List(ctx, &deliver.Filter{IDs: []uint64{2, 10}}); err != nil || ds[0].State != deliver.Dead || ds[0].Class != "skipped" || ds[0].Bare || ds[1].Class != "rejected" {
		t.Errorf("skipped: %+v, %v", ds, err)
	}
	amend(deliver.Request{Filter: deliver.Filter{Destination: "d1"}, Do: deliver.Erase}, deliver.Outcome{Picked: 5, Changed: 5, Last: deliver.Mark{ID: 9, At: epoch}, Amended: []deliver.Amended{
		{Destination: "d1", Left: []uint64{1, 3, 5, 7, 9}, Bytes: [3]int64{-5 * size, 0, 0}},
	}})
	amend(deliver.Request{Filter: deliver.Filter{Destination: "d1"}}, deliver.Outcome{})
	if ds, err := s.List(ctx, &deliver.Filter{}); err != nil || len(ds) != 5 {
		t.Errorf("%d are left, %v", len(ds), err)
	}
	// Rendered anew, skipped without a trace of what it said, and then not to be retried.
	amend(deliver.Request{Filter: deliver.Filter{IDs: []uint64{4}}, Anew: true}, deliver.Outcome{Picked: 1, Changed: 1, Last: deliver.Mark{ID: 4, At: epoch}, Amended: []deliver.Amended{{Destination: "d2", Parked: 3}}})
	if ds, err := s.Load(ctx, []uint64{4}); err != nil || string(ds[0].Event) != string(all[3].Origin) || ds[0].Origin != nil {
		t.Errorf("to be rendered anew: %+v, %v", ds, err)
	}
	amend(deliver.Request{Filter: deliver.Filter{IDs: []uint64{4}}, Do: deliver.Skip, Strip: true}, deliver.Outcome{Picked: 1, Changed: 1, Last: deliver.Mark{ID: 4, At: epoch}, Amended: []deliver.Amended{
		{Destination: "d2", Left: []uint64{4}, Parked: 2, Bytes: [3]int64{-size, size, 0}},
	}})
	if ds, err := s.List(ctx, &deliver.Filter{IDs: []uint64{4}}); err != nil || !ds[0].Bare || len(ds[0].Message.Body)+len(ds[0].Event)+len(ds[0].Origin)+len(ds[0].Rendered) > 0 {
		t.Errorf("stripped: %+v, %v", ds, err)
	}
	amend(deliver.Request{Filter: deliver.Filter{IDs: []uint64{4}}}, deliver.Outcome{Picked: 1, Bare: 1, Last: deliver.Mark{ID: 4, At: epoch}})
	// 2, 4 and 10 are dead, of other times.
	if n, err := s.Size(ctx, deliver.Dead); err != nil || n != 3*size {
		t.Errorf("%d bytes are dead, %v; want %d", n, err, 3*size)
	}
	if n, err := s.Count(ctx, deliver.Dead, []string{"d1", "d2"}); err != nil || n["d1"] != 0 || n["d2"] != 3 {
		t.Errorf("%v are dead, %v", n, err)
	}
	if got, err := s.Expire(ctx, deliver.Dead, epoch.Add(30*time.Second), 0); err != nil || got != (deliver.Expired{Deliveries: 2, Bytes: 2 * size}) {
		t.Errorf("%+v expired, %v; want those that died before", got, err)
	}
	if got, err := s.Expire(ctx, deliver.Dead, time.Time{}, 1); err != nil || got.Deliveries != 1 {
		t.Errorf("%+v expired, %v; want the one that is too much", got, err)
	}
}

func testHistory(t *testing.T, url string) {
	s := open(t, url)
	ctx := t.Context()
	if _, kept, err := s.HistorySince(ctx); kept || err != nil {
		t.Errorf("a history is kept: %v, %v", kept, err)
	}
	began := time.Now().Add(-time.Second)
	for range 2 {
		if err := s.KeepHistory(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	if since, kept, err := s.HistorySince(ctx); !kept || err != nil || since.Before(began) || since.After(time.Now().Add(time.Second)) {
		t.Errorf("kept since %v: %v, %v", since, kept, err)
	}
	var all []*deliver.Delivery
	for i := range uint64(6) {
		d := parked(i+1, "d1")
		d.Message.Committed = time.Now().UTC().Truncate(time.Second).Add(time.Duration(100+i/2) * time.Minute)
		if i != 5 {
			d.State, d.SentAt = deliver.Sent, epoch.Add(time.Duration(i)*time.Hour)
		}
		all = append(all, d)
	}
	if err := s.Settle(ctx, &deliver.Changes{Park: all}); err != nil {
		t.Fatal(err)
	}
	all[5].State, all[5].SentAt = deliver.Sent, epoch.Add(5*time.Hour)
	all[5].Bare, all[5].Message.Body = true, nil
	if err := s.Settle(ctx, &deliver.Changes{Back: all[5:]}); err != nil {
		t.Fatal(err)
	}
	sent := []deliver.State{deliver.Sent}
	list := func(f deliver.Filter, want ...uint64) []*deliver.Delivery {
		t.Helper()
		f.States = sent
		ds, err := s.List(ctx, &f)
		if got := ids(ds); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %v, %v; want %v", f, got, err, want)
		}
		return ds
	}
	if ds := list(deliver.Filter{IDs: []uint64{6}}, 6); !ds[0].Bare || ds[0].State != deliver.Sent || !ds[0].SentAt.Equal(all[5].SentAt) || len(ds[0].Message.Body) > 0 {
		t.Errorf("kept as %+v", ds[0])
	}
	third := all[2].Message.Committed
	list(deliver.Filter{Trigger: 7, ByTime: true, Newest: true, Limit: 3}, 6, 5, 4)
	list(deliver.Filter{Trigger: 7, ByTime: true, Newest: true, After: deliver.Mark{ID: 4, At: third}}, 3, 2, 1)
	list(deliver.Filter{Trigger: 7, ByTime: true, From: third, To: third.Add(time.Minute)}, 3, 4)
	list(deliver.Filter{Trigger: 7, ByTime: true, From: third, After: deliver.Mark{ID: 3, At: third}}, 4, 5, 6)
	list(deliver.Filter{Newest: true, After: deliver.Mark{ID: 3}}, 2, 1)
	if ds, err := s.List(ctx, &deliver.Filter{}); err != nil || len(ds) != 0 {
		t.Errorf("%v are parked or dead, %v", ids(ds), err)
	}

	out, err := s.Amend(ctx, &deliver.Request{Filter: deliver.Filter{Trigger: 7, States: sent, ByTime: true, From: third, Limit: 10}, Now: epoch, From: epoch.Add(time.Hour)})
	if err != nil || out.Changed != 3 || out.Bare != 1 || out.Last != (deliver.Mark{ID: 6, At: all[5].Message.Committed}) {
		t.Errorf("replayed: %+v, %v", out, err)
	}
	if ds, err := s.Load(ctx, []uint64{1, 3, 4, 5, 6}); err != nil || !reflect.DeepEqual(ids(ds), []uint64{3, 4, 5}) || !ds[0].NextAt.Equal(epoch.Add(time.Hour)) || !ds[0].ParkedAt.Equal(epoch) || !ds[0].SentAt.IsZero() || len(ds[0].Message.Body) == 0 {
		t.Errorf("to be sent once more: %+v, %v", ds, err)
	}

	if got, err := s.Expire(ctx, deliver.Sent, epoch.Add(time.Hour), 0); err != nil || got.Deliveries != 1 {
		t.Errorf("%+v expired, %v; want the first", got, err)
	}
	if since, _, err := s.HistorySince(ctx); err != nil || !since.After(all[0].Message.Committed) || since.After(third) {
		t.Errorf("kept since %v, %v; want behind %v", since, err, all[0].Message.Committed)
	}
	if err := s.KeepHistory(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, kept, err := s.HistorySince(ctx); kept || err != nil {
		t.Errorf("still kept: %v, %v", kept, err)
	}
}
