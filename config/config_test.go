package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink/all"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// oneSource is what the smallest file that is right must have.
const oneSource = "sources: [{name: shop, url: 'postgres://u:pw-hunter2@db/shop'}]\n"

func load(t *testing.T, text string, environ ...string) (*Config, []string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Load(path, environ)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""))
	}
	return c, warnings, err
}

func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, _, err := load(t, text, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnnotatedFileIsTheDefault(t *testing.T) {
	// Everything but the sources, which have no default.
	c := mustLoad(t, string(Default())+oneSource)
	d := mustLoad(t, oneSource)
	c.dir, d.dir = "", ""
	if !reflect.DeepEqual(c, d) {
		t.Errorf("the annotated file gives\n%+v\nthe defaults are\n%+v", *c, *d)
	}
	if _, _, err := load(t, string(Default())); err == nil || !strings.HasSuffix(err.Error(), "sources: there must be one at least") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the annotated file alone: %v", err)
	}
}

func TestExamplesOfTheAnnotatedFileAreRight(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([^ \n]|  )`).ReplaceAllString(string(Default()), "$1")
	c, _, err := load(t, text, "SHOP_PASSWORD=x", "BOOKS_PASSWORD=x", "CI_TOKEN=0123456789abcdef", "SHOP_TOKEN=y", "REDIS_PASSWORD=z", "NATS_TOKEN=t", "VAULT_TOKEN=v", "OAUTH2_SECRET=o", "MQTT_PASSWORD=m", "RABBITMQ_PASSWORD=r",
		"STORE_KEY=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(c.Sources) != 2 || len(c.Admin.Tokens) != 1 || len(c.Brokers) == 0 || len(c.DynamicValues) != 10 || len(c.Triggers) != 1 ||
		len(c.Settings.AllowedContentTypes) != 1 || len(c.Egress.AllowCIDRs) != 1 {
		t.Errorf("got %s", printed(t, c))
	}
	for _, k := range all.Kinds {
		if k.Name != "webhook" && !strings.Contains(text, "broker_type: "+k.Name) {
			t.Errorf("there is no example of %s", k.Name)
		}
	}
	// Every setting is spelt out, as a default or as an example.
	for _, path := range settings(reflect.TypeFor[Config](), "") {
		if !strings.Contains(text, path+":") {
			t.Errorf("%s is not mentioned", path)
		}
	}
}

// settings gives the keys of a type and what lies in it, as far as the file is ours.
func settings(t reflect.Type, path string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, ok := key(f)
		if !ok {
			continue
		}
		out = append(out, name)
		ft := f.Type
		if ft.Kind() == reflect.Slice || ft.Kind() == reflect.Map {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct && (strings.Contains(ft.PkgPath(), "waltrigger/config") || ft.PkgPath() == valuePackage) {
			out = append(out, settings(ft, name)...)
		}
	}
	return out
}

func TestErrorsAreAllTold(t *testing.T) {
	_, _, err := load(t, `sources:
  - name: "a b"
    url: oracle://db/x
    slott: x
  - {name: shop, url: "postgres://u@db/shop"}
  - {name: SHOP, url: "postgres://u@db/shop", slot: S, publication_mode: maybe, content_types: {Customer: x, a.B: s.t, A.b: s.u}, relations: [{table: x, columns: [], name: 1st}]}
store: {url: "oracle:x"}
admin:
  listen: 0.0.0.0:8080
ops: {listen: "9090"}
brokers:
  b: {broker_type: pigeon}
dynamic_values:
  x: {env: A, literal: b}
  instance.name: {env: A}
settings:
  allowed_content_types: ["a.b.c"]
  whitelisted_content_types: []
  allowed_webhook_urls: ["(", ")("]
  max_webhook_timeout: -1s
  max_broker_timeout: soon
  max_action_timeout: 2h
  hidden_columns: ["*.password", password]
  default_payload_format: xml
egress: {allow_cidrs: [10.0.0.1/8, x], deny_cidrs: {}}
delivery: {max_in_flight: 0, window: many, queue: 1.5, related_bytes: 1}
colour: blue
`)
	if err == nil {
		t.Fatal("accepted")
	}
	want := `w.yaml:2: sources[0].name: "a b": want 1 to 40 letters, digits, _ or -, it is part of every event id
w.yaml:3: sources[0].url: must begin with postgres://, mysql:// or mariadb://
w.yaml:4: sources[0].slott: there is no such setting; there are name, url, slot, publication, publication_mode, server_id, origin, ignore_skip, no_failover, content_types, relations
w.yaml:6: sources[2].slot: "S": want 1 to 63 lower-case letters, digits or _
w.yaml:6: sources[2].publication_mode: "maybe": want auto, managed or existing
w.yaml:6: sources[2].name: sources[1] has this name
w.yaml:6: sources[2].content_types.Customer: the key must be app_label.ModelName
w.yaml:6: sources[2].content_types.Customer: must be schema.table
w.yaml:6: sources[2].content_types.a.B: is the same content type as A.b: case does not count
w.yaml:6: sources[2].relations[0].table: must be schema.table
w.yaml:6: sources[2].relations[0].columns: must name one column at least
w.yaml:6: sources[2].relations[0].name: must be a letter and then letters, digits or _
w.yaml:7: store.url: the scheme "oracle" is not known; write sqlite:PATH, postgres://… or mysql://…
w.yaml:9: admin.listen: "0.0.0.0:8080" is reachable from other machines and there is no token: either listen on loopback (127.0.0.1:8080), or set a token under admin.tokens
w.yaml:10: ops.listen: "9090" is not host:port
w.yaml:12: brokers.b.broker_type: "pigeon" is unknown here; there is KINDS
w.yaml:14: dynamic_values.x: give exactly one of env, file, literal, command, http, oauth2, sql, secret
w.yaml:15: dynamic_values.instance.name: names that begin with instance belong to the row
w.yaml:17: settings.allowed_content_types[0]: "a.b.c" is no pattern such as myapp.* or myapp.Sale
w.yaml:18: settings.whitelisted_content_types: means the same as allowed_content_types; give one of them
w.yaml:19: settings.allowed_webhook_urls[0]: compile pattern "(": error parsing regexp: missing closing ): ` + "`" + `(` + "`" + `
w.yaml:19: settings.allowed_webhook_urls[1]: compile pattern ")(": error parsing regexp: unexpected ): ` + "`" + `)(` + "`" + `
w.yaml:20: settings.max_webhook_timeout: "-1s" is no duration such as 30s, 500ms or 1h (a bare number is seconds)
w.yaml:21: settings.max_broker_timeout: "soon" is no duration such as 30s, 500ms or 1h (a bare number is seconds)
w.yaml:22: settings.max_action_timeout: must be more than 0 and at most 1h0m0s
w.yaml:23: settings.hidden_columns[1]: "password" is no pattern such as *.password, app_user.email or public.app_user.*
w.yaml:24: settings.default_payload_format: "xml" is not one of envelope, fields, cloudevents, debezium
w.yaml:25: egress.deny_cidrs: must be a list
w.yaml:25: egress.allow_cidrs: "10.0.0.1/8" has bits beside its mask; meant is perhaps 10.0.0.0/8
w.yaml:25: egress.allow_cidrs: "x" is no range such as 10.0.0.0/8 or fd00::/8
w.yaml:26: delivery.window: "many" is no whole number
w.yaml:26: delivery.queue: "1.5" is no whole number
w.yaml:26: delivery.max_in_flight: must be from 1 to 10000
w.yaml:26: delivery.related_bytes: must be from 65536 to 68719476736
w.yaml:27: colour: there is no such setting; there are sources, store, admin, ops, brokers, actions, dynamic_values, settings, egress, delivery, history, triggers`
	var kinds []string
	for _, k := range all.Kinds {
		if k.Name != "webhook" && !actionKind(k.Name) {
			kinds = append(kinds, k.Name)
		}
	}
	want = strings.Replace(want, "KINDS", strings.Join(kinds, ", "), 1)
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	_, _, err = load(t, `sources:
  - name: "a b"
    url: postgres://u@db/x
  - {name: shop, url: "postgres://u@db/shop"}
  - {name: SHOP, url: "postgres://u@db/shop", slot: waltrigger_shop, content_types: {Customer: x, a.B: s.t}}
  - {name: my, url: "mysql://db/x", slot: x}
  - {name: mode, url: "postgres://u@db/shop", publication_mode: maybe}
store: {url: "oracle:x"}
admin:
  listen: 0.0.0.0:8080
ops: {listen: "9090"}
brokers:
  b: {broker_type: pigeon}
  c: {}
dynamic_values:
  x: {env: A, literal: b}
  instance.name: {env: A}
settings:
  allowed_content_types: ["a.b.c"]
  allowed_webhook_urls: ["(", ")("]
  max_action_timeout: 2h
egress: {allow_cidrs: [10.0.0.1/8, x]}
delivery: {max_in_flight: 0}
triggers: ["["]
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{
		`w.yaml:2: sources[0].name: "a b": want`,
		`w.yaml:5: sources[2].name: sources[1] has this name`,
		`w.yaml:5: sources[2].slot: sources[1] reads this slot`,
		`w.yaml:5: sources[2].content_types.Customer: the key must be app_label.ModelName`,
		`w.yaml:5: sources[2].content_types.Customer: must be schema.table`,
		`w.yaml:6: sources[3].slot: is of PostgreSQL only`,
		`w.yaml:6: sources[3].url: names no user`,
		`w.yaml:7: sources[4].publication_mode: "maybe": want`,
		`w.yaml:8: store.url: the scheme "oracle" is not known`,
		`w.yaml:10: admin.listen: "0.0.0.0:8080" is reachable from other machines and there is no token: either listen on loopback (127.0.0.1:8080), or set a token`,
		`w.yaml:11: ops.listen: "9090" is not host:port`,
		`w.yaml:13: brokers.b.broker_type: "pigeon" is unknown here`,
		`w.yaml:14: brokers.c.broker_type: is required`,
		`w.yaml:16: dynamic_values.x: `,
		`w.yaml:17: dynamic_values.instance.name: names that begin with instance belong to the row`,
		`w.yaml:19: settings.allowed_content_types[0]: "a.b.c" is no pattern`,
		`w.yaml:20: settings.allowed_webhook_urls[0]: compile pattern "("`,
		`w.yaml:20: settings.allowed_webhook_urls[1]: compile pattern ")("`,
		`w.yaml:21: settings.max_action_timeout: must be more than 0 and at most 1h0m0s`,
		`w.yaml:22: egress.allow_cidrs: "10.0.0.1/8"`,
		`w.yaml:22: egress.allow_cidrs: "x"`,
		`w.yaml:23: delivery.max_in_flight: must be from 1 to 10000`,
		`w.yaml:24: triggers[0]: is no pattern`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("nothing says %s", part)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 22 {
		t.Errorf("%d errors:\n%s", n+1, err)
	}
}

func TestYAMLIsPlain(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no YAML", "a: [", "w.yaml:1: not proper YAML"},
		{"tab", "store:\n\turl: x", "w.yaml:2: not proper YAML"},
		{"list", "- a", "w.yaml:1: the file is no mapping of settings"},
		{"text", "hello", "w.yaml:1: the file is no mapping of settings"},
		{"duplicate key", "ops:\n  listen: a\n  listen: b\n", "w.yaml:3: ops.listen: the key is given twice, the other time in line 2"},
		{"duplicate section", "ops: {}\nadmin: {}\nops: {}\n", "w.yaml:3: ops: the key is given twice"},
		{"anchor", "ops: &a {listen: x}\nadmin: *a\n", "w.yaml:1: ops: anchors and aliases are not allowed"},
		{"merge", "ops: {<<: {listen: x}}\n", "w.yaml:1: ops: a key must be plain text"},
		{"key of a list", "? [a]\n: b\n", "w.yaml:1: a key must be plain text"},
		{"two documents", "ops: {}\n---\nadmin: {}\n", "the file has more than one document"},
		{"section as text", "ops: x\n", "w.yaml:1: ops: must be a mapping of settings"},
		{"empty value", "ops: {listen: }\n", "w.yaml:1: ops.listen: has no value"},
		{"empty list", "settings:\n  allowed_webhook_urls:\n", "w.yaml:2: settings.allowed_webhook_urls: must be a list"},
		{"list as text", "ops: {listen: [a]}\n", "w.yaml:1: ops.listen: must be a single value"},
		{"yes as text", "ops: {listen: true}\n", "w.yaml:1: ops.listen: must be text"},
		{"broken duration", "settings: {max_broker_timeout: .inf}\n", "is no duration"},
		{"huge", "#" + strings.Repeat("x", maxFile), "has more than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := load(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	bomb := "a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
	if _, _, err := load(t, bomb); err == nil {
		t.Error("a bomb of aliases is accepted")
	}
	if _, _, err := load(t, ""); err == nil || !strings.Contains(err.Error(), "there must be one at least") {
		t.Errorf("an empty file: %v", err)
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil {
		t.Error("a file that is not there is accepted")
	}
	if _, _, err := Load("/dev/zero", nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
}

func TestExpansion(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("from-a-file-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, `sources: [{name: shop, url: "postgres://u:${PW}@${HOST}:5432/shop?a=$$x"}]
admin: {listen: "127.0.0.1:${PORT}", tokens: [{name: a, token: "${file:`+secret+`}"}]}
settings: {allowed_webhook_urls: ['https://a/$', '$$$${b}'], max_webhook_timeout: '${SECS}'}
delivery: {window: '${WINDOW}'}
`, "PW=p$w#${X}", "HOST=db", "PORT=1234", "SECS=7", "WINDOW=99", "b=never")
	if got := string(c.Sources[0].URL); got != "postgres://u:p$w#${X}@db:5432/shop?a=$x" {
		t.Errorf("url %s", got)
	}
	if string(c.Admin.Tokens[0].Token) != "from-a-file-0123456789" || c.Admin.Listen != "127.0.0.1:1234" || c.Delivery.Window != 99 || c.Settings.MaxWebhookTimeout.Std() != 7*time.Second {
		t.Errorf("got %+v", c.Admin)
	}
	if got := c.Settings.AllowedWebhookURLs; got[0] != "https://a/$" || got[1] != "$${b}" {
		t.Errorf("patterns %q", got)
	}
	if len(c.Files) != 1 || c.Files[0] != secret {
		t.Errorf("files %v", c.Files)
	}
	for text, want := range map[string]string{
		"${NONE}":             "w.yaml:2: ${NONE}: the environment has no such variable",
		"${}":                 "w.yaml:2: ${}: is neither the name",
		"${a b}":              "w.yaml:2: ${a b}: is neither the name",
		"${OPEN":              "w.yaml:2: ${ is not closed",
		"${file:/none/x}":     "w.yaml:2: ${file:/none/x}: ",
		"${file:/dev/zero}":   "not a regular file",
		"${file:" + dir + "}": "not a regular file",
	} {
		if _, _, err := load(t, oneSource+"ops: {listen: '"+text+"'}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestEnvironmentStandsOverTheFile(t *testing.T) {
	file := oneSource + `brokers: {my-broker: {broker_type: x, conn_details: {bootstrap_servers: a, nested: {a-b: 1}}}}
dynamic_values: {myapp.utils.get_token: {env: A}}
settings: {whitelisted_content_types: [a.b]}
`
	l := &loader{file: "w.yaml", env: environment([]string{
		"WALTRIGGER_ADMIN__LISTEN=127.0.0.1:1", "WALTRIGGER_SOURCES__SHOP__URL=postgres://env/$x${y}", "WALTRIGGER_SOURCES__NEW__URL=postgres://new/x",
		"WALTRIGGER_BROKERS__MY_BROKER__CONN_DETAILS__SASL_PASSWORD=0123", "WALTRIGGER_BROKERS__MY_BROKER__CONN_DETAILS__NESTED__A_B=2",
		"WALTRIGGER_DYNAMIC_VALUES__MYAPP_UTILS_GET_TOKEN__ENV=B", "WALTRIGGER_SETTINGS__WHITELISTED_CONTENT_TYPES=x.*, y.Z",
		"WALTRIGGER_ADMIN__TOKENS__CI__TOKEN=0123456789abcdef", "WALTRIGGER_EGRESS__ALLOW_CIDRS=10.0.0.0/8", "WALTRIGGER_DELIVERY__WINDOW=7",
		"WALTRIGGER_SETTINGS__MAX_BROKER_TIMEOUT=5",
		"WALTRIGGER_PORT=tcp://x", "WALTRIGGER_=x", "WALTRIGGER_ADMIN=x", "WALTRIGGER_ADMIN__NONE=x", "WALTRIGGER_SOURCES__SHOP=x", "WALTRIGGER_SOURCES__=x", "WALTRIGGER_STORE__URL__X=x",
		"OTHER=x", "malformed",
	})}
	root := l.nodes([]byte(file))
	l.override(root)
	l.expand(root)
	c := defaults()
	l.into(root, c)
	if len(l.errs) > 0 {
		t.Fatal(l.errs)
	}
	for what, ok := range map[string]bool{
		"listen":   c.Admin.Listen == "127.0.0.1:1",
		"source":   string(c.Sources[0].URL) == "postgres://env/$x${y}" && c.Sources[0].Name == "shop",
		"new":      len(c.Sources) == 2 && c.Sources[1].Name == "new" && string(c.Sources[1].URL) == "postgres://new/x",
		"broker":   c.Brokers["my-broker"].ConnDetails["sasl_password"] == "0123" && c.Brokers["my-broker"].ConnDetails["bootstrap_servers"] == "a",
		"nested":   c.Brokers["my-broker"].ConnDetails["nested"].(map[string]any)["a-b"] == "2",
		"dynamic":  c.DynamicValues["myapp.utils.get_token"].Env == "B",
		"synonym":  reflect.DeepEqual(c.Settings.AllowedContentTypes, []string{"x.*", "y.Z"}),
		"token":    c.Admin.Tokens[0].Name == "ci" && string(c.Admin.Tokens[0].Token) == "0123456789abcdef",
		"egress":   reflect.DeepEqual(c.Egress.AllowCIDRs, []string{"10.0.0.0/8"}),
		"number":   c.Delivery.Window == 7,
		"duration": c.Settings.MaxBrokerTimeout.Std() == 5*time.Second,
	} {
		if !ok {
			t.Errorf("%s is not what the environment says: %s", what, printed(t, c))
		}
	}
	if len(l.warnings) != 7 {
		t.Errorf("warnings: %q", l.warnings)
	}
	_, _, err := load(t, oneSource, "WALTRIGGER_DELIVERY__WINDOW=hunter2", "WALTRIGGER_ADMIN__LISTEN=0.0.0.0:1")
	if err == nil || !strings.Contains(err.Error(), "WALTRIGGER_DELIVERY__WINDOW: delivery.window: the value is no whole number") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	_, _, err = load(t, oneSource, "WALTRIGGER_ADMIN__LISTEN=0.0.0.0:1")
	if err == nil || !strings.HasPrefix(err.Error(), "WALTRIGGER_ADMIN__LISTEN: admin.listen: ") {
		t.Errorf("got %v", err)
	}
}

func printed(t *testing.T, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	c := mustLoad(t, oneSource+`admin: {tokens: [{name: ci, token: hunter2hunter2hunter2}]}
dynamic_values:
  a.b: {literal: hunter2}
  c: {command: {argv: [echo, hunter2], env: {X: hunter2}}}
  d: {http: {url: 'https://h/?x=hunter2', method: POST, headers: {X: hunter2}, body: hunter2}}
  e: {oauth2: {token_url: 'https://h/?x=hunter2', client_id: x, client_secret: hunter2, params: {x: hunter2}}}
`)
	c.Brokers = map[string]Broker{"k": {BrokerType: "kafka", ConnDetails: Details{"sasl_password": "hunter2", "deep": map[string]any{"x": "hunter2"}}, Params: Details{"p": "hunter2"}}}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "c", c, "source", c.Sources[0], "url", c.Sources[0].URL, "broker", c.Brokers["k"], "details", c.Brokers["k"].ConnDetails, "token", c.Admin.Tokens[0])
	}
	out := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, c.Sources, c.Sources[0].URL, c.Admin, c.Brokers, c.Store, &c.Sources[0], c.DynamicValues} {
			out += fmt.Sprintf(verb, v)
		}
	}
	for _, v := range []any{c, c.Sources, c.Admin, c.Brokers, c.DynamicValues} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out += string(b)
	}
	text := printed(t, c)
	out += text
	if strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("a secret is printed: %s", out)
	}
	for _, part := range []string{"- name: shop\n", "url: '[redacted]'\n", "  a.b:\n    literal: '[redacted]'\n  c:\n    command:\n      argv: '[redacted]'\n      env: '[redacted]'\n", "client_id: x\n", "sasl_password: '[redacted]'\n", "max_webhook_timeout: 30s\n", "window: 65536\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q", text, part)
		}
	}
}

func TestWhatIsMadeOfIt(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a.yaml", "b.yaml", "c.txt"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "w.yaml")
	text := strings.Replace(oneSource, "}]", ", content_types: {myapp.Customer: 'public.My Customers'}}]", 1) +
		"admin: {listen: '0.0.0.0:1', tokens: [{name: a, token: 0123456789abcdef, scopes: [admin]}, {name: b, token: short}]}\ntriggers: ['[ab].yaml', '" + dir + "/a*']\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "admin.tokens[1].token") {
		t.Errorf("warnings %q", warnings)
	}
	if got := c.Sources[0].Tables(); !reflect.DeepEqual(got, map[string]source.TableName{"myapp.customer": {Schema: "public", Name: "My Customers"}}) {
		t.Errorf("tables %v", got)
	}
	if p := c.Sources[0].Postgres(); p.Name != "shop" || !strings.Contains(p.URL, "hunter2") || len(p.Validate()) > 0 {
		t.Errorf("source %+v", p)
	}
	if a := c.API(); a.Listen != "0.0.0.0:1" || len(a.Tokens) != 2 {
		t.Errorf("api %+v", a)
	}
	if got, err := c.TriggerFiles(); err != nil || len(got) != 2 || filepath.Base(got[0]) != "a.yaml" || filepath.Base(got[1]) != "b.yaml" {
		t.Errorf("files %v %v", got, err)
	}
}

func TestEncryptionKeys(t *testing.T) {
	const good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	c := mustLoad(t, oneSource+"store: {encryption_keys: [{name: none}, {name: k1, key: \""+good+"\"}]}\n", "WALTRIGGER_STORE__ENCRYPTION_KEYS__K2__KEY="+good)
	if keys := c.Store.Keys(); len(keys) != 3 || keys[0].Name != "none" || keys[1].Name != "k1" || len(keys[2].Bytes) != 32 {
		t.Errorf("got %+v", keys)
	}
	if text := printed(t, c); strings.Contains(text, good) || !strings.Contains(text, "name: k1") {
		t.Errorf("printed %s", text)
	}
	for keys, want := range map[string]string{
		"[{name: k1, key: hunter2}]":                                   "w.yaml:2: store.encryption_keys[0].key: want 32 random bytes in base64",
		"[{name: k1}]":                                                 "w.yaml:2: store.encryption_keys[0].key: want",
		"[{name: k 1, key: " + good + "}]":                             `w.yaml:2: store.encryption_keys: the key's name "k 1"`,
		"[{name: k, key: " + good + "}, {name: none}]":                 "store.encryption_keys: the key none",
		"[{name: k, key: " + good + "}, {name: k, key: " + good + "}]": "store.encryption_keys: the key k is given twice",
	} {
		if _, _, err := load(t, oneSource+"store: {encryption_keys: "+keys+"}\n"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	if got, err := Find("x.yaml"); got != "x.yaml" || err != nil {
		t.Errorf("got %s %v", got, err)
	}
	if _, err := os.Stat("/etc/waltrigger/waltrigger.yaml"); err != nil {
		if _, err := Find(""); err == nil || !strings.Contains(err.Error(), "waltrigger config") {
			t.Errorf("got %v", err)
		}
	}
	if err := os.WriteFile("waltrigger.yaml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(""); got != "waltrigger.yaml" || err != nil {
		t.Errorf("got %s %v", got, err)
	}
}

func TestForSource(t *testing.T) {
	cfg, err := ForSource("django", "postgres://u:a$b${c}@h/d")
	if err != nil || len(cfg.Sources) != 1 || cfg.Sources[0].Name != "django" || string(cfg.Sources[0].URL) != "postgres://u:a$b${c}@h/d" {
		t.Errorf("%v, %v", cfg, err)
	}
	for _, c := range [][2]string{{"a b", "postgres://h/d"}, {"a", "x://h/d"}, {"a", "postgres://u:hunter2@h:x/d"}, {"a", ""}} {
		if _, err := ForSource(c[0], c[1]); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "sources") {
			t.Errorf("%v: %v", c, err)
		}
	}
}
