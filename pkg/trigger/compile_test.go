package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/template"
)

func testCompiler(t *testing.T) *Compiler {
	t.Helper()
	r, err := resolve.New(map[string]resolve.Config{
		"a.token": {Literal: "s3cret"}, "a.bound": {Literal: "b0und", Hosts: []string{"good.example.com"}}, "a.gone": {Env: "WALTRIGGER_TEST_SURELY_UNSET"},
	}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	broker := Endpoint{
		Kind:   sink.Kind{Name: "memory", Params: []sink.Param{{Name: "topic"}, {Name: "partition"}}},
		Conn:   map[string]any{"servers": "base:1"},
		Params: map[string]any{"topic": "base"},
	}
	return &Compiler{
		Resolver: r, Webhook: &sink.Kind{Name: "webhook"}, MaxWebhookTimeout: 30 * time.Second, MaxBrokerTimeout: 20 * time.Second,
		Broker: func(name string) (Endpoint, bool) { return broker, name == "k" },
		Env:    func(string, map[string]any) sink.Env { return sink.Env{} },
	}
}

// compiled compiles a body that is right.
func compiled(t *testing.T, body string) *Compiled {
	t.Helper()
	c, problems := testCompiler(t).Compile(&Record{Trigger: decoded(t, body)})
	if len(problems) > 0 || c.Broken != nil {
		t.Fatalf("%s: %v, %v", body, problems, c.Broken)
	}
	return c
}

func saleEvent(id, note string) *payload.Event {
	table := change.NewTable("public", "sale", []change.Column{{Name: "id"}, {Name: "note"}}, []int{0}, true, change.IdentityDefault)
	return &payload.Event{Source: "shop", Kind: signal.PostSave, Change: &change.Change{
		Op: change.Insert, Table: table, Tx: &change.Tx{Position: "0-1"}, After: []change.Value{{Kind: change.Int, Text: id}, {Kind: change.String, Text: note}},
	}}
}

// sent renders a message with one destination and fills it with another.
func sent(t *testing.T, render, fill *Destination, e *payload.Event) string {
	t.Helper()
	rendered, err := render.Render(e)
	if err != nil {
		t.Fatal(err)
	}
	var m sink.Message
	if err := fill.Fill(context.Background(), &m, rendered); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, h := range m.Headers {
		out = append(out, h.Name+"="+h.Value)
	}
	var params []string
	for name, v := range m.Params {
		params = append(params, name+":"+v)
	}
	slices.Sort(params)
	return strings.Join(append(out, params...), " ")
}

func webhook(headers string) string {
	return with(`"webhooks":[{"id":"w","url":"https://good.example.com/x","headers":{` + headers + `}}]`)
}

func TestDestination(t *testing.T) {
	const url = "http_method:POST url:https://good.example.com/x"
	for _, c := range []struct{ body, want string }{
		{webhook(``), url},
		{webhook(`"A":"1","B":"{# comment #}"`), "A=1 B= " + url},
		{webhook(`"A":"{{ a.token }}"`), "A=s3cret " + url},
		{webhook(`"A":"Bearer {{ a.bound }}","B":"b"`), "A=Bearer b0und B=b " + url},
		{webhook(`"A":"{{ instance.id }}","B":"b"`), "A=7 B=b " + url},
		{webhook(`"A":"{{ instance.id }}-{{ a.token }}-{{ instance.note }}"`), "A=7-s3cret-n " + url},
		{webhook(`"A":"{% if instance.id == 7 %}{{ a.token }}{% endif %}"`), "A=s3cret " + url},
		{with(`"msg_broker_queues":[{"name":"k","parameters":{"partition":2,"x-extra":"{{ instance.id }}"}}]`), "x-extra=7 partition:2 topic:base"},
		{with(`"msg_broker_queues":[{"name":"k","parameters":{"partition":"{{ instance.id }}","on":true,"n":1.50}}]`), "n=1.5 on=true partition:7 topic:base"},
	} {
		d := compiled(t, c.body).Destinations[0]
		for range 2 { // a retry fills the message again
			if got := sent(t, d, d, saleEvent("7", "n")); got != c.want {
				t.Errorf("%s\ngot  %s\nwant %s", c.body, got, c.want)
			}
		}
	}
}

// TestFillAfterAnEdit fills messages with headers that were rendered before: a value
// goes to the header of its name, and a secret to none that did not name it.
func TestFillAfterAnEdit(t *testing.T) {
	const url = " http_method:POST url:https://good.example.com/x"
	for _, c := range []struct{ before, after, want string }{
		{`"A":"{{ instance.id }}","B":"{{ instance.note }}"`, `"B":"{{ instance.note }}","A":"{{ instance.id }}"`, "B=n A=7"},
		{`"A":"{{ instance.id }}"`, `"B":"{{ instance.note }}","A":"x{{ instance.id }}"`, "A=7"},
		{`"A":"{{ instance.id }}"`, `"A":"fixed"`, "A=fixed"},
		{`"A":"fixed"`, `"A":"{{ instance.id }}","B":"b"`, "B=b"},
		{`"A":"{{ instance.id }}","B":"{{ instance.note }}"`, `"B":"{{ a.token }}"`, "B=s3cret"},
		{`"A":"{{ instance.id }} {{ a.token }}"`, `"A":"{{ a.bound }} {{ instance.note }}"`, "A=7 s3cret"},
	} {
		before, after := compiled(t, webhook(c.before)), compiled(t, webhook(c.after))
		if got := sent(t, before.Destinations[0], after.Destinations[0], saleEvent("7", "n")); got != c.want+url {
			t.Errorf("%s\nedited to %s\ngot  %s\nwant %s", c.before, c.after, got, c.want+url)
		}
	}
}

// TestRowCannotNameASecret renders rows that hold templates and references.
func TestRowCannotNameASecret(t *testing.T) {
	d := compiled(t, webhook(`"A":"{{ instance.note }} {{ a.token }}"`)).Destinations[0]
	for _, note := range []string{"{{ a.token }}", "{{ a.bound }}", "{% now %}", "{{ instance.id }}"} {
		if got := sent(t, d, d, saleEvent("7", note)); !strings.HasPrefix(got, "A="+note+" s3cret ") {
			t.Errorf("%q became %s", note, got)
		}
	}
}

func TestFailedValueIsAMatterOfTheDestination(t *testing.T) {
	d := compiled(t, webhook(`"A":"{{ a.gone }}"`)).Destinations[0]
	var m sink.Message
	err := d.Fill(context.Background(), &m, nil)
	var e *sink.Error
	if !errors.As(err, &e) || e.Class != sink.Unavailable || e.Code != "dynamic_value" {
		t.Errorf("got %v", err)
	}
}

func TestConnection(t *testing.T) {
	c := compiled(t, with(`"msg_broker_queues":[{"name":"k","conn_details":{"servers":"mine:1","user":"u","password":"{{ a.token }}"},"timeout_secs":3},{"name":"k"},{"name":"k"},{"name":"unknown"}]`))
	if len(c.Destinations) != 4 {
		t.Fatalf("%d destinations, want those of all queues", len(c.Destinations))
	}
	conn, key, err := c.Destinations[0].Conn(context.Background())
	if err != nil || fmt.Sprint(conn) != "map[password:s3cret servers:base:1 user:u]" {
		t.Errorf("conn %v, %v", conn, err)
	}
	_, second, _ := c.Destinations[1].Conn(context.Background())
	_, third, _ := c.Destinations[2].Conn(context.Background())
	if key == second || second != third {
		t.Errorf("keys %q %q %q", key, second, third)
	}
	if d := c.Destinations[0]; d.Timeout() != 3*time.Second || d.Kind().Name != "memory" || c.Destinations[1].Timeout() != 20*time.Second {
		t.Errorf("time-outs %v %v", d.Timeout(), c.Destinations[1].Timeout())
	}
}

func TestCompileProblems(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
		broken           bool
	}{
		{"payload", with(`"payload":{"a":"{% if %}"}`), "/payload/a template", true},
		{"condition", with(`"condition":"instance.id >"`), "/condition template", true},
		{"ordering key", with(`"ordering_key":"{% endif %}"`), "/ordering_key template", true},
		{"header", webhook(`"A":"{% endif %}{{ instance.id }}"`), "/webhooks/0/headers/A template", true},
		{"unknown name", with(`"payload":"{{ insance.id }}"`), "/payload unknown", true},
		{"unknown value", webhook(`"A":"{{ a.other }}"`), "/webhooks/0/headers/A unknown", false},
		{"value for another host", strings.Replace(webhook(`"A":"{{ a.bound }}"`), "good", "evil", 1), "/webhooks/0/headers/A not_allowed", false},
		{"value for another host, in a queue", with(`"msg_broker_queues":[{"name":"k","parameters":{"a/b":"{{ a.bound }}"}}]`), "/msg_broker_queues/0/parameters/a~1b not_allowed", false},
		{
			"all at once", with(`"payload":"{% if %}","condition":"1 >","webhooks":[{"url":"https://example.com","headers":{"A":"{{ x.y }}"}}]`),
			"/payload template;/condition template;/webhooks/0/headers/A unknown", true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problems := testCompiler(t).Compile(&Record{Trigger: decoded(t, c.body)})
			var all []string
			for _, p := range problems {
				all = append(all, p.Pointer+" "+p.Code)
			}
			if s := strings.Join(all, ";"); s != c.want {
				t.Errorf("problems %s (%v), want %s", s, problems, c.want)
			}
			if (got.Broken != nil) != c.broken {
				t.Errorf("broken: %v", got.Broken)
			}
		})
	}
}

func TestPathsOfATrigger(t *testing.T) {
	body := with(`"payload":{"a":"{{ instance.customer.name }} {{ instance.id }}","b":"{{ before.customer.boss.name }}"},"condition":"instance.order.total > 1",` +
		`"ordering_key":"{{ after.order.id }}","webhooks":[{"url":"https://example.com","headers":{"A":"{{ instance.product.sku }}"}}]`)
	c := compiled(t, body)
	var got []string
	for _, r := range c.Relations {
		got = append(got, strings.Join(r, "."))
	}
	if s := strings.Join(got, " "); s != "customer.name customer.boss.name order.total order.id product.sku" {
		t.Errorf("relations %s", s)
	}
	if s := strings.Join(c.Names, " "); s != "customer id order product" {
		t.Errorf("names %s", s)
	}

	k := testCompiler(t)
	var asked []string
	k.CheckPath = func(_ *Trigger, at string, path template.Path) error {
		asked = append(asked, at+"="+strings.Join(path.Names, "."))
		if path.Names[1] == "order" {
			return errors.New("no order")
		}
		return nil
	}
	_, problems := k.Compile(&Record{Trigger: decoded(t, body)})
	if len(asked) != 6 || len(problems) != 2 || problems[0].Pointer != "/condition" || !strings.Contains(problems[0].Detail, "no order") {
		t.Errorf("asked %v, problems %v", asked, problems)
	}
}

// TestBrokerThatIsGone keeps the destination of a stored trigger whose broker was taken
// out of the configuration: what goes there waits, and is not lost.
func TestBrokerThatIsGone(t *testing.T) {
	c := compiled(t, `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"a","model_name":"b"}],"msg_broker_queues":[{"id":"q1","name":"gone"}]}`)
	if len(c.Destinations) != 1 || c.Destinations[0].ID != "q1" {
		t.Fatalf("destinations %v, want q1", c.Destinations)
	}
	d := c.Destinations[0]
	conn, _, err := d.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = d.Kind().Open(context.Background(), conn, sink.Env{}); sink.Classify(err).Class != sink.Misconfigured || !strings.Contains(err.Error(), "gone") {
		t.Errorf("open: %v, want misconfigured, naming the broker", err)
	}
}

func TestSecretsOfWebhooks(t *testing.T) {
	hook := func(secret string) string {
		return with(`"webhooks":[{"url":"https://good.example.com/x","secret":` + secret + `}]`)
	}
	for _, c := range []struct{ secret, sent string }{
		{`"whsec_a"`, "http_method:POST secret:whsec_a url:https://good.example.com/x"},
		{`["whsec_a","whsec_b"]`, "http_method:POST secret:whsec_a whsec_b url:https://good.example.com/x"},
		{`["whsec_a","{{ a.token }}","{{ a.bound }}"]`, "http_method:POST secret:whsec_a s3cret b0und url:https://good.example.com/x"},
	} {
		d := compiled(t, hook(c.secret)).Destinations[0]
		if got := sent(t, d, d, saleEvent("1", "n")); got != c.sent {
			t.Errorf("%s: %s", c.secret, got)
		}
		var m sink.Message
		if d.Show(&m, nil); m.Params["secret"] != "" || m.Params["url"] == "" {
			t.Errorf("shown: %v", m.Params)
		}
	}
	for secret, want := range map[string]string{
		`"{{ instance.note }}"`:                "/webhooks/0/secret template",
		`["whsec_a","x{{ instance.note }}"]`:   "/webhooks/0/secret/1 template",
		`["{{ a.token }}{{ instance.note }}"]`: "/webhooks/0/secret/0 template",
		`"{{ a.none }}"`:                       "/webhooks/0/secret unknown",
		`"whsec_\u0000"`:                       "/webhooks/0/secret template",
	} {
		_, problems := testCompiler(t).Compile(&Record{Trigger: decoded(t, hook(secret))})
		if got := said(problems); got != want {
			t.Errorf("%s: %s, want %s", secret, got, want)
		}
	}
	_, problems := testCompiler(t).Compile(&Record{Trigger: decoded(t, strings.Replace(hook(`"{{ a.bound }}"`), "good.", "evil.", 1))})
	if got := said(problems); got != "/webhooks/0/secret not_allowed" {
		t.Errorf("another host: %s", got)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		fields string
		normal payload.Format
		want   string
	}{
		{"", payload.Envelope, `{"version":1,`},
		{"", payload.Fields, `{"note": "n"}`},
		{`,"payload_format":"envelope"`, payload.Fields, `{"version":1,`},
		{`,"payload":{"a":1}`, payload.CloudEvents, `{"a":1}`},
		{`,"payload":{"a":1},"payload_format":"cloudevents"`, payload.Envelope, `{"specversion":"1.0",`},
		{`,"payload_format":"debezium"`, payload.Envelope, `{"before":null,"after":{"id":1,"note":"n"},`},
	} {
		k := testCompiler(t)
		k.DefaultFormat = c.normal
		compiled, problems := k.Compile(&Record{Trigger: decoded(t, minimal+c.fields+"}")})
		body, _, err := compiled.Payload.Append(nil, saleEvent("1", "n"))
		if len(problems) > 0 || err != nil || !strings.HasPrefix(string(body), c.want) {
			t.Errorf("%s: %s, %v %v", c.fields, body, problems, err)
		}
	}
	stored, err := FromJSON([]byte(minimal + `,"payload_format":"of a later version"}`))
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := testCompiler(t).Compile(&Record{Trigger: stored}); c.Broken == nil {
		t.Error("an unknown format is nothing")
	}
}

// TestNames says what a trigger depends on.
func TestNames(t *testing.T) {
	c := compiled(t, with(`"condition":"instance.a and before.b and 'x' in changed","ordering_key":"{{ after.c }}",
		"payload":{"x":"{{ instance.d.e }} {{ before.f }} {{ key.g }} {{ instance|json }}"},
		"webhooks":[{"url":"https://x/","headers":{"X":"{{ instance.h }}"}}]`))
	for what, got := range map[string][]string{
		"d a b c f h": c.Names, "d a c h": c.Instance,
	} {
		want := strings.Fields(what)
		slices.Sort(want)
		got = slices.Clone(got)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if !slices.Equal(c.Old, []string{"b", ""}) {
		t.Errorf("of the old row: %q", c.Old)
	}
	if c = compiled(t, with(`"condition":"before|length"`)); !slices.Equal(c.Old, []string{""}) {
		t.Errorf("the old row as a whole: %q", c.Old)
	}
}

// TestCheckPath hands over what names columns, and takes the code of a problem.
func TestCheckPath(t *testing.T) {
	k := testCompiler(t)
	var asked []string
	k.CheckPath = func(_ *Trigger, at string, path template.Path) error {
		asked = append(asked, at+" "+strings.Join(path.Names, "."))
		if path.Names[0] == "instance" {
			return &Problem{Code: CodeNotAllowed, Detail: "hidden"}
		}
		return errors.New("none")
	}
	_, problems := k.Compile(&Record{Trigger: decoded(t, with(`"fields":["a","b"],"payload":"{{ instance.c }}"`))})
	if got := said(problems); got != "/payload not_allowed;/fields/0 unknown;/fields/1 unknown" || problems[0].Detail != "line 1, column 4: hidden" || problems[1].Detail != "none" {
		t.Errorf("got %s: %v", got, problems)
	}
	if got := strings.Join(asked, ";"); got != "/payload instance.c;/fields/0 fields.a;/fields/1 fields.b" {
		t.Errorf("asked %s", got)
	}
}

func TestShadow(t *testing.T) {
	k := testCompiler(t)
	k.Shadow = &sink.Kind{Name: "shadow"}
	c, problems := k.Compile(&Record{Trigger: decoded(t, with(`"mode":"shadow",
		"webhooks":[{"id":"w","url":"https://good.example.com/?k=1","secret":"whsec_hunter2","headers":{"Authorization":"Bearer {{ a.token }}","X-Api-Key":"hunter2",
			"X-Id":"{{ a.token }} {{ instance.id }}","X-Token":"hunter2 {{ instance.id }}","X-Gone":"{{ a.gone }}","X-Plain":"p"}}],
		"msg_broker_queues":[{"id":"q","name":"k","parameters":{"partition":"{{ instance.id }}","secret":"hunter2","X":"y"}}]`))})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := ""
	for _, d := range c.Destinations {
		conn, key, err := d.Conn(context.Background())
		if err != nil || conn["destination"] != d.ID || key != "shadow\x00"+d.ID || d.Kind() != k.Shadow {
			t.Errorf("%s goes to %v %q, %v", d.ID, conn, key, err)
		}
		got += sent(t, d, d, saleEvent("7", "n")) + "\n"
	}
	want := "Authorization=Bearer {{ a.token }} X-Api-Key=[redacted] X-Id={{ a.token }} 7 X-Token=[redacted] X-Gone={{ a.gone }} X-Plain=p http_method:POST url:https://good.example.com/?k=1\n" +
		"X=y secret=[redacted] partition:7 topic:base\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	k.Shadow = nil
	if c, _ := k.Compile(c.Record); c.Destinations[0].Kind().Name != "webhook" {
		t.Error("a kind of its own")
	}
}

// TestUnclosed: what looks like a template and is none is told, with its place.
func TestUnclosed(t *testing.T) {
	const text = " is not closed on its line, so it is text"
	for body, want := range map[string]string{
		`"payload":"{{ x"`: "/payload: line 1, column 1: {{" + text,
		`"payload":{"a":["ok",{"b/c":"{{ instance.id }}\n é{% if"}]}`: "/payload/a/1/b~1c: line 2, column 3: {%" + text,
		`"payload":{"{{ k":1}`:                                        "/payload/{{ k: line 1, column 1: {{" + text,
		`"payload":"{{ instance.id\n }}"`:                             "/payload: line 1, column 1: {{" + text,
		`"ordering_key":"{{ x"`:                                       "/ordering_key: line 1, column 1: {{" + text,
		`"webhooks":[{"url":"https://h","headers":{"X":"a {{ b"}}]`:   "/webhooks/0/headers/X: line 1, column 3: {{" + text,
		`"payload":"{% verbatim %}{{ x {{ y }}{% endverbatim %} { {"`: "",
		`"payload":"{{ instance.id }}{# {{ #}","condition":"1 == 1"`:  "",
	} {
		c, problems := testCompiler(t).Compile(&Record{Trigger: decoded(t, `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"a","model_name":"b"}],`+body+`}`)})
		if len(problems) > 0 || strings.Join(c.Doubts, "; ") != want {
			t.Errorf("%s: %v, doubts %q, want %q", body, problems, c.Doubts, want)
		}
	}
}
