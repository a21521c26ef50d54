package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// pair are two instances that share a store, which lies in the database that they tail.
// Each says in a header which one it is.
type pair struct {
	t  *testing.T
	db *database
	ps []*process
}

const named = loopback + "dynamic_values: {app.instance: {env: WHO}}\n"

func newPair(t *testing.T, extra string) *pair {
	t.Helper()
	db := newDatabase(t)
	return newPairOn(t, db, db.url+"&schema=wt", extra)
}

func newPairOn(t *testing.T, db *database, store, extra string) *pair {
	t.Helper()
	x := &pair{t: t, db: db}
	slot := fmt.Sprintf("slot_%d", time.Now().UnixNano())
	for _, who := range []string{"one", "two"} {
		p := newDaemon(t, x.db.url, named+extra)
		p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), store)
		p.rewrite(p.slot, slot)
		p.slot, p.env = slot, []string{"WHO=" + who}
		x.ps = append(x.ps, p)
	}
	return x
}

// start starts both and waits until one is active.
func (x *pair) start() (active, standby *process) {
	x.t.Helper()
	for _, p := range x.ps {
		p.start()
	}
	return x.roles()
}

// roles waits until one reads and the other one stands by.
func (x *pair) roles() (active, standby *process) {
	x.t.Helper()
	waitFor(x.t, "one active", func() bool {
		states := []any{x.ps[0].source()["state"], x.ps[1].source()["state"]}
		for i := range x.ps {
			if states[i] == "streaming" && states[1-i] == "standby" {
				active, standby = x.ps[i], x.ps[1-i]
			}
		}
		return active != nil
	})
	return active, standby
}

// rewrite changes the configuration.
func (p *process) rewrite(from, to string) {
	p.t.Helper()
	text, err := os.ReadFile(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.config, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) who() string { return strings.TrimPrefix(p.env[0], "WHO=") }

const namedLedger = `{` + ledgerFires + `,"webhooks":[{"url":%q,"headers":{"X-Instance":"{{ app.instance }}"}}],` + ledgerSays + `,"ordering_key":"{{ instance.k }}"}`

// by counts requests of an instance.
func by(got []request, p *process) (n int) {
	for _, r := range got {
		if r.Header.Get("X-Instance") == p.who() {
			n++
		}
	}
	return n
}

// TestTakeOver stops, kills and ends the active one of two instances under load: the
// other one goes on, nothing is lost, and the one that was stopped begins no request
// once it is woken up.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "delivery: {max_in_flight: 4}\n")
	active, standby := x.start()
	standby.create(fmt.Sprintf(namedLedger, hook.URL)) // by the one that does not read
	l := newLedger(t)
	l.write(x.db, 8, 900)
	epoch := func(p *process) float64 { return p.source()["epoch"].(float64) }

	for range soak(2, 10) {
		active, standby = x.roles()
		before := epoch(active)
		// Stopped while all its requests wait for their answers.
		var hangs atomic.Int32
		release := make(chan struct{})
		hook.setAnswer(func(_ http.ResponseWriter, r request) {
			if r.Header.Get("X-Instance") == active.who() {
				hangs.Add(1)
				<-release
			}
		})
		waitFor(t, "in flight", func() bool { return hangs.Load() == 4 })
		active.signal(syscall.SIGSTOP)
		waitFor(t, "stopped", active.isStopped)
		stopped := time.Now()
		hook.setAnswer(nil)
		close(release)
		sent, other := by(hook.requests(), active), by(hook.requests(), standby)
		waitFor(t, "taken over", func() bool { return by(hook.requests(), standby) > other })
		soon(t, "stopped", stopped)
		if s := standby.source(); s["active"] != true || epoch(standby) != before+1 || !strings.Contains(standby.metrics(), `waltrigger_source_active{source="shop"} 1`) {
			t.Errorf("source %v after epoch %v", s, before)
		}
		time.Sleep(time.Second) // it goes on for a while
		active.signal(syscall.SIGCONT)
		waitFor(t, "standing by", func() bool { return active.source()["state"] == "standby" })
		if s := active.source(); s["active"] != false || !strings.Contains(active.metrics(), `waltrigger_source_active{source="shop"} 0`) {
			t.Errorf("woken up: %v", s)
		}
		if n := by(hook.requests(), active); n != sent {
			t.Errorf("%d requests were begun by the one that had been stopped", n-sent)
		}
		// It is told so, or a call to the store that it was stopped in is too late first.
		if log := active.log.String(); !strings.Contains(log, "another instance has become active") && !strings.Contains(log, "the lease ran out and could not be renewed: letting go of the sources") {
			t.Error("it did not notice")
		}

		// Killed.
		active, standby = x.roles()
		sent = by(hook.requests(), standby)
		active.kill()
		killed := time.Now()
		waitFor(t, "taken over", func() bool { return by(hook.requests(), standby) > sent })
		soon(t, "killed", killed)
		active.start()

		// Ended in order.
		active, standby = x.roles()
		sent = by(hook.requests(), standby)
		active.stop()
		ended := time.Now()
		waitFor(t, "taken over", func() bool { return by(hook.requests(), standby) > sent })
		soon(t, "ended", ended)
		active.start()
	}

	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong() != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
	if _, stderr, code := x.ps[0].cli("source", "resync", "shop", "--accept-gap"); code != 1 || !strings.Contains(stderr, "is active on source shop") {
		t.Errorf("resync beside daemons: %d %s", code, stderr)
	}
	if out, stderr, code := x.ps[0].cli("source", "list"); code != 0 || !strings.Contains(out, x.ps[0].slot) {
		t.Errorf("list beside daemons: %d %s%s", code, out, stderr)
	}
	for _, p := range x.ps {
		p.stop()
	}
	if out, stderr, code := x.ps[0].cli("source", "drop", "shop"); code != 0 {
		t.Errorf("drop: %d %s%s", code, out, stderr)
	}
}

// soon says how long a take-over took.
func soon(t *testing.T, what string, since time.Time) {
	t.Helper()
	took := time.Since(since)
	t.Logf("%s; the other one sends %s later", what, took.Round(10*time.Millisecond))
	if took > soak(time.Minute, 10*time.Second) {
		t.Error("that is too late")
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// isStopped reports whether each thread has been stopped.
func (p *process) isStopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		p.t.Fatal(threads, err)
	}
	return !slices.ContainsFunc(threads, func(stat string) bool {
		text, err := os.ReadFile(stat)
		return err == nil && !strings.Contains(string(text), ") T ")
	})
}

// TestStandbyWrites: what a call to the standby returned holds in the active instance.
func TestStandbyWrites(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "")
	_, p := x.start()
	db := x.db
	if _, out, _ := p.call(http.MethodGet, "/api/content-types", ""); strings.Contains(fmt.Sprint(out), "encryption_keys") {
		t.Error("the store's own tables are among the content types")
	}
	for i := range 5 {
		out := p.create(simple("customer", fmt.Sprintf("created %d", i), hook.URL))
		if s := fmt.Sprint(out["status"]); !strings.Contains(s, "state:active") {
			t.Errorf("created: %s", s)
		}
		db.customers(1, 1)
		hook.wait(t, 1)
		path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
		if status, out, _ := p.call(http.MethodPost, path+"/preview", ""); status != http.StatusOK || !strings.Contains(fmt.Sprint(out), fmt.Sprintf("created %d", i)) {
			t.Errorf("preview: %d %v", status, out)
		}
		if status, out, _ := p.call(http.MethodPost, path+"/test", ""); status != http.StatusOK || !strings.Contains(fmt.Sprint(out), "status:accepted") {
			t.Errorf("test: %d %v", status, out)
		}
		hook.wait(t, 2)
		if status, out, _ := p.call(http.MethodPatch, path, fmt.Sprintf(`{"payload":"edited %d"}`, i)); status != http.StatusOK {
			t.Fatalf("%d %v", status, out)
		}
		db.customers(1, 1)
		if status, out, _ := p.call(http.MethodPatch, path, `{"content_types":[{"app_label":"myapp","model_name":"Product"}]}`); status != http.StatusOK {
			t.Fatalf("%d %v", status, out)
		}
		db.customers(1, 1) // concerns it no more
		db.exec(`INSERT INTO myapp_product (name, description) VALUES ('', '')`)
		hook.wait(t, 4)
		if status, _, _ := p.call(http.MethodDelete, path, ""); status != http.StatusNoContent {
			t.Fatal(status)
		}
		db.exec(`INSERT INTO myapp_product (name, description) VALUES ('', '')`)
		want := []string{fmt.Sprintf("created %d", i), fmt.Sprintf("created %d", i), fmt.Sprintf("edited %d", i), fmt.Sprintf("edited %d", i)}
		if got := bodies(hook.wait(t, 4)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		hook.reset()
	}
}

// TestStandbyTellsTheBlocker: what the active instance waits for is the standby's answer.
// It is not parallel: its open transaction would hold up the slots of other tests.
func TestStandbyTellsTheBlocker(t *testing.T) {
	hook := newReceiver(t)
	x := newPair(t, "")
	_, p := x.start()
	db := x.db
	tx, err := db.connect().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO myapp_customer (name, email) VALUES ('open', '')`); err != nil {
		t.Fatal(err)
	}
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", hook.URL))
	if said := fmt.Sprint(out["status"]); status != http.StatusAccepted || !strings.Contains(said, "state:activating") || !strings.Contains(said, "pid ") {
		t.Errorf("beside an open transaction: %d %v", status, out)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "active", func() bool { return p.state(out["id"])["state"] == "active" })
}

// TestStandbyRefuses: a table that the active instance cannot publish is refused.
func TestStandbyRefuses(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "")
	for _, p := range x.ps {
		p.env = append(p.env, "WALTRIGGER_SOURCES__SHOP__PUBLICATION_MODE=existing")
	}
	x.db.exec(`CREATE PUBLICATION ` + x.ps[0].slot + ` FOR TABLE myapp_customer`)
	_, p := x.start()
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("product", "x", hook.URL))
	if said := fmt.Sprint(out); status != http.StatusUnprocessableEntity || !strings.Contains(said, "/content_types/0") || !strings.Contains(said, "ADD TABLE") {
		t.Errorf("%d %s", status, said)
	}
	if _, out, _ := p.call(http.MethodGet, "/api/action-triggers", ""); fmt.Sprint(out["list"]) != "[]" {
		t.Errorf("it stayed: %v", out)
	}
}

// TestCutOffFromTheStore: an active instance that reaches everything but the store cannot
// know whether it still is the active one: it lets go of the source, so that another can
// have it.
func TestCutOffFromTheStore(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "")
	line, through := newProxy(t, x.db)
	line.up()
	cut, other := x.ps[0], x.ps[1]
	cut.rewrite(x.db.url+"&schema=wt", through+"&schema=wt")
	cut.start()
	other.start()
	if active, _ := x.roles(); active != cut {
		t.Fatal("the second one is active")
	}
	cut.create(fmt.Sprintf(namedLedger, hook.URL))
	l := newLedger(t)
	l.write(x.db, 4, 450)
	waitFor(t, "delivered", func() bool { return by(hook.requests(), cut) > 0 })
	line.down()
	gone := time.Now()
	waitFor(t, "taken over", func() bool { return by(hook.requests(), other) > 0 })
	soon(t, "cut off", gone)
	sent := by(hook.requests(), cut)
	if !strings.Contains(cut.log.String(), "letting go of the sources") {
		t.Error("it did not let go")
	}
	line.up()
	waitFor(t, "standing by", func() bool { return strings.Contains(fmt.Sprint(cut.source()["detail"]), " is active") })
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong() != 0 || v.committed < 500 || by(hook.requests(), cut) != sent {
		t.Errorf("%+v, want nothing lost, reordered or invented, and nothing sent by the one that let go", v)
	}
}

// TestTakeOverOfParked: what one instance has parked another one sends, in order, also
// when the first one was stopped in the middle of it.
func TestTakeOverOfParked(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "delivery: {queue: 100, park: {after: 1s}}\n")
	active, standby := x.start()
	var answers sync.Mutex
	var got []request // with success
	down := true
	hook.setAnswer(func(w http.ResponseWriter, r request) {
		answers.Lock()
		defer answers.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got = append(got, r)
	})
	answered := func(by *process) (n int) {
		answers.Lock()
		defer answers.Unlock()
		for _, r := range got {
			if r.Header.Get("X-Instance") == by.who() {
				n++
			}
		}
		return n
	}
	active.create(fmt.Sprintf(namedLedger, hook.URL))
	l := newLedger(t)
	l.write(x.db, 8, 1500)
	parked := func(p *process) bool {
		return regexp.MustCompile(`waltrigger_parked_deliveries\{[^}]*\} [1-9]\d{3}`).MatchString(p.metrics())
	}
	waitFor(t, "thousands parked", func() bool { return parked(active) })
	active.signal(syscall.SIGSTOP)
	waitFor(t, "stopped", active.isStopped)
	waitFor(t, "taken over", func() bool { return standby.source()["state"] == "streaming" })
	answers.Lock()
	down = false
	answers.Unlock()
	waitFor(t, "draining", func() bool { return answered(standby) > 500 })
	active.signal(syscall.SIGCONT)
	l.stop()
	v := l.settled(t, arrivalsFunc(func() []arrival {
		answers.Lock()
		defer answers.Unlock()
		return arrived(got)
	}))
	t.Logf("%+v", v)
	if n := answered(active); n != 0 {
		t.Errorf("%d were sent by the one that had been stopped", n)
	}
	if v.wrong() != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
	waitFor(t, "nothing parked", func() bool {
		return !parkedSome.MatchString(standby.metrics()) && !parkedSome.MatchString(active.metrics())
	})
}

type arrivalsFunc func() []arrival

func (f arrivalsFunc) arrivals() []arrival { return f() }

// newMySQLStore gives the url of a database of the test's own, which is not made yet.
func newMySQLStore(t *testing.T) string {
	t.Helper()
	server, err := url.Parse(service(t, "WALTRIGGER_TEST_MYSQL"))
	if err != nil {
		t.Fatal(err)
	}
	server.Path = fmt.Sprintf("/e2e_%d", time.Now().UnixNano())
	t.Cleanup(func() {
		db, err := sql.Open("mysql", fmt.Sprintf("%s@tcp(%s)/", server.User, server.Host))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec("DROP DATABASE " + server.Path[1:]); err != nil {
			t.Error(err)
		}
	})
	return server.String()
}

// TestTakeOverOnMySQL is TestTakeOver in short, with a store elsewhere.
func TestTakeOverOnMySQL(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPairOn(t, newDatabase(t), newMySQLStore(t), "")
	_, standby := x.start()
	standby.create(fmt.Sprintf(namedLedger, hook.URL))
	l := newLedger(t)
	l.write(x.db, 4, 450)
	for _, end := range []func(*process){(*process).kill, (*process).stop} {
		active, standby := x.roles()
		sent := by(hook.requests(), standby)
		end(active)
		waitFor(t, "taken over", func() bool { return by(hook.requests(), standby) > sent })
		active.start()
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong() != 0 || v.committed < 500 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
}
