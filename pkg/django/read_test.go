package django

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// installation is a database with the package's tables, in a schema of its own.
func installation(t *testing.T) *sql.DB {
	t.Helper()
	address := os.Getenv("WALTRIGGER_TEST_POSTGRES")
	if address == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatal("WALTRIGGER_TEST_POSTGRES is not set")
		}
		t.Skip("WALTRIGGER_TEST_POSTGRES is not set")
	}
	admin, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	schema := fmt.Sprintf("django_%d_%d", os.Getpid(), time.Now().UnixNano())
	run(t, admin, "CREATE SCHEMA "+schema)
	db, err := sql.Open("pgx", address+"&search_path="+schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		run(t, admin, "DROP SCHEMA "+schema+" CASCADE")
		admin.Close()
	})
	tables, err := os.ReadFile("../../testdata/django/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, string(tables))
	return db
}

func run(t *testing.T, db *sql.DB, statements string) {
	t.Helper()
	if _, err := db.Exec(statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func TestRead(t *testing.T) {
	db := installation(t)
	run(t, db, `
INSERT INTO action_triggers_config (id, payload, active) VALUES (7, '{"b": 1, "aa": [null]}', false), (3, NULL, true), (4, 'null', true);
INSERT INTO action_triggers_config_content_types (config_id, contenttype_id) VALUES (7, 3), (7, 1), (3, 2);
INSERT INTO action_triggers_config_signal (config_id, signal) VALUES (7, 'pre_save'), (7, 'post_delete'), (7, 'pre_save'), (4, 'nonsense');
INSERT INTO action_triggers_webhook (config_id, url, http_method, headers, timeout_secs) VALUES
  (7, 'https://b', 'PATCH', '{"x": "{{ a.b }}"}', 2.5), (3, 'https://a', 'POST', 'null', NULL), (7, 'https://c', 'GET', NULL, 'Infinity');
INSERT INTO action_triggers_message_broker_queue (config_id, name, conn_details, parameters, timeout_secs) VALUES (3, 'q', '"text"', '{"n": 1e400}', 0);
INSERT INTO action_triggers_action (config_id, name, conn_details, parameters) VALUES (3, 'f', NULL, '[1]');`)
	configs, err := Read(context.Background(), db, `"`, DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{3 true  [] [{shop product}] [{https://a POST  {0 false}}] [{q "text" {"n": 1` + strings.Repeat("0", 400) + `} {0 true}}] [{f  [1] {0 false}}]}`,
		`{4 true  [nonsense] [] [] [] []}`,
		`{7 false {"b": 1, "aa": [null]} [pre_save post_delete pre_save] [{shop sale} {shop customer}] [{https://b PATCH {"x": "{{ a.b }}"} {2.5 true}} {https://c GET  {+Inf true}}] [] []}`,
	}
	for i, c := range configs {
		if got := shown(c); i >= len(want) || got != want[i] {
			t.Errorf("got %s", got)
		}
	}
	if len(configs) != len(want) {
		t.Errorf("%d configs", len(configs))
	}
}

// shown is a config in one line.
func shown(c Config) string {
	text := func(doc json.RawMessage) string { return string(doc) }
	queues := func(qs []Queue) string {
		var out []string
		for _, q := range qs {
			out = append(out, fmt.Sprintf("{%s %s %s %v}", q.Name, text(q.ConnDetails), text(q.Parameters), q.Timeout))
		}
		return fmt.Sprint(out)
	}
	var hooks []string
	for _, w := range c.Webhooks {
		hooks = append(hooks, fmt.Sprintf("{%s %s %s %v}", w.URL, w.Method, text(w.Headers), w.Timeout))
	}
	return fmt.Sprintf("{%d %v %s %v %v %v %s %s}", c.ID, c.Active, text(c.Payload), c.Signals, c.ContentTypes, hooks, queues(c.Queues), queues(c.Actions))
}

// TestReadNeedsNothingButSelect: the role may read and nothing else, and the tables go by
// another prefix.
func TestReadNeedsNothingButSelect(t *testing.T) {
	db := installation(t)
	role := fmt.Sprintf("reader_%d", time.Now().UnixNano())
	run(t, db, `
CREATE ROLE `+role+`;
DO $$ DECLARE t text; BEGIN
  FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE 'action\_triggers\_%' LOOP
    EXECUTE format('ALTER TABLE %I RENAME TO %I', t, replace(t, 'action_triggers_', 'My-Own_'));
  END LOOP;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO `+role+`', current_schema());
  EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO `+role+`', current_schema());
END $$;
INSERT INTO "My-Own_config" (payload) VALUES ('"x"');`)
	t.Cleanup(func() {
		run(t, db, "DROP OWNED BY "+role+"; DROP ROLE "+role)
	})
	db.SetMaxOpenConns(1) // the role holds for the session
	run(t, db, "SET ROLE "+role)
	configs, err := Read(context.Background(), db, `"`, "My-Own_")
	if err != nil || len(configs) != 1 || string(configs[0].Payload) != `"x"` {
		t.Errorf("%v, %v", configs, err)
	}
	run(t, db, "RESET ROLE")
	for prefix, want := range map[string]string{"": "read table config", "action_triggers_": "read table action_triggers_config", `a"b`: "is no prefix", strings.Repeat("x", 41): "is no prefix"} {
		if _, err := Read(context.Background(), db, `"`, prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}
