package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func (p *process) pause(at, verb, body, state string) {
	p.t.Helper()
	status, out, _ := p.call(http.MethodPost, at+"/"+verb, body)
	if st, _ := out["status"].(map[string]any); status != http.StatusOK || st["state"] != state {
		p.t.Fatalf("%s %s: %d %v, want %s", verb, body, status, out, state)
	}
}

// TestPauseKeeps: what a paused trigger fires is kept over edits and restarts, holds up
// nothing, and is sent in order once the trigger is resumed.
func TestPauseKeeps(t *testing.T) {
	t.Parallel()
	db, hook, other := newDatabase(t), newReceiver(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(with(simple("customer", "{{ instance.name }}", hook.URL), `"ordering":"source"`))["id"])
	p.create(simple("customer", "{{ instance.name }}", other.URL))
	want := db.customers(1, 10)
	hook.wait(t, 10)
	p.pause(at, "pause", "", "paused")
	want = append(want, db.customers(11, 500)...)
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	other.wait(t, 500)
	waitFor(t, "acknowledged", func() bool { return p.passed(db, after) })
	if status, out, _ := p.call(http.MethodPatch, at, `{"description":"edited"}`); status != http.StatusOK || !strings.Contains(fmt.Sprint(out["status"]), "paused:keep") {
		t.Errorf("edited: %d %v", status, out)
	}
	p.stop()
	p.start()
	if s := p.state(1); s["state"] != "paused" || s["paused"] != "keep" {
		t.Errorf("after a restart %v", s)
	}
	want = append(want, db.customers(501, 510)...)
	waitFor(t, "parked", func() bool {
		return strings.Contains(p.metrics(), `waltrigger_parked_deliveries{destination="d1"} 500`)
	})
	if status, out, _ := p.call(http.MethodPost, "/api/destinations/d1/retry-now", ""); status != http.StatusConflict || out["code"] != "paused" {
		t.Errorf("retry-now: %d %v", status, out)
	}
	if n := len(hook.requests()); n != 10 {
		t.Errorf("%d requests while it was paused", n-10)
	}
	p.pause(at, "resume", "", "active")
	want = append(want, db.customers(511, 520)...)
	if got := bodies(hook.wait(t, 520)); !slices.Equal(got, want) {
		t.Errorf("arrived %v", got)
	}
}

// TestPauseDrops: what is committed while a trigger is paused so never fires; what waited
// before is still sent.
func TestPauseDrops(t *testing.T) {
	t.Parallel()
	db, address := newDatabase(t), freeAddress(t)
	p := startDaemon(t, db.url, loopback+"delivery: {park: {after: 0s}}\n")
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(with(simple("customer", "{{ instance.name }}", "http://"+address), `"ordering":"source"`))["id"])
	db.customers(1, 5)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked")) == 5 })
	p.pause(at, "pause", `{"mode":"drop"}`, "paused")
	hook := newReceiverAt(t, address)
	db.customers(6, 10)
	waitFor(t, "taken out", func() bool {
		return db.text(`SELECT count(*)::text FROM pg_publication_tables WHERE pubname = $1`, p.slot) == "0"
	})
	p.stop()
	db.customers(11, 12)
	p.start()
	if s := p.state(1); s["state"] != "paused" || s["paused"] != "drop" || len(hook.requests()) != 0 {
		t.Errorf("after a restart %v, %d requests", s, len(hook.requests()))
	}
	p.pause(at, "resume", "", "active")
	db.customers(13, 14)
	if got := bodies(hook.wait(t, 7)); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "13", "14"}) {
		t.Errorf("arrived %v", got)
	}
	// From drop to keep at once: what comes then is kept.
	p.pause(at, "pause", `{"mode":"drop"}`, "paused")
	db.customers(15, 15)
	p.pause(at, "pause", `{"mode":"keep"}`, "paused")
	db.customers(16, 16)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked")) == 1 })
	p.pause(at, "resume", "", "active")
	if got := bodies(hook.wait(t, 8)); got[7] != "16" {
		t.Errorf("arrived %v", got)
	}
}

// TestPauseWithoutParking cannot keep anything.
func TestPauseWithoutParking(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"delivery: {park: {max_bytes: 0}}\n")
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "{{ instance.name }}", hook.URL))["id"])
	if status, out, _ := p.call(http.MethodPost, at+"/pause", ""); status != http.StatusConflict || out["code"] != "parking_off" {
		t.Errorf("pause: %d %v", status, out)
	}
	p.pause(at, "pause", `{"mode":"drop"}`, "paused")
	db.customers(1, 1)
	p.pause(at, "resume", "", "active")
	db.customers(2, 2)
	if got := bodies(hook.wait(t, 1)); got[0] != "2" {
		t.Errorf("arrived %v", got)
	}
}
