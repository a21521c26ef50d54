package django

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// one is a config of a model that saves, with a payload.
func one(model, payload string) Config {
	return Config{ID: 7, Active: true, Payload: json.RawMessage(payload), Signals: []string{"post_save"}, ContentTypes: []ContentType{{"shop", model}}}
}

// convert converts a config; the findings are one text.
func convert(t *testing.T, c Config, o Options) (map[string]any, string, *Needs) {
	t.Helper()
	out, needs := Convert([]Config{c}, o)
	var body map[string]any
	if err := json.Unmarshal(out[0].Body, &body); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, f := range out[0].Findings {
		said = append(said, f.String())
	}
	return body, strings.Join(said, "\n"), needs
}

// text is a value as JSON, people's.
func text(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func TestWholeTrigger(t *testing.T) {
	c := one("sale", `{"z": "{{ instance.id }}", "a": [1.50]}`)
	c.ContentTypes = append(c.ContentTypes, ContentType{"shop", "tag"})
	c.Active = false
	c.Webhooks = []Webhook{
		{URL: "https://a.example/x", Method: "put", Headers: json.RawMessage(`{"X-A": "{{ a.b.c }} {{d.e}}", "{{ n.o }}": "1"}`), Timeout: sql.NullFloat64{Float64: 2.5, Valid: true}},
		{URL: "https://b.example:8443/", Method: "POST", Headers: json.RawMessage(`{"X-A": "{{ a.b.c }}"}`), Timeout: sql.NullFloat64{Float64: math.NaN(), Valid: true}},
	}
	c.Queues = []Queue{{Name: "q", ConnDetails: json.RawMessage(`{"host": "h", "password": "{{ d.e }}", "port": 1}`), Parameters: json.RawMessage(`{}`)}}
	c.Actions = []Queue{{Name: "f", Parameters: json.RawMessage(`{"FunctionName": "x", "nested": {"deep": ["{{ g.h }}"]}}`)}}
	known := Known{Brokers: map[string]Endpoint{"q": {ConnDetails: []string{"host"}, Params: []string{"topic"}}}, Values: []string{"g.h"}}
	body, said, needs := convert(t, c, Options{NamePrefix: "django-", Source: "shop", Known: known})
	want := `{"actions":[{"name":"f","parameters":{"FunctionName":"x","nested":{"deep":["{{ g.h }}"]}}}],"active":false,"config_signals":[{"signal":"post_save"}],` +
		`"content_types":[{"app_label":"shop","model_name":"sale","source":"shop"},{"app_label":"shop","model_name":"tag","source":"shop"}],` +
		`"description":"Config 7 of Django Action Triggers","msg_broker_queues":[{"conn_details":{"password":"{{ d.e }}","port":1},"name":"q"}],"name":"django-7",` +
		`"payload":{"a":[1.5],"z":"{{ instance.id }}"},` +
		`"webhooks":[{"headers":{"X-A":"{{ a.b.c }} {{d.e}}","{{ n.o }}":"1"},"http_method":"PUT","timeout_secs":2.5,"url":"https://a.example/x"},` +
		`{"headers":{"X-A":"{{ a.b.c }}"},"http_method":"POST","url":"https://b.example:8443/"}]}`
	if got := text(t, body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if want := "/webhooks/1/timeout_secs: NaN is left out\n/msg_broker_queues/0/conn_details/host: is fixed by the settings, which the package follows without a word; left out\n" +
		"/actions/0: the function gets the payload; the package encodes it as JSON twice, so that the function gets a text"; said != want {
		t.Errorf("said %s", said)
	}
	if got := string(needs.YAML("shop")); got != "actions:\n  f: {broker_type: aws_lambda, conn_details: {}, params: {}}  # or another; as settings.ACTION_TRIGGERS says\n"+
		"dynamic_values:\n  a.b.c: {env: A_B_C, hosts: [a.example, b.example]}\n  d.e: {env: D_E}\n" {
		t.Errorf("needs\n%s", got)
	}
}

func TestOrderOfPayloads(t *testing.T) {
	out, _ := Convert([]Config{one("sale", `{"z": 1.50, "b": {"y": "{{ instance.id }}", "x": 1e400}, "a": null}`)}, Options{})
	if !strings.Contains(string(out[0].Body), `"payload":{"z":1.50,"b":{"y":"{{ instance.id }}","x":1e400},"a":null}`) {
		t.Errorf("got %s", out[0].Body)
	}
}

func TestPayloads(t *testing.T) {
	models := project(t)
	for _, c := range []struct{ name, model, payload, want, said string }{
		{"null", "tag", "", `fields`, ""},
		{"empty", "tag", " {} ", `fields`, ""},
		{"zero", "tag", "-0.0", `fields`, ""},
		{"false", "tag", "false", `fields`, ""},
		{"fields of other names", "product", "[]", `fields`, "/payload_format: what the package calls price goes by the name of its column, price_eur\n/payload_format: tags of shop.Product, which is many-to-many, is not in the body: it is not in the row"},
		{"plain", "customer", `"Dear {{ instance.name }}"`, `"Dear {{ instance.name }}"`, ""},
		{
			"renamed", "product", `{"{{ instance.price }}": ["{{ instance.price|floatformat:2 }} {{ instance.price }}{% if instance.price > 1 %}é{{ instance.price}}{% endif %}"]}`,
			`{"{{ instance.price_eur }}":["{{ instance.price_eur|floatformat:2 }} {{ instance.price_eur }}{% if instance.price_eur > 1 %}é{{ instance.price_eur}}{% endif %}"]}`, "",
		},
		{"renamed in the second line", "product", `"a\nü {{ instance.price }}"`, `"a\nü {{ instance.price_eur }}"`, ""},
		{
			"renamed in a loop", "customer", `"{% for s in instance.sale_set.all %}{{ s.product.price }}{% endfor %}"`, `"{% for s in instance.sale_set.all %}{{ s.product.price }}{% endfor %}"`,
			"refused: /payload: instance.sale_set.all.*.product.price is instance.sale_set.all.*.product.price_eur in the database: write that",
		},
		{"a prefix of a name", "product", `"{{ instance.price_eur }}{{ instance.priceless }}"`, `"{{ instance.price_eur }}{{ instance.priceless }}"`, "refused: /payload: instance.priceless: shop.Product has no priceless"},
		{"two types, one column", "product tag", `"{{ instance.name }}"`, `"{{ instance.name }}"`, ""},
		{"one type of two", "product tag", `"{{ instance.price }}"`, `"{{ instance.price_eur }}"`, ""},
		{
			"two mistakes", "tag", `"{{ instance.nix }} {{ instance.nix }} {{ instance.nox }}"`, `"{{ instance.nix }} {{ instance.nix }} {{ instance.nox }}"`,
			"refused: /payload: instance.nix: shop.Tag has no nix; it has id, name\nrefused: /payload: instance.nox: shop.Tag has no nox; it has id, name",
		},
		{"neither", "product tag", `"{{ instance.nix }}"`, `"{{ instance.nix }}"`, "refused: /payload: instance.nix: shop.Product has no nix"},
		{
			"two columns", "document invoice", `"{{ instance.title }}"`, `"{{ instance.title }}"`,
			"/content_types: shop.Document is the parent of shop.Invoice: waltrigger fires for the rows of the child as well\n/content_types: shop.Invoice has its parent's columns in another table: waltrigger fires for changes of its own table only\nrefused: /payload: instance.title: the content types have it under different columns",
		},
		{
			"escapejs", "tag", `{"a": "{{ instance.name|escapejs }}-{{ instance.name|upper | escapejs}}", "b": "{{ instance.name|escapejs|upper }}"}`,
			`{"a":"{{ instance.name }}-{{ instance.name|upper  }}","b":"{{ instance.name|escapejs|upper }}"}`, "",
		},
		{"escapejs in text", "tag", `"{{ instance.name|escapejs }}"`, `"{{ instance.name|escapejs }}"`, ""},
		{"literals of Python", "tag", `{"a": true, "b": "x"}`, `{"a":true,"b":"x"}`, "/payload: the package sends this one as text/plain"},
		{"the word true", "tag", `{"a": "true null \" ", "b": 1}`, `{"a":"true null \" ","b":1}`, "/payload: the package sends this one as text/plain"},
		{"the word true alone", "tag", `{"true": "null"}`, `{"true":"null"}`, ""},
		{"quotation mark", "tag", `{"a": "it's"}`, `{"a":"it's"}`, "/payload: the package sends this one as text/plain"},
		{"quotation mark of a tag", "tag", `{"a": "{{ instance.name|default:'x' }}{% if instance.name == 'a' %}1{% endif %}"}`, `{"a":"{{ instance.name|default:'x' }}{% if instance.name == 'a' %}1{% endif %}"}`, ""},
		{"control character", "tag", `{"a": "\u0007"}`, `{"a":"\u0007"}`, "/payload: the package sends this one as text/plain"},
		{"line break", "tag", `{"a": "b\nc"}`, `{"a":"b\nc"}`, ""},
		{"JSON text", "tag", `"{\"a\": \"{{ instance.name }}\"}"`, `"{% autoescape on %}{\"a\": \"{{ instance.name }}\"}{% endautoescape %}"`, "/payload: keeps escaping HTML"},
		{"no JSON text", "tag", `"{{ instance.name }}"`, `"{{ instance.name }}"`, ""},
		{"JSON text without values", "tag", `"[1]"`, `"[1]"`, ""},
		{"JSON text of Python", "tag", `"{'a': '{{ instance.name }}'}"`, `"{'a': '{{ instance.name }}'}"`, `/payload: the package reads ' as "`},
		{"list", "tag", `["{{ instance.id }}"]`, `["{{ instance.id }}"]`, "/payload: the package never sends a list to webhooks"},
		{"number", "tag", `5`, `5`, "/payload: the package does not send this value to webhooks as JSON"},
		{"key of a relation", "sale", `"{{ instance.customer }}"`, `"{{ instance.customer }}"`, "/payload: instance.customer prints the key; the package prints what __str__"},
		{"a relation asked", "sale", `"{% if instance.customer %}1{% endif %}"`, `"{% if instance.customer %}1{% endif %}"`, ""},
		{"one of several", "customer", `"{{ instance.sale_set.first }}"`, `"{{ instance.sale_set.first }}"`, "/payload: instance.sale_set.first prints the key"},
		{"several", "customer", `"{{ instance.sale_set.all }}"`, `"{{ instance.sale_set.all }}"`, "refused: /payload: instance.sale_set.all stands for several rows"},
		{"several counted", "customer", `"{{ instance.sale_set.all|length }}"`, `"{{ instance.sale_set.all|length }}"`, ""},
		{"the object", "customer", `"{{ instance }}"`, `"{{ instance }}"`, "refused: /payload: {{ instance }} prints what __str__"},
		{"the object asked", "customer", `"{% if instance %}1{% endif %}"`, `"{% if instance %}1{% endif %}"`, ""},
		{"date", "product", `"{{ instance.since }}{{ instance.added|date:\"Y\" }}"`, `"{{ instance.since }}{{ instance.added|date:\"Y\" }}"`, "/payload: instance.since prints as 2024-02-29"},
		{"no instance", "customer", `{"a/b": "{{ customer.name }}"}`, `{"a/b":"{{ customer.name }}"}`, "refused: /payload/a~1b: there is no customer.name: the package prints nothing for it; perhaps instance.customer.name is meant"},
		{"a name of ours", "customer", `"{{ signal }}"`, `"{{ signal }}"`, "/payload: signal is a name of waltrigger's; the package prints nothing for it"},
		{"library", "customer", `"{% load x %}"`, `"{% load x %}"`, `refused: /payload: line 1, column 1: tag "load" is not available`},
		{"split", "customer", `{"a": "{% if instance.vip %}", "b": "{% endif %}"}`, `{"a":"{% if instance.vip %}","b":"{% endif %}"}`, "refused: /payload/a: line 1, column 1: unclosed tag"},
	} {
		config := one("", c.payload)
		config.ContentTypes = nil
		for m := range strings.SplitSeq(c.model, " ") {
			config.ContentTypes = append(config.ContentTypes, ContentType{"shop", m})
		}
		body, said, _ := convert(t, config, Options{Models: models, Tables: catalog()})
		got := text(t, body["payload"])
		if f, ok := body["payload_format"]; ok {
			got = fmt.Sprint(f)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if !strings.HasPrefix(said, c.said) || c.said == "" && said != "" {
			t.Errorf("%s: said %q, want %q", c.name, said, c.said)
		}
	}
}

func TestEscapingIsKeptWhereItIsAskedFor(t *testing.T) {
	body, said, _ := convert(t, one("tag", `{"a": "{{ instance.name }} {{ instance.name|escapejs }}", "b": "none", "{{ instance.id }}": 1}`), Options{KeepEscaping: true})
	want := `{"a":"{% autoescape on %}{{ instance.name }} {{ instance.name|safe }}{% endautoescape %}","b":"none","{% autoescape on %}{{ instance.id }}{% endautoescape %}":1}`
	if got := text(t, body["payload"]); got != want || said != "" {
		t.Errorf("got %s, said %s", got, said)
	}
}

func TestWhatFiresOtherwise(t *testing.T) {
	models := project(t)
	for _, c := range []struct {
		signals, models string
		types, said     string
	}{
		{"post_save post_save post_delete", "tag", "tag", "/config_signals: post_save is named twice"},
		{"", "tag", "tag", "refused: /config_signals: names no signal"},
		{"post_save", "", "", "refused: /content_types: names no model"},
		{"post_save", "vipcustomer customer", "customer", "/content_types: shop.VipCustomer is a proxy of shop.customer"},
		{"post_save", "invoice", "invoice", "/content_types: shop.Invoice has its parent's columns in another table"},
		{"post_save", "document", "document", "/content_types: shop.Document is the parent of shop.Invoice"},
		{"post_save", "permission", "permission", "refused: /content_types: the database has no table auth_permission, which is that of auth.Permission"},
		{"post_save", "gone", "gone", "/content_types: models.json has no model shop.gone: is it gone?"},
	} {
		config := one("", `"x"`)
		config.Signals, config.ContentTypes = strings.Fields(c.signals), nil
		for _, m := range strings.Fields(c.models) {
			app := map[bool]string{true: "auth", false: "shop"}[m == "permission"]
			config.ContentTypes = append(config.ContentTypes, ContentType{app, m})
		}
		body, said, _ := convert(t, config, Options{Models: models, Tables: catalog()})
		var types []string
		for _, ct := range body["content_types"].([]any) {
			types = append(types, ct.(map[string]any)["model_name"].(string))
		}
		if got := strings.Join(types, " "); got != c.types || !strings.HasPrefix(said, c.said) {
			t.Errorf("%s of %s: %s, said %s", c.signals, c.models, got, said)
		}
	}
}

func TestValuesThatAreNone(t *testing.T) {
	for value, want := range map[string]string{
		"{{ instance.id }}": "is an import path for the package", "{{ event.token }}": "is an import path for the package",
		"{{ a.b|upper }}": "is no import path", "{{ }}": "is no import path", "{% now 'Y' %}": "sends {% and {# as they are",
		"{{ a.b": "", "plain": "", "{{ a }}": "",
	} {
		c := one("tag", `"x"`)
		headers, err := json.Marshal(map[string]string{"X/A": value})
		if err != nil {
			t.Fatal(err)
		}
		c.Webhooks = []Webhook{{URL: "https://a.example/{{ x }}", Method: "POST", Headers: headers}, {URL: "::", Method: "POST", Headers: headers}}
		_, said, _ := convert(t, c, Options{})
		if !strings.Contains(said, "refused: /webhooks/0/url: the package sends braces") {
			t.Errorf("said %s", said)
		}
		found := strings.Contains(said, "refused: /webhooks/0/headers/X~1A: ") && strings.Contains(said, "refused: /webhooks/1/headers/X~1A: ")
		if found != (want != "") || !strings.Contains(said, want) {
			t.Errorf("%s: said %s", value, said)
		}
	}
}

func TestHiddenColumns(t *testing.T) {
	tables := []source.TableInfo{
		{TableName: source.TableName{Schema: "public", Name: "auth_user"}, Columns: []source.ColumnInfo{{Name: "id"}, {Name: "password"}}},
		{TableName: source.TableName{Schema: "public", Name: "people"}, Columns: []source.ColumnInfo{{Name: "password"}}},
	}
	hides := func(t source.TableName, column string) bool { return column == "password" }
	for label, known := range map[string]map[string]source.TableName{"auth.user": nil, "auth.person": {"auth.person": tables[1].TableName}} {
		app, model, _ := strings.Cut(label, ".")
		_, said, _ := convert(t, Config{ContentTypes: []ContentType{{app, model}}, Signals: []string{"post_save"}}, Options{Tables: tables, Hides: hides, Known: Known{ContentTypes: known}})
		if want := "/payload_format: password is not in the body: the configuration hides it (settings.hidden_columns)"; said != want {
			t.Errorf("%s: said %q", label, said)
		}
	}
}

func TestNeedsOfTheProject(t *testing.T) {
	models := project(t)
	c := one("product", `"{{ instance.id }}"`)
	c.Queues = []Queue{{Name: "open", Parameters: json.RawMessage(`{"channel": "c"}`)}, {Name: "pubsub", Parameters: json.RawMessage(`{"channel": "{{ yes }}"}`)}, {Name: "a: b"}}
	_, said, needs := convert(t, c, Options{Models: models, Tables: catalog()})
	want := `sources:
  - name: "on"
    content_types:
      shop.product: public.stock_item
brokers:
  "a: b": {broker_type: kafka, conn_details: {}, params: {}}  # or another; as settings.ACTION_TRIGGERS says
  open: {broker_type: redis, conn_details: {}, params: {}}  # the project sets conn_details [url] and params []
  pubsub: {broker_type: redis, conn_details: {}, params: {}}  # the project sets conn_details [url] and params [channel]
settings:
  allowed_webhook_urls: ["(?:http://127\\.0\\.0\\.1:).*"]  # or the whole URLs, without .*
  max_webhook_timeout: 10
`
	if got := string(needs.YAML("on")); got != want {
		t.Errorf("got\n%s", got)
	}
	if want := "/msg_broker_queues/1/parameters/channel: is fixed"; !strings.HasPrefix(said, want) || strings.Count(said, ": a text is sent as it is; the package sends it as a JSON string") != 3 {
		t.Errorf("said %s", said)
	}
	ten := 10.0
	_, _, needs = convert(t, c, Options{Models: models, Tables: catalog(), Known: Known{
		ContentTypes: map[string]source.TableName{"shop.product": {Schema: "public", Name: "stock_item"}},
		Brokers:      map[string]Endpoint{"open": {}, "pubsub": {}, "a: b": {}}, Values: []string{"yes"},
		Settings: Settings{WebhookPatterns: []string{}, WebhookTimeout: &ten},
	}})
	if !needs.Empty() {
		t.Errorf("still needed: %s", needs.YAML("x"))
	}
}

// TestAnyDocument: whatever the database holds, what is right comes out as it went in, and
// is what the API reads.
func TestAnyDocument(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		doc := value(r, 3)
		out, err := mapStrings(doc, func(_, s string, _ bool) string { return s })
		if err != nil || !json.Valid(out) {
			r.Fatalf("%s gave %s, %v", doc, out, err)
		}
		again, err := mapStrings(out, func(_, s string, _ bool) string { return s })
		if err != nil || string(again) != string(out) {
			r.Fatalf("%s is not stable: %s, then %s", doc, out, again)
		}
		triggers, _ := Convert([]Config{{ID: 1, Payload: doc, Signals: []string{"post_save"}, ContentTypes: []ContentType{{"a", "b"}}}}, Options{NamePrefix: "x"})
		if _, problems := trigger.Decode(triggers[0].Body); len(problems) > 0 && !slices.ContainsFunc(problems, func(p trigger.Problem) bool { return p.Code == trigger.CodeDuplicateKey }) {
			r.Fatalf("%s: %v", doc, problems)
		}
	})
}

func value(r *rapid.T, depth int) json.RawMessage {
	kind := rapid.IntRange(0, 5).Draw(r, "kind")
	switch {
	case kind == 0 && depth > 0:
		out := []byte("[")
		for i := range rapid.IntRange(0, 3).Draw(r, "items") {
			if i > 0 {
				out = append(out, ',', ' ')
			}
			out = append(out, value(r, depth-1)...)
		}
		return append(out, ']')
	case kind == 1 && depth > 0:
		out := []byte("{")
		for i := range rapid.IntRange(0, 3).Draw(r, "members") {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(change.AppendString(out, leafText(r)), ':')
			out = append(out, value(r, depth-1)...)
		}
		return append(out, '}')
	case kind == 2:
		return json.RawMessage(rapid.SampledFrom([]string{"0", "-1.50", "1e3", "true", "false", "null"}).Draw(r, "scalar"))
	}
	return change.AppendString(nil, leafText(r))
}

func leafText(r *rapid.T) string {
	return rapid.OneOf(rapid.String(), rapid.StringMatching(`([{]{2} ?(instance|x)[.a-z|]* ?[}]{2}|[{]% ?[a-z .]*%[}]|[{}%'" ]|\n)*`)).Draw(r, "text")
}
