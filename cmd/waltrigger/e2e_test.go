package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The examples of the Django Action Triggers API page, with its missing commas, and
// URLs that a test replaces.
const (
	example1 = `{
"config_signals": [{"signal": "post_save"}, {"signal": "post_delete"}],
"content_types": [{"app_label": "myapp", "model_name": "Customer"}],
"webhooks": [{"url": "https://my-webhook.com", "http_method": "POST",
  "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"}, "timeout_secs": 10.0}],
"active": true
}`
	example2 = `{
"config_signals": [{"signal": "post_save"}],
"content_types": [{"app_label": "myapp", "model_name": "Product"}, {"app_label": "myapp", "model_name": "Sale"}],
"webhooks": [
  {"url": "https://my-webhook.com", "http_method": "POST", "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"}, "timeout_secs": 2.25},
  {"url": "https://my-other-webhook.com", "http_method": "POST", "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"}}
],
"msg_broker_queues": [
  {"name": "my-msg-broker-config", "parameters": {"product_id": "{{ myapp.utils.get_product_id }}"}, "timeout_secs": 5.75},
  {"name": "my-other-msg-broker-config", "parameters": {"sale_id": "{{ myapp.utils.get_sale_id }}"}}
],
"active": true
}`
	example3 = `{
"config_signals": [{"signal": "post_save"}],
"content_types": [{"app_label": "myapp", "model_name": "Sale"}],
"webhooks": [{"url": "https://my-webhook.com", "http_method": "POST",
  "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"}, "timeout_secs": 12.25}],
"active": true,
"payload": {"action": "new_sale", "customer_name": "{{ instance.customer.name }}", "product_name": "{{ instance.product.name }}"}
}`
)

const dynamicValues = `
dynamic_values:
  myapp.utils.get_token: {literal: s3cret}
  myapp.utils.get_product_id: {literal: "17"}
  myapp.utils.get_sale_id: {literal: "23"}
`

// aim replaces the examples' addresses.
func aim(example, to string) string {
	return strings.NewReplacer("https://my-webhook.com", to+"/hook", "https://my-other-webhook.com", to+"/other").Replace(example)
}

func TestExamples(t *testing.T) {
	kafka := service(t, "WALTRIGGER_TEST_KAFKA")
	db, hook := newDatabase(t), newReceiver(t)
	topics := []string{fmt.Sprintf("one-%d", time.Now().UnixNano()), fmt.Sprintf("two-%d", time.Now().UnixNano())}
	queues := []*consumer{newConsumer(t, kafka, topics[0]), newConsumer(t, kafka, topics[1])}
	p := startDaemon(t, db.url, loopback+dynamicValues+fmt.Sprintf(`
brokers:
  my-msg-broker-config: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %q}}
  my-other-msg-broker-config: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %q}}
`, kafka, topics[0], kafka, topics[1]))
	var ids []float64
	for i, example := range []string{example1, example2, example3} {
		out := p.create(aim(example, hook.URL))
		ids = append(ids, out["id"].(float64))
		var sent map[string]any
		if err := json.Unmarshal([]byte(aim(example, hook.URL)), &sent); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(out["payload"]) != fmt.Sprint(sent["payload"]) || fmt.Sprint(out["content_types"]) != fmt.Sprint(sent["content_types"]) {
			t.Errorf("example %d is not echoed: %v", i+1, out)
		}
	}

	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('Ada O''Brien', 'ada@example.com')`)
	got := hook.wait(t, 1)
	r := got[0]
	if r.Method != http.MethodPost || r.Path != "/hook" || r.Header.Get("Authorization") != "Bearer s3cret" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("User-Agent") != "waltrigger/"+testVersion {
		t.Errorf("request %+v", r)
	}
	var e struct {
		Version               int
		ID, Source, Signal    string
		Operation             string
		ContentType           map[string]string `json:"content_type"`
		Table                 map[string]string
		CommittedAt           time.Time `json:"committed_at"`
		Key, Instance, Before map[string]any
		Changed               []string
		Missing               []string
	}
	if err := json.Unmarshal([]byte(r.Body), &e); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
	if e.Version != 1 || e.Source != "shop" || e.Signal != "post_save" || e.Operation != "insert" || e.ContentType["model_name"] != "Customer" ||
		e.Instance["name"] != "Ada O'Brien" || e.Before != nil || fmt.Sprint(e.Key) != "map[id:1]" || time.Since(e.CommittedAt) > time.Minute {
		t.Errorf("envelope %s", r.Body)
	}
	if id := r.Header.Get("Webhook-Id"); !strings.HasPrefix(id, e.ID+"_") {
		t.Errorf("webhook-id %q of event %q", id, e.ID)
	}
	hook.reset()

	db.exec(`UPDATE myapp_customer SET name = 'Ada' WHERE id = 1`)
	if got := hook.wait(t, 1); !strings.Contains(got[0].Body, `"operation":"update"`) || !strings.Contains(got[0].Body, `"name":"Ada"`) {
		t.Errorf("update: %s", got[0].Body)
	}
	hook.reset()

	// Example 2: a product goes to both webhooks and both brokers.
	db.exec(`INSERT INTO myapp_product (name, description) VALUES ('Engine "1"', '<analytical>')`)
	paths := []string{}
	for _, r := range hook.wait(t, 2) {
		paths = append(paths, r.Path)
	}
	if slices.Sort(paths); !slices.Equal(paths, []string{"/hook", "/other"}) {
		t.Errorf("product went to %v", paths)
	}
	for i, header := range []string{"product_id", "sale_id"} {
		m := queues[i].next(t)
		if want := []string{"17", "23"}[i]; m.headers[header] != want {
			t.Errorf("broker %d: headers %v, want %s %s", i, m.headers, header, want)
		}
		if m.key != "1" || !strings.Contains(m.body, `"name":"Engine \"1\"","description":"<analytical>"`) {
			t.Errorf("broker %d: key %q, body %s", i, m.key, m.body)
		}
	}
	hook.reset()

	// Example 3: a sale names its customer and product.
	db.exec(`INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3)`)
	want := `{"action":"new_sale","customer_name":"Ada","product_name":"Engine \"1\""}`
	if got := hook.wait(t, 3); !slices.ContainsFunc(got, func(r request) bool { return r.Body == want }) {
		t.Errorf("no body %s in %v", want, got)
	}
	hook.reset()

	db.exec(`DELETE FROM myapp_sale`)
	db.exec(`DELETE FROM myapp_customer`)
	if got := hook.wait(t, 1); !strings.Contains(got[0].Body, `"signal":"post_delete"`) || !strings.Contains(got[0].Body, `"instance":{"id":1},"before":{"id":1}`) {
		t.Errorf("delete: %s", got[0].Body)
	}

	for _, id := range ids {
		if status, _, _ := p.call(http.MethodDelete, fmt.Sprintf("/api/action-triggers/%.0f", id), ""); status != http.StatusNoContent {
			t.Errorf("delete trigger: %d", status)
		}
	}
	hook.reset()
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('x', 'x')`)
	hook.wait(t, 0)

	// What looks like a template and is none is allowed, and told.
	if made := p.create(simple("customer", "{{ instance.name", hook.URL)); !strings.Contains(fmt.Sprint(made["warnings"]), "/payload: line 1, column 1: {{ is not closed on its line, so it is text") {
		t.Errorf("warnings %v", made["warnings"])
	}
}

// sales is a trigger on a text payload that shows which row an event is about.
func sales(url string) string {
	return fmt.Sprintf(`{"config_signals":[{"signal":"post_save"},{"signal":"post_delete"}],
		"content_types":[{"app_label":"myapp","model_name":"customer"}],
		"webhooks":[{"url":%q}],"payload":"{{ operation }} {{ instance.id }} {{ instance.name }}"}`, url)
}

func TestEveryWriterFires(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(sales(hook.URL))
	ctx := context.Background()
	bodies := func(n int) []string {
		var out []string
		for _, r := range hook.wait(t, n) {
			if ct := r.Header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
				t.Errorf("content type %q", ct)
			}
			out = append(out, r.Body)
		}
		slices.Sort(out)
		hook.reset()
		return out
	}
	check := func(name string, want ...string) {
		t.Helper()
		if got := bodies(len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', ''), ('b', ''), ('c', '')`)
	check("multi-row insert", "insert 1 a", "insert 2 b", "insert 3 c")

	if _, err := db.CopyFrom(ctx, pgx.Identifier{"myapp_customer"}, []string{"id", "name", "email"},
		pgx.CopyFromRows([][]any{{10, "x", ""}, {11, "y", ""}})); err != nil {
		t.Fatal(err)
	}
	check("copy", "insert 10 x", "insert 11 y")

	db.exec(`UPDATE myapp_customer c SET name = upper(o.name) FROM myapp_customer o WHERE o.id = c.id AND c.id < 3`)
	check("update from", "update 1 A", "update 2 B")

	db.exec(`INSERT INTO myapp_customer (id, name, email) VALUES (3, 'new', ''), (12, 'z', '') ON CONFLICT (id) DO UPDATE SET name = excluded.name`)
	check("on conflict update", "insert 12 z", "update 3 new")
	db.exec(`INSERT INTO myapp_customer (id, name, email) VALUES (3, 'never', '') ON CONFLICT DO NOTHING`)
	check("on conflict nothing")

	db.exec(`DELETE FROM myapp_customer WHERE id >= 10`)
	check("delete", "delete 10 ", "delete 11 ", "delete 12 ")

	tx, err := db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO myapp_customer (id, name, email) VALUES (20, 'kept', '')`,
		`SAVEPOINT s`, `INSERT INTO myapp_customer (id, name, email) VALUES (21, 'dropped', '')`, `ROLLBACK TO s`,
		`INSERT INTO myapp_customer (id, name, email) VALUES (22, 'kept', '')`,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	check("savepoint", "insert 20 kept", "insert 22 kept")
	if tx, err = db.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM myapp_customer`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	check("rollback")

	var wg sync.WaitGroup
	var want []string
	for i := range 5 {
		for j := range 20 {
			want = append(want, fmt.Sprintf("insert %d conn", 100+i*20+j))
		}
		c := db.connect()
		wg.Go(func() {
			defer c.Close(ctx)
			for j := range 20 {
				if _, err := c.Exec(ctx, `INSERT INTO myapp_customer (id, name, email) VALUES ($1, 'conn', '')`, 100+i*20+j); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(want)
	check("several connections", want...)
}

func TestActivation(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	ctx := context.Background()
	slow := fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],
		"webhooks":[{"url":%q}],"payload":"first {{ instance.name }}"}`, hook.URL+"/first")
	first := p.create(slow)

	t.Run("a backlog does not fire", func(t *testing.T) {
		release := make(chan struct{})
		hook.setAnswer(func(w http.ResponseWriter, r request) {
			if strings.HasPrefix(r.Body, "first") {
				<-release
			}
		})
		// One lane: everything of the first trigger waits behind the first request.
		status, _, _ := p.call(http.MethodPatch, fmt.Sprintf("/api/action-triggers/%.0f", first["id"]), `{"ordering":"source"}`)
		if status != http.StatusOK {
			t.Fatalf("patch: %d", status)
		}
		db.exec(`INSERT INTO myapp_customer (name, email) SELECT 'old', '' FROM generate_series(1, 6000)`)
		second := strings.ReplaceAll(strings.ReplaceAll(slow, "first", "second"), "/first", "/second")
		p.create(second)
		db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('new', '')`)
		close(release)
		hook.setAnswer(nil)
		got := hook.wait(t, 6002)
		n := 0
		for _, r := range got {
			if strings.HasPrefix(r.Body, "second") {
				n++
				if r.Body != "second new" {
					t.Errorf("fired for the backlog: %s", r.Body)
				}
			}
		}
		if n != 1 {
			t.Errorf("%d events of the new trigger, want 1", n)
		}
		hook.reset()
	})

	t.Run("an open transaction is waited for", func(t *testing.T) {
		other := db.connect()
		defer other.Close(ctx)
		tx, err := other.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO myapp_product (name, description) VALUES ('open', '')`); err != nil {
			t.Fatal(err)
		}
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],
			"content_types":[{"app_label":"myapp","model_name":"product"}],"webhooks":[{"url":%q}],"payload":"{{ instance.name }}"}`, hook.URL))
		var pid int
		if err := tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		if said := fmt.Sprint(out["status"]); status != http.StatusAccepted || !strings.Contains(said, "activating") || !strings.Contains(said, fmt.Sprint(pid)) {
			t.Errorf("%d %v, want 202, activating and the process %d", status, out["status"], pid)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/api/action-triggers/%.0f", out["id"])
		waitFor(t, "active", func() bool {
			_, out, _ := p.call(http.MethodGet, path, "")
			return strings.Contains(fmt.Sprint(out["status"]), "state:active")
		})
		hook.reset()
		db.exec(`INSERT INTO myapp_product (name, description) VALUES ('after', '')`)
		if got := hook.wait(t, 1); got[0].Body != "after" {
			t.Errorf("fired %q", got[0].Body)
		}
		hook.reset()
	})
}

func TestSourceUnreachable(t *testing.T) {
	service(t, "WALTRIGGER_TEST_POSTGRES")
	hook := newReceiver(t)
	p := startDaemon(t, "postgres://nobody:x@"+freeAddress(t)+"/none?sslmode=disable", loopback)
	status, out, h := p.call(http.MethodPost, "/api/action-triggers", sales(hook.URL))
	if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || !strings.Contains(fmt.Sprint(out), "source_unavailable") {
		t.Errorf("%d %v %v, want 503 source_unavailable with Retry-After", status, out, h)
	}
	status, out, _ = p.call(http.MethodPost, "/api/action-triggers?wait=false", sales(hook.URL))
	if status != http.StatusCreated || !strings.Contains(fmt.Sprint(out["status"]), "pending") {
		t.Errorf("without waiting: %d %v, want 201 pending", status, out)
	}
}

// waitFor waits until ok.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waitLong(t, 30*time.Second, what, ok)
}

func waitLong(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(most)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s in time", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
