package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// inward are addresses that a trigger must not reach, in the forms that hide them.
var inward = []string{
	"http://127.0.0.1:9/x", "http://localhost:9/x", "http://LOCALHOST./x", "http://sub.localhost/x", "http://127.1/x", "http://2130706433/x",
	"http://0x7f000001/x", "http://0177.0.0.1/x", "http://0.0.0.0/x", "http://[::1]/x", "http://[::]/x", "http://[::ffff:127.0.0.1]/x",
	"http://[::ffff:7f00:1]/x", "http://[64:ff9b::7f00:1]/x", "http://[2002:7f00:1::]/x", "http://[fe80::1]/x", "http://[fd00::1]/x",
	"http://10.1.2.3/x", "http://172.16.0.1/x", "http://192.168.1.1/x", "http://100.64.0.1/x", "http://169.254.169.254/latest/meta-data",
	"http://[fd00:ec2::254]/x", "http://metadata.google.internal/x", "http://①②⑦.0.0.1/x", "http://127。0。0。1/x", "http://224.0.0.1/x",
	"http://user:secret@example.com/x", "ftp://example.com/x", "http://example.com:22/x", "file:///etc/passwd",
}

func TestInwardAddressesAreRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	p := startDaemon(t, db.url, "")
	for _, url := range inward {
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", url))
		errs, _ := out["errors"].([]any)
		if status != http.StatusUnprocessableEntity || len(errs) != 1 || errs[0].(map[string]any)["pointer"] != "/webhooks/0/url" {
			t.Errorf("%s: %d %v, want 422 at /webhooks/0/url", url, status, out)
		}
		if strings.Contains(fmt.Sprint(out), "user:secret") {
			t.Errorf("%s: the answer repeats the password", url)
		}
	}
	if _, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", "http://10.1.2.3/x")); !strings.Contains(fmt.Sprint(out), "egress.allow_cidrs") {
		t.Errorf("%v does not say what to add", out)
	}
}

func TestListedAddressesAreAllowed(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	hook.wait(t, 1)
	// The daemon's own listeners stay closed to triggers, and so does what is not listed.
	for _, url := range []string{"http://" + p.api + "/x", "http://" + p.ops + "/x", "http://10.1.2.3/x", "http://169.254.169.254/x"} {
		if status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", url)); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %v, want 422", url, status, out)
		}
	}
}

// TestDial: what cannot be seen when a trigger is saved is found when it is sent.
func TestDial(t *testing.T) {
	t.Parallel()
	db, hook, other := newDatabase(t), newReceiver(t), newReceiver(t)
	p := startDaemon(t, db.url, fmt.Sprintf("egress: {allow_hosts: [%q]}\n", hook.Listener.Addr()))
	hook.setAnswer(func(w http.ResponseWriter, r request) {
		w.Header().Set("Location", map[string]string{"/meta": "http://169.254.169.254/latest", "/other": other.URL}[r.Path])
		w.WriteHeader(http.StatusFound)
	})
	for _, path := range []string{"/meta", "/other"} {
		p.create(simple("customer", "x", hook.URL+path))
	}
	_, port, _ := net.SplitHostPort(other.Listener.Addr().String())
	if name := inwardName(); name != "" {
		p.create(simple("customer", "x", "http://"+net.JoinHostPort(name, port)+"/name"))
		defer waitFor(t, "refused at dial", func() bool { return strings.Contains(p.log.String(), "not allowed: "+name) })
	}
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	waitFor(t, "told", func() bool { return strings.Contains(p.log.String(), "169.254.169.254") && len(hook.requests()) >= 4 })
	if got := other.requests(); len(got) > 0 {
		t.Errorf("a redirect or a name led inward: %v", got)
	}
}

// inwardName finds a name that this machine resolves to a loopback address and that
// does not say so by itself.
func inwardName() string {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(hosts)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "127.0.0.1" && words[0] != "127.0.1.1" {
			continue
		}
		for _, name := range words[1:] {
			if !strings.Contains(name, "localhost") && !strings.HasPrefix(name, "#") {
				return name
			}
		}
	}
	return ""
}

// TestOperatorsBroker: an address of the configuration needs no listing.
func TestOperatorsBroker(t *testing.T) {
	t.Parallel()
	kafka := service(t, "WALTRIGGER_TEST_KAFKA")
	db := newDatabase(t)
	topic := fmt.Sprintf("operator-%d", time.Now().UnixNano())
	queue := newConsumer(t, kafka, topic)
	p := startDaemon(t, db.url, fmt.Sprintf("brokers:\n  mine: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %q}}\n", kafka, topic))
	body := `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"customer"}],"payload":"{{ instance.name }}",
		"msg_broker_queues":[{"name":"mine"%s}]}`
	p.create(fmt.Sprintf(body, ""))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	if m := queue.next(t); m.body != "a" {
		t.Errorf("message %+v", m)
	}
	// A trigger cannot turn the operator's broker elsewhere.
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", fmt.Sprintf(body, `,"conn_details":{"bootstrap_servers":"10.0.0.1:9092"}`))
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(out), "/msg_broker_queues/0/conn_details/bootstrap_servers") {
		t.Errorf("%d %v, want 422", status, out)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	p := newDaemon(t, db.url, loopback)
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	secret := "correct-horse-battery-staple"
	text := strings.Replace(string(config), `admin: {`, fmt.Sprintf(`admin: {tokens: [{name: ci, token: %q, scopes: [admin]}, {name: eye, token: %q, scopes: [read]}], `, secret, "eye-"+secret), 1)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	body := simple("customer", "x", "http://127.0.0.1:8099/x")
	for _, c := range []struct {
		token, method string
		want          int
	}{
		{"", "GET", 401},
		{"", "POST", 401},
		{"wrong", "GET", 401},
		{secret + "x", "GET", 401},
		{secret[:5], "POST", 401},
		{"eye-" + secret, "GET", 200},
		{"eye-" + secret, "POST", 403},
		{secret, "POST", 201},
		{secret, "GET", 200},
	} {
		p.token = c.token
		in := ""
		if c.method == "POST" {
			in = body
		}
		status, out, h := p.call(c.method, "/api/action-triggers", in)
		if status != c.want || (status == 401) != (h.Get("WWW-Authenticate") != "") {
			t.Errorf("token %q %s: %d %v, want %d", c.token, c.method, status, out, c.want)
		}
	}
	p.stop()
	if strings.Contains(p.log.String(), secret) {
		t.Error("a token is in the log")
	}
	if out, _, _ := p.cli("config", "--effective"); strings.Contains(out, secret) || !strings.Contains(out, "ci") {
		t.Errorf("the effective configuration shows the token: %s", out)
	}
}
