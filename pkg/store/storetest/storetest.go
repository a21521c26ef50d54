// Package storetest is what a Store must do on every database.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Backend is a database under test.
type Backend struct {
	// NewURL names a fresh, empty store.
	NewURL func(t *testing.T) string
	// Raw opens the store at url beside it.
	Raw func(t *testing.T, url string) *sql.DB
	// Lock is what keeps other writers out while its transaction is open.
	Lock string
	// Server is nil for a file of one process.
	Server *Server
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	type test struct {
		name string
		test func(t *testing.T, url string)
	}
	tests := []test{
		{"triggers", testTriggers},
		{"ids are never used again", testIDs},
		{"names are unique", testNames},
		{"destinations keep their ids", testDestinations},
		{"revisions", testRevisions},
		{"activations", testActivations},
		{"paused", testPaused},
		{"queries", testQueries},
		{"sources", testSources},
		{"looked at from beside", testSaved},
		{"notes", testNotes},
		{"gaps", testGaps},
		{"deliveries", testDeliveries},
		{"amendments", testAmendments},
		{"history", testHistory},
		{"calls", testCalls},
		{"audit", testAudit},
		{"backfills", testBackfills},
		{"survives reopening", testReopen},
		{"concurrent writers", testConcurrent},
		{"cancelled", testCancelled},
		{"writable", testWritable},
		{"versions", testVersions},
		{"leases", testLeases},
		{"one taker", testOneTaker},
		{"encryption", b.testEncryption},
		{"locked", b.testLocked},
		{"of another program", b.testForeign},
		{"of a newer version", b.testNewer},
	}
	if b.Server != nil {
		tests = append(tests, []test{
			{"opened by several at once", testOpenTogether},
			{"writers of several processes", testSeveral},
			{"connection lost", b.testConnection},
			{"connection lost in a commit", b.testCommit},
			{"late on a connection that was given up", b.testLate},
			{"removed while open", b.testRemoved},
		}...)
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, b.NewURL(t))
		})
	}
}

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// decode makes a trigger with more fields.
func decode(t *testing.T, fields string) *trigger.Trigger {
	t.Helper()
	tr, problems := trigger.Decode([]byte(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}]` + fields + `}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return tr
}

func create(t *testing.T, s *store.Store, fields string) trigger.Record {
	t.Helper()
	r := trigger.Record{Trigger: decode(t, fields)}
	if err := s.CreateTrigger(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, s *store.Store, id int64) trigger.Record {
	t.Helper()
	r, err := s.Trigger(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, got, want trigger.Record) {
	t.Helper()
	if string(got.Trigger.JSON()) != string(want.Trigger.JSON()) {
		t.Errorf("got  %s\nwant %s", got.Trigger.JSON(), want.Trigger.JSON())
	}
	if !got.Trigger.CreatedAt.Equal(want.Trigger.CreatedAt) || !got.Trigger.UpdatedAt.Equal(want.Trigger.UpdatedAt) || got.Revision != want.Revision {
		t.Errorf("got revision %d %v %v, want %d %v %v", got.Revision, got.Trigger.CreatedAt, got.Trigger.UpdatedAt,
			want.Revision, want.Trigger.CreatedAt, want.Trigger.UpdatedAt)
	}
	if got.Paused != want.Paused {
		t.Errorf("got paused %q, want %q", got.Paused, want.Paused)
	}
	if !reflect.DeepEqual(got.Warnings, want.Warnings) && len(got.Warnings)+len(want.Warnings) > 0 {
		t.Errorf("got warnings %q, want %q", got.Warnings, want.Warnings)
	}
	if !reflect.DeepEqual(got.Activations, want.Activations) {
		t.Errorf("got activations %+v\nwant %+v", got.Activations, want.Activations)
	}
}

func testTriggers(t *testing.T, url string) {
	s := open(t, url)
	r := trigger.Record{
		Trigger:  decode(t, `,"name":"é '; DROP TABLE triggers; --","webhooks":[{"url":"https://example.com","headers":{"B":"1","A":"\u0000"}}],"payload":{"z":1.50,"a":"<\ud83d\ude00>"}`),
		Warnings: []string{`with "quotes"`},
		Activations: []trigger.Activation{{
			ContentType: signal.ContentType{Source: "shop", AppLabel: "myapp", ModelName: "Sale"}, Signal: signal.PostSave,
			Schema: "public", Table: "myapp_sale", State: trigger.Active, Seq: math.MaxUint64, Position: "0/16B3748",
			Columns: []string{"id", `a "quoted", one`},
		}},
	}
	if err := s.CreateTrigger(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Trigger.ID < 1 || r.Revision != 1 || r.Trigger.CreatedAt.IsZero() || r.Trigger.Webhooks[0].ID == "" {
		t.Errorf("created %+v", r.Trigger)
	}
	same(t, get(t, s, r.Trigger.ID), r)
	byName, err := s.TriggerByName(t.Context(), r.Trigger.Name)
	if err != nil {
		t.Fatal(err)
	}
	same(t, byName, r)
	if err := s.DeleteTrigger(t.Context(), r.Trigger.ID, 0); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"get":    second(s.Trigger(t.Context(), r.Trigger.ID)),
		"name":   second(s.TriggerByName(t.Context(), r.Trigger.Name)),
		"update": s.UpdateTrigger(t.Context(), &r, 0),
		"delete": s.DeleteTrigger(t.Context(), r.Trigger.ID, 0),
		"acts":   s.UpdateActivations(t.Context(), r.Trigger.ID, 0, none),
	} {
		if !errors.Is(err, trigger.ErrNotFound) {
			t.Errorf("%s of a deleted trigger: %v", what, err)
		}
	}
}

func none([]trigger.Activation) []trigger.Activation { return nil }

func second[T any](_ T, err error) error { return err }

func testIDs(t *testing.T, url string) {
	s := open(t, url)
	a := create(t, s, `,"webhooks":[{"url":"u"}]`)
	if err := s.DeleteTrigger(t.Context(), a.Trigger.ID, 0); err != nil {
		t.Fatal(err)
	}
	b := create(t, s, `,"webhooks":[{"url":"u"}]`)
	if b.Trigger.ID == a.Trigger.ID || b.Trigger.Webhooks[0].ID == a.Trigger.Webhooks[0].ID {
		t.Errorf("ids used again: %d %s", b.Trigger.ID, b.Trigger.Webhooks[0].ID)
	}
}

func testNames(t *testing.T, url string) {
	s := open(t, url)
	a := create(t, s, `,"name":"a"`)
	b := create(t, s, `,"name":"b"`)
	create(t, s, "")
	create(t, s, "") // unnamed ones do not collide
	r := trigger.Record{Trigger: decode(t, `,"name":"a"`)}
	var conflict *trigger.ConflictError
	if err := s.CreateTrigger(t.Context(), &r); !errors.As(err, &conflict) || conflict.Pointer != "/name" {
		t.Errorf("create: %v", err)
	}
	rename := trigger.Record{Trigger: b.Trigger.Clone()}
	rename.Trigger.Name = "a"
	if err := s.UpdateTrigger(t.Context(), &rename, 0); !errors.As(err, &conflict) {
		t.Errorf("update: %v", err)
	}
	same(t, get(t, s, b.Trigger.ID), b)
	if err := s.UpdateTrigger(t.Context(), &a, 0); err != nil {
		t.Errorf("update keeping the name: %v", err)
	}
}

func testDestinations(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, `,"webhooks":[{"url":"u1"},{"id":"mine","url":"u2"}],"msg_broker_queues":[{"name":"k"}],"actions":[{"name":"f"}]`)
	seen := map[string]bool{}
	for _, id := range r.Trigger.DestinationIDs() {
		if *id == "" || seen[*id] {
			t.Errorf("id %q", *id)
		}
		seen[*id] = true
	}
	var conflict *trigger.ConflictError
	other := trigger.Record{Trigger: decode(t, `,"webhooks":[{"url":"x"},{"id":"mine","url":"u"}]`)}
	if err := s.CreateTrigger(t.Context(), &other); !errors.As(err, &conflict) || conflict.Pointer != "/webhooks/1/id" {
		t.Errorf("id of another trigger: %v", err)
	}
	if all, err := s.Triggers(t.Context(), trigger.Query{}); err != nil || len(all) != 1 {
		t.Errorf("a refused trigger left %d triggers (%v)", len(all), err)
	}
	keep := r.Trigger.Webhooks[0].ID
	r.Trigger.Webhooks = append(r.Trigger.Webhooks[:1], trigger.Webhook{URL: "u3"})
	if err := s.UpdateTrigger(t.Context(), &r, 0); err != nil {
		t.Fatal(err)
	}
	if r.Trigger.Webhooks[0].ID != keep || r.Trigger.Webhooks[1].ID == "" || r.Trigger.Webhooks[1].ID == "mine" {
		t.Errorf("webhooks %+v", r.Trigger.Webhooks)
	}
	if err := s.CreateTrigger(t.Context(), &other); err != nil {
		t.Errorf("an id that was given up: %v", err)
	}
}

func testRevisions(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, `,"payload":{"b":"<>","a":1}`)
	if err := s.UpdateTrigger(t.Context(), &r, 1); err != nil || r.Revision != 1 {
		t.Errorf("unchanged: revision %d, %v", r.Revision, err)
	}
	r.Trigger.Active = false
	if err := s.UpdateTrigger(t.Context(), &r, 1); err != nil || r.Revision != 2 {
		t.Errorf("changed: revision %d, %v", r.Revision, err)
	}
	same(t, get(t, s, r.Trigger.ID), r)
	if err := s.UpdateTrigger(t.Context(), &r, 1); !errors.Is(err, trigger.ErrStale) {
		t.Errorf("stale update: %v", err)
	}
	if err := s.DeleteTrigger(t.Context(), r.Trigger.ID, 1); !errors.Is(err, trigger.ErrStale) {
		t.Errorf("stale delete: %v", err)
	}
	if err := s.DeleteTrigger(t.Context(), r.Trigger.ID, 2); err != nil {
		t.Errorf("delete: %v", err)
	}
}

func testActivations(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, "")
	as := []trigger.Activation{
		{ContentType: signal.ContentType{AppLabel: "z", ModelName: "Y"}, Signal: signal.PreSave, State: trigger.Pending},
		{ContentType: signal.ContentType{AppLabel: "a", ModelName: "B"}, Signal: signal.Truncate, State: trigger.Activating, Blocker: "pid 7", Refused: true, Columns: []string{}},
	}
	err := s.UpdateActivations(t.Context(), r.Trigger.ID, r.Revision, func(was []trigger.Activation) []trigger.Activation { return append(was, as...) })
	if err != nil {
		t.Fatal(err)
	}
	r.Activations = as
	same(t, get(t, s, r.Trigger.ID), r)
	if err := s.UpdateActivations(t.Context(), r.Trigger.ID, r.Revision+1, none); !errors.Is(err, trigger.ErrStale) {
		t.Errorf("of another revision: %v", err)
	}
	same(t, get(t, s, r.Trigger.ID), r)
}

func testPaused(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, "")
	if r.Paused != "" {
		t.Errorf("created %s", r.Paused)
	}
	r.Paused, r.Activations = trigger.PausedKeep, []trigger.Activation{{ContentType: signal.ContentType{AppLabel: "a", ModelName: "B"}, Signal: signal.PreSave, State: trigger.Pending}}
	if err := s.PauseTrigger(t.Context(), &r, 1); err != nil || r.Revision != 2 {
		t.Fatalf("revision %d, %v", r.Revision, err)
	}
	same(t, get(t, s, r.Trigger.ID), r)
	edit := trigger.Record{Trigger: r.Trigger.Clone(), Activations: r.Activations}
	edit.Trigger.Description = "changed"
	if err := s.UpdateTrigger(t.Context(), &edit, 0); err != nil || edit.Paused != trigger.PausedKeep || edit.Revision != 3 {
		t.Errorf("an edit left %q at revision %d, %v", edit.Paused, edit.Revision, err)
	}
	same(t, get(t, s, r.Trigger.ID), edit)
	if err := s.PauseTrigger(t.Context(), &r, 2); !errors.Is(err, trigger.ErrStale) {
		t.Errorf("of another revision: %v", err)
	}
	r.Paused = ""
	if err := s.PauseTrigger(t.Context(), &r, 0); err != nil || get(t, s, r.Trigger.ID).Paused != "" {
		t.Errorf("resumed: %v", err)
	}
	r.Trigger.ID = 999
	if err := s.PauseTrigger(t.Context(), &r, 0); !errors.Is(err, trigger.ErrNotFound) {
		t.Errorf("of no trigger: %v", err)
	}
}

func testQueries(t *testing.T, url string) {
	s := open(t, url)
	for i := range 5 {
		r := trigger.Record{
			Trigger:     decode(t, fmt.Sprintf(`,"name":"t%d","active":%v`, i, i%2 == 0)),
			Activations: []trigger.Activation{{ContentType: signal.ContentType{ModelName: fmt.Sprint(i)}, State: trigger.Pending}},
		}
		if err := s.CreateTrigger(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	on := true
	for _, c := range []struct {
		q    trigger.Query
		want string
	}{
		{trigger.Query{}, "t0 t1 t2 t3 t4"},
		{trigger.Query{Limit: 2}, "t0 t1"},
		{trigger.Query{AfterID: 2, Limit: 2}, "t2 t3"},
		{trigger.Query{AfterID: 99}, ""},
		{trigger.Query{Active: &on}, "t0 t2 t4"},
		{trigger.Query{Active: &on, AfterID: 1, Limit: 1}, "t2"},
		{trigger.Query{Name: "t3"}, "t3"},
		{trigger.Query{ContentType: "MYAPP.sale", Signal: "post_save", Limit: 1}, "t0"},
		{trigger.Query{ContentType: "myapp.other"}, ""},
		{trigger.Query{Signal: "pre_save"}, ""},
		{trigger.Query{Source: "shop"}, ""},
		{trigger.Query{Mode: trigger.Live, Limit: 1}, "t0"},
		{trigger.Query{Mode: trigger.Shadow}, ""},
	} {
		rs, err := s.Triggers(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range rs {
			names = append(names, r.Trigger.Name)
			if len(r.Activations) != 1 || "t"+r.Activations[0].ContentType.ModelName != r.Trigger.Name {
				t.Errorf("%s has the activations %+v", r.Trigger.Name, r.Activations)
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
}

func testNotes(t *testing.T, url string) {
	s := open(t, url)
	want := func(src string, want map[string]string) {
		t.Helper()
		if got, err := s.LoadNotes(t.Context(), src); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", src, got, err, want)
		}
	}
	save := func(src string, changed map[string]string) {
		t.Helper()
		if err := s.SaveNotes(t.Context(), src, changed); err != nil {
			t.Error(err)
		}
	}
	want("shop", map[string]string{})
	long := strings.Repeat("x", 1<<20)
	save("shop", map[string]string{"a": "1", "A": "é'\"\\", "table " + strings.Repeat("n", 300): long})
	save("other", map[string]string{"a": "2"})
	save("shop", map[string]string{"a": "3", "none": ""})
	want("shop", map[string]string{"a": "3", "A": "é'\"\\", "table " + strings.Repeat("n", 300): long})
	save("shop", map[string]string{"a": "", "A": "", "table " + strings.Repeat("n", 300): "short"})
	want("shop", map[string]string{"table " + strings.Repeat("n", 300): "short"})
	if err := s.DropSource(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	want("shop", map[string]string{})
	want("other", map[string]string{"a": "2"})
}

func testGaps(t *testing.T, url string) {
	s := open(t, url)
	gaps := func(limit int) []store.Gap {
		t.Helper()
		got, err := s.Gaps(t.Context(), "shop", limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if since := time.Since(got[i].Noticed); since < 0 || since > time.Hour {
				t.Errorf("noticed %s ago", since)
			}
			got[i].Noticed = time.Time{}
		}
		return got
	}
	table := store.Gap{Source: "shop", Kind: store.GapTable, Table: source.TableName{Schema: "public", Name: "sale"}, Before: "0/5", Reason: "it was made anew"}
	skipped := store.Gap{Source: "shop", Kind: store.GapSkipped, After: "0/5", Before: "0/9", Reason: "é"}
	if err := s.AddGap(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	if err := s.AddGap(t.Context(), store.Gap{Source: "other", Kind: store.GapTable}); err != nil {
		t.Fatal(err)
	}
	st := source.State{Identity: "a/b", Mark: change.Mark{End: "0/9"}}
	if err := s.Held("").Skip(t.Context(), st, skipped); err != nil {
		t.Fatal(err)
	}
	if got := gaps(10); !reflect.DeepEqual(got, []store.Gap{skipped, table}) {
		t.Errorf("got %+v", got)
	}
	if got := gaps(1); !reflect.DeepEqual(got, []store.Gap{skipped}) {
		t.Errorf("got %+v", got)
	}
	if got, _, err := s.LoadSource(t.Context(), "shop"); got != st || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Held("somebody who holds nothing").Skip(t.Context(), source.State{}, skipped); !errors.Is(err, store.ErrTaken) || len(gaps(10)) != 2 {
		t.Errorf("got %v, %d gaps", err, len(gaps(10)))
	}
	if got, _, err := s.LoadSource(t.Context(), "shop"); got != st || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.DropSource(t.Context(), "shop"); err != nil || len(gaps(10)) != 0 {
		t.Errorf("%v, %d gaps stay", err, len(gaps(10)))
	}
}

func testSources(t *testing.T, url string) {
	s := open(t, url)
	if _, ok, err := s.LoadSource(t.Context(), "shop"); ok || err != nil {
		t.Errorf("never saved: %v %v", ok, err)
	}
	for _, want := range []source.State{
		{Identity: "a/b"},
		{Identity: "a/b", Mark: change.Mark{End: "0/1", Tx: "0/2", Done: math.MaxUint32}},
	} {
		if err := s.SaveSource(t.Context(), "shop", want); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := s.LoadSource(t.Context(), "shop"); got != want || !ok || err != nil {
			t.Errorf("got %+v %v %v, want %+v", got, ok, err, want)
		}
	}
	if err := s.DropSource(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.LoadSource(t.Context(), "shop"); ok || err != nil {
		t.Errorf("dropped: %v %v", ok, err)
	}
}

func testReopen(t *testing.T, url string) {
	s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := create(t, s, `,"name":"kept"`)
	if err := s.SaveSource(t.Context(), "shop", source.State{Identity: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, url)
	same(t, get(t, s, r.Trigger.ID), r)
	if st, ok, err := s.LoadSource(t.Context(), "shop"); !ok || err != nil || st.Identity != "x" {
		t.Errorf("source: %v %v %v", st, ok, err)
	}
}

func testConcurrent(t *testing.T, url string) {
	s := open(t, url)
	r := create(t, s, "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			mine := trigger.Record{Trigger: r.Trigger.Clone()}
			mine.Trigger.Description = fmt.Sprint(i)
			err := s.UpdateTrigger(t.Context(), &mine, 1)
			if err != nil && !errors.Is(err, trigger.ErrStale) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
			if err := s.SaveSource(t.Context(), fmt.Sprint(i), source.State{}); err != nil {
				t.Error(err)
			}
			if _, err := s.Triggers(t.Context(), trigger.Query{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 writers of revision 1 won", won)
	}
}

func testCancelled(t *testing.T, url string) {
	s := open(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := trigger.Record{Trigger: decode(t, "")}
	if err := s.CreateTrigger(ctx, &r); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	create(t, s, "") // nothing is left locked
}

func testWritable(t *testing.T, url string) {
	s := open(t, url)
	for range 2 {
		if err := s.Writable(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
