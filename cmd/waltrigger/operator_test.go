package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMistakesAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		t.Helper()
		path := filepath.Join(dir, "waltrigger.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"empty":  {"", []string{"sources: there must be one at least"}},
		"torn":   {"sources: [", []string{"waltrigger.yaml:1:"}},
		"public": {"sources: [{name: a, url: 'postgres://h/d'}]\nadmin: {listen: ':8080'}", []string{"waltrigger.yaml:2: admin.listen", "admin.tokens", "loopback"}},
		"all at once": {
			"sources:\n  - name: 'a b'\n    url: postgres://u:hunter2@h:x/d\nstor: 1\ndelivery:\n  queue: many\n  window: 0\n",
			[]string{":2: sources[0].name", ":3: sources[0].url", ":4: stor", ":6: delivery.queue", ":7: delivery.window"},
		},
	} {
		_, stderr, code := runBinary(t, "run", "-c", write(c.config))
		for _, want := range c.want {
			if code != 1 || !strings.Contains(stderr, want) {
				t.Errorf("%s: exit code %d, %q lacks %q", name, code, stderr, want)
			}
		}
		if strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: the password is told: %s", name, stderr)
		}
	}
	if _, stderr, code := runBinary(t, "run", "-c", filepath.Join(dir, "none.yaml")); code != 1 || !strings.Contains(stderr, "none.yaml") {
		t.Errorf("no file: %d %q", code, stderr)
	}
	for _, args := range [][]string{{"nonsense"}, {"run", "more"}, {"run", "--nonsense"}, {"render"}, {"source", "adopt"}, {"source", "nonsense"}} {
		if _, stderr, code := runBinary(t, args...); code != 1 || !strings.HasPrefix(stderr, "waltrigger: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: %d %q, want one line", args, code, stderr)
		}
	}
}

func TestSmallCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "waltrigger "},
		{[]string{"config"}, "sources:"},
		{[]string{"render", "--template", "{{ a|upper }}", "--context", "/dev/null"}, ""},
		{[]string{"render", "--template", "1{% if 1 %}2{% endif %}"}, "12\n"},
	} {
		out, stderr, code := runBinary(t, c.args...)
		if c.want != "" && (code != 0 || !strings.Contains(out, c.want)) || c.want == "" && code == 0 {
			t.Errorf("%v: %d %q %q", c.args, code, out, stderr)
		}
	}
}

func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	p := startDaemon(t, db.url, loopback)
	if _, stderr, code := p.cli("run"); code != 1 || !strings.Contains(stderr, "another waltrigger") || !strings.Contains(stderr, fmt.Sprint(p.cmd.Process.Pid)) {
		t.Errorf("second daemon on the same store: %d %q", code, stderr)
	}
	if _, stderr, code := p.cli("source", "list"); code != 1 || !strings.Contains(stderr, "/api/sources") {
		t.Errorf("source list beside a daemon: %d %q", code, stderr)
	}
	// With a store of its own, but the same address.
	other := newDaemon(t, db.url, loopback)
	config, err := os.ReadFile(other.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.config, []byte(strings.Replace(string(config), other.api, p.api, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := other.cli("run"); code != 1 || !strings.Contains(stderr, "admin.listen") || !strings.Contains(stderr, "in use") {
		t.Errorf("same address: %d %q", code, stderr)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	p := newDaemon(t, db.url, "")
	out, _, code := p.cli("check")
	if code != 0 || !strings.Contains(out, "wal_level is logical") || strings.Contains(out, "error") {
		t.Errorf("%d %s", code, out)
	}
	out, _, code = p.cli("check", "--json")
	var reports []struct {
		Source   string
		Findings []struct{ Level, Text, Mend string }
	}
	if err := json.Unmarshal([]byte(out), &reports); err != nil || code != 0 || len(reports) != 1 || len(reports[0].Findings) < 3 {
		t.Errorf("%d %v %s", code, err, out)
	}
	if out, _, code = p.cli("check", "--grants"); code != 0 || !strings.Contains(out, "CREATE ROLE") {
		t.Errorf("%d %s", code, out)
	}
	if n := db.text(`SELECT count(*)::text FROM pg_publication`); n != "0" {
		t.Errorf("check made %s publications", n)
	}
	bad := newDaemon(t, strings.Replace(db.url, "postgres:postgres@", "postgres:hunter2@", 1), "")
	out, stderr, code := bad.cli("check")
	if code != 1 || !strings.Contains(out, "correct user and password") || strings.Contains(out+stderr, "hunter2") {
		t.Errorf("wrong password: %d %s %s", code, out, stderr)
	}
}

// TestLostPosition: each way in which the place in the log can be lost stops the source
// loudly, and the command that the message names mends it.
func TestLostPosition(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	db.customers(1, 1)
	hook.wait(t, 1)
	halted := func(state string) string {
		t.Helper()
		waitFor(t, state, func() bool { return p.source()["state"] == state })
		return fmt.Sprint(p.source()["detail"])
	}
	mend := func(args ...string) string {
		t.Helper()
		p.stop()
		out, stderr, code := p.cli(args...)
		if code != 0 {
			t.Fatalf("%v: %d %s%s", args, code, out, stderr)
		}
		p.start()
		waitFor(t, "streaming", func() bool { return p.source()["state"] == "streaming" })
		return out
	}
	check := func(said string) { // it tells before a start does
		t.Helper()
		out, stderr, code := p.cli("check")
		if code != 1 || !strings.Contains(out, "error shop: the position is lost (resync_required): "+said) || !strings.Contains(out, "waltrigger source resync shop --accept-gap") || strings.Contains(out, "first start") {
			t.Errorf("check: %d %s%s", code, out, stderr)
		}
	}
	works := func(n int) {
		t.Helper()
		hook.reset()
		db.customers(n, n)
		if got := bodies(hook.wait(t, 1)); got[0] != fmt.Sprint(n) {
			t.Errorf("fired %q, want %d", got, n)
		}
	}

	// The slot is dropped under the daemon.
	p.stop()
	if lines := strings.Split(strings.TrimSpace(p.log.String()), "\n"); !strings.Contains(lines[len(lines)-1], `"msg":"stopped"`) {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}
	db.exec(`SELECT pg_drop_replication_slot($1)`, p.slot)
	db.customers(2, 2) // in the gap
	check("replication slot " + p.slot + " does not exist any more")
	if _, stderr, code := p.cli("source", "adopt", "shop"); code != 1 || !strings.Contains(stderr, "the slot is gone") || !strings.Contains(stderr, "waltrigger source resync shop") {
		t.Errorf("adopt: %d %s", code, stderr)
	}
	p.start()
	if said := halted("resync_required"); !strings.Contains(said, "waltrigger source resync shop --accept-gap") {
		t.Errorf("detail %q", said)
	}
	if ready := p.ready(); !strings.Contains(ready, "resync_required") {
		t.Errorf("readyz %s", ready)
	}
	if !strings.Contains(p.metrics(), `waltrigger_source_streaming{source="shop"} 0`) {
		t.Error("no metric tells")
	}
	if said := mend("source", "resync", "shop", "--accept-gap"); !strings.Contains(said, "The gap") {
		t.Errorf("resync said %q", said)
	}
	gaps, _ := p.source()["gaps"].([]any)
	if len(gaps) != 1 {
		t.Fatalf("gaps %v", gaps)
	}
	if gap := gaps[0].(map[string]any); gap["kind"] != "skipped" || gap["after"] == gap["before"] || gap["after"] == nil || gap["before"] == nil ||
		gap["reason"] != "source resync --accept-gap: server and database are the same, the slot "+p.slot+" was lost or is read anew" {
		t.Errorf("gap %v", gap)
	}
	works(3)
	for _, running := range []bool{true, false} {
		if out, stderr, code := p.cli("check"); code != 0 {
			t.Errorf("check, daemon running %v: %d %s%s", running, code, out, stderr)
		}
		if running {
			p.kill()
		}
	}
	p.start()

	// The publication is dropped while it is in use.
	db.exec(`DROP PUBLICATION ` + p.slot)
	db.customers(4, 4)
	halted("resync_required")
	p.stop()
	check("publication " + p.slot + " does not exist, or did not for a while")
	p.start()
	hook.reset()
	if said := mend("source", "resync", "shop", "--backfill"); !strings.Contains(said, "The gap") || !strings.Contains(said, "will send the rows of 1 table as") {
		t.Errorf("resync said %q", said)
	}
	waitFor(t, "rows of the gap", func() bool { return slices.Contains(bodies(hook.requests()), "4") })
	waitFor(t, "done", func() bool {
		_, jobs, _ := p.call(http.MethodGet, "/api/backfills?source=shop", "")
		return jobs["list"].([]any)[0].(map[string]any)["state"] == "done"
	})
	works(5)

	// The store is lost: nobody's position is overwritten, until told so.
	p.stop()
	db.customers(6, 6)
	stands := db.text(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1`, p.slot)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(p.dir, "store.db"+suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	p.start()
	if said := halted("store_unknown_slot"); !strings.Contains(said, "waltrigger source adopt shop") {
		t.Errorf("detail %q", said)
	}
	if now := db.text(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1`, p.slot); now != stands {
		t.Errorf("the slot went from %s to %s", stands, now)
	}
	if said := mend("source", "adopt", "shop"); !strings.Contains(said, stands) {
		t.Errorf("adopt said %q, the slot stands at %s", said, stands)
	}
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	works(7)

	// The end: nothing stays behind, whether the command or the README's SQL is used.
	p.stop()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, uninstall, _ := strings.Cut(string(readme), "SELECT pg_drop_replication_slot('waltrigger_shop');\n")
	uninstall, _, _ = strings.Cut(uninstall, "\n```")
	db.exec(`BEGIN; ` + strings.ReplaceAll(uninstall, "waltrigger_shop", p.slot))
	if n := db.text(`SELECT count(*)::text FROM pg_publication`); n != "0" {
		t.Errorf("the README leaves %s publications", n)
	}
	db.exec(`ROLLBACK`)
	if out, _, code := p.cli("source", "list"); code != 0 || !strings.Contains(out, p.slot) || strings.Contains(out, "GAPS IN") { // they went with the store
		t.Errorf("list: %d %s", code, out)
	}
	if out, stderr, code := p.cli("source", "drop", "shop"); code != 0 {
		t.Errorf("drop: %d %s%s", code, out, stderr)
	}
	if n := db.text(`SELECT ((SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1))::text`, p.slot); n != "0" {
		t.Errorf("%s things stay behind", n)
	}
	for _, args := range [][]string{{"drop", "shop"}, {"adopt", "shop"}, {"adopt", "shoq"}, {"resync", "shop"}, {"resync", "shop", "--backfill", "--accept-gap"}} {
		if out, stderr, code := p.cli(append([]string{"source"}, args...)...); code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("source %v: %d %s%s, want a refusal", args, code, out, stderr)
		}
	}
	p.start() // begins anew
	waitFor(t, "active", func() bool { return p.state(1)["state"] == "active" })
	works(8)
}

// TestResyncOfInsertOnly: a table of which inserts alone are sent stays in the log, from the
// position that resync prints on; a backfill leaves it out, and says so.
func TestResyncOfInsertOnly(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"--accept-gap", "--backfill"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			db, hook := newDatabase(t), newReceiver(t)
			db.exec(`CREATE TABLE nopk (a int, b text)`)
			p := startDaemon(t, db.url, loopback)
			p.create(strings.NewReplacer(`"myapp"`, `"public"`, `"model_name"`, `"allow_insert_only":true,"model_name"`).Replace(simple("nopk", "nopk {{ instance.a }}", hook.URL)))
			p.create(simple("customer", "{{ instance.name }}", hook.URL))
			p.stop()
			db.exec(`SELECT pg_drop_replication_slot($1)`, p.slot)
			db.exec(`INSERT INTO nopk VALUES (1, 'in the gap')`)
			db.customers(1, 1)
			out, stderr, code := p.cli("source", "resync", "shop", how)
			if code != 0 || strings.Contains(stderr, "not published") {
				t.Fatalf("%d %s%s", code, out, stderr)
			}
			if n := db.text(`SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'nopk'`); n != "1" {
				t.Errorf("%s publications carry it", n)
			}
			db.exec(`INSERT INTO nopk VALUES (2, 'after the gap')`)
			p.start()
			if how == "--accept-gap" {
				if got := bodies(hook.wait(t, 1)); got[0] != "nopk 2" {
					t.Errorf("got %q", got)
				}
				return
			}
			if !strings.Contains(out, "will send the rows of 1 table as") || !strings.Contains(out, "Not sent are the rows of table public.nopk: it has no primary key") {
				t.Errorf("resync said %q", out)
			}
			got := bodies(hook.wait(t, 2))
			if slices.Sort(got); got[0] != "1" || got[1] != "nopk 2" {
				t.Errorf("got %q", got)
			}
			waitFor(t, "done", func() bool {
				_, jobs, _ := p.call(http.MethodGet, "/api/backfills?source=shop", "")
				return dig(jobs["list"].([]any)[0], "state") == "done"
			})
		})
	}
}

// TestStopWhileTheReceiverHangs: the grace ends, what was not delivered comes again; a
// second signal ends at once.
func TestStopWhileTheReceiverHangs(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback+"delivery: {shutdown_grace: 1s}\n")
	release := make(chan struct{})
	hook.setAnswer(func(http.ResponseWriter, request) { <-release })
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	db.customers(1, 3)
	hook.wait(t, 3)
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the stop took %s", took)
	}
	p.start()
	hook.wait(t, 6)
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // two signals at once are one
	}
	select {
	case <-p.exited:
		p.cmd = nil
	case <-time.After(10 * time.Second):
		t.Error("a second signal did not end it")
	}
	close(release)
	hook.setAnswer(nil)
	p.start()
	hook.wait(t, 9)
	p.stop()
	p.start()
	hook.wait(t, 9)
}

// TestEncryptedStore: with keys, a literal secret is in no file, and still sent.
func TestEncryptedStore(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := newDaemon(t, db.url, loopback)
	key := func(b byte) string {
		return "WALTRIGGER_STORE__ENCRYPTION_KEYS__K1__KEY=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
	}
	p.env = []string{key(1)}
	p.start()
	out := p.create(strings.Replace(simple("customer", "x", hook.URL), `"url"`, `"headers":{"Authorization":"hunter2"},"url"`, 1))
	if fmt.Sprint(out) == "" || strings.Contains(fmt.Sprint(out), "hunter2") {
		t.Errorf("answer %v", out)
	}
	p.stop()
	files, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(filepath.Join(p.dir, f.Name())); err != nil || bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s holds the secret, or %v", f.Name(), err)
		}
	}
	for name, env := range map[string][]string{"is another key": {key(2)}, "encrypted with the key k1": nil} {
		p.env = env
		p.launch()
		if err := <-p.exited; err == nil || !strings.Contains(p.log.String(), name) {
			t.Errorf("with another key it ended with %v: %s", err, p.log)
		}
		p.cmd = nil
	}
	p.env = []string{key(1)}
	p.start()
	db.customers(1, 1)
	if got := hook.wait(t, 1)[0].Header.Get("Authorization"); got != "hunter2" {
		t.Errorf("sent %q", got)
	}
}

// TestStoreRemoved: a store whose file is gone keeps nothing, so nothing may be
// acknowledged on its word.
func TestStoreRemoved(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(simple("customer", "{{ instance.name }}", hook.URL))
	path := filepath.Join(p.dir, "store.db")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	db.customers(1, 1)
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	hook.wait(t, 1)
	waitFor(t, "unready", func() bool { return strings.Contains(p.ready(), "removed or replaced") })
	if p.passed(db, after) {
		t.Error("acknowledged what was not saved")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "saved again", func() bool { return p.passed(db, after) })
}
