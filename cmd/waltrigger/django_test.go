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

const modelsFile = "../../testdata/django/models.json"

// config stores a trigger as Django Action Triggers does, with one webhook.
func (d *database) config(id int, model, payload, url, headers string) {
	d.t.Helper()
	d.exec(`INSERT INTO action_triggers_config (id, payload) VALUES ($1, $2::jsonb)`, id, payload)
	d.exec(`INSERT INTO action_triggers_config_signal (config_id, signal) VALUES ($1, 'post_save')`, id)
	d.exec(`INSERT INTO action_triggers_config_content_types (config_id, contenttype_id) SELECT $1, id FROM django_content_type WHERE model = $2`, id, model)
	d.exec(`INSERT INTO action_triggers_webhook (config_id, url, headers, timeout_secs) VALUES ($1, $2, $3::jsonb, 2.5)`, id, url, headers)
}

// installed is a database with an installation of Django Action Triggers.
func installed(t *testing.T) *database {
	t.Helper()
	db := newDatabase(t)
	tables, err := os.ReadFile("../../testdata/django/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	db.exec(string(tables))
	return db
}

func TestImportDjangoIntoFiles(t *testing.T) {
	t.Parallel()
	db, hook := installed(t), newReceiver(t)
	db.config(1, "customer", `null`, hook.URL+"/fields", `{"Authorization": "Bearer {{ shop.values.token }}"}`)
	db.config(2, "product", `{"price": "{{ instance.price }}", "name": "{{ instance.name|escapejs }}"}`, hook.URL+"/renamed", `null`)
	db.config(3, "customer", `{"text": "{{ instance.greeting }}"}`, hook.URL+"/property", `null`)
	p := newDaemon(t, db.url, "triggers: [\"triggers/*.yaml\"]\n")
	folder := filepath.Join(p.dir, "triggers")
	imports := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, code := p.cli(append([]string{"import-django", "--models", modelsFile}, args...)...)
		if code != want {
			t.Fatalf("exit code %d, want %d:\n%s%s", code, want, stdout, stderr)
		}
		return stdout, stderr
	}
	_, said := imports(2, "-o", folder)
	for _, want := range []string{
		"django-3: refused: /payload/text: instance.greeting: greeting is Python code of shop.Customer (a property, a method or a constant), which the database does not have; it has id, name, email, vip, note",
		"django-1: /webhooks: address not allowed: 127.0.0.1 is loopback; the operator can allow it by egress.allow_cidrs",
		"content_types:\n      shop.product: public.stock_item\n",
		"dynamic_values:\n  shop.values.token: {env: SHOP_VALUES_TOKEN, hosts: [\"127.0.0.1\"]}\n",
		"2 triggers imported, 1 refused",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %s\n%s", want, said)
		}
	}
	if got := names(t, folder); got != "django-1.yaml django-2.yaml django-3.yaml.refused" {
		t.Errorf("files %s", got)
	}

	// The configuration says what it has to, and is right as it was printed.
	_, values, _ := strings.Cut(said, "\ndynamic_values:")
	values, _, _ = strings.Cut(values, "\nsettings:")
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "sources: [{", "sources: [{content_types: {shop.product: public.stock_item}, ", 1) + loopback + "dynamic_values:" + values +
		"\nsettings: {allowed_webhook_urls: [\".*\"], max_webhook_timeout: 10s}\n"
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"SHOP_VALUES_TOKEN=s3cret"}
	if _, said = imports(2, "-o", folder); strings.Contains(said, "The configuration needs") {
		t.Errorf("said %s", said)
	}
	db.exec(`UPDATE action_triggers_config SET payload = '"mended {{ instance.name }}"' WHERE id = 3`)
	if _, said = imports(0, "-o", folder); said != "3 triggers imported, 0 refused\n" {
		t.Errorf("said %s", said)
	}
	if got := names(t, folder); got != "django-1.yaml django-2.yaml django-3.yaml" {
		t.Errorf("files %s", got)
	}
	if list, _ := imports(0); !strings.HasPrefix(list, "- name: django-1\n") || strings.Count(list, "\n- name: ") != 2 {
		t.Errorf("printed\n%s", list)
	}

	p.start()
	waitFor(t, "applied", func() bool { return strings.Contains(p.log.String(), "trigger files applied") })
	db.exec(`INSERT INTO shop_customer (name) VALUES ('Ada')`)
	db.exec(`INSERT INTO stock_item (id, name, price_eur) VALUES (gen_random_uuid(), 'Say "hi"', 19.90)`)
	var got []string
	for _, r := range hook.wait(t, 3) {
		got = append(got, r.Path+" "+r.Header.Get("Authorization")+" "+r.Body)
	}
	slices.Sort(got)
	want := `/fields Bearer s3cret {"name": "Ada", "email": "", "vip": false, "note": null}|/property  mended Ada|/renamed  {"name":"Say \"hi\"","price":"19.90"}`
	if strings.Join(got, "|") != want {
		t.Errorf("got %s", strings.Join(got, "|"))
	}
}

// names are the names of the files of a folder.
func names(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestImportDjangoIntoADaemon(t *testing.T) {
	t.Parallel()
	db, hook := installed(t), newReceiver(t)
	db.config(5, "tag", `"one {{ instance.name }}"`, hook.URL, `null`)
	db.config(6, "tag", `"two {{ instance.name }}"`, hook.URL, `{"X": "{{ shop.undeclared }}"}`)
	db.exec(`UPDATE action_triggers_config SET active = false WHERE id = 6`)
	p := newDaemon(t, db.url, loopback)
	token := filepath.Join(p.dir, "token")
	if err := os.WriteFile(token, []byte("a-long-enough-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "admin: {", "admin: {tokens: [{name: reader, token: another-long-token, scopes: [read]}, {name: ci, token: '${file:"+token+"}', scopes: [admin]}], ", 1)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.token = "a-long-enough-token"
	p.start()
	applied := func() (etag string, said string) {
		t.Helper()
		_, stderr, code := p.cli("import-django", "--apply")
		if code != 2 || !strings.Contains(stderr, "1 triggers imported, 1 refused") || !strings.Contains(stderr, "django-6: refused: /webhooks/0/headers/X: ") {
			t.Fatalf("%d %s", code, stderr)
		}
		status, out, h := p.call(http.MethodGet, "/api/action-triggers/by-name/django-5", "")
		if status != http.StatusOK || out["active"] != true {
			t.Fatalf("%d %v", status, out)
		}
		return h.Get("ETag"), stderr
	}
	first, said := applied()
	if second, again := applied(); second != first || again != said {
		t.Errorf("applied twice: %s %s, then %s %s", first, said, second, again)
	}
	db.exec(`INSERT INTO shop_tag (name) VALUES ('a')`)
	if got := hook.wait(t, 1); got[0].Body != "one a" {
		t.Errorf("fired %s", got[0].Body)
	}
	hook.reset()

	// Changed there, it is changed here; without a configuration, and as one that sends nothing.
	db.exec(`UPDATE action_triggers_config SET payload = '"new {{ instance.name }}"'`)
	db.exec(`DELETE FROM action_triggers_webhook WHERE config_id = 6`)
	args := []string{"import-django", "--url", db.url, "--source", "shop", "--api", "http://" + p.api, "--token-file", token, "--apply"}
	if _, stderr, code := runBinary(t, append(args, "--shadow")...); code != 2 || !strings.Contains(stderr, "2 triggers imported, 0 refused") {
		t.Errorf("%d %s", code, stderr)
	}
	db.exec(`INSERT INTO shop_tag (name) VALUES ('b')`)
	if _, stderr, code := runBinary(t, args...); code != 2 {
		t.Errorf("%d %s", code, stderr)
	}
	db.exec(`INSERT INTO shop_tag (name) VALUES ('c')`)
	if got := hook.wait(t, 1); got[0].Body != "new c" {
		t.Errorf("fired %s", got[0].Body)
	}
}

func TestImportDjangoFails(t *testing.T) {
	t.Parallel()
	db := installed(t)
	db.config(1, "tag", `"x"`, "https://example.com/x", `null`)
	dir := t.TempDir()
	nobody := freeAddress(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--url", "postgres://u:hunter2@" + nobody + "/d"}, "connect"},
		{[]string{"--url", "postgres://u:hunter2@h:x/d"}, "port"},
		{[]string{"--url", "mysql://u:hunter2@" + nobody + "/d"}, ""},
		{[]string{"--url", db.url, "--prefix", "other_"}, `read table other_config: ERROR: relation "other_config" does not exist`},
		{[]string{"--url", db.url, "--models", filepath.Join(dir, "none")}, "read models"},
		{[]string{"--url", db.url, "--models", "harness_test.go"}, "read models"},
		{[]string{"--url", db.url, "--apply"}, "--api URL"},
		{[]string{"--url", db.url, "--apply", "--api", "http://" + nobody}, "apply django-1: "},
		{[]string{"--url", db.url, "--apply", "-o", dir}, "none of the others can be"},
		{[]string{"--url", db.url, "--apply", "--api", "http://" + nobody, "--token-file", dir}, "read the token"},
		{[]string{"--url", db.url, "-o", "/dev/null/x"}, "write triggers"},
		{[]string{"-c", filepath.Join(dir, "none.yaml")}, "none.yaml"},
		{[]string{"more"}, "more"},
	} {
		stdout, stderr, code := runBinary(t, append([]string{"import-django"}, c.args...)...)
		if code != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("%v: %d %s", c.args, code, stderr)
		}
	}
	p := newDaemon(t, db.url, "")
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	second := strings.Replace(string(config), "sources: [", fmt.Sprintf("sources: [{name: other, url: %q}, ", db.url), 1)
	if err := os.WriteFile(p.config, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := p.cli("import-django"); code != 1 || !strings.Contains(stderr, "name one of other, shop with --source") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, stderr, code := p.cli("import-django", "--source", "shoq"); code != 1 || !strings.Contains(stderr, "did you mean shop?") {
		t.Errorf("%d %s", code, stderr)
	}
	if stdout, stderr, code := p.cli("import-django", "--source", "other"); code != 0 || !strings.Contains(stdout, "source: other") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	if stdout, _, code := runBinary(t, "import-django", "--print-script"); code != 0 || !strings.Contains(stdout, "models.json") {
		t.Errorf("%d %s", code, stdout)
	}
}
