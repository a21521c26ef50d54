package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// vault is a service that knows the secret of the moment, as long as it is up.
type vault struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	down   bool
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{secret: "s3cret-1"}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		id, secret, _ := r.BasicAuth()
		switch {
		case v.down:
			http.Error(w, v.secret, http.StatusServiceUnavailable)
		case r.URL.Path == "/oauth2" && id == "shop" && secret == "s3cret-client":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"%s-oauth2","token_type":"Bearer","expires_in":2}`, v.secret)
		case r.Header.Get("X-Vault-Token") == "s3cret-root":
			fmt.Fprintf(w, `{"data":{"token":"%s-http"}}`, v.secret)
		default:
			http.Error(w, "no", http.StatusForbidden)
		}
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *vault) set(secret string, down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secret, v.down = secret, down
}

// TestDynamicValues has one trigger use values of all kinds, which are rotated, fail and
// come back, beside another that uses none.
func TestDynamicValues(t *testing.T) {
	t.Parallel()
	address := service(t, "WALTRIGGER_TEST_REDIS")
	db, hook, v := newDatabase(t), newReceiver(t), newVault(t)
	db.exec(`CREATE TABLE setting (name text PRIMARY KEY, value text); INSERT INTO setting VALUES ('token', 's3cret-1-sql'), ('region', 'eu')`)
	file := filepath.Join(t.TempDir(), "token")
	rotate := func(secret string) {
		v.set(secret, false)
		db.exec(`UPDATE setting SET value = $1 WHERE name = 'token'`, secret+"-sql")
		if err := os.WriteFile(file, []byte(secret+"-command\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate("s3cret-1")
	stream := fmt.Sprintf("dynamic-%d", time.Now().UnixNano())
	// Redis is reached by a dynamic value, and not listed: it is the operator's all the same.
	p := startDaemon(t, db.url, fmt.Sprintf(`egress: {allow_hosts: [%[1]q]}
brokers:
  mine: {broker_type: redis, conn_details: {url: "{{ shop.redis }}"}, params: {stream: %[2]q, x-token: "{{ shop.vault }}"}}
dynamic_values:
  shop.command: {command: {argv: [/bin/sh, -c, "echo secret >&2; cat %[3]s"]}, ttl: 1s}
  shop.sql: {sql: {source: shop, query: "select value from setting where name = 'token'"}, ttl: 1s}
  shop.vault: {http: {url: "%[4]s/v1", headers: {X-Vault-Token: s3cret-root}}, pointer: /data/token, ttl: 1s}
  shop.oauth2: {oauth2: {token_url: "%[4]s/oauth2", client_id: shop, client_secret: s3cret-client}, hosts: [127.0.0.1]}
  shop.region: {sql: {source: shop, query: "select value from setting where name = 'region'"}, allow_in_payload: true}
  shop.redis: {command: {argv: [printf, "%%s", %[5]q]}}
`, hook.Listener.Addr(), stream, file, v.URL, address))
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],
		"payload":{"name":"{{ instance.name }}","region":"{{ shop.region|upper }}"},"msg_broker_queues":[{"name":"mine"}],
		"webhooks":[{"url":"%s/values/{{ instance.name }}?k={{ shop.vault }}","headers":{"A":"{{ shop.command }} {{ shop.sql }}","B":"{{ instance.id }}-{{ shop.vault }}","C":"Bearer {{ shop.oauth2 }}"}}]}`, hook.URL))
	p.create(simple("customer", "{{ instance.name }}", hook.URL+"/plain/{{ instance.name }}"))

	insert := func(name string) { db.exec(`INSERT INTO myapp_customer (name, email) VALUES ($1, '')`, name) }
	// got gives the header values and the body that /values was sent for a row.
	got := func(name string) string {
		for _, r := range hook.requests() {
			if strings.HasPrefix(r.Path, "/values/"+name+"?") {
				return strings.Join([]string{r.Path, r.Header.Get("A"), r.Header.Get("B"), r.Header.Get("C"), r.Body}, " ")
			}
		}
		return ""
	}
	want := func(n int, name, secret string) string {
		return fmt.Sprintf(`/values/%[3]s?k=%[1]s-http %[1]s-command %[1]s-sql %[2]d-%[1]s-http Bearer %[1]s-oauth2 {"name":"%[3]s","region":"EU"}`, secret, n, name)
	}
	insert("first")
	waitFor(t, "first", func() bool { return got("first") != "" })
	if g := got("first"); g != want(1, "first", "s3cret-1") {
		t.Errorf("got  %s\nwant %s", g, want(1, "first", "s3cret-1"))
	}

	// Rotated: what is sent once all are known has the new ones.
	rotate("s3cret-2")
	n := 1
	waitFor(t, "new values", func() bool {
		n++
		name := fmt.Sprint("rotated-", n)
		insert(name)
		waitFor(t, name, func() bool { return got(name) != "" })
		return got(name) == want(n, name, "s3cret-2")
	})

	// Down: what needs it waits, once the old values are too old, and the others do not.
	v.set("s3cret-3", true)
	down := func() string {
		n++
		name := fmt.Sprint("down-", n)
		insert(name)
		waitFor(t, "the other trigger", func() bool {
			return slices.ContainsFunc(hook.requests(), func(r request) bool { return r.Path == "/plain/"+name })
		})
		return name
	}
	waitFor(t, "no values", func() bool { down(); return strings.Contains(p.metrics(), `code="dynamic_value"`) })
	waiting := down()
	if m := p.metrics(); got(waiting) != "" || !strings.Contains(m, `waltrigger_dynamic_value_failing{value="shop.vault"} 1`) || !strings.Contains(p.log.String(), "dynamic value cannot be fetched") {
		t.Errorf("sent without a value: %s\n%s", got(waiting), m)
	}
	v.set("s3cret-3", false)
	waitFor(t, "what waited", func() bool { return got(waiting) != "" })
	if g := got(waiting); !strings.Contains(g, "-s3cret-3-http Bearer s3cret-3-oauth2") {
		t.Errorf("after the outage: %s", g)
	}
	waitFor(t, "told", func() bool { return strings.Contains(p.log.String(), "dynamic value can be fetched again") })

	opt, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	defer c.Del(context.Background(), stream)
	waitFor(t, "all in the stream", func() bool {
		m, err := c.XRevRange(context.Background(), stream, "+", "-").Result()
		return err == nil && len(m) > 0 && m[len(m)-1].Values["x-token"] == "s3cret-1-http" && m[0].Values["x-token"] == "s3cret-3-http"
	})

	// No value and no secret of a declaration is to be seen anywhere.
	seen := p.log.String() + p.metrics() + p.ready()
	for _, path := range []string{"/api/action-triggers", "/api/dynamic-values", "/api/brokers", "/api/sources"} {
		resp, err := http.Get("http://" + p.api + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !json.Valid(b) {
			t.Fatal(path, resp.StatusCode, err)
		}
		seen += string(b)
	}
	out, _, code := p.cli("config", "--effective")
	if seen += out; code != 0 || !strings.Contains(seen, "shop.vault") || strings.Contains(seen, "s3cret") {
		t.Errorf("%d: a secret is shown in %s", code, seen)
	}
}

// TestDynamicValuesAreRefused: what a trigger may not do with them is said when it is
// saved, without the names of others.
func TestDynamicValuesAreRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	p := startDaemon(t, db.url, loopback+`brokers:
  mine: {broker_type: redis, conn_details: {host: 127.0.0.1}}
dynamic_values:
  shop.bound: {literal: s3cret, hosts: [api.example.com]}
  shop.free: {literal: s3cret}
`)
	for _, c := range []struct{ parts, pointer, code string }{
		{`"webhooks":[{"url":"http://127.0.0.1:8099/","headers":{"A":"{{ shop.bound }}"}}]`, "/webhooks/0/headers/A", "not_allowed"},
		{`"webhooks":[{"url":"http://127.0.0.1:8099/","headers":{"A":"{{ shop.fre }}"}}]`, "/webhooks/0/headers/A", "unknown"},
		{`"msg_broker_queues":[{"name":"mine","conn_details":{"password":"{{ shop.bound }}"},"parameters":{"channel":"x"}}]`, "/msg_broker_queues/0/conn_details/password", "not_allowed"},
		{`"msg_broker_queues":[{"name":"mine","parameters":{"channel":"{{ shop.bound }}"}}]`, "/msg_broker_queues/0/parameters/channel", "not_allowed"},
		{`"payload":{"a":"{{ shop.free }}"}`, "/payload/a", "not_allowed"},
		{`"payload":{"a":"{{ shop.fre }}"}`, "/payload/a", "unknown"},
	} {
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],`+c.parts+`}`)
		errs, _ := out["errors"].([]any)
		if status != http.StatusUnprocessableEntity || len(errs) != 1 {
			t.Errorf("%s: %d %v", c.parts, status, out)
			continue
		}
		e := errs[0].(map[string]any)
		if e["pointer"] != c.pointer || e["code"] != c.code {
			t.Errorf("%s: %v, want %s at %s", c.parts, e, c.code, c.pointer)
		}
		if text := fmt.Sprint(out); strings.Contains(text, "s3cret") || strings.Contains(c.parts, "shop.fre ") && strings.Contains(text, "shop.free") {
			t.Errorf("%s: %s says too much", c.parts, text)
		}
	}
}

// TestParkedWithValues: what waits in the store over a restart holds the names of dynamic
// values, and is sent with what they are by then; a body holds what they were.
func TestParkedWithValues(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("s3cret-1")
	var up atomic.Bool
	hook.setAnswer(func(w http.ResponseWriter, _ request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := startDaemon(t, db.url, loopback+fmt.Sprintf(`delivery: {park: {after: 1s}}
dynamic_values:
  shop.token: {file: %[1]s}
  shop.region: {file: %[1]s, allow_in_payload: true}
`, file))
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],"payload":"{{ instance.name }} {{ shop.region }}",
		"webhooks":[{"url":"%s/x","headers":{"A":"{{ instance.id }}-{{ shop.token }}-{{ instance.email }}"}}]}`, hook.URL))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '{{ shop.token }}')`)
	waitFor(t, "parked", func() bool { return parkedSome.MatchString(p.metrics()) })
	p.stop()
	for _, name := range []string{"store.db", "store.db-wal"} {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "s3cret-1-") || strings.Contains(string(b), "-s3cret-1") {
			t.Errorf("%s holds the value of a header", name)
		}
	}
	write("s3cret-2")
	up.Store(true)
	hook.reset()
	p.start()
	got := hook.wait(t, 1)[0]
	if a := got.Header.Get("A"); a != "1-s3cret-2-{{ shop.token }}" || got.Body != "a s3cret-1" {
		t.Errorf("header %q, body %q", a, got.Body)
	}
}

// TestPreviewShowsNames: a preview fetches nothing and shows dynamic values by their names;
// a test sends them.
func TestPreviewShowsNames(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+`dynamic_values:
  shop.token: {literal: s3cret}
  shop.region: {literal: s3cret-eu, allow_in_payload: true}
`)
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	out := p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],"payload":{"n":"{{ instance.name }}","r":"{{ shop.region }}"},
		"webhooks":[{"url":"%s/{{ instance.id }}?k={{ shop.token }}","headers":{"A":"{{ instance.id }}-{{ shop.token }}"}}]}`, hook.URL))
	at := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	status, shown, _ := p.call(http.MethodPost, at+"/preview", `{}`)
	text, err := json.Marshal(shown)
	if err != nil || status != http.StatusOK || strings.Contains(string(text), "s3cret") || len(hook.requests()) > 0 {
		t.Errorf("%d %s", status, text)
	}
	for _, part := range []string{`/1?k={{ shop.token }}"`, `"A":"1-{{ shop.token }}"`, `{\"n\":\"a\",\"r\":\"{{ shop.region }}\"}`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the preview lacks %s: %s", part, text)
		}
	}
	status, shown, _ = p.call(http.MethodPost, at+"/test", `{}`)
	if text, err = json.Marshal(shown); err != nil || status != http.StatusOK || strings.Contains(string(text), "s3cret") || !strings.Contains(string(text), `"accepted"`) {
		t.Errorf("%d %s", status, text)
	}
	got := hook.wait(t, 1)[0]
	if got.Path != "/1?k=s3cret" || got.Header.Get("A") != "1-s3cret" || got.Body != `{"n":"a","r":"s3cret-eu"}` {
		t.Errorf("sent %+v", got)
	}
}
