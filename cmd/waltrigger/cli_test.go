package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDeliveriesCommands: what the API tells and does, as a person at a terminal has it.
func TestDeliveriesCommands(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	tokens := `, tokens: [{name: viewer, token: viewer-0123456789}, {name: ci, token: admin-0123456789, scopes: [admin]}]`
	p := newDaemon(t, db.url, loopback+"history: {keep: 1h}\n")
	text, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), fmt.Sprintf("admin: {listen: %q", p.api), fmt.Sprintf("admin: {listen: %q%s", p.api, tokens), 1))
	if err := os.WriteFile(p.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := func(args ...string) string {
		t.Helper()
		out, stderr, code := p.cli(args...)
		if code != 0 {
			t.Fatalf("%v: %d %s%s", args, code, out, stderr)
		}
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if out, stderr, code := p.cli(args...); code != 1 || !strings.Contains(stderr, want) || out != "" {
			t.Errorf("%v: %d %s%s, want %q", args, code, out, stderr, want)
		}
	}
	refused("the daemon cannot be reached at http://"+p.api+": connection refused; does it run?", "deliveries", "list")
	p.token = "admin-0123456789"
	p.start()
	p.create(with(simple("customer", "{{ instance.name }}", hook.URL), `"name":"customers"`))
	refuses(hook, "bad")
	db.exec(`INSERT INTO myapp_customer (name, email) VALUES (E'bad \x1b[31m\nand worse', ''), ('good', ''), ('bad too', '')`)
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked")) == 2 && len(p.deliveries("status=sent")) == 1 })

	list := ok("deliveries", "list")
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "ID  ") || !strings.Contains(lines[1], "parked") || !strings.Contains(lines[1], "http_422") {
		t.Errorf("list:\n%s", list)
	}
	var raw []map[string]any
	if err := json.Unmarshal([]byte(ok("deliveries", "list", "--json", "--all", "--trigger", "1", "--code", "http_422")), &raw); err != nil || len(raw) != 2 {
		t.Fatalf("list --json: %v %v", raw, err)
	}
	first, second := raw[0]["id"].(string), raw[1]["id"].(string)
	if raw[0]["key"] != "1" {
		first, second = second, first
	}
	if out, stderr, _ := p.cli("deliveries", "list", "--limit", "1"); strings.Count(out, "\n") != 2 || !strings.Contains(stderr, "--all") {
		t.Errorf("list --limit: %s%s", out, stderr)
	}
	show := ok("deliveries", "show", first)
	for _, part := range []string{"public.myapp_customer 1", "http_422", "last attempts", "text/plain", "bad \uFFFD[31m\nand worse"} {
		if !strings.Contains(show, part) || strings.Contains(show, "\x1b") {
			t.Errorf("show lacks %q:\n%s", part, show)
		}
	}
	if err := json.Unmarshal([]byte(ok("deliveries", "show", first, "--json")), &map[string]any{}); err != nil {
		t.Error(err)
	}
	if got := ok("destinations"); !strings.Contains(got, "1 customers") || !strings.Contains(got, "http://127.0.0.1") || strings.Count(got, "\n") != 2 {
		t.Errorf("destinations:\n%s", got)
	}
	if got := ok("destinations", "--json", "--trigger", "1"); !strings.Contains(got, `"parked": 2`) {
		t.Errorf("destinations --json:\n%s", got)
	}
	if got := ok("deliveries", "skip", first); got != "skipped: 1\n" {
		t.Errorf("skip said %q", got)
	}
	out, stderr, code := p.cli("deliveries", "skip", first, second, "7")
	if code != 1 || out != "skipped: 1\n" || strings.Count(stderr, "\n") != 2 || !strings.Contains(stderr, "not_parked") || !strings.Contains(stderr, "there is no such delivery") {
		t.Errorf("skip said %d %q %q", code, out, stderr)
	}
	refuses(hook, "")
	if got := ok("deliveries", "retry", "--status", "dead", "--key", "1", "--max-rate", "5"); got != "retried: 1\n" {
		t.Errorf("retry said %q", got)
	}
	if got := ok("deliveries", "retry", second, "--max-rate", "5"); got != "retried: 1\n" {
		t.Errorf("retry said %q", got)
	}
	waitFor(t, "sent", func() bool { return len(p.deliveries("status=sent")) == 3 })
	if got := ok("deliveries", "replay", "--trigger", "1", "--from", sinceThen(p)); got != "replayed: 3\n" {
		t.Errorf("replay said %q", got)
	}
	waitFor(t, "sent again", func() bool { return len(p.deliveries("status=sent")) == 3 })
	if got := ok("deliveries", "erase", "--table", "public.myapp_customer", "--key", "2", "--yes"); got != "erased: 1\n" {
		t.Errorf("erase said %q", got)
	}
	ok("destinations", "retry-now", "d1")
	_, audit, _ := p.call("GET", "/api/audit", "")
	if e := audit["list"].([]any)[0].(map[string]any); e["token"] != "ci" || e["verb"] != "retry-now" || e["object"] != "destinations/d1" {
		t.Errorf("noted %v", e)
	}

	refused("say so with --yes", "deliveries", "erase", "--status", "dead")
	refused("say which deliveries: ids, or flags that pick them, such as retry --status dead --destination d1", "deliveries", "retry")
	refused("such as skip --status parked --destination d1", "deliveries", "skip")
	refused("such as erase --status dead --destination d1 --yes", "deliveries", "erase")
	refused("waltrigger: --max-rate: must be", "deliveries", "retry", "--status", "dead", "--max-rate", "-1")
	refused("waltrigger: --table 2: is no table", "backfill", "start", "--trigger", "1", "--table", "public.myapp_customer", "--table", "nix.nix")
	refused("nothing was replayed: what was delivered is kept whole from ", "deliveries", "replay", "--trigger", "1", "--from", "2020-01-01T00:00:00Z")
	refused("; say --from "+sinceThen(p)+" (not_kept)", "deliveries", "replay", "--trigger", "1", "--from", "2020-01-01T00:00:00Z")
	refused("either ids or flags", "deliveries", "retry", "7", "--status", "dead")
	refused("waltrigger: --status: must be one of", "deliveries", "retry", "--status", "alive")
	refused("waltrigger: --status must be parked, dead or sent (invalid_query)", "deliveries", "list", "--status", "alive")
	refused("there is no such delivery", "deliveries", "show", "7")
	refused("there is no such destination", "destinations", "retry-now", "nix")
	refused("--api \"nix\" is no address", "deliveries", "list", "--api", "nix")
	refused("that is not waltrigger's API", "deliveries", "list", "--api", "http://"+p.ops)
	refused("the API wants a token: --token-file FILE, or WALTRIGGER_API_TOKEN", "deliveries", "list", "--api", "http://"+p.api)
	refused("the token holds spaces", "deliveries", "list", "--token-file", p.config)
	viewer := filepath.Join(p.dir, "token")
	if err := os.WriteFile(viewer, []byte("another-0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("the API does not know the token", "deliveries", "list", "--token-file", viewer)
	if err := os.WriteFile(viewer, []byte("viewer-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ok("deliveries", "list", "--api", "http://"+p.api+"/", "--token-file", viewer)
	refused("the token has the scope read; this needs admin", "deliveries", "skip", "--status", "parked", "--token-file", viewer)
	if _, stderr, code := runBinary(t, "deliveries", "list", "-c", filepath.Join(p.dir, "none.yaml")); code != 1 || !strings.Contains(stderr, "--api URL, or WALTRIGGER_API_URL") {
		t.Errorf("without a configuration: %d %s", code, stderr)
	}
}

// sinceThen is from when on the history is kept, as the daemon tells it.
func sinceThen(p *process) string {
	p.t.Helper()
	_, out, _ := p.call("POST", "/api/action-triggers/1/replay", fmt.Sprintf(`{"from":%q}`, time.Unix(0, 0).UTC().Format(time.RFC3339)))
	return fmt.Sprint(out["earliest"])
}

func TestWhose(t *testing.T) {
	t.Parallel()
	for want, ids := range map[string][]int64{"id 4": {4}, "ids 4, 5": {4, 5}, "4 triggers": {1, 2, 3, 4}} {
		if got := whose(ids); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
