package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// hookFor is a trigger for saves of a model; members are added.
func hookFor(model, url, members string) string {
	return with(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":%q}],"webhooks":[{"url":%q}]}`, model, url), members)
}

// TestFieldsFormat sends what Django's serializer, and so the package that is in Django's
// place, makes of a row: testdata/payload holds its outputs.
func TestFieldsFormat(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	text, err := os.ReadFile("../../testdata/payload/fields.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var columns, names, places, want []string
	var values []any
	for line := range strings.Lines(string(text)) {
		var c struct {
			Type, Body string
			Value      *string
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("f%d", len(columns))
		columns, names, values = append(columns, name+" "+c.Type), append(names, name), append(values, c.Value)
		places = append(places, fmt.Sprintf("$%d::text::%s", len(values), c.Type))
		want = append(want, strings.Replace(strings.Trim(c.Body, "{}"), `"f"`, `"`+name+`"`, 1))
		if object, ok := strings.CutSuffix(c.Body, "}}"); ok {
			want[len(want)-1] = strings.Replace(strings.TrimPrefix(object, "{"), `"f"`, `"`+name+`"`, 1) + "}"
		}
	}
	db.exec("CREATE EXTENSION hstore; CREATE TABLE myapp_types (id bigserial PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	p := startDaemon(t, db.url, loopback+"settings: {default_payload_format: fields}\n")
	p.create(hookFor("types", hook.URL, `"name":"types"`))
	p.create(hookFor("sale", hook.URL, `"payload_format":"fields"`))
	db.exec("INSERT INTO myapp_types ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(places, ", ")+")", values...)
	got := hook.wait(t, 1)
	if body := "{" + strings.Join(want, ", ") + "}"; got[0].Body != body || got[0].Header.Get("Content-Type") != "application/json" {
		t.Errorf("got  %s\nwant %s", got[0].Body, body)
	}
	hook.reset()
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', 'b'); INSERT INTO myapp_product (name, description) VALUES ('a', 'b');
		INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 3)`)
	if got := bodies(hook.wait(t, 1)); got[0] != `{"customer": 1, "product": 1, "quantity": 3}` {
		t.Errorf("foreign keys: %s", got[0])
	}
}

func TestOtherFormats(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(hookFor("customer", hook.URL+"/ce", `"payload_format":"cloudevents"`))
	p.create(hookFor("customer", hook.URL+"/data", `"payload_format":"cloudevents","payload":"{{ instance.name }}"`))
	p.create(hookFor("customer", hook.URL+"/dbz", `"payload_format":"debezium"`))
	db.customers(1, 1)
	for _, r := range hook.wait(t, 3) {
		var got map[string]any
		if err := json.Unmarshal([]byte(r.Body), &got); err != nil {
			t.Fatal(err)
		}
		switch r.Path {
		case "/ce", "/data":
			id := got["id"].(string)
			if r.Header.Get("Content-Type") != "application/cloudevents+json; charset=UTF-8" || got["specversion"] != "1.0" || got["source"] != "/waltrigger/shop" ||
				got["type"] != "myapp.customer.post_save" || got["subject"] != "1" || !strings.HasPrefix(r.Header.Get("Webhook-Id"), id+"_") {
				t.Errorf("CloudEvent %s with %v", r.Body, r.Header)
			}
			data, _ := got["data"].(map[string]any)
			if r.Path == "/ce" && (data["id"] != id || data["version"] != 1.0) || r.Path == "/data" && got["data"] != 1.0 {
				t.Errorf("data %v", got["data"])
			}
		default:
			source := got["source"].(map[string]any)
			if got["op"] != "c" || got["before"] != nil || got["after"].(map[string]any)["name"] != "1" || source["table"] != "myapp_customer" || source["schema"] != "public" ||
				source["connector"] != "postgresql" || !strings.HasPrefix(source["db"].(string), "e2e_") || source["lsn"].(float64) < 1 || source["txId"].(float64) < 1 {
				t.Errorf("Debezium's envelope %s", r.Body)
			}
		}
	}
}

func TestHiddenColumns(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(`CREATE TABLE myapp_user (id bigserial PRIMARY KEY, name text, password text); ALTER TABLE myapp_user REPLICA IDENTITY FULL;
		CREATE TABLE myapp_note (id bigserial PRIMARY KEY, user_id bigint REFERENCES myapp_user, body text)`)
	p := startDaemon(t, db.url, loopback)
	for _, c := range []struct{ body, pointer string }{
		{hookFor("user", hook.URL, `"payload":{"a":["{{ instance.password }}"]}`), "/payload/a/0"},
		{hookFor("user", hook.URL, `"payload":"{{ before.PASSWORD }}"`), "/payload"},
		{hookFor("user", hook.URL, `"condition":"instance.password == 'x'"`), "/condition"},
		{hookFor("user", hook.URL, `"ordering_key":"{{ after.password }}"`), "/ordering_key"},
		{hookFor("note", hook.URL, `"payload":"{{ instance.user.password }}"`), "/payload"},
		{strings.Replace(hookFor("note", hook.URL, `"name":"x"`), `"url"`, `"headers":{"X":"{% with u=instance.user %}{{ u.password }}{% endwith %}"},"url"`, 1), "/webhooks/0/headers/X"},
	} {
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", c.body)
		if said := fmt.Sprint(out["errors"]); status != http.StatusUnprocessableEntity || !strings.Contains(said, "pointer:"+c.pointer+"]") || !strings.Contains(said, "code:not_allowed") || !strings.Contains(said, "settings.hidden_columns") {
			t.Errorf("%s: %d %v", c.body, status, out)
		}
	}
	for i, format := range []string{"envelope", "fields", "cloudevents", "debezium"} {
		p.create(hookFor("user", hook.URL, fmt.Sprintf(`"payload_format":%q,"name":"f%d"`, format, i)))
	}
	p.create(hookFor("user", hook.URL, `"payload":"{{ after|json }}{{ before|json }}{% for k, v in instance.items %}{{ k }}={{ v }} {% endfor %}{{ changed|json }}","name":"t"`))
	p.create(hookFor("note", hook.URL, `"payload":"{{ instance.user.name }}{% for v in instance.user.values %} {{ v }}{% endfor %}"`))
	p.create(hookFor("user", hook.URL+"/changed", `"fields":["password"],"payload":"{{ operation }} {{ changed|json }}"`))
	db.exec(`INSERT INTO myapp_user (name, password) VALUES ('ada', 'hunter2'); UPDATE myapp_user SET name = 'Ada';
		UPDATE myapp_user SET password = 'hunter22'; INSERT INTO myapp_note (user_id, body) VALUES (1, 'x')`)
	var changed []string
	for _, r := range hook.wait(t, 3*5+2+1) {
		if strings.Contains(r.Body+fmt.Sprint(r.Header), "hunter2") {
			t.Errorf("%s: %s", r.Path, r.Body)
		}
		if r.Path == "/changed" {
			changed = append(changed, r.Body)
		}
	}
	if want := []string{`insert ["id","name","password"]`, `update ["password"]`}; !slices.Equal(changed, want) {
		t.Errorf("got %q, want %q", changed, want)
	}
}

// TestSigningSecrets creates, shows, keeps and rotates the secret of a webhook.
func TestSigningSecrets(t *testing.T) {
	t.Parallel()
	const old, next = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk", "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"dynamic_values: {myapp.secrets.webhook: {literal: "+next+"}}\n")
	body := func(secret string) string {
		return strings.Replace(simple("customer", "{{ instance.name }}", hook.URL), `"url"`, `"secret":`+secret+`,"url"`, 1)
	}
	for _, bad := range []string{`"hunter2"`, `"whsec_c2hvcnQ="`, `["` + old + `","whsk_x"]`, `"{{ instance.name }}"`, `"{{ myapp.secrets.none }}"`, `"[redacted]"`} {
		if status, out, _ := p.call(http.MethodPost, "/api/action-triggers", body(bad)); status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(out["errors"]), "/webhooks/0/secret") || strings.Contains(fmt.Sprint(out), "hunter2") {
			t.Errorf("%s: %d %v", bad, status, out)
		}
	}
	out := p.create(body(`"` + old + `"`))
	path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	n := 0
	signed := func(valid ...string) {
		t.Helper()
		n++
		db.customers(n, n)
		got := hook.wait(t, 1)[0]
		hook.reset()
		for _, key := range []string{old, next} {
			wh, err := standardwebhooks.NewWebhook(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify([]byte(got.Body), got.Header); (err == nil) != slices.Contains(valid, key) {
				t.Errorf("signed with %s: %v", key, err)
			}
		}
	}
	replace := func(change func(webhook map[string]any), revision string) {
		t.Helper()
		_, now, header := p.call(http.MethodGet, path, "")
		change(now["webhooks"].([]any)[0].(map[string]any))
		sent, err := json.Marshal(now)
		if err != nil {
			t.Fatal(err)
		}
		status, shown, after := p.call(http.MethodPut, path, string(sent))
		if status != http.StatusOK || strings.Contains(fmt.Sprint(now, shown), "whsec_") || (after.Get("ETag") == header.Get("ETag")) != (revision == "same") {
			t.Fatalf("%d %v", status, shown)
		}
	}
	signed(old)
	replace(func(map[string]any) {}, "same")
	signed(old)
	replace(func(w map[string]any) { w["secret"] = []any{"{{ myapp.secrets.webhook }}", w["secret"]} }, "other")
	signed(old, next)
	replace(func(w map[string]any) { w["secret"] = "{{ myapp.secrets.webhook }}" }, "other")
	signed(next)
	if strings.Contains(p.log.String()+p.metrics(), "whsec_") {
		t.Error("a secret is in the log or the metrics")
	}
}
