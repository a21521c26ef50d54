package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parkedStore gives a killed daemon with deliveries of the customers 1 to n parked in its
// SQLite store, and its receiver, which is down.
func parkedStore(t *testing.T, n int) (*database, *faulty, *process) {
	t.Helper()
	db, hook := newDatabase(t), newFaulty(t)
	p := startDaemon(t, db.url, loopback+"delivery: {park: {after: 0s}}\n")
	p.create(with(simple("customer", "this is customer {{ instance.id }}", hook.URL), `"ordering":"source"`))
	hook.set(true)
	db.customers(1, n)
	waitFor(t, "parked", func() bool {
		return strings.Contains(p.metrics(), fmt.Sprintf(`waltrigger_parked_deliveries{destination="d1"} %d`, n))
	})
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	// As the server has it: it does not read what was sent to it just before the kill.
	waitFor(t, "acknowledged", func() bool {
		return db.text(`SELECT (confirmed_flush_lsn >= $1::pg_lsn)::text FROM pg_replication_slots WHERE slot_name = $2`, after, p.slot) == "true"
	})
	p.kill()
	return db, hook, p
}

// alter changes a file at the last place where it holds text.
func alter(t *testing.T, path, text string, f func(b []byte, at int) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte(text))
	if at < 0 {
		t.Fatalf("%s does not hold %q", filepath.Base(path), text)
	}
	if err := os.WriteFile(path, f(b, at), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTornStore: what a crash left of a transaction that was being written is no harm.
func TestTornStore(t *testing.T) {
	t.Parallel()
	_, hook, p := parkedStore(t, 50)
	wal := filepath.Join(p.dir, "store.db-wal")
	b, err := os.ReadFile(wal)
	if err != nil || len(b) < 5000 {
		t.Fatal(len(b), err)
	}
	// A frame that looks like the others, and is not whole.
	torn := slices.Concat(b, b[len(b)-4120:len(b)-100])
	if err := os.WriteFile(wal, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	hook.set(false)
	p.start()
	waitFor(t, "all sent", func() bool { return len(hook.arrivals()) == 50 })
}

// TestLostStore: a store that has lost what it had said was safe does not go on as if
// nothing had been.
func TestLostStore(t *testing.T) {
	t.Parallel()
	db, hook, p := parkedStore(t, 50)
	alter(t, filepath.Join(p.dir, "store.db-wal"), "this is customer 50", func(b []byte, at int) []byte {
		b[at] ^= 1 // SQLite reads up to the record before
		return b
	})
	hook.set(false)
	p.start()
	waitFor(t, "told", func() bool { return p.source()["state"] == "resync_required" })
	if d := fmt.Sprint(p.source()["detail"]); !strings.Contains(d, "beyond") || !strings.Contains(d, "--accept-gap") {
		t.Errorf("detail %q", d)
	}
	p.stop()
	if _, stderr, code := p.cli("source", "resync", "shop", "--accept-gap"); code != 0 {
		t.Fatalf("resync: %s", stderr)
	}
	p.start()
	waitFor(t, "active", func() bool { return p.state(1)["state"] == "active" })
	db.customers(51, 51)
	waitFor(t, "sent", func() bool {
		got := hook.arrivals()
		return len(got) > 0 && got[len(got)-1].body == "this is customer 51"
	})
}

// TestDamagedDelivery: a parked delivery that is not what was written is not sent, and
// does not hold up the others.
func TestDamagedDelivery(t *testing.T) {
	t.Parallel()
	_, hook, p := parkedStore(t, 50)
	p.start()
	p.stop() // the file is whole, without a log beside it
	alter(t, filepath.Join(p.dir, "store.db"), "this is customer 25", func(b []byte, at int) []byte {
		copy(b[at:], "that")
		return b
	})
	hook.set(false)
	p.start()
	waitFor(t, "the others sent", func() bool { return len(hook.arrivals()) == 49 })
	for i, a := range hook.arrivals() {
		n := i + 1
		if n >= 25 {
			n++
		}
		if want := fmt.Sprintf("this is customer %d", n); a.body != want {
			t.Errorf("sent %q, want %q", a.body, want)
		}
	}
	dead := p.deliveries("status=dead")
	if len(dead) != 1 || dead[0]["code"] != "damaged" {
		t.Fatalf("dead: %v", dead)
	}
	if !strings.Contains(p.log.String(), "damaged") {
		t.Error("the log does not tell")
	}
}

// TestBrokenStore: a file that is none any more is refused at the start with a way out, and
// nothing is acknowledged without it.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	db, hook, p := parkedStore(t, 50)
	file := filepath.Join(p.dir, "store.db")
	p.start()
	p.stop()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	waitFor(t, "a log beside the file", func() bool {
		info, err := os.Stat(file + "-wal")
		return err == nil && info.Size() > 0
	})
	p.kill()
	alter(t, file, "this is customer 25", func(b []byte, at int) []byte {
		copy(b[at/4096*4096:], make([]byte, 100)) // the head of its page
		return b
	})
	db.customers(51, 60)
	p.launch()
	if err := <-p.exited; err == nil {
		t.Error("it runs on a damaged store")
	}
	p.cmd = nil
	if log := p.log.String(); !strings.Contains(log, "is damaged (") || !strings.Contains(log, "put a copy of it in its place") {
		t.Errorf("no way out: %s", log)
	}
	for name, b := range map[string][]byte{file: whole, file + "-wal": nil} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hook.set(false)
	p.start()
	waitFor(t, "all sent", func() bool { return len(hook.arrivals()) == 60 })
}
