package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestTransactionMessages: what an application says of its transaction reaches templates,
// wherever in the transaction it says it, or keeps it from firing.
func TestTransactionMessages(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(simple("customer", "{{ instance.name }} {{ transaction.annotations.user }}", hook.URL))
	db.exec(`BEGIN; INSERT INTO myapp_customer (name, email) VALUES ('a', ''); SELECT pg_logical_emit_message(true, 'waltrigger', '{"user":"ann"}'); COMMIT`)
	db.exec(`BEGIN; INSERT INTO myapp_customer (name, email) VALUES ('b', ''); SELECT pg_logical_emit_message(true, 'waltrigger.skip', ''); COMMIT`)
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('c', '')`)
	if got := strings.Join(bodies(hook.wait(t, 2)), ", "); got != "a ann, c " && got != "c , a ann" {
		t.Errorf("fired %q", got)
	}
	waitFor(t, "counted", func() bool {
		return strings.Contains(p.metrics(), `waltrigger_source_skipped_transactions_total{source="shop"} 1`) && p.source()["skipped_transactions"] == 1.0
	})
}

// TestInsertOnly: a table without a key fires for inserts, if its author says that this
// will do; the application's updates and deletes go on.
func TestInsertOnly(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec("CREATE TABLE audit_log (line text)")
	p := startDaemon(t, db.url, loopback)
	body := fmt.Sprintf(`{"config_signals":[{"signal":"post_save"},{"signal":"truncate"}],"content_types":[{"app_label":"audit","model_name":"log"%%s}],"webhooks":[{"url":%q}],"payload":"{{ signal }} {{ instance.line }}"}`, hook.URL)
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", fmt.Sprintf(body, ""))
	if text := fmt.Sprint(out); status != http.StatusUnprocessableEntity || !strings.Contains(text, "replica_identity") || !strings.Contains(text, "allow_insert_only") {
		t.Errorf("without a word: %d %v", status, out)
	}
	made := p.create(fmt.Sprintf(body, `,"allow_insert_only":true`))
	if !strings.Contains(fmt.Sprint(made["warnings"]), "does not carry the updates of table public.audit_log") {
		t.Errorf("warnings %v", made["warnings"])
	}
	db.exec("INSERT INTO audit_log VALUES ('a')")
	hook.wait(t, 1)
	db.exec("UPDATE audit_log SET line = 'b'")
	db.exec("DELETE FROM audit_log")
	db.exec("TRUNCATE audit_log")
	if got := strings.Join(bodies(hook.wait(t, 2)), ", "); got != "post_save a, truncate " {
		t.Errorf("fired %q", got)
	}
}

// TestTableMadeAnew: a table is dropped and made anew under a trigger: the trigger goes
// on, and what it cannot have seen is on record.
func TestTableMadeAnew(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec("CREATE TABLE myapp_thing (id int PRIMARY KEY)")
	p := startDaemon(t, db.url, loopback)
	p.create(simple("thing", "{{ instance.id }}", hook.URL))
	if gaps := p.source()["gaps"]; gaps != nil {
		t.Errorf("gaps %v of a new trigger", gaps)
	}
	db.exec("INSERT INTO myapp_thing VALUES (1)")
	hook.wait(t, 1)
	db.exec("DROP TABLE myapp_thing; CREATE TABLE myapp_thing (id int PRIMARY KEY)")
	waitFor(t, "published again", func() bool {
		return db.text("SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'myapp_thing'") == "1"
	})
	db.exec("INSERT INTO myapp_thing VALUES (2)")
	hook.wait(t, 2)
	var gap map[string]any
	waitFor(t, "recorded", func() bool {
		gaps, _ := p.source()["gaps"].([]any)
		if len(gaps) == 1 {
			gap = gaps[0].(map[string]any)
		}
		return gap != nil
	})
	if gap["kind"] != "table" || gap["table"] != "public.myapp_thing" || gap["before"] == "" || gap["noticed_at"] == "" {
		t.Errorf("gap %v", gap)
	}
	p.stop()
	db.exec("DROP TABLE myapp_thing; CREATE TABLE myapp_thing (id int PRIMARY KEY)")
	p.start() // and while it was down
	waitFor(t, "recorded", func() bool {
		gaps, _ := p.source()["gaps"].([]any)
		return len(gaps) == 2
	})
}

// TestHugeTransaction delivers all rows of a transaction of 100,000, in its long form of
// 5,000,000, in bounded memory and over one connection to the log.
func TestHugeTransaction(t *testing.T) {
	rows := 100_000
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		rows = 5_000_000
	}
	db := newDatabase(t)
	var mu sync.Mutex
	got, count := make([]uint8, rows+1), 0
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		n, err := strconv.Atoi(string(body))
		mu.Lock()
		defer mu.Unlock()
		if err == nil && n > 0 && n <= rows {
			got[n]++
			count++
		}
	}))
	defer hook.Close()
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"product"}],"webhooks":[{"url":%q}],"payload":"{{ instance.id }}"}`, hook.URL))
	db.exec("INSERT INTO myapp_product (name, description) SELECT 'product ' || i, repeat('x', 100) FROM generate_series(1, $1::int) i", rows)
	waitLonger(t, "everything", func() bool { mu.Lock(); defer mu.Unlock(); return count >= rows })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak := 0
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &peak); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d rows, peak memory %d MB", rows, peak>>10)
	if peak == 0 || peak > 256<<10 {
		t.Errorf("peak memory %d KB, want at most 256 MB", peak)
	}
	if n := p.source()["reconnects"]; n != 0.0 {
		t.Errorf("%v reconnects", n)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, n := range got {
		if n != 1 && i > 0 {
			t.Fatalf("row %d came %d times", i, n)
		}
	}
}
