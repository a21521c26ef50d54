package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// server is a PostgreSQL of the test's own, at a port that nobody else takes while it is
// stopped.
type server struct {
	t              *testing.T
	instance, port string
}

func newServer(t *testing.T) *server {
	t.Helper()
	service(t, "WALTRIGGER_TEST_POSTGRES") // where there are services there are the scripts' needs
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t, fmt.Sprintf("t%d", time.Now().UnixNano()), port}
	t.Cleanup(func() { s.run("wipe") })
	s.run("start")
	return s
}

func (s *server) run(verb string) string {
	s.t.Helper()
	return script(s.t, "postgres", []string{"PG_MAJOR=15", "PG_INSTANCE=" + s.instance, "PG_PORT=" + s.port}, verb)
}

// script runs one of scripts/services and gives what it prints.
func script(t *testing.T, name string, env []string, verb string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "..", "scripts", "services", name+".sh"), verb)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s.sh %s: %v", name, verb, err)
	}
	return strings.TrimSpace(string(out))
}

// TestStoreUnreachable: while the store is away nothing is acknowledged and nobody is
// told that it is well, and afterwards all goes on, whether the lease ran out or not.
func TestStoreUnreachable(t *testing.T) {
	t.Parallel()
	db, hook, kept := newDatabase(t), newReceiver(t), newServer(t)
	p := newDaemon(t, db.url, loopback)
	p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), kept.run("dsn"))
	p.start()
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := newLedger(t)
	l.write(db, 4, 700)
	for _, away := range []time.Duration{2 * time.Second, 14 * time.Second} {
		arriving := len(hook.requests())
		waitFor(t, "delivered", func() bool { return len(hook.requests()) > arriving })
		kept.run("stop")
		after := db.text(`SELECT pg_current_wal_lsn()::text`)
		gone := time.Now()
		waitFor(t, "unready", func() bool { return strings.Contains(p.ready(), "not ready") })
		status, out, h := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", hook.URL))
		if status != http.StatusServiceUnavailable || out["code"] != "store_unavailable" || h.Get("Retry-After") == "" || strings.Contains(fmt.Sprint(out), "127.0.0.1") {
			t.Errorf("created without a store: %d %v", status, out)
		}
		waitFor(t, "stalled", func() bool {
			return strings.Contains(fmt.Sprint(p.source()["detail"]), "does not take the position") || p.source()["active"] == false
		})
		time.Sleep(away - time.Since(gone)) // the length of the outage is what is tested
		if confirmed := db.text(`SELECT (confirmed_flush_lsn < $2::pg_lsn)::text FROM pg_replication_slots WHERE slot_name = $1`, p.slot, after); confirmed != "true" {
			t.Error("acknowledged what was not saved")
		}
		kept.run("start")
		waitFor(t, "ready", func() bool { return !strings.Contains(p.ready(), "not ready") })
		waitFor(t, "acknowledging", func() bool { return p.source()["active"] == true && p.passed(db, after) })
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong() != 0 || v.committed < 500 {
		t.Errorf("%+v, want nothing lost, reordered or invented", v)
	}
	if _, out, _ := p.call(http.MethodGet, "/api/action-triggers", ""); len(out["list"].([]any)) != 1 {
		t.Errorf("a refused trigger is stored: %v", out)
	}
}
