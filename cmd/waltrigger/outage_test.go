package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// simple is a trigger on a table that sends a text about each saved row.
func simple(model, payload, url string) string {
	return fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":%q}],
		"webhooks":[{"url":%q}],"payload":%q}`, model, url, payload)
}

// with adds members to a JSON object.
func with(object, members string) string {
	return strings.TrimSuffix(object, "}") + "," + members + "}"
}

func bodies(got []request) []string {
	var out []string
	for _, r := range got {
		out = append(out, r.Body)
	}
	return out
}

func TestDatabaseComesUpLater(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	line, url := newProxy(t, db)
	p := startDaemon(t, url, loopback)

	status, out, h := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", hook.URL))
	if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || out["code"] != "source_unavailable" {
		t.Errorf("%d %v %v, want 503 source_unavailable with Retry-After", status, out, h)
	}
	if strings.Contains(fmt.Sprint(out), "postgres:postgres") {
		t.Errorf("the answer holds the password: %v", out)
	}
	create := func(body string) any {
		t.Helper()
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers?wait=false", body)
		if status != http.StatusCreated || !strings.Contains(fmt.Sprint(out["status"]), "state:pending") {
			t.Fatalf("without waiting: %d %v, want 201 pending", status, out)
		}
		return out["id"]
	}
	good := create(simple("customer", "{{ instance.name }}", hook.URL))
	bad := create(simple("customer", "{{ instance.nix }}", hook.URL))
	none := create(simple("nothing", "x", hook.URL))
	if s := p.source(); s["state"] != "connecting" || !strings.Contains(fmt.Sprint(s["detail"]), "refused") {
		t.Errorf("source %v", s)
	}

	line.up()
	waitFor(t, "active", func() bool { return p.state(good)["state"] == "active" })
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	if got := bodies(hook.wait(t, 1)); got[0] != "a" {
		t.Errorf("fired %q", got)
	}
	for id, want := range map[any]string{bad: "no column nix", none: "no such table"} {
		waitFor(t, "blocked", func() bool { return p.state(id)["blocker"] != nil })
		if s := p.state(id); s["state"] != "pending" || !strings.Contains(fmt.Sprint(s["blocker"]), want) {
			t.Errorf("status %v, want pending and %q", s, want)
		}
	}
	// What was missing is made: the triggers become active by themselves.
	db.exec(`CREATE TABLE myapp_nothing (id int PRIMARY KEY)`)
	db.exec(`ALTER TABLE myapp_customer ADD nix text`)
	for _, id := range []any{bad, none} {
		waitFor(t, "active", func() bool { return p.state(id)["state"] == "active" })
	}
}

func TestDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	line, url := newProxy(t, db)
	line.up()
	p := startDaemon(t, url, loopback)
	p.create(with(simple("customer", "{{ instance.name }}", hook.URL), `"ordering":"source"`))
	var want []string
	for i := range 5 {
		db.exec(`INSERT INTO myapp_customer (name, email) SELECT $1 || '-' || i, '' FROM generate_series(1, 20) i`, fmt.Sprint(i))
		for j := range 20 {
			want = append(want, fmt.Sprintf("%d-%d", i, j+1))
		}
		line.down()
		db.exec(`INSERT INTO myapp_customer (name, email) VALUES ($1, '')`, fmt.Sprintf("%d down", i))
		want = append(want, fmt.Sprintf("%d down", i))
		line.up()
	}
	if got := bodies(hook.wait(t, len(want))); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	line.down()
	if n := strings.Count(p.log.String(), "\n"); n > 100 {
		t.Errorf("%d lines were logged", n)
	}
	p.stop() // also while the database is away
}

func TestTableToCome(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	body := simple("later", "{{ instance.name }}", hook.URL)
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", body)
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(out["errors"]), "/content_types/0") {
		t.Errorf("%d %v, want 422 at /content_types/0", status, out)
	}
	out = p.create(strings.Replace(body, `"later"`, `"later","allow_missing":true`, 1))
	if s := fmt.Sprint(out["status"]); !strings.Contains(s, "state:pending") || len(out["warnings"].([]any)) != 1 {
		t.Errorf("%v", out)
	}
	db.exec(`CREATE TABLE myapp_later (id int PRIMARY KEY, name text)`)
	waitFor(t, "active", func() bool { return p.state(out["id"])["state"] == "active" })
	db.exec(`INSERT INTO myapp_later VALUES (1, 'first')`)
	if got := bodies(hook.wait(t, 1)); got[0] != "first" {
		t.Errorf("fired %q", got)
	}
	hook.reset()

	// The table is exchanged while the daemon does not run, and loses its key while it does.
	p.stop()
	db.exec(`DROP TABLE myapp_later`)
	db.exec(`CREATE TABLE myapp_later (id int PRIMARY KEY, name text)`)
	p.start()
	published := func() bool {
		return db.text(`SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'myapp_later'`) == "1"
	}
	waitFor(t, "published again", published)
	db.exec(`INSERT INTO myapp_later VALUES (1, 'second')`)
	if got := bodies(hook.wait(t, 1)); got[0] != "second" {
		t.Errorf("fired %q", got)
	}
	db.exec(`ALTER TABLE myapp_later DROP CONSTRAINT myapp_later_pkey`)
	waitFor(t, "taken out", func() bool { return !published() })
	db.exec(`UPDATE myapp_later SET name = 'the application is not disturbed'`)
	waitFor(t, "told with a way out", func() bool { return strings.Contains(fmt.Sprint(p.source()["detail"]), "ADD PRIMARY KEY") })
}

// TestTableGone: a trigger whose table was dropped or renamed is not shown as active, and
// the log says what happened.
func TestTableGone(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(simple("product", "x", hook.URL))
	out := p.create(simple("customer", "{{ instance.name }}", hook.URL))
	gone := func() bool {
		s := p.state(out["id"])
		a := s["activations"].([]any)[0]
		return s["state"] == "pending" && dig(a, "state") == "pending" && dig(a, "table") == "myapp_customer" && strings.Contains(fmt.Sprint(dig(a, "blocker")), "dropped or renamed")
	}
	db.exec(`ALTER TABLE myapp_customer RENAME TO was_customer`)
	waitFor(t, "shown", gone)
	p.stop()
	p.start()
	waitFor(t, "shown after a restart", gone)
	if log := p.log.String(); strings.Contains(log, "not there yet") || strings.Count(log, "a table of active triggers was dropped or renamed") != 2 {
		t.Error("the log says something else")
	}
	if s := p.state(1.0)["state"]; s != "active" {
		t.Errorf("the other trigger is %v", s)
	}
	db.exec(`ALTER TABLE was_customer RENAME TO myapp_customer`)
	waitFor(t, "active again", func() bool { return p.state(out["id"])["state"] == "active" })
	db.customers(1, 1)
	if got := bodies(hook.wait(t, 1)); got[0] != "1" {
		t.Errorf("fired %q", got)
	}
}

// TestPrivilegeLost: a role that may not replicate any more stops the source loudly, and
// reading goes on once it may again.
func TestPrivilegeLost(t *testing.T) {
	t.Parallel()
	role := fmt.Sprintf("role_%d", time.Now().UnixNano())
	admin, err := pgx.Connect(t.Context(), service(t, "WALTRIGGER_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // once its database is gone
		_, err := admin.Exec(context.Background(), `DROP ROLE IF EXISTS `+role)
		if err := errors.Join(err, admin.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(`CREATE ROLE ` + role + ` LOGIN REPLICATION PASSWORD 'x'`)
	db.exec(`GRANT CREATE ON DATABASE ` + db.Config().Database + ` TO ` + role)
	db.exec(`ALTER TABLE myapp_customer OWNER TO ` + role)
	p := startDaemon(t, strings.Replace(db.url, "postgres:postgres@", role+":x@", 1), loopback)
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	for n := 1; n <= 2; n++ {
		hook.reset()
		db.exec(`ALTER ROLE ` + role + ` NOREPLICATION`)
		db.exec(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1`, p.slot)
		waitFor(t, "misconfigured", func() bool { return p.source()["state"] == "misconfigured" })
		if s := fmt.Sprint(p.source()["detail"]); !strings.Contains(s, "ALTER ROLE … WITH REPLICATION") || strings.Contains(s, "start waltrigger again") {
			t.Errorf("detail %q", s)
		}
		db.customers(n, n)
		db.exec(`ALTER ROLE ` + role + ` REPLICATION`)
		waitFor(t, "streaming", func() bool { return p.source()["state"] == "streaming" })
		if got := bodies(hook.wait(t, 1)); got[0] != fmt.Sprint(n) {
			t.Errorf("fired %q, want %d", got, n)
		}
	}
	if n := strings.Count(p.log.String(), "it needs a hand"); n != 2 {
		t.Errorf("the trouble was logged %d times", n)
	}
}

// TestMisconfigured: an operator who mends the database need not restart the daemon.
func TestMisconfigured(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := newDaemon(t, db.url, loopback)
	p.env = []string{"WALTRIGGER_SOURCES__SHOP__PUBLICATION_MODE=existing"}
	p.start()
	waitFor(t, "misconfigured", func() bool { return p.source()["state"] == "misconfigured" })
	if s := fmt.Sprint(p.source()["detail"]); !strings.Contains(s, "CREATE PUBLICATION") {
		t.Errorf("detail %q names no way out", s)
	}
	db.exec(`CREATE PUBLICATION ` + p.slot + ` FOR TABLE myapp_customer`)
	waitFor(t, "streaming", func() bool { return p.source()["state"] == "streaming" })
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
	hook.wait(t, 1)
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("product", "x", hook.URL))
	if said := fmt.Sprint(out); status != http.StatusUnprocessableEntity || !strings.Contains(said, "/content_types/0") || !strings.Contains(said, "ADD TABLE") {
		t.Errorf("a table outside the publication: %d %s", status, said)
	}
	if n := strings.Count(p.log.String(), "it needs a hand"); n != 1 {
		t.Errorf("the trouble was logged %d times", n)
	}
}
