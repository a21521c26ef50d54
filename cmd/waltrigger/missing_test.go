package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// documents is a table with a column that updates leave out of the log.
const documents = `CREATE TABLE myapp_document (id bigserial PRIMARY KEY, title text, body text);
	ALTER TABLE myapp_document ALTER COLUMN body SET STORAGE EXTERNAL;
	INSERT INTO myapp_document (title, body) SELECT 'a', repeat('x', 10000)`

func TestMissingValues(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(documents)
	p := startDaemon(t, db.url, loopback)
	const body = `"payload":"{{ instance.body|length }} {{ event.fetched|json }} {{ missing|json }}"`
	p.create(hookFor("document", hook.URL+"/fetch", body))
	p.create(hookFor("document", hook.URL+"/empty", body+`,"on_missing_value":"empty"`))
	parked := p.create(hookFor("document", hook.URL+"/park", body+`,"on_missing_value":"park"`))
	p.create(hookFor("document", hook.URL+"/whole", `"payload":"{{ instance|json }} {{ missing|json }}"`))
	p.create(hookFor("document", hook.URL+"/fields", `"payload_format":"fields"`))
	db.exec(`UPDATE myapp_document SET title = 'b'`)
	want := map[string]string{
		"/fetch": `10000 ["body"] []`, "/empty": `0 [] ["body"]`, "/whole": `{"id":1,"title":"b"} ["body"]`,
		"/fields": `{"title": "b", "body": "` + strings.Repeat("x", 10000) + `"}`,
	}
	for _, r := range hook.wait(t, 4) {
		if r.Body != want[r.Path] {
			t.Errorf("%s: %.100s, want %.100s", r.Path, r.Body, want[r.Path])
		}
	}
	hook.reset()
	path := fmt.Sprintf("/api/action-triggers/%v", parked["id"])
	if status, out, _ := p.call(http.MethodPatch, path, `{"on_missing_value":"fetch"}`); status != http.StatusOK {
		t.Fatalf("%d %v", status, out)
	}
	if got := hook.wait(t, 1); got[0].Path != "/park" || got[0].Body != want["/fetch"] {
		t.Errorf("mended: %+v", got)
	}

	// Of a deleted row the log holds the key only: that is said beforehand.
	out := p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_delete"}],"content_types":[{"app_label":"myapp","model_name":"document"}],
		"webhooks":[{"url":%q}],"payload":"{{ instance.id }} {{ instance.title }}|{{ missing|json }}"}`, hook.URL))
	if said := fmt.Sprint(out["warnings"]); !strings.Contains(said, "title is empty (on_missing_value); mend with ALTER TABLE public.myapp_document REPLICA IDENTITY FULL") {
		t.Errorf("warnings %s", said)
	}
	hook.reset()
	db.exec(`DELETE FROM myapp_document`)
	if got := bodies(hook.wait(t, 1)); got[0] != `1 |["title","body"]` {
		t.Errorf("deleted: %s", got[0])
	}
}

func TestFieldsNeedOldRows(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	for pointer, filter := range map[string]string{
		"/fields/1": `"fields":["id","quantity"]`, "/condition": `"condition":"'quantity' in changed"`,
	} {
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", hookFor("sale", hook.URL, filter))
		if said := fmt.Sprint(out["errors"]); status != http.StatusUnprocessableEntity || !strings.Contains(said, "code:replica_identity") || !strings.Contains(said, "pointer:"+pointer) ||
			!strings.Contains(said, "ALTER TABLE public.myapp_sale REPLICA IDENTITY FULL, after which each update and delete also writes the whole old row") {
			t.Errorf("%s: %d %v", filter, status, out)
		}
	}
	db.exec(`ALTER TABLE myapp_sale REPLICA IDENTITY FULL; INSERT INTO myapp_customer (name, email) VALUES ('a', 'b'), ('c', 'd'); INSERT INTO myapp_product (name, description) VALUES ('a', 'b')`)
	var out map[string]any
	waitFor(t, "the catalog is read again", func() bool {
		var status int
		status, out, _ = p.call(http.MethodPost, "/api/action-triggers", strings.Replace(hookFor("sale", hook.URL, `"fields":["customer"],"payload":"{{ operation }} {{ instance.customer_id }}"`),
			`[{"signal":"post_save"}]`, `[{"signal":"post_save"},{"signal":"post_delete"}]`, 1))
		return status == http.StatusCreated
	})
	if fmt.Sprint(out["fields"]) != "[customer]" {
		t.Errorf("got %v", out)
	}
	db.exec(`INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3)`)
	db.exec(`UPDATE myapp_sale SET quantity = 4; UPDATE myapp_sale SET customer_id = 2; UPDATE myapp_sale SET customer_id = 2; DELETE FROM myapp_sale`)
	if got := strings.Join(bodies(hook.wait(t, 3)), ";"); got != "insert 1;update 2;delete 2" {
		t.Errorf("got %s", got)
	}
}

// TestLostColumn drops a column that a trigger names: what comes waits, over a restart as
// well, and goes on once the trigger is mended.
func TestLostColumn(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(documents)
	p := startDaemon(t, db.url, loopback)
	// Both tables are of one trigger, and only one has the column.
	out := p.create(strings.Replace(hookFor("document", hook.URL, `"payload":"{{ instance.title }} {{ instance.id }}","ordering":"none"`), `"content_types":[`, `"content_types":[{"app_label":"myapp","model_name":"sale"},`, 1))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', 'b'); INSERT INTO myapp_product (name, description) VALUES ('a', 'b')`)
	db.exec(`INSERT INTO myapp_document (title) VALUES ('before'); INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3)`)
	hook.wait(t, 2)
	hook.reset()
	db.exec(`ALTER TABLE myapp_document RENAME COLUMN title TO headline`)
	db.exec(`INSERT INTO myapp_document (headline) VALUES ('after'); INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3)`)
	if got := bodies(hook.wait(t, 1)); got[0] != " 2" {
		t.Errorf("the other table: %q", got)
	}
	broken := func() bool {
		s := p.state(out["id"])
		b, _ := s["broken"].(map[string]any)
		return s["state"] == "broken" && fmt.Sprint(b["columns"]) == "[title]" && b["table"] == "myapp_document" && b["schema"] == "public" && b["position"] != nil &&
			strings.Contains(fmt.Sprint(b["detail"]), "table public.myapp_document has no column title any more, from position "+fmt.Sprint(b["position"]))
	}
	waitFor(t, "broken", broken)
	if _, list, _ := p.call(http.MethodGet, "/api/action-triggers?state=broken", ""); len(list["list"].([]any)) != 1 {
		t.Errorf("list of what is broken: %v", list)
	}
	p.kill()
	hook.reset()
	p.start()
	waitFor(t, "broken after a restart", broken)
	hook.reset() // perhaps the sale again
	path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	waitFor(t, "the catalog is read again", func() bool {
		status, out, _ := p.call(http.MethodPatch, path, `{"payload":"{{ instance.headline }} {{ instance.id }}"}`)
		return status == http.StatusOK && dig(out, "status", "state") == "active"
	})
	waitFor(t, "mended", func() bool {
		for _, r := range hook.requests() {
			if r.Body == "after 3" {
				return true
			}
		}
		return false
	})
}

// TestColumnPutBack: what waits for a column outlives the schedule of its retries, and is
// sent as soon as the column is seen again.
func TestColumnPutBack(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(documents)
	p := startDaemon(t, db.url, loopback)
	body := hookFor("document", hook.URL, `"payload":"{{ instance.title }} {{ instance.id }}"`)
	out := p.create(strings.Replace(body, `"url"`, `"retry":{"delays_secs":[0.1],"max_attempts":2},"url"`, 1))
	db.exec(`ALTER TABLE myapp_document RENAME COLUMN title TO headline`)
	db.exec(`INSERT INTO myapp_document (headline) VALUES ('first')`)
	waitFor(t, "broken", func() bool { return p.state(out["id"])["state"] == "broken" })
	waitFor(t, "as many attempts as the schedule has", func() bool {
		_, list, _ := p.call(http.MethodGet, "/api/deliveries", "")
		all := list["list"].([]any)
		if len(all) == 0 {
			return false
		}
		d := all[0]
		return dig(d, "status") == "parked" && dig(d, "code") == "broken" && dig(d, "failures").(float64) >= 2
	})
	db.exec(`ALTER TABLE myapp_document RENAME COLUMN headline TO title`)
	db.exec(`INSERT INTO myapp_document (title) VALUES ('second')`)
	if got := bodies(hook.wait(t, 2)); !slices.Contains(got, "first 2") || !slices.Contains(got, "second 3") { // documents holds one
		t.Errorf("got %q", got)
	}
	for _, line := range []string{"trigger is broken: its deliveries wait", "trigger is broken no more: its deliveries are tried"} {
		if !strings.Contains(p.log.String(), line) {
			t.Errorf("the log does not say: %s", line)
		}
	}
}

func TestLostColumnOfARelatedTable(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	out := p.create(hookFor("sale", hook.URL, `"payload":"{{ instance.customer.email }} {{ instance.quantity }}"`))
	db.exec(`INSERT INTO myapp_product (name, description) VALUES ('p', '')`)
	sell := func(quantity int) {
		db.exec(`WITH c AS (INSERT INTO myapp_customer (name, `+db.text(`SELECT column_name::text FROM information_schema.columns WHERE table_name = 'myapp_customer' AND column_name LIKE '%mail'`)+`)
			VALUES ('c', 'c@example.com') RETURNING id) INSERT INTO myapp_sale (customer_id, product_id, quantity) SELECT id, 1, $1 FROM c`, quantity)
	}
	sell(1)
	if got := bodies(hook.wait(t, 1)); got[0] != "c@example.com 1" {
		t.Fatalf("got %q", got)
	}
	hook.reset()
	db.exec(`ALTER TABLE myapp_customer RENAME COLUMN email TO mail`)
	sell(2)
	waitFor(t, "broken", func() bool {
		b := dig(p.state(out["id"]), "broken")
		return dig(b, "table") == "myapp_customer" && fmt.Sprint(dig(b, "columns")) == "[email]" && strings.Contains(fmt.Sprint(dig(b, "detail")), "table public.myapp_customer has no column email any more")
	})
	if got := hook.requests(); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
	path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	waitFor(t, "the catalog is read again", func() bool {
		status, out, _ := p.call(http.MethodPatch, path, `{"payload":"{{ instance.customer.mail }} {{ instance.quantity }}"}`)
		return status == http.StatusOK && dig(out, "status", "state") == "active"
	})
	if got := bodies(hook.wait(t, 1)); got[0] != "c@example.com 2" {
		t.Errorf("mended: %q", got)
	}
}

func TestShadowMode(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"dynamic_values: {myapp.utils.get_token: {literal: hunter2}}\n")
	out := p.create(strings.Replace(hookFor("customer", hook.URL+"/x", `"payload":{"name":"{{ instance.name }}"},"mode":"shadow","ordering":"source"`), `"url"`,
		`"headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}","X-Key":"hunter2","X-Id":"{{ instance.id }}"},"url"`, 1))
	if !strings.Contains(fmt.Sprint(out["warnings"]), "nothing is sent") {
		t.Errorf("warnings %v", out["warnings"])
	}
	db.customers(1, 3)
	path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	var list []any
	waitFor(t, "recorded", func() bool {
		_, got, _ := p.call(http.MethodGet, path+"/shadow", "")
		list = got["list"].([]any)
		return len(list) == 3
	})
	last, err := json.Marshal(list[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"body":"{\"name\":\"3\"}"`, `"url":"` + hook.URL + `/x"`, `"method":"POST"`, `"Authorization":"Bearer {{ myapp.utils.get_token }}"`, `"X-Key":"[redacted]"`, `"X-Id":"3"`, `"content_type":"application/json"`} {
		if !strings.Contains(string(last), part) {
			t.Errorf("%s lacks %s", last, part)
		}
	}
	if n := len(hook.requests()); n != 0 || strings.Contains(string(last), "hunter2") {
		t.Errorf("%d requests were sent; recorded %s", n, last)
	}
	if !strings.Contains(p.metrics(), `waltrigger_shadow_messages_total{destination="d1"} 3`) {
		t.Error("nothing is counted")
	}
	if status, out, _ := p.call(http.MethodPatch, path, `{"mode":null}`); status != http.StatusOK || out["mode"] != nil {
		t.Fatalf("%d %v", status, out)
	}
	db.customers(4, 4)
	if got := bodies(hook.wait(t, 1)); got[0] != `{"name":"4"}` {
		t.Errorf("live: %q", got)
	}
}
