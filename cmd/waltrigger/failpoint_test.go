package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// withFailPoints is the program with its fail points, built once.
var withFailPoints = sync.OnceValues(func() (string, error) {
	path := binary + ".failpoints"
	build := exec.Command("go", "build", "-tags", "grpcnotrace,failpoints", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with fail points: %w\n%s", err, out)
	}
	return path, nil
})

var hit = regexp.MustCompile(`failpoint\.Hit\("([a-z.]+)"\)`)

// failPoints are all that the code has.
func failPoints(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join("..", "..", "pkg"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range hit.FindAllStringSubmatch(string(text), -1) {
			out = append(out, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// launchToFail starts the daemon so that it is killed when it comes to a fail point for the
// n-th time and stood there for that long.
func (p *process) launchToFail(point string, n int, hold time.Duration) {
	p.t.Helper()
	path, err := withFailPoints()
	if err != nil {
		p.t.Fatal(err)
	}
	env := p.env
	p.binary, p.env = path, append(p.env[:len(env):len(env)], fmt.Sprintf("FAILPOINT=%s:%d:%s", point, n, hold))
	p.launch()
	p.binary, p.env = binary, env
}

// killed waits until the daemon has come to its fail point.
func (p *process) killed(point string) {
	p.t.Helper()
	select {
	case <-p.exited:
		if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
			p.t.Fatalf("%s: daemon ended: %v", point, p.cmd.ProcessState)
		}
		p.cmd = nil
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("the daemon does not come to %s", point)
	}
}

func TestFailPointsAreNotShipped(t *testing.T) {
	t.Parallel()
	path, err := withFailPoints()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{binary: false, path: true} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("FAILPOINT")) != want {
			t.Errorf("fail points in %s: %v, want %v", filepath.Base(file), !want, want)
		}
	}
}

// TestKillInMigration kills the daemon after each step of the making of its store, and at
// random moments of it.
func TestKillInMigration(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	for name, store := range map[string]string{"sqlite": "", "postgres": db.url + "&schema=wt", "mysql": newMySQLStore(t)} {
		p := newDaemon(t, db.url, loopback)
		if store != "" {
			p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), store)
		}
		n := 0
		for ; n < 20; n++ {
			p.launchToFail("store.migrated", 1, 0)
			if !p.endsOrServes() {
				break
			}
			p.launch() // in MySQL each statement is one of its own
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			p.kill()
		}
		if n == 0 || n == 20 {
			t.Errorf("%s: %d steps", name, n)
		}
		p.kill()
		p.start()
		hook.reset()
		p.create(simple("customer", "{{ instance.name }}", hook.URL))
		db.customers(1, 1)
		hook.wait(t, 1)
		p.stop()
	}
}

// endsOrServes waits for either; true: it has ended.
func (p *process) endsOrServes() bool {
	for {
		select {
		case <-p.exited:
			p.cmd = nil
			return true
		case <-time.After(5 * time.Millisecond):
		}
		if resp, err := http.Get("http://" + p.ops + "/livez"); err == nil {
			resp.Body.Close()
			return false
		}
	}
}

// TestKillInActivation kills the daemon while a trigger is created: it is stored by then,
// whatever its creator was told, and fires.
func TestKillInActivation(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"daemon.stored", "daemon.published"} {
		db, hook := newDatabase(t), newReceiver(t)
		p := newDaemon(t, db.url, loopback)
		p.launchToFail(point, 1, 0)
		waitFor(t, "ready", func() bool {
			resp, err := http.Get("http://" + p.ops + "/readyz?verbose")
			if err == nil {
				defer resp.Body.Close()
			}
			return err == nil && strings.Contains(p.log.String(), `"msg":"streaming"`)
		})
		resp, err := http.Post("http://"+p.api+"/api/action-triggers", "application/json", strings.NewReader(simple("customer", "{{ instance.name }}", hook.URL)))
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: answered %d", point, resp.StatusCode)
		}
		p.killed(point)
		p.start()
		waitFor(t, "active", func() bool { return p.state(1)["state"] == "active" })
		db.customers(1, 3)
		hook.wait(t, 3)
		p.stop()
	}
}

// TestKillWithLease kills an instance that has just taken the leases: another one comes to
// its turn all the same.
func TestKillWithLease(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	x := newPair(t, "")
	x.ps[0].launchToFail("daemon.leased", 1, 0)
	x.ps[0].killed("daemon.leased")
	x.ps[1].start()
	waitFor(t, "active", func() bool { return x.ps[1].source()["state"] == "streaming" })
	x.ps[1].create(simple("customer", "{{ instance.name }}", hook.URL))
	x.db.customers(1, 2)
	hook.wait(t, 2)
}
