package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const itemTable = "CREATE TABLE item (id bigint PRIMARY KEY, v bigint NOT NULL, note text NOT NULL)"

// fillItems inserts n rows into the table item.
func (d *database) fillItems(n int) {
	d.exec("INSERT INTO item SELECT i, 0, 'row ' || i FROM generate_series(0, $1::int - 1) i", n)
}

// backfill starts a backfill of a trigger.
func (p *process) backfill(trigger any, body string) string {
	p.t.Helper()
	status, job, _ := p.call(http.MethodPost, fmt.Sprintf("/api/action-triggers/%v/backfill", trigger), body)
	if status != http.StatusAccepted {
		p.t.Fatalf("start: %d %v", status, job)
	}
	return job["id"].(string)
}

func (p *process) job(id string) map[string]any {
	p.t.Helper()
	_, job, _ := p.call(http.MethodGet, "/api/backfills/"+id, "")
	return job
}

// ends waits until a backfill is over.
func (p *process) ends(id, state string) map[string]any {
	p.t.Helper()
	var job map[string]any
	waitFor(p.t, "a backfill that is "+state, func() bool {
		job = p.job(id)
		return job["state"] == state
	})
	return job
}

const itemTrigger = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"public","model_name":%q}],"webhooks":[{"url":%q}]%s}`

func TestBackfillCommands(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newTableCopy(t)
	db.exec(itemTable + "; CREATE TABLE keyless (id int)")
	db.fillItems(3000)
	p := startDaemon(t, db.url, loopback)
	id := p.create(fmt.Sprintf(copyTrigger, "public", hook.URL))["id"]
	mute := p.create(strings.Replace(fmt.Sprintf(itemTrigger, "item", hook.URL, ""), "post_save", "post_delete", 1))["id"]
	off := p.create(fmt.Sprintf(itemTrigger, "item", hook.URL, `,"active":false`))["id"]
	_, keyless, _ := p.call(http.MethodPost, "/api/action-triggers", strings.Replace(fmt.Sprintf(itemTrigger, "keyless", hook.URL, ""), `"model_name"`, `"allow_insert_only":true,"model_name"`, 1))
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{fmt.Sprintf("action-triggers/%v/backfill", mute), "", 409, "nothing_to_read"},
		{fmt.Sprintf("action-triggers/%v/backfill", off), "", 409, "inactive"},
		{fmt.Sprintf("action-triggers/%v/backfill", keyless["id"]), "", 422, "no primary key"},
		{fmt.Sprintf("action-triggers/%v/backfill", id), `{"tables":["public.item","public.none"]}`, 422, "/tables/1"},
		{fmt.Sprintf("action-triggers/%v/backfill", id), `{"tables":[],"max_rate":0,"x":1}`, 422, "/max_rate"},
		{fmt.Sprintf("action-triggers/%v/backfill", id), `{`, 400, ""},
		{fmt.Sprintf("action-triggers/%v/backfill", id), `{"source":"shoq"}`, 404, "source"},
		{"action-triggers/999/backfill", "", 404, "trigger"},
		{"sources/shoq/backfill", "", 404, "source"},
		{"backfills/none/pause", "", 404, "backfill"},
	} {
		status, answer, _ := p.call(http.MethodPost, "/api/"+c.path, c.body)
		text, _ := json.Marshal(answer)
		if status != c.status || !strings.Contains(string(text), c.says) {
			t.Errorf("%s %s: %d %s, want %d and %q", c.path, c.body, status, text, c.status, c.says)
		}
	}

	out, stderr, code := p.cli("backfill", "start", "--trigger", fmt.Sprint(id), "--table", "public.item", "--max-rate", "300")
	job := regexp.MustCompile(`backfill (\w+): 1 table,`).FindStringSubmatch(out)
	if code != 0 || job == nil {
		t.Fatalf("start: %d %s%s", code, out, stderr)
	}
	if status, answer, _ := p.call(http.MethodPost, fmt.Sprintf("/api/action-triggers/%v/backfill", id), ""); status != 409 || answer["code"] != "backfill_running" {
		t.Errorf("a second one: %d %v", status, answer)
	}
	waitFor(t, "rows", func() bool { return rowsOf(p.job(job[1])) > 0 })
	if out, _, code := p.cli("backfill", "pause", job[1]); code != 0 || !strings.Contains(out, "is paus") {
		t.Errorf("pause: %d %s", code, out)
	}
	paused := p.ends(job[1], "paused")
	p.stop()
	p.start()
	if again := p.job(job[1]); again["state"] != "paused" || rowsOf(again) != rowsOf(paused) {
		t.Errorf("paused %v, and after a restart %v", paused, again)
	}
	if out, _, code := p.cli("backfill", "list", "--open"); code != 0 || !strings.Contains(out, job[1]) || !strings.Contains(out, "paused") {
		t.Errorf("list: %d %s", code, out)
	}
	if _, _, code := p.cli("backfill", "resume", job[1]); code != 0 {
		t.Errorf("resume: %d", code)
	}
	waitFor(t, "more rows", func() bool { return rowsOf(p.job(job[1])) > rowsOf(paused) })
	if _, _, code := p.cli("backfill", "cancel", job[1]); code != 0 {
		t.Errorf("cancel: %d", code)
	}
	if job := p.ends(job[1], "cancelled"); rowsOf(job) >= 3000 || job["finished_at"] == nil {
		t.Errorf("cancelled %v", job)
	}
	if _, stderr, code := p.cli("backfill", "resume", job[1]); code != 1 || !strings.Contains(stderr, "is over") {
		t.Errorf("resume: %d %s", code, stderr)
	}
	if out, stderr, code := p.cli("backfill", "start", "--source", "shop", "--table", "public.item", "--wait"); code != 0 || !strings.Contains(out, "done: 3000 rows") {
		t.Errorf("start --wait: %d %s%s", code, out, stderr)
	}
	out, stderr, code = p.cli("backfill", "start", "--source", "shop", "--wait")
	if code != 0 || !strings.Contains(out, ": 1 table,") || !strings.Contains(stderr, "left out: table public.keyless: it has no primary key") {
		t.Errorf("of the whole source: %d %s%s", code, out, stderr)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--source", "shop", "--table", "public.keyless"}, "waltrigger: --table: table public.keyless: it has no primary key"},
		{[]string{"--source", "shop", "--table", "public.item", "--table", "public.none"}, "waltrigger: --table 2: is no table that a trigger names"},
		{[]string{"--source", "shop", "--max-rate", "0"}, "waltrigger: --max-rate: "},
		{[]string{"--trigger", "sales"}, `waltrigger: invalid argument "sales" for "--trigger" flag: want the id of a trigger, a number`},
	} {
		if _, stderr, code := p.cli(append([]string{"backfill", "start"}, c.args...)...); code != 1 || !strings.HasPrefix(stderr, c.says) {
			t.Errorf("start %v: %d %s, want %q", c.args, code, stderr, c.says)
		}
	}
	if out, _, _ := p.cli("backfill", "list"); !strings.Contains(out, fmt.Sprintf("id %v ", id)) {
		t.Errorf("list names no trigger: %s", out)
	}
	if _, stderr, code := p.cli("backfill", "start"); code != 1 || !strings.Contains(stderr, "--trigger") {
		t.Errorf("start: %d %s", code, stderr)
	}
	var list []struct{ State string }
	if out, _, _ := p.cli("backfill", "list", "--json", "--trigger", fmt.Sprint(id)); json.Unmarshal([]byte(out), &list) != nil || len(list) != 3 || list[0].State != "done" {
		t.Errorf("list --json: %s", out)
	}
	metrics := p.metrics()
	for _, m := range []string{
		`backfill_rows_total{source="shop"} `, `backfills_over_total{source="shop",state="done"} 2`,
		`backfills_over_total{source="shop",state="cancelled"} 1`, `backfills_over_total{source="shop",state="failed"} 0`,
	} {
		if !strings.Contains(metrics, "\nwaltrigger_"+m) {
			t.Errorf("no metric %s", m)
		}
	}
}

// TestBackfillSays: what is sent of a row is what the log says of one that is inserted, but
// for the operation, by an id of its own.
func TestBackfillSays(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(itemTable + "; ALTER TABLE item REPLICA IDENTITY FULL; INSERT INTO myapp_customer (name, email) VALUES ('O''Brien', 'o@example.com'); INSERT INTO myapp_product (name, description) VALUES ('Bär', '')")
	p := startDaemon(t, db.url, loopback)
	// It fires on some columns, follows a relation, and has a condition.
	id := p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}],"webhooks":[{"url":%q}],
		"condition":"instance.quantity > 1","payload":{"op":"{{ operation }}","row":"{{ instance|json }}","who":"{{ instance.customer.name }}","created":"{{ created }}","key":"{{ key.id }}"}}`, hook.URL))["id"]
	whole := p.create(fmt.Sprintf(itemTrigger, "item", hook.URL, `,"fields":["note"]`))["id"]
	db.exec("INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 5), (1, 1, 1), (1, 1, 7)")
	db.exec("INSERT INTO item VALUES (1, 2, 'three')")
	live := slices.DeleteFunc(hook.wait(t, 3), func(r request) bool { return !strings.Contains(r.Body, `"op"`) })
	hook.reset()
	job := p.backfill(id, "")
	p.ends(job, "done")
	got := hook.wait(t, 2)
	if len(got) != 2 {
		t.Fatalf("%d messages: the condition and the scope count: %v", len(got), got)
	}
	byBody := func(a, b request) int {
		return strings.Compare(a.Body[strings.Index(a.Body, `"row"`):], b.Body[strings.Index(b.Body, `"row"`):])
	}
	slices.SortFunc(live, byBody) // rows are in no order to each other
	slices.SortFunc(got, byBody)
	ids := map[string]bool{}
	for i, r := range got {
		if ids[r.Header.Get("Webhook-Id")] = true; !regexp.MustCompile(`^shop_backfill-` + job + `-[0-9a-f]{24}_1_post_save_\w+$`).MatchString(r.Header.Get("Webhook-Id")) {
			t.Errorf("id %q", r.Header.Get("Webhook-Id"))
		}
		var now, then map[string]any
		if json.Unmarshal([]byte(r.Body), &now) != nil || json.Unmarshal([]byte(live[i].Body), &then) != nil {
			t.Fatalf("%s, %s", r.Body, live[i].Body)
		}
		if now["op"] != "read" || now["created"] != "False" || now["who"] != "O'Brien" {
			t.Errorf("says %v", now)
		}
		for _, name := range []string{"row", "who", "key"} {
			if fmt.Sprint(now[name]) != fmt.Sprint(then[name]) {
				t.Errorf("%s is %v, the log had %v", name, now[name], then[name])
			}
		}
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
	hook.reset()
	p.ends(p.backfill(whole, ""), "done")
	if r := hook.wait(t, 1)[0]; !strings.Contains(r.Body, `"operation":"read"`) || !strings.Contains(r.Body, `"instance":{"id":1,"v":2,"note":"three"},"before":null,"changed":[],"missing":[]}`) {
		t.Errorf("envelope %s", r.Body)
	}
}

// TestBackfillTroubles: what a backfill meets on its way does not end in silence.
func TestBackfillTroubles(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(itemTable + "; CREATE TABLE other (id int PRIMARY KEY)")
	db.fillItems(6000)
	db.exec("INSERT INTO other SELECT generate_series(1, 10)")
	p := startDaemon(t, db.url, loopback)
	id := p.create(fmt.Sprintf(itemTrigger, "item", hook.URL, ""))["id"]
	both := p.create(strings.Replace(fmt.Sprintf(itemTrigger, "item", hook.URL, ""), `"content_types":[`, `"content_types":[{"app_label":"public","model_name":"other"},`, 1))["id"]
	detail := func(job, want string) {
		t.Helper()
		waitFor(t, want, func() bool { return strings.Contains(fmt.Sprint(p.job(job)["detail"]), want) })
	}

	// A destination that fails is waited for: not all of the table is parked.
	hook.setAnswer(func(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusServiceUnavailable) })
	job := p.backfill(id, "")
	detail(job, "it fails")
	if n := rowsOf(p.job(job)); n >= 6000 {
		t.Errorf("%g rows were parked", n)
	}
	hook.setAnswer(nil)
	hook.reset()
	p.ends(job, "done")
	waitFor(t, "all rows", func() bool {
		rows := map[string]bool{}
		for _, r := range hook.requests() {
			rows[r.Header.Get("Webhook-Id")] = true
		}
		return len(rows) == 6000
	})

	// So is a trigger that is paused or inactive.
	job = p.backfill(id, `{"max_rate":500}`)
	waitFor(t, "rows", func() bool { return rowsOf(p.job(job)) > 0 })
	at := fmt.Sprintf("/api/action-triggers/%v", id)
	p.call(http.MethodPost, at+"/pause", "")
	detail(job, "is paused")
	p.call(http.MethodPost, at+"/resume", "")
	p.call(http.MethodPatch, at, `{"active":false}`)
	detail(job, "is not active")
	p.call(http.MethodPatch, at, `{"active":true}`)
	waitFor(t, "going on", func() bool { return p.job(job)["detail"] == nil })
	// Nobody is left to send to.
	p.call(http.MethodDelete, at, "")
	if job := p.ends(job, "cancelled"); !strings.Contains(fmt.Sprint(job["detail"]), "no trigger") {
		t.Errorf("got %v", job)
	}

	// Columns come and go; the key stays.
	id = p.create(fmt.Sprintf(itemTrigger, "item", hook.URL, `,"payload":"{{ instance|json }}"`))["id"]
	job = p.backfill(id, `{"max_rate":3000}`)
	waitFor(t, "rows", func() bool { return rowsOf(p.job(job)) > 100 })
	hook.reset()
	db.exec("ALTER TABLE item ADD extra int DEFAULT 7, DROP note; UPDATE item SET v = 1 WHERE id % 2 = 0; ALTER TABLE item RENAME v TO w")
	p.ends(job, "done")
	if last := hook.requests(); !strings.Contains(last[len(last)-1].Body, `"extra":7`) || strings.Contains(last[len(last)-1].Body, `"note"`) {
		t.Errorf("at last %s", last[len(last)-1].Body)
	}
	job = p.backfill(id, `{"max_rate":500}`)
	waitFor(t, "rows", func() bool { return rowsOf(p.job(job)) > 100 })
	db.exec("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (w, id)")
	if got := p.ends(job, "failed"); !strings.Contains(fmt.Sprint(got["detail"]), "primary key") {
		t.Errorf("got %v", got)
	}
	p.call(http.MethodDelete, fmt.Sprintf("/api/action-triggers/%v", id), "")

	// A table is dropped under it; the other one is read to its end.
	job = p.backfill(both, `{"max_rate":500}`)
	waitFor(t, "rows", func() bool { return rowsOf(p.job(job)) > 100 })
	db.exec("DROP TABLE item")
	got := p.ends(job, "failed")
	if !strings.Contains(fmt.Sprint(got["detail"]), "public.item") || !strings.Contains(fmt.Sprint(got["tables"]), "public.other") {
		t.Errorf("got %v", got)
	}
	for _, table := range got["tables"].([]any) {
		if table := table.(map[string]any); table["table"] == "public.other" && (table["state"] != "done" || table["rows"] != 10.0) {
			t.Errorf("the other table: %v", table)
		}
	}
}

// TestBackfillRestarts: a stop in the middle repeats nothing.
func TestBackfillRestarts(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newTableCopy(t)
	db.exec(itemTable)
	db.fillItems(20000)
	p := startDaemon(t, db.url, loopback)
	id := p.create(fmt.Sprintf(copyTrigger, "public", hook.URL))["id"]
	job := p.backfill(id, `{"max_rate":10000}`)
	for n := 2000.0; n < 12000; n += 4000 {
		waitFor(t, "rows", func() bool { return rowsOf(p.job(job)) > n })
		p.stop()
		p.start()
	}
	p.ends(job, "done")
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if hook.reads != 20000 || hook.again != 0 {
		t.Errorf("%d rows, %d of them again", hook.reads, hook.again)
	}
}

// TestBackfillTakeOver: another instance goes on with it.
func TestBackfillTakeOver(t *testing.T) {
	t.Parallel()
	x := newPair(t, "")
	db, hook := x.db, newTableCopy(t)
	db.exec(itemTable)
	db.fillItems(20000)
	active, standby := x.start()
	id := standby.create(fmt.Sprintf(copyTrigger, "public", hook.URL))["id"]
	job := standby.backfill(id, `{"max_rate":5000}`)
	waitFor(t, "rows", func() bool { return rowsOf(standby.job(job)) > 2000 })
	active.kill()
	standby.ends(job, "done")
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if len(hook.rows) != 20000 || hook.again > 2000 {
		t.Errorf("%d rows, %d sent again", len(hook.rows), hook.again)
	}
}
