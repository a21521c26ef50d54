package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is one that a test can fill.
type disk struct {
	dir        string
	says       string // of it, if it is full
	parks      bool   // deliveries may take what room there is
	fill, free func(p *process)
}

// small is a file system of its own, which root may make as a rule.
func small(t *testing.T) *disk {
	t.Helper()
	d := &disk{dir: t.TempDir(), says: "disk is full"}
	if err := syscall.Mount("none", d.dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Logf("a file system of its own cannot be mounted here: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, 0); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(d.dir, "fill")
	d.fill = func(*process) {
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 1<<12); err == nil; {
			_, err = f.Write(block)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d.free = func(*process) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// limited is the usual one, on which the daemon may write no file beyond its first page:
// anybody can do that to a process of his.
func limited(t *testing.T) *disk {
	t.Helper()
	limit := func(p *process, most uint64) {
		var was unix.Rlimit
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
			t.Fatal(err)
		}
		was.Cur = min(most, was.Max)
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &was, nil); err != nil {
			t.Fatal(err)
		}
	}
	return &disk{
		dir: t.TempDir(), says: "disk I/O error", parks: true,
		fill: func(p *process) { limit(p, 4096) }, free: func(p *process) { limit(p, unix.RLIM_INFINITY) },
	}
}

// TestDiskFull: a full disk under the store holds up reading, loses nothing and is left
// behind by itself, also while deliveries are to be parked on it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *disk{"file system": small, "limit": limited} {
		t.Run(name, func(t *testing.T) {
			if d := open(t); d != nil {
				fullDisk(t, d)
			}
		})
	}
}

func fullDisk(t *testing.T, d *disk) {
	db, hook := newDatabase(t), newFaulty(t)
	p := newDaemon(t, db.url, loopback+"delivery: {queue: 200, park: {after: 0s}}\n")
	p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), "sqlite:"+filepath.Join(d.dir, "store.db"))
	p.start()
	t.Cleanup(func() { // before the disk goes
		if p.cmd != nil {
			p.kill()
		}
	})
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := newLedger(t)
	l.write(db, 4, 400)
	for round := range soak(3, 20) {
		arriving := len(hook.arrivals())
		waitFor(t, "delivered", func() bool { return len(hook.arrivals()) > arriving })
		d.fill(p)
		hook.set(d.parks && round%3 == 1)
		after := db.text(`SELECT pg_current_wal_lsn()::text`)
		waitFor(t, "unready", func() bool { return strings.Contains(p.ready(), d.says) })
		waitFor(t, "stalled", func() bool { return strings.Contains(fmt.Sprint(p.source()["detail"]), "does not take the position") })
		status, out, _ := p.call(http.MethodPost, "/api/action-triggers", simple("customer", "x", hook.URL))
		if status != http.StatusServiceUnavailable || out["code"] != "store_unavailable" {
			t.Errorf("created on a full disk: %d %v", status, out)
		}
		if p.passed(db, after) {
			t.Error("acknowledged what was not saved")
		}
		d.free(p)
		waitFor(t, "saved again", func() bool { return p.passed(db, after) })
		hook.set(false)
		waitFor(t, "ready", func() bool { return !strings.Contains(p.ready(), d.says) })
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong()+v.duplicates != 0 || v.committed < 200 {
		t.Errorf("%+v, want nothing lost, reordered, invented or repeated", v)
	}
	p.stop()
	p.start() // the file is whole
}
