package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

const workTables = `
CREATE TABLE plain (id int PRIMARY KEY, n int, body text, note text);
CREATE TABLE whole (id int PRIMARY KEY, n int, body text, note text); ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE parts (id int PRIMARY KEY, n int, body text, note text) PARTITION BY RANGE (id);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (100); CREATE TABLE parts2 PARTITION OF parts DEFAULT;
CREATE TABLE small (id int PRIMARY KEY, n int, body text, note text);`

var workload = []sourcetest.WorkTable{{Name: "plain"}, {Name: "whole"}, {Name: "parts"}, {Name: "small", Truncate: true}}

type workConn struct{ *pgx.Conn }

func (c workConn) Exec(sql string) (int64, error) {
	tag, err := c.Conn.Exec(context.Background(), sql)
	return tag.RowsAffected(), err
}

// envelope is the body of a trigger without payload.
type envelope struct {
	ID, Operation         string
	Table                 struct{ Name string }
	Key, Instance, Before map[string]json.RawMessage
	Changed               *[]string
	Missing               []string
}

// replica takes the webhooks of a daemon and does what they say.
type replica struct {
	mu       sync.Mutex
	t        *testing.T
	seen     map[string]bool
	repeated int
	tables   sourcetest.Replica
	failed   error
}

func (r *replica) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	var e envelope
	if err := json.NewDecoder(q.Body).Decode(&e); err != nil {
		return // the daemon was killed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[e.ID] {
		r.repeated++
		return
	}
	r.seen[e.ID] = true
	if err := r.apply(&e); err != nil && r.failed == nil {
		r.failed = fmt.Errorf("%s: %w", e.ID, err)
	}
}

func (r *replica) apply(e *envelope) error {
	op := map[string]change.Op{"insert": change.Insert, "update": change.Update, "delete": change.Delete, "truncate": change.Truncate}[e.Operation]
	out := sourcetest.Event{Op: op, Table: e.Table.Name, Key: string(e.Key["id"]), Missing: e.Missing}
	if op == change.Insert || op == change.Update {
		out.After = values(r.t, e.Instance)
	}
	if old, ok := e.Before["id"]; ok && op == change.Update && string(old) != out.Key {
		out.OldKey = string(old)
	}
	if e.Table.Name == "whole" && e.Before != nil {
		out.Before = values(r.t, e.Before)
		var changed []string
		for name, v := range out.After {
			if out.Before[name] != v {
				changed = append(changed, name)
			}
		}
		if op == change.Update && (e.Changed == nil || !slices.Equal(slices.Sorted(slices.Values(changed)), slices.Sorted(slices.Values(*e.Changed)))) {
			return fmt.Errorf("changed is %v, want %v", e.Changed, changed)
		}
	}
	return r.tables.Apply(out)
}

func values(t *testing.T, row map[string]json.RawMessage) map[string]string {
	out := map[string]string{}
	for name, v := range row {
		out[name] = canonical(t, v)
	}
	return out
}

func canonical(t *testing.T, text []byte) string {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func (d *database) contents(table string) map[string]map[string]string {
	d.t.Helper()
	rows, err := d.Query(context.Background(), "SELECT to_jsonb(t)::text FROM "+table+" t")
	if err != nil {
		d.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, text := range list {
		var row map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			d.t.Fatal(err)
		}
		out[string(row["id"])] = values(d.t, row)
	}
	return out
}

// differs says how the replica differs from the database.
func (r *replica) differs(db *database) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed.Error()
	}
	for _, table := range workload {
		if diff := r.tables.Compare(table.Name, db.contents(table.Name)); diff != "" {
			return table.Name + ": " + diff
		}
	}
	return ""
}

// TestWorkload delivers the events of a random workload while the daemon is killed and
// restarted: who does what they say in the order of their arrival has what the database
// has. 20,000 changes; in the long form 1,000,000 for each of several seeds.
func TestWorkload(t *testing.T) {
	t.Parallel()
	changes, seeds := 20_000, []uint64{uint64(time.Now().UnixNano())}
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		changes, seeds = 1_000_000, []uint64{1, 2, 3}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testWorkload(t, seed, changes) })
	}
}

func testWorkload(t *testing.T, seed uint64, changes int) {
	db := newDatabase(t)
	db.exec(workTables)
	r := &replica{t: t, seen: map[string]bool{}, tables: sourcetest.Replica{}}
	hook := httptest.NewServer(r)
	defer hook.Close()
	p := startDaemon(t, db.url, loopback)
	var types []string
	for _, table := range workload {
		types = append(types, fmt.Sprintf(`{"app_label":"public","model_name":%q}`, table.Name))
	}
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"},{"signal":"post_delete"},{"signal":"truncate"}],"content_types":[%s],"webhooks":[{"url":%q}]}`, strings.Join(types, ","), hook.URL))
	w := &sourcetest.Workload{Seed: seed, Changes: changes, Tables: workload, Open: func() sourcetest.WorkConn { return workConn{db.connect()} }}
	done := make(chan struct{})
	go func() { defer close(done); w.Run() }()
	defer func() { w.Stop(); <-done }()
	events := func() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.seen) }
	for i := 1; i <= 4; i++ {
		waitLonger(t, "so many events", func() bool { return events() > i*changes/6 })
		if i%2 == 0 {
			p.stop()
			p.start()
		} else {
			p.kill()
			p.start()
		}
	}
	<-done
	diff := ""
	waitLonger(t, "the replica", func() bool {
		diff = r.differs(db)
		return diff == "" || r.failed != nil
	})
	if diff != "" {
		t.Errorf("seed %d: %s", seed, diff)
	}
	t.Logf("seed %d: %d events, and %d that came twice", seed, events(), r.repeated)
}

// waitLonger is waitFor for what takes minutes, in the long forms an hour.
func waitLonger(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		deadline = time.Now().Add(time.Hour)
	}
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s in time", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
