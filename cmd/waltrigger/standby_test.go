package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestStandbyOperates: deliveries, destinations and pauses are seen and changed by the
// instance that is not active, also while there is none.
func TestStandbyOperates(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "")
	active, p := x.start()
	refuses(hook, "bad")
	at := fmt.Sprintf("/api/action-triggers/%v", p.create(simple("customer", "{{ instance.name }}", hook.URL))["id"])
	x.db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('bad', ''), ('bad', ''), ('bad', '')`)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked")) == 3 })
	destination := func(p *process) map[string]any {
		t.Helper()
		status, out, _ := p.call(http.MethodGet, "/api/destinations", "")
		if status != http.StatusOK {
			t.Fatalf("destinations: %d %v", status, out)
		}
		return out["list"].([]any)[0].(map[string]any)
	}
	if d := destination(p); d["parked"] != 3.0 || d["state"] != "ok" {
		t.Errorf("destination %v", d)
	}
	if status, out, _ := p.call(http.MethodPost, "/api/deliveries/"+p.deliveries("key=1")[0]["id"].(string)+"/skip", ""); status != http.StatusOK || out["deliveries"] != 1.0 {
		t.Errorf("skip: %d %v", status, out)
	}
	p.amend("erase", `{"filter":{"table":"public.myapp_customer","key":"2"}}`, 1)
	if status, out, _ := p.call(http.MethodPost, "/api/deliveries/9/skip", ""); status != http.StatusNotFound {
		t.Errorf("skip nothing: %d %v", status, out)
	}
	refuses(hook, "")
	hook.reset()
	if status, out, _ := p.call(http.MethodPost, "/api/destinations/d1/retry-now", ""); status != http.StatusOK {
		t.Errorf("retry-now: %d %v", status, out)
	}
	hook.wait(t, 1)
	p.amend("retry", `{"filter":{"status":"dead"}}`, 1)
	hook.wait(t, 2)

	p.pause(at, "pause", "", "paused")
	x.db.customers(1, 5)
	waitFor(t, "parked", func() bool { return destination(p)["parked"] == 5.0 && destination(p)["state"] == "paused" })
	if status, out, _ := p.call(http.MethodPost, "/api/destinations/d1/retry-now", ""); status != http.StatusConflict || out["code"] != "paused" {
		t.Errorf("retry-now: %d %v", status, out)
	}
	// Who asks while the active one hangs gets his answer from the next one.
	active.signal(syscall.SIGSTOP)
	p.amend("erase", `{"filter":{"status":"parked","key":"8"}}`, 1)
	p.pause(at, "resume", "", "active")
	hook.wait(t, 6)
	active.signal(syscall.SIGCONT)
	waitFor(t, "both see it", func() bool { return destination(active)["parked"] == 0.0 && destination(p)["parked"] == 0.0 })
	if strings.Contains(active.log.String()+p.log.String(), "answer another instance") {
		t.Error("a call failed")
	}
}
