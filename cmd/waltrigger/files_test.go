package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTriggerFiles(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := newDaemon(t, db.url, loopback+"triggers: [\"triggers/*.yaml\"]\n")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(p.dir, "triggers", name)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(p.dir, "triggers"), 0o700); err != nil {
		t.Fatal(err)
	}
	one := `
name: one
config_signals: [{signal: post_save}]
content_types: [{app_label: myapp, model_name: customer}]
webhooks: [{url: "%s"}]
payload: "%s {{ instance.name }}"
`
	write("one.yaml", fmt.Sprintf(one, hook.URL, "old"))
	p.start()
	fires := func(want ...string) {
		t.Helper()
		hook.reset()
		db.exec(`INSERT INTO myapp_customer (name, email) VALUES ('a', '')`)
		got := bodies(hook.wait(t, len(want)))
		if slices.Sort(got); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("fired %q, want %q", got, want)
		}
	}
	named := func(name string) (int, map[string]any) {
		status, out, _ := p.call(http.MethodGet, "/api/action-triggers/by-name/"+name, "")
		return status, out
	}
	is := func(name, payload string) func() bool {
		return func() bool {
			_, out := named(name)
			return out["payload"] == payload && strings.Contains(fmt.Sprint(out["status"]), "state:active")
		}
	}
	waitFor(t, "applied", is("one", "old {{ instance.name }}"))
	fires("old a")

	// The API shows it and does not change it.
	_, out := named("one")
	path := fmt.Sprintf("/api/action-triggers/%v", out["id"])
	for method, body := range map[string]string{
		http.MethodPatch: `{"active":false}`, http.MethodDelete: "", http.MethodPut: simple("customer", "x", hook.URL),
	} {
		if status, out, _ := p.call(method, path, body); status != http.StatusConflict || !strings.Contains(fmt.Sprint(out), "file") {
			t.Errorf("%s: %d %v, want 409 that names the file", method, status, out)
		}
	}

	write("one.yaml", fmt.Sprintf(one, hook.URL, "new"))
	waitFor(t, "changed", is("one", "new {{ instance.name }}"))
	fires("new a")

	// While one file is bad, all stays as it was, and the log says where the mistake is.
	write("two.yaml", strings.Replace(fmt.Sprintf(one, hook.URL, "two"), "name: one", "name: two\ncolour: blue", 1))
	write("one.yaml", fmt.Sprintf(one, hook.URL, "newest"))
	waitFor(t, "refused", func() bool { return strings.Contains(p.log.String(), "two.yaml:2: /colour") })
	fires("new a")
	write("two.yaml", strings.Replace(fmt.Sprintf(one, hook.URL, "{{ instance.nix }}"), "name: one", "name: two", 1))
	waitFor(t, "refused", func() bool { return strings.Contains(p.log.String(), "no column nix") })
	fires("new a")
	write("two.yaml", strings.Replace(fmt.Sprintf(one, hook.URL, "two"), "name: one", "name: two", 1))
	waitFor(t, "applied", is("two", "two {{ instance.name }}"))
	fires("newest a", "two a")

	if err := os.Remove(filepath.Join(p.dir, "triggers", "one.yaml")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "gone", func() bool {
		status, _ := named("one")
		return status == http.StatusNotFound
	})
	fires("two a")
	p.stop()
	p.start()
	fires("two a")
}
