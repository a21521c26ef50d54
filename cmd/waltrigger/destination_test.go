package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func (d *database) customers(from, to int) (names []string) {
	d.t.Helper()
	d.exec(`INSERT INTO myapp_customer (name, email) SELECT i, '' FROM generate_series($1::int, $2::int) i`, from, to)
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprint(i))
	}
	return names
}

func TestReceiverDownThenBack(t *testing.T) {
	t.Parallel()
	db, address := newDatabase(t), freeAddress(t)
	p := startDaemon(t, db.url, loopback)
	p.create(with(simple("customer", "{{ instance.name }}", "http://"+address+"/x"), `"ordering":"source"`))
	want := db.customers(1, 200)
	waitFor(t, "failing", func() bool { return strings.Contains(p.log.String(), "destination fails") })
	hook := newReceiverAt(t, address)
	if got := bodies(hook.wait(t, 200)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := strings.Count(p.log.String(), "\n"); n > 30 {
		t.Errorf("%d lines were logged", n)
	}
}

// TestOneOfTwoIsDown: what the one that is down should get is parked, so that neither the
// other nor the log wait for it, and a restart repeats nothing at the other.
func TestOneOfTwoIsDown(t *testing.T) {
	t.Parallel()
	const n = 1000
	db, hook, address := newDatabase(t), newReceiver(t), freeAddress(t)
	p := startDaemon(t, db.url, loopback+"delivery: {queue: 20}\n")
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	p.create(with(simple("customer", "{{ instance.name }}", "http://"+address+"/x"), `"ordering":"source"`))
	var want []string
	for i := 1; i <= n; i += 10 {
		want = append(want, db.customers(i, i+9)...)
	}
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	hook.wait(t, n)
	waitFor(t, "acknowledged", func() bool { return p.passed(db, after) })
	p.stop()
	p.start()
	want = append(want, db.customers(n+1, n+10)...)
	hook.wait(t, n+10)
	other := newReceiverAt(t, address)
	if got := bodies(other.wait(t, n+10)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	waitFor(t, "nothing parked", func() bool { return strings.Contains(p.metrics(), `waltrigger_parked_deliveries{destination="d2"} 0`) })
	if got := len(hook.requests()); got != n+10 {
		t.Errorf("%d requests at the other one, want %d", got, n+10)
	}
}

func TestEditFreesWhatWaits(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	hook.setAnswer(func(w http.ResponseWriter, r request) {
		if r.Path == "/wrong" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	out := p.create(with(simple("customer", "{{ instance.name }}", hook.URL+"/wrong"), `"ordering":"source"`))
	want := db.customers(1, 20)
	waitFor(t, "refused", func() bool { return len(hook.requests()) >= 2 })
	id := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	if status, out, _ := p.call(http.MethodPatch, id, fmt.Sprintf(`{"webhooks":[{"url":%q}]}`, hook.URL+"/right")); status != http.StatusOK {
		t.Fatalf("patch: %d %v", status, out)
	}
	arrived := func() (got []string) {
		for _, r := range hook.requests() {
			if r.Path == "/right" {
				got = append(got, r.Body)
			}
		}
		return got
	}
	waitFor(t, "all at the right place", func() bool { return len(arrived()) >= 20 })
	if got := arrived(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// passed reports whether the source is acknowledged up to a position.
func (p *process) passed(db *database, position string) bool {
	acked, _ := p.source()["acknowledged_position"].(string)
	return acked != "" && db.text(`SELECT ($1::pg_lsn >= $2::pg_lsn)::text`, acked, position) == "true"
}

func TestDeleteLetsGo(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	hook.setAnswer(func(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusInternalServerError) })
	out := p.create(simple("customer", "{{ instance.name }}", hook.URL))
	db.customers(1, 20)
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	waitFor(t, "failing", func() bool { return strings.Contains(p.log.String(), "destination fails") })
	if p.passed(db, after) {
		t.Error("acknowledged what was neither delivered nor parked")
	}
	if status, _, _ := p.call(http.MethodDelete, fmt.Sprintf("/api/action-triggers/%v", out["id"]), ""); status != http.StatusNoContent {
		t.Fatalf("delete: %d", status)
	}
	waitFor(t, "acknowledged", func() bool { return p.passed(db, after) })
	waitFor(t, "taken out", func() bool {
		return db.text(`SELECT count(*)::text FROM pg_publication_tables WHERE pubname = $1`, p.slot) == "0"
	})
}

func TestSwitchedOffAndOn(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	id := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "{{ instance.name }}", hook.URL))["id"])
	set := func(active bool) {
		t.Helper()
		status, out, _ := p.call(http.MethodPatch, id, fmt.Sprintf(`{"active":%v}`, active))
		want := map[bool]string{true: "state:active", false: "state:inactive"}[active]
		if status != http.StatusOK || !strings.Contains(fmt.Sprint(out["status"]), want) {
			t.Fatalf("active %v: %d %v", active, status, out)
		}
	}
	db.customers(1, 1)
	hook.wait(t, 1)
	set(false)
	db.customers(2, 5)
	set(true)
	db.customers(6, 6)
	if got := bodies(hook.wait(t, 2)); !slices.Equal(got, []string{"1", "6"}) {
		t.Errorf("got %v, want 1 and 6", got)
	}
	// The same, while the daemon reads behind: what waits in the log is as old.
	set(false)
	p.stop()
	db.customers(7, 9)
	p.start()
	set(true)
	db.customers(10, 10)
	if got := bodies(hook.wait(t, 3)); !slices.Equal(got, []string{"1", "6", "10"}) {
		t.Errorf("got %v, want 1, 6 and 10", got)
	}
}
