package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dig follows keys and indices into a decoded answer; nil where there is nothing.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestPreviewAndTest(t *testing.T) {
	t.Parallel()
	kafka := service(t, "WALTRIGGER_TEST_KAFKA")
	topic := fmt.Sprintf("test-%d", time.Now().UnixNano())
	db, hook, queue := newDatabase(t), newReceiver(t), newConsumer(t, kafka, topic)
	p := startDaemon(t, db.url, loopback+fmt.Sprintf(`
dynamic_values: {myapp.utils.get_token: {literal: hunter2}}
brokers: {k: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %q}}}
`, kafka, topic))
	body := func(members string) string {
		return with(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}],
			"webhooks":[{"url":"%s/hook","http_method":"PUT","headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}","X-Key":"hunter2","X-Sale":"{{ instance.id }}"},"timeout_secs":5}],
			"msg_broker_queues":[{"name":"k","parameters":{"sale":"{{ instance.id }}","token":"{{ myapp.utils.get_token }}"}}],
			"payload":{"customer":"{{ instance.customer.name }}","quantity":"{{ instance.quantity|json }}"}}`, hook.URL), members)
	}
	call := func(status int, path, body string) map[string]any {
		t.Helper()
		got, out, _ := p.call(http.MethodPost, "/api/action-triggers"+path, body)
		if got != status {
			t.Fatalf("%s %s: %d %v", path, body, got, out)
		}
		if b, err := json.Marshal(out); err != nil || strings.Contains(string(b), "hunter2") {
			t.Fatalf("a secret is shown: %s, %v", b, err)
		}
		return out
	}

	// Not stored, of an empty table.
	out := call(422, "/preview", `{"trigger":`+body(`"name":"n"`)+`}`)
	if dig(out, "errors", 0, "pointer") != "/sample" || !strings.Contains(fmt.Sprint(out), "has 0 such rows") {
		t.Errorf("an empty table: %v", out)
	}
	out = call(422, "/preview", `{"trigger":`+body(`"condition":"instance.quantiti > 5"`)+`}`)
	if dig(out, "errors", 0, "pointer") != "/trigger/condition" {
		t.Errorf("a mistake in the trigger: %v", out)
	}
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('Ada', ''), ('Bob', ''); INSERT INTO myapp_product (name, description) VALUES ('p', ''), ('q', '');
		INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3), (2, 2, 4)`)

	out = call(200, "/preview", `{"trigger":`+body(`"name":"n"`)+`}`)
	webhook := dig(out, "events", 0, "requests", 0)
	if out["matched"] != true || dig(out, "sample", "from") != "latest" || dig(out, "events", 0, "id") != "shop_preview_1_post_save" || dig(webhook, "body") != `{"customer":"Bob","quantity":4}` ||
		dig(webhook, "method") != "PUT" || dig(webhook, "url") != hook.URL+"/hook" || dig(webhook, "headers", "Authorization") != "Bearer {{ myapp.utils.get_token }}" ||
		dig(webhook, "headers", "X-Key") != "[redacted]" || dig(webhook, "headers", "X-Sale") != "2" || dig(webhook, "at") != "/webhooks/0" || dig(webhook, "bytes") != 31.0 {
		t.Errorf("preview %v", out)
	}
	if broker := dig(out, "events", 0, "requests", 1); dig(broker, "kind") != "kafka" || dig(broker, "name") != "k" || dig(broker, "key") != "2" ||
		dig(broker, "parameters", "topic") != topic || dig(broker, "headers", "token") != "{{ myapp.utils.get_token }}" || dig(broker, "headers", "sale") != "2" {
		t.Errorf("broker %v", broker)
	}

	// Stored, by key and with rows of the caller's.
	id := p.create(body(`"condition":"instance.quantity > 3"`))["id"]
	path := fmt.Sprintf("/%v", id)
	out = call(200, path+"/preview", `{"sample":{"key":{"id":1}}}`)
	if out["matched"] != false || out["reason"] != "the condition is false" || len(dig(out, "events", 0, "requests").([]any)) != 0 {
		t.Errorf("does not match: %v", out)
	}
	out = call(200, path+"/preview", `{"sample":{"after":{"id":77,"customer_id":1,"product_id":1,"quantity":12}}}`)
	if dig(out, "events", 0, "requests", 0, "body") != `{"customer":"Ada","quantity":12}` || dig(out, "sample", "operation") != "insert" {
		t.Errorf("given: %v", out)
	}
	out = call(200, path+"/preview", `{"sample":{"operation":"delete","key":{"id":1}}}`)
	if out["matched"] != false || out["reason"] != "delete raises pre_delete, post_delete, and the trigger is for post_save" {
		t.Errorf("of another operation: %v", out)
	}
	call(422, path+"/preview", `{"sample":{"after":{"quantity":"many","colour":1}}}`)
	call(404, "/999/preview", "")
	if n := len(hook.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}

	// A trigger that is edited is looked at with the secrets that it has.
	_, shown, _ := p.call(http.MethodGet, "/api/action-triggers"+path, "")
	shown["payload"] = "{{ instance.id }}"
	edited, err := json.Marshal(map[string]any{"trigger": shown})
	if err != nil {
		t.Fatal(err)
	}
	if out = call(200, "/preview", string(edited)); dig(out, "events", 0, "requests", 0, "body") != "2" || dig(out, "events", 0, "requests", 0, "destination") != "d1" {
		t.Errorf("edited: %v", out)
	}

	// Tests are sent.
	out = call(200, path+"/test", "")
	r := hook.wait(t, 1)[0]
	if r.Method != http.MethodPut || r.Body != `{"customer":"Bob","quantity":4}` || r.Header.Get("Waltrigger-Test") != "true" || r.Header.Get("Authorization") != "Bearer hunter2" ||
		!strings.HasPrefix(r.Header.Get("Webhook-Id"), "shop_test-") || r.Header.Get("Webhook-Id") != dig(out, "events", 0, "requests", 0, "id") {
		t.Errorf("sent %+v", r)
	}
	if m := queue.next(t); m.headers["waltrigger-test"] != "true" || m.headers["token"] != "hunter2" || m.body != r.Body {
		t.Errorf("queued %+v", m)
	}
	for i := range 2 {
		if s := dig(out, "events", 0, "requests", i, "result", "status"); s != "accepted" {
			t.Errorf("destination %d: %v", i, out)
		}
	}
	hook.setAnswer(func(w http.ResponseWriter, _ request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "what is behind the address")
	})
	hook.reset()
	out = call(200, path+"/test", `{"sample":{"key":{"id":2}}}`)
	hook.wait(t, 1) // one attempt
	if dig(out, "events", 0, "requests", 0, "result", "code") != "http_404" || dig(out, "events", 0, "requests", 0, "result", "class") != "rejected" || strings.Contains(fmt.Sprint(out), "what is behind") {
		t.Errorf("refused: %v", out)
	}
	hook.reset()
	if out = call(200, path+"/test", `{"sample":{"key":{"id":1}}}`); out["matched"] != false {
		t.Errorf("does not match: %v", out)
	}
	if n := len(hook.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	// Nothing of all this is an event: the next real one is the first.
	hook.setAnswer(nil)
	db.exec(`UPDATE myapp_sale SET quantity = 5 WHERE id = 1`)
	if got := hook.wait(t, 1); got[0].Header.Get("Waltrigger-Test") != "" || got[0].Body != `{"customer":"Ada","quantity":5}` {
		t.Errorf("a real event: %+v", got)
	}
}
