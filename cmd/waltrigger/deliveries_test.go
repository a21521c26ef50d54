package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// deliveries lists what is kept.
func (p *process) deliveries(query string) []map[string]any {
	p.t.Helper()
	status, out, _ := p.call(http.MethodGet, "/api/deliveries?"+query, "")
	if status != http.StatusOK {
		p.t.Fatalf("deliveries?%s: %d %v", query, status, out)
	}
	var list []map[string]any
	for _, d := range out["list"].([]any) {
		list = append(list, d.(map[string]any))
	}
	return list
}

// amend changes deliveries and expects that so many are changed.
func (p *process) amend(verb, body string, want int) {
	p.t.Helper()
	status, out, _ := p.call(http.MethodPost, "/api/deliveries/"+verb, body)
	if status != http.StatusOK || out["deliveries"] != float64(want) || out["complete"] != true {
		p.t.Errorf("%s %s: %d %v, want %d", verb, body, status, out, want)
	}
}

// refuses has a receiver refuse bodies that hold a text.
func refuses(hook *receiver, text string) {
	hook.setAnswer(func(w http.ResponseWriter, r request) {
		if text != "" && strings.Contains(r.Body, text) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
}

const withToken = loopback + "dynamic_values: {myapp.utils.get_token: {literal: hunter2-secret}}\n"

// TestDeliveriesAreSeenAndMended: a delivery that is refused holds up its row, can be looked
// at, skipped and retried, over a restart as well.
func TestDeliveriesAreSeenAndMended(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, withToken)
	refuses(hook, "bad")
	p.create(strings.Replace(simple("customer", "{{ instance.name }}", hook.URL), `"url"`,
		`"headers":{"X-Ref":"{{ myapp.utils.get_token }} {{ instance.id }}","Authorization":"Bearer literal-secret {{ instance.id }}"},"url"`, 1))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('bad', ''), ('b', ''), ('c', '')`)
	db.exec(`UPDATE myapp_customer SET name = 'better' WHERE id = 1`)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked&key=1")) == 2 })
	hook.wait(t, 3) // the refused one, and the other rows
	list := p.deliveries("trigger=1&destination=d1&source=shop&table=public.myapp_customer")
	bad := list[0]
	if len(list) != 2 || bad["class"] != "rejected" || bad["code"] != "http_422" || bad["failures"] != 1.0 || bad["next_at"] == nil || bad["content_type"] != "myapp.customer" || list[1]["failures"] != 0.0 {
		t.Errorf("listed %v", list)
	}
	at := "/api/deliveries/" + bad["id"].(string)
	_, one, _ := p.call(http.MethodGet, at, "")
	if one["body"] != "bad" || one["body_encoding"] != "text" || len(one["attempts"].([]any)) != 1 || one["rendered"] != true ||
		!strings.Contains(fmt.Sprint(one["headers"]), "{{ myapp.utils.get_token }} 1") || strings.Contains(fmt.Sprint(one), "secret") {
		t.Errorf("shown %v", one)
	}
	if status, out, _ := p.call(http.MethodPost, at+"/retry", `{"render":"current"}`); status != http.StatusConflict || out["code"] != "row_not_kept" {
		t.Errorf("rendered once more: %d %v", status, out)
	}
	// A restart leaves both where they are; skipped, the first lets the second go.
	p.stop()
	p.start()
	if status, out, _ := p.call(http.MethodPost, at+"/skip", ""); status != http.StatusOK || out["deliveries"] != 1.0 {
		t.Errorf("skip: %d %v", status, out)
	}
	got := hook.wait(t, 4)[3]
	if got.Body != "better" || got.Header.Get("X-Ref") != "hunter2-secret 1" || got.Header.Get("Authorization") != "Bearer literal-secret 1" {
		t.Errorf("sent %v", got)
	}
	if status, out, _ := p.call(http.MethodPost, at+"/skip", ""); status != http.StatusConflict || out["code"] != "not_parked" {
		t.Errorf("skipped twice: %d %v", status, out)
	}
	dead := p.deliveries("status=dead")
	if len(dead) != 1 || dead[0]["class"] != "skipped" {
		t.Errorf("dead %v", dead)
	}
	refuses(hook, "")
	p.amend("retry", `{"filter":{"status":"dead","class":"skipped"},"max_rate":10}`, 1)
	got = hook.wait(t, 5)[4]
	first := hook.requests()[slices.Index(bodies(hook.requests()), "bad")]
	if id := got.Header.Get("Webhook-Id"); got.Body != "bad" || id != bad["message_id"] || id != first.Header.Get("Webhook-Id") {
		t.Errorf("sent %v, first %v", got, first)
	}
	waitFor(t, "nothing left", func() bool { return len(p.deliveries("")) == 0 })
	if status, _, _ := p.call(http.MethodPost, at+"/retry", ""); status != http.StatusNotFound {
		t.Errorf("what was delivered is retried: %d", status)
	}
}

// TestMendedTemplateIsRenderedOnceMore: what could not be rendered is rendered by the
// mended trigger, and what that makes of it can be rendered once more.
func TestMendedTemplateIsRenderedOnceMore(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"delivery: {retry: []}\n")
	refuses(hook, "wrong")
	loop := `{% for a in instance.name %}{% for b in instance.name %}{% for c in instance.name %}{% for d in instance.name %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}`
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", loop, hook.URL))["id"])
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES (repeat('x', 100), '')`)
	waitFor(t, "dead", func() bool { return len(p.deliveries("status=dead&code=render")) == 1 })
	id := "/api/deliveries/" + p.deliveries("")[0]["id"].(string)
	for _, payload := range []string{"wrong {{ instance.id }}", "right {{ instance.id }}"} {
		if status, out, _ := p.call(http.MethodPatch, at, fmt.Sprintf(`{"payload":%q}`, payload)); status != http.StatusOK {
			t.Fatalf("patch: %d %v", status, out)
		}
		if status, out, _ := p.call(http.MethodPost, id+"/retry", `{"render":"current"}`); status != http.StatusOK {
			t.Fatalf("retry: %d %v", status, out)
		}
		want := strings.ReplaceAll(payload, "{{ instance.id }}", "1")
		waitFor(t, want, func() bool { return slices.Contains(bodies(hook.requests()), want) })
		if strings.HasPrefix(payload, "wrong") {
			waitFor(t, "dead again", func() bool { return len(p.deliveries("status=dead&code=http_422")) == 1 })
			if _, out, _ := p.call(http.MethodGet, id, ""); out["body"] != want || out["row_kept"] != true {
				t.Errorf("kept %v", out)
			}
		}
	}
}

// TestRowsAreKept renders once more what was refused, since it carries its row.
func TestRowsAreKept(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"delivery: {keep_rows: true, retry: []}\nhistory: {keep: 1h}\n")
	refuses(hook, "wrong")
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "wrong {{ instance.name }}", hook.URL))["id"])
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', ''), ('b', '')`)
	waitFor(t, "dead", func() bool { return len(p.deliveries("status=dead")) == 2 })
	db.exec(`UPDATE myapp_customer SET name = 'later'`)
	waitFor(t, "dead", func() bool { return len(p.deliveries("status=dead")) == 4 })
	p.call(http.MethodPatch, at, `{"payload":"right {{ instance.name }}"}`)
	hook.reset()
	p.amend("retry", `{"filter":{"status":"dead"},"render":"current"}`, 4)
	got := bodies(hook.wait(t, 4))
	if slices.Index(got, "right a") < 0 || slices.Index(got, "right b") < 0 || len(slices.DeleteFunc(got, func(s string) bool { return s != "right later" })) != 2 {
		t.Errorf("sent %q", bodies(hook.requests()))
	}
	waitFor(t, "kept", func() bool { return len(p.deliveries("status=sent")) == 4 })
	p.call(http.MethodPatch, at, `{"payload":"new {{ instance.name }}"}`)
	p.amend("retry", `{"filter":{"status":"sent","key":"1"},"render":"current"}`, 2)
	if got := bodies(hook.wait(t, 6))[4:]; !slices.Equal(got, []string{"new a", "new later"}) {
		t.Errorf("sent %q", got)
	}
}

func TestDeadWithTheirTrigger(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	refuses(hook, "bad")
	out := p.create(simple("customer", "bad {{ instance.name }}", hook.URL))
	db.customers(1, 3)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked")) == 3 })
	if status, _, _ := p.call(http.MethodDelete, fmt.Sprintf("/api/action-triggers/%v", out["id"]), ""); status != http.StatusNoContent {
		t.Fatalf("delete: %d", status)
	}
	waitFor(t, "dead", func() bool { return len(p.deliveries("status=dead&class=deleted")) == 3 })
	id := p.deliveries("")[0]["id"].(string)
	if status, out, _ := p.call(http.MethodPost, "/api/deliveries/"+id+"/retry", ""); status != http.StatusConflict || out["code"] != "destination_deleted" {
		t.Errorf("retry: %d %v", status, out)
	}
	status, all, _ := p.call(http.MethodPost, "/api/deliveries/retry", `{"filter":{"class":"deleted"}}`)
	if left, _ := all["left"].(map[string]any); status != http.StatusOK || all["deliveries"] != 0.0 || left["destination_deleted"] != 3.0 {
		t.Errorf("retry: %d %v", status, all)
	}
	if status, _, _ := p.call(http.MethodDelete, "/api/deliveries/"+id, ""); status != http.StatusNoContent {
		t.Errorf("erase: %d", status)
	}
	p.amend("erase", `{"filter":{"trigger":1}}`, 2)
}

// TestDestinationsAreSeen: one that is away is seen to fail, and tried when somebody asks.
func TestDestinationsAreSeen(t *testing.T) {
	t.Parallel()
	db, address := newDatabase(t), freeAddress(t)
	p := startDaemon(t, db.url, loopback+"delivery: {park: {after: 0s}}\n")
	p.create(with(simple("customer", "{{ instance.name }}", "http://"+address+"/hooks/secret?x=y"), `"name":"hooks"`))
	state := func() map[string]any {
		_, out, _ := p.call(http.MethodGet, "/api/destinations?trigger=1", "")
		return out["list"].([]any)[0].(map[string]any)
	}
	if d := state(); d["state"] != "ok" || d["target"] != "http://"+address || d["type"] != "webhook" || d["trigger_name"] != "hooks" {
		t.Errorf("destination %v", d)
	}
	db.customers(1, 20)
	waitFor(t, "failing", func() bool {
		d := state()
		return d["state"] == "failing" && d["parked"].(float64) >= 19 && d["oldest_committed_at"] != nil
	})
	if d := state(); d["retry_at"] == nil || !strings.Contains(fmt.Sprint(d["error"]), "refused") {
		t.Errorf("destination %v", d)
	}
	hook := newReceiverAt(t, address)
	if status, d, _ := p.call(http.MethodPost, "/api/destinations/d1/retry-now", ""); status != http.StatusOK || d["id"] != "d1" {
		t.Errorf("retry-now: %d %v", status, d)
	}
	hook.wait(t, 20)
	waitFor(t, "ok", func() bool { d := state(); return d["state"] == "ok" && d["parked"] == 0.0 })
	hook.setAnswer(func(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusGone) })
	db.customers(21, 22)
	waitFor(t, "held", func() bool { return state()["state"] == "held" })
	hook.setAnswer(nil)
	hook.reset()
	p.call(http.MethodPost, "/api/destinations/d1/retry-now", "")
	waitFor(t, "sent", func() bool { return len(hook.requests()) >= 2 })
	if status, _, _ := p.call(http.MethodPost, "/api/destinations/d9/retry-now", ""); status != http.StatusNotFound {
		t.Errorf("no destination: %d", status)
	}
}

// TestEraseARow removes all that is kept about a row, whatever its order and status.
func TestEraseARow(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"history: {keep: 1h}\n")
	refuses(hook, "bad")
	for _, ordering := range []string{"key", "none", "source"} {
		p.create(with(simple("customer", "{{ instance.name }} {{ instance.id }}", hook.URL+"/"+ordering), fmt.Sprintf(`"ordering":%q`, ordering)))
	}
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('good', ''), ('good', '')`)
	waitFor(t, "sent", func() bool { return len(p.deliveries("status=sent")) == 6 })
	db.exec(`UPDATE myapp_customer SET name = 'bad'`)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked&key=1")) == 3 && len(p.deliveries("key=2")) == 3 })
	p.amend("skip", `{"filter":{"trigger":2,"key":"1"}}`, 1)
	p.amend("erase", `{"filter":{"table":"public.myapp_customer","key":"1"}}`, 6)
	for _, status := range []string{"parked", "dead", "sent"} {
		for _, d := range p.deliveries("status=" + status) {
			if d["key"] == "1" {
				t.Errorf("still there: %v", d)
			}
		}
	}
	if n := len(p.deliveries("key=2")) + len(p.deliveries("status=sent&key=2")); n != 6 {
		t.Errorf("%d of the other row are left, want 6", n)
	}
	p.amend("erase", `{"filter":{"table":"public.myapp_sale","key":"2"}}`, 0)
	if status, out, _ := p.call(http.MethodPost, "/api/deliveries/erase", `{"filter":{}}`); status != http.StatusUnprocessableEntity {
		t.Errorf("an empty filter: %d %v", status, out)
	}
}

// TestHistoryIsReplayed sends once more what was sent in a range of time, in order and with
// the same ids, and says from when on it can.
func TestHistoryIsReplayed(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"history: {keep: 1h}\n")
	began := time.Now()
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(with(simple("customer", "{{ instance.name }}", hook.URL), `"ordering":"source"`))["id"])
	replay := func(body string) (int, map[string]any) {
		t.Helper()
		status, out, _ := p.call(http.MethodPost, at+"/replay", body)
		return status, out
	}
	db.customers(1, 30)
	hook.wait(t, 30)
	time.Sleep(time.Until(began.Add(1100 * time.Millisecond).Truncate(time.Second))) // commits have a clock of their own
	waitFor(t, "kept", func() bool { return len(p.deliveries("status=sent&trigger=1")) == 30 })
	middle := db.text(`SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
	want := db.customers(31, 50)
	first := hook.wait(t, 50)
	waitFor(t, "kept", func() bool { return len(p.deliveries("status=sent&trigger=1")) == 50 })
	status, out, h := p.call(http.MethodGet, at+"/history?limit=20", "")
	list, _ := out["list"].([]any)
	if status != http.StatusOK || len(list) != 20 || list[0].(map[string]any)["key"] != "50" || list[19].(map[string]any)["key"] != "31" {
		t.Fatalf("history: %d %v", status, out)
	}
	next, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"), ">")
	if _, out, _ := p.call(http.MethodGet, next, ""); out["list"].([]any)[0].(map[string]any)["key"] != "30" {
		t.Errorf("the next page: %v", out)
	}
	p.stop() // the history outlives the daemon
	p.start()
	if status, out := replay(fmt.Sprintf(`{"from":%q,"max_rate":200}`, middle)); status != http.StatusOK || out["deliveries"] != 20.0 {
		t.Fatalf("replay: %d %v", status, out)
	}
	again := hook.wait(t, 70)[50:]
	if got := bodies(again); !slices.Equal(got, want) {
		t.Errorf("replayed %v, want %v", got, want)
	}
	for i := range again {
		if again[i].Header.Get("Webhook-Id") != first[30+i].Header.Get("Webhook-Id") {
			t.Errorf("%s was replayed as %s", first[30+i].Header.Get("Webhook-Id"), again[i].Header.Get("Webhook-Id"))
		}
	}
	waitFor(t, "kept again", func() bool { return len(p.deliveries("status=sent&trigger=1")) == 50 })
	status, out = replay(`{"from":"2020-01-01T00:00:00Z"}`)
	earliest, err := time.Parse(time.RFC3339Nano, fmt.Sprint(out["earliest"]))
	if status != http.StatusConflict || out["code"] != "not_kept" || err != nil || earliest.Before(began.Add(-time.Minute)) || !strings.HasPrefix(fmt.Sprint(out["detail"]), "nothing was replayed: ") || !strings.Contains(fmt.Sprint(out["detail"]), first[0].Header.Get("Webhook-Id")) {
		t.Errorf("from before all: %d %v", status, out)
	}
	if status, out := replay(fmt.Sprintf(`{"from":%q,"to":%q}`, out["earliest"], middle)); status != http.StatusOK || out["deliveries"] != 30.0 {
		t.Errorf("from the first on: %d %v", status, out)
	}
	hook.wait(t, 100)
	if status, _ := replay(`{}`); status != http.StatusUnprocessableEntity {
		t.Errorf("without from: %d", status)
	}
}

func TestNoHistory(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "{{ instance.name }}", hook.URL))["id"])
	db.customers(1, 3)
	hook.wait(t, 3)
	if n := len(p.deliveries("status=sent")); n != 0 {
		t.Errorf("%d are kept", n)
	}
	for _, c := range [][3]string{{http.MethodGet, "/history", ""}, {http.MethodPost, "/replay", `{"from":"2020-01-01T00:00:00Z"}`}} {
		if status, out, _ := p.call(c[0], at+c[1], c[2]); status != http.StatusConflict || out["code"] != "no_history" {
			t.Errorf("%s: %d %v", c[1], status, out)
		}
	}
	if status, _, _ := p.call(http.MethodGet, "/api/action-triggers/99/history", ""); status != http.StatusNotFound {
		t.Errorf("of no trigger: %d", status)
	}
}

// TestNoBodies keeps nothing of what the dead say.
func TestNoBodies(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"delivery: {bodies: none, retry: []}\nhistory: {keep: 1h}\n")
	refuses(hook, "bad")
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "{{ instance.name }}", hook.URL))["id"])
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('bad', ''), ('good', '')`)
	waitFor(t, "kept", func() bool { return len(p.deliveries("status=dead"))+len(p.deliveries("status=sent")) == 2 })
	for _, d := range slices.Concat(p.deliveries("status=dead"), p.deliveries("status=sent")) {
		id := "/api/deliveries/" + d["id"].(string)
		if _, one, _ := p.call(http.MethodGet, id, ""); one["body"] != "" || one["body_kept"] != false {
			t.Errorf("kept %v", one)
		}
		if status, out, _ := p.call(http.MethodPost, id+"/retry", ""); status != http.StatusConflict || out["code"] != "body_not_kept" {
			t.Errorf("retry: %d %v", status, out)
		}
	}
	from := url.QueryEscape(time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
	if status, out, _ := p.call(http.MethodPost, at+"/replay", fmt.Sprintf(`{"from":%q}`, time.Now().UTC().Format(time.RFC3339))); status != http.StatusConflict || out["code"] != "body_not_kept" {
		t.Errorf("replay from %s: %d %v", from, status, out)
	}
}
