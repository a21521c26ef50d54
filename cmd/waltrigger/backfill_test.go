package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// copyTrigger tells all that a copy of the table item needs.
const copyTrigger = `{"config_signals":[{"signal":"post_save"},{"signal":"post_delete"}],"content_types":[{"app_label":%q,"model_name":"item"}],"webhooks":[{"url":%q}],
	"payload":{"op":"{{ operation }}","id":"{{ instance.id }}","old":"{{ before.id|default:'' }}","v":"{{ instance.v }}","note":"{{ instance.note }}"}}`

// tableCopy is a receiver that keeps a copy of a table by what it is sent.
type tableCopy struct {
	*httptest.Server
	seed maphash.Seed

	mu     sync.Mutex
	rows   map[string]string // v and note, by id
	newest map[string]int    // v, by id
	seen   map[uint64]string // what was sent under an id
	reads  int
	again  int // reads that came before
	live   int
	stale  []string // came after what is newer
	failed error
}

func newTableCopy(t *testing.T) *tableCopy {
	c := &tableCopy{seed: maphash.MakeSeed(), rows: map[string]string{}, newest: map[string]int{}, seen: map[uint64]string{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP takes one event. Those that come again, after a crash, do again what they did.
func (c *tableCopy) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	var e struct{ Op, ID, Old, V, Note string }
	if err := json.NewDecoder(q.Body).Decode(&e); err != nil {
		return // the daemon was killed
	}
	id := maphash.String(c.seed, q.Header.Get("Webhook-Id"))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, twice := c.seen[id]
	c.seen[id] = e.Op
	v, err := strconv.Atoi(e.V)
	switch {
	case e.Op == "delete":
		delete(c.rows, e.ID)
		return
	case err != nil && c.failed == nil:
		c.failed = fmt.Errorf("%+v: %w", e, err)
	case v < c.newest[e.ID] && !twice && len(c.stale) < 10:
		c.stale = append(c.stale, fmt.Sprintf("%+v after %d", e, c.newest[e.ID]))
	}
	switch {
	case e.Op != "read":
		c.live++
	case twice:
		c.again++
	default:
		c.reads++
	}
	if e.Old != "" && e.Old != "None" && e.Old != e.ID {
		delete(c.rows, e.Old)
	}
	c.newest[e.ID] = max(v, c.newest[e.ID])
	c.rows[e.ID] = e.V + " " + e.Note
}

// differs says in what the copy is not what the table holds, "" if it is.
func (c *tableCopy) differs(table map[string]string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for id, row := range table {
		if got, ok := c.rows[id]; got != row {
			out = append(out, fmt.Sprintf("row %s is %.60q (%v), want %.60q", id, got, ok, row))
		}
	}
	for id := range c.rows {
		if _, ok := table[id]; !ok {
			out = append(out, fmt.Sprintf("row %s is none of the table's", id))
		}
	}
	if len(out) > 5 {
		out = append(out[:5], fmt.Sprintf("and %d more", len(out)-5))
	}
	return strings.Join(out, "\n")
}

// itemWriters change the table item, each the ids that are its own modulo their number. Of
// one id, v only grows.
type itemWriters struct {
	wg   sync.WaitGroup
	stop chan struct{}
	done [writers]int
}

const writers = 16

// itemStatement is what a writer does next, on ids below n of the one with the number w.
func itemStatement(w, n, v int) string {
	id := rand.IntN(n/writers)*writers + w
	switch rand.IntN(20) {
	case 0, 1:
		return fmt.Sprintf("INSERT INTO item (id, v, note) VALUES (%d, %d, 'new')", n+v*writers+w, v)
	case 2:
		return fmt.Sprintf("DELETE FROM item WHERE id = %d", id)
	case 3: // to another key, below or above
		return fmt.Sprintf("UPDATE item SET id = %d, v = %d WHERE id = %d", rand.IntN(n/writers)*writers+w+writers*n*rand.IntN(2), v, id)
	case 4:
		return fmt.Sprintf("UPDATE item SET note = 'changed %d', v = %d WHERE id = %d", v, v, id)
	}
	return fmt.Sprintf("UPDATE item SET v = %d WHERE id = %d", v, id)
}

// run starts the writers on tables of n rows, so many changes a second in all. An error is
// a key that is taken.
func (x *itemWriters) run(n, perSecond int, connect func() (exec func(sql string) error, end func())) {
	x.stop = make(chan struct{})
	for w := range x.done {
		exec, end := connect()
		x.wg.Go(func() {
			defer end()
			tick := time.NewTicker(time.Second * writers / time.Duration(perSecond))
			defer tick.Stop()
			for v := 1; ; v++ {
				select {
				case <-x.stop:
					return
				case <-tick.C:
				}
				if exec(itemStatement(w, n, v)) == nil {
					x.done[w]++
				}
			}
		})
	}
}

func (x *itemWriters) end() (changes int) {
	close(x.stop)
	x.wg.Wait()
	for _, n := range x.done {
		changes += n
	}
	return changes
}

// itemDatabase is a database with a table item.
type itemDatabase struct {
	url, schema string
	connect     func() (exec func(sql string) error, end func())
	rows        func() map[string]string
}

func newItems(t *testing.T, n int) itemDatabase {
	db := newDatabase(t)
	db.exec("CREATE TABLE item (id bigint PRIMARY KEY, v bigint NOT NULL, note text NOT NULL); ALTER TABLE item ALTER note SET STORAGE external")
	db.exec("INSERT INTO item SELECT i, 0, CASE WHEN i % 100 = 0 THEN repeat(md5(i::text), 80) ELSE md5(i::text) END FROM generate_series(0, $1::int - 1) i", n)
	db.exec("ANALYZE item")
	return itemDatabase{db.url, "public", func() (func(string) error, func()) {
		c := db.connect()
		// What is committed so is seen before the log can be read that far.
		if _, err := c.Exec(context.Background(), "SET synchronous_commit = off"); err != nil {
			t.Fatal(err)
		}
		return func(sql string) error { _, err := c.Exec(context.Background(), sql); return err }, func() { _ = c.Close(context.Background()) }
	}, func() map[string]string {
		rows, err := db.Query(context.Background(), "SELECT id::text, v || ' ' || note FROM item")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for rows.Next() {
			var id, row string
			if err := rows.Scan(&id, &row); err != nil {
				t.Fatal(err)
			}
			out[id] = row
		}
		return out
	}}
}

// newMySQLItems is newItems on MySQL or MariaDB.
func newMySQLItems(t *testing.T, db *mysqlDatabase, n int) itemDatabase {
	app := db.open(db.name)
	t.Cleanup(func() { _ = app.Close() })
	exec := func(q string) {
		if _, err := app.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE item (id bigint PRIMARY KEY, v bigint NOT NULL, note text NOT NULL)")
	exec("INSERT INTO item VALUES (0, 0, 'zero')")
	for have := 1; have < n; have *= 2 {
		exec(fmt.Sprintf("INSERT INTO item SELECT id + %d, 0, IF((id + %[1]d) %% 100 = 0, REPEAT(SHA2(id, 256), 40), SHA2(id, 256)) FROM item WHERE id < %d", have, min(have, n-have)))
	}
	exec("ANALYZE TABLE item")
	return itemDatabase{db.url, db.name, func() (func(string) error, func()) {
		c, err := app.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return func(sql string) error { _, err := c.ExecContext(context.Background(), sql); return err }, func() { _ = c.Close() }
	}, func() map[string]string {
		rows, err := app.Query("SELECT id, CONCAT(v, ' ', note) FROM item")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		out := map[string]string{}
		for rows.Next() {
			var id, row string
			if err := rows.Scan(&id, &row); err != nil {
				t.Fatal(err)
			}
			out[id] = row
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}}
}

// TestMySQLBackfill is TestBackfill on MySQL and MariaDB.
func TestMySQLBackfill(t *testing.T) {
	n, perSecond := 20_000, 500
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		n, perSecond = 1_000_000, 1100 // some ticks fall out
	}
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) { testBackfill(t, newMySQLItems(t, db, n), n, perSecond) })
}

// TestBackfill makes a copy of a table that is being written to, with a kill in the middle:
// 20,000 rows, in its long form 1,000,000 under 1,000 changes a second.
func TestBackfill(t *testing.T) {
	n, perSecond := 20_000, 500
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		n, perSecond = 1_000_000, 1100 // some ticks fall out
	}
	testBackfill(t, newItems(t, n), n, perSecond)
}

func testBackfill(t *testing.T, db itemDatabase, n, perSecond int) {
	hook := newTableCopy(t)
	p := startDaemon(t, db.url, loopback)
	id := p.create(fmt.Sprintf(copyTrigger, db.schema, hook.URL))["id"]
	var w itemWriters
	w.run(n, perSecond, db.connect)
	began := time.Now()
	status, job, header := p.call(http.MethodPost, fmt.Sprintf("/api/action-triggers/%v/backfill", id), "")
	if status != http.StatusAccepted || header.Get("Location") != fmt.Sprint("/api/backfills/", job["id"]) {
		t.Fatalf("start: %d %v", status, job)
	}
	patience := time.Duration(60+n/500) * time.Second
	rows := func() float64 {
		_, job, _ = p.call(http.MethodGet, header.Get("Location"), "")
		if job["state"] == "failed" || job["state"] == "cancelled" || time.Since(began) > patience {
			t.Fatalf("backfill: %v", job)
		}
		return job["rows"].(float64)
	}
	for rows() < float64(n)/3 {
		time.Sleep(20 * time.Millisecond)
	}
	p.kill()
	before := rowsOf(job)
	p.start()
	if after := rows(); after < before {
		t.Errorf("%g rows were done before the kill, %g after it", before, after)
	}
	for rows(); job["state"] != "done"; rows() {
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(began)
	time.Sleep(200 * time.Millisecond) // of changes behind the last rows
	changes := w.end()
	table := db.rows()
	diff := "not looked"
	for deadline := time.Now().Add(60 * time.Second); diff != "" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		diff = hook.differs(table)
	}
	hook.mu.Lock()
	defer hook.mu.Unlock()
	t.Logf("%d rows and %d changes (%.0f/s) in %s: %d read (%.0f/s), %d read again after the kill, %d changes sent", len(table), changes, float64(changes)/took.Seconds(), took.Round(time.Millisecond), hook.reads, float64(hook.reads)/took.Seconds(), hook.again, hook.live)
	if diff != "" || hook.failed != nil || len(hook.stale) > 0 {
		t.Errorf("the copy differs: %s\nstale: %v\nfailed: %v", diff, hook.stale, hook.failed)
	}
	if hook.reads < n*3/4 || hook.again > 2*2000 || changes == 0 {
		t.Errorf("%d reads, %d of them again, beside %d changes", hook.reads, hook.again, changes)
	}
}

func rowsOf(job map[string]any) float64 { return job["rows"].(float64) }
