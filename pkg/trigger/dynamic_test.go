package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/all"
)

func TestHostsOfDetails(t *testing.T) {
	for _, c := range []struct {
		kind string
		conn map[string]any
		want string
	}{
		{"kafka", map[string]any{"bootstrap_servers": "kafka"}, "kafka"},
		{"kafka", map[string]any{"bootstrap_servers": "kafka:9092, kafka:9093"}, "kafka"},
		{"kafka", map[string]any{"bootstrap_servers": []any{"a:1", "b:1"}}, "a b"},
		{"kafka", map[string]any{"bootstrap_servers": []any{"a:1", "{{ x }}:1"}}, ""},
		{"kafka", map[string]any{"bootstrap_servers": "a:1,{{ x }}"}, ""},
		{"redis", map[string]any{"url": "redis://u:p@cache:6379/0"}, "cache"},
		{"redis", map[string]any{"url": "{{ x }}"}, ""},
		{"redis", map[string]any{"host": "::1", "password": "{{ x }}"}, "::1"},
		{"rabbitmq", map[string]any{"host": "mq", "port": 5672}, "mq"},
		{"rabbitmq", map[string]any{"host": "mq", "port": "{{ x }}"}, ""},
		{"rabbitmq", map[string]any{"host": "mq", "url": "amqp://evil/"}, "evil"}, // whatever the sink makes of it
		{"rabbitmq", nil, ""},
		{"nats", map[string]any{"servers": []any{"nats://a:4222", "tls://b"}}, "a b"},
		{"nats", map[string]any{"servers": []any{"nats://a:4222", "nats://{{ x }}:4222"}}, ""},
		{"mqtt", map[string]any{"url": "mqtts://m"}, "m"},
		{"aws_sqs", map[string]any{"region": "eu-central-1"}, ""},
		{"aws_sns", map[string]any{"endpoint_url": "http://moto:5000"}, "moto"},
		{"aws_lambda", map[string]any{"endpoint_url": "http://moto:{{ x }}"}, ""},
		{"gcp_pubsub", map[string]any{}, "pubsub.googleapis.com"},
		{"gcp_pubsub", map[string]any{"emulator_host": "{{ x }}"}, ""},
		{"gcp_pubsub", map[string]any{"endpoint": "e:443"}, "e"},
	} {
		kind, ok := all.Find(c.kind)
		if got := strings.Join(hosts(&kind, c.conn), " "); !ok || got != c.want {
			t.Errorf("%s %v: %q, want %q", c.kind, c.conn, got, c.want)
		}
	}
}

// TestAddressDetailsAreAll: no kind has another detail that says where messages go.
func TestAddressDetailsAreAll(t *testing.T) {
	for _, kind := range all.Kinds {
		if kind.Addresses == nil {
			continue
		}
		before := fmt.Sprint(kind.Addresses(map[string]any{}))
		for _, p := range kind.Conn {
			for _, probe := range []any{"probe", "probe:1", "http://probe:1", kind.Name + "://probe:1", "amqp://probe", "17", 17, []any{"probe:1"}} {
				after := fmt.Sprint(kind.Addresses(map[string]any{p.Name: probe}))
				if (strings.Contains(after, "probe") || strings.Contains(after, "17")) && after != before && !slices.Contains(addressDetails, p.Name) {
					t.Errorf("%s: %s changes the address to %s", kind.Name, p.Name, after)
				}
			}
		}
	}
}

// bindings compiles against values that are bound, and real kinds.
func bindings(t *testing.T, base map[string]any) *Compiler {
	t.Helper()
	r, err := resolve.New(map[string]resolve.Config{
		"free": {Literal: "fr33"}, "good": {Literal: "g00d", Hosts: []string{"good.example.com"}, AllowInPayload: true},
		"both": {Literal: "b0th", Hosts: []string{"a", "b"}}, "lines": {Literal: "x\ny", Multiline: true},
	}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	webhook, _ := all.Find("webhook")
	return &Compiler{
		Resolver: r, Webhook: &webhook, Env: func(string, map[string]any) sink.Env { return sink.Env{} },
		Broker: func(name string) (Endpoint, bool) {
			kind, ok := all.Find(name)
			return Endpoint{Kind: kind, Conn: base}, ok
		},
	}
}

// TestBinding tries to carry a value that is bound to hosts elsewhere: when the trigger is
// saved, and when it was stored before the value was bound.
func TestBinding(t *testing.T) {
	queue := func(kind, conn, params string) string {
		return with(`"msg_broker_queues":[{"name":"` + kind + `","conn_details":{` + conn + `},"parameters":{` + params + `}}]`)
	}
	hook := func(url, header string) string {
		return with(`"webhooks":[{"url":"` + url + `","headers":{"A":"` + header + `"}}]`)
	}
	for _, c := range []struct {
		name string
		base map[string]any
		body string
		want string // pointer of the refusal, "" = allowed
	}{
		{"header", nil, hook("https://good.example.com/x", "Bearer {{ good }}"), ""},
		{"header, other case", nil, hook("https://GOOD.example.com./x", "Bearer {{ good }}"), ""},
		{"header, other host", nil, hook("https://evil.example.com/x", "Bearer {{ good }}"), "/webhooks/0/headers/A"},
		{"header, host in path", nil, hook("https://evil.example.com/good.example.com", "{{ good }}"), "/webhooks/0/headers/A"},
		{"header, host below", nil, hook("https://good.example.com.evil.example", "{{ good }}"), "/webhooks/0/headers/A"},
		{"header, within a tag", nil, hook("https://evil.example.com", "{% if instance.id %}{{ good }}{% endif %}"), "/webhooks/0/headers/A"},
		{"line breaks in a header", nil, hook("https://good.example.com", "{{ lines }}"), "/webhooks/0/headers/A"},
		{"detail", nil, queue("rabbitmq", `"host":"good.example.com","password":"{{ good }}"`, ``), ""},
		{"detail, other host", nil, queue("rabbitmq", `"host":"evil","password":"{{ good }}"`, ``), "/msg_broker_queues/0/conn_details/password"},
		{"detail, host unknown", nil, queue("rabbitmq", `"host":"{{ free }}","password":"{{ good }}"`, ``), "/msg_broker_queues/0/conn_details/password"},
		{"detail, host of the configuration", map[string]any{"host": "good.example.com"}, queue("rabbitmq", `"password":"{{ good }}"`, ``), ""},
		{"detail, another address beside it", map[string]any{"host": "good.example.com"}, queue("rabbitmq", `"url":"amqp://evil/","password":"{{ good }}"`, ``), "/msg_broker_queues/0/conn_details/password"},
		{"detail of the configuration, address of the trigger", map[string]any{"password": "{{ good }}"}, queue("redis", `"host":"evil"`, ``), "/msg_broker_queues/0/conn_details/password"},
		{"detail, list", map[string]any{"servers": []any{"nats://a:1", "nats://b:1"}}, queue("nats", `"token":"{{ both }}"`, ``), ""},
		{"detail, list with another", map[string]any{"servers": []any{"nats://a:1", "nats://c:1"}}, queue("nats", `"token":"{{ both }}"`, ``), "/msg_broker_queues/0/conn_details/token"},
		{"detail in a list", nil, queue("nats", `"servers":"nats://{{ good }}@evil:4222"`, ``), "/msg_broker_queues/0/conn_details/servers"},
		{"detail in a table", map[string]any{"host": "evil", "ssl_options": map[string]any{"x": []any{"{{ good }}"}}}, queue("rabbitmq", ``, ``), "/msg_broker_queues/0/conn_details/ssl_options/x/0"},
		{"line breaks in a detail", nil, queue("redis", `"host":"h","password":"{{ lines }}"`, ``), ""},
		{"parameter", map[string]any{"bootstrap_servers": "good.example.com:1"}, queue("kafka", ``, `"topic":"{{ good }}"`), ""},
		{"parameter, other broker", map[string]any{"bootstrap_servers": "good.example.com:1,evil:1"}, queue("kafka", ``, `"topic":"{{ good }}"`), "/msg_broker_queues/0/parameters/topic"},
		{"unknown parameter", map[string]any{"host": "good.example.com"}, queue("rabbitmq", ``, `"x-key":"{{ instance.id }}{{ good }}"`), ""},
		{"unknown parameter, other broker", map[string]any{"host": "evil"}, queue("rabbitmq", ``, `"x-key":"{{ instance.id }}{{ good }}"`), "/msg_broker_queues/0/parameters/x-key"},
		{"no host at all", map[string]any{"region": "eu-central-1"}, queue("aws_sqs", `"aws_secret_access_key":"{{ good }}"`, ``), "/msg_broker_queues/0/conn_details/aws_secret_access_key"},
		{"payload", nil, with(`"payload":{"a":["{{ good }}"]},"webhooks":[{"url":"https://good.example.com"}]`), ""},
		{"payload, one destination elsewhere", nil, with(`"payload":{"a":["{{ good }}"]},"webhooks":[{"url":"https://good.example.com"},{"url":"https://evil.example"}]`), "/payload/a/0"},
		{"payload, not declared for it", nil, with(`"payload":"{{ free }}","webhooks":[{"url":"https://good.example.com"}]`), "/payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problems := bindings(t, c.base).Compile(&Record{Trigger: decoded(t, c.body)})
			var at []string
			for _, p := range problems {
				at = append(at, p.Pointer)
				if p.Code != CodeNotAllowed || strings.Contains(p.Detail, "g00d") {
					t.Errorf("problem %+v", p)
				}
			}
			if s := strings.Join(at, " "); s != c.want {
				t.Fatalf("refused at %q, want %q", s, c.want)
			}
			// However the trigger came to be stored, the value does not leave.
			var sends error
			var out string
			for _, d := range got.Destinations {
				conn, _, err := d.Conn(t.Context())
				var m sink.Message
				body, _, bodyErr := got.FetchBody(t.Context(), nil, saleEvent("7", "n"))
				rendered, renderErr := d.Render(saleEvent("7", "n"))
				fillErr := d.Fill(t.Context(), &m, rendered)
				if err := errors.Join(err, bodyErr, renderErr, fillErr); err != nil {
					sends = err
					continue
				}
				out += fmt.Sprint(conn, m.Headers, m.Params, string(body))
			}
			if c.want == "" && (sends != nil || !strings.Contains(out, "g00d") && !strings.Contains(out, "b0th") && !strings.Contains(out, "x\ny")) {
				t.Errorf("sent %s, %v", out, sends)
			}
			if c.want != "" && c.name != "line breaks in a header" && !strings.HasPrefix(c.name, "payload") {
				if e := (*resolve.Error)(nil); !errors.As(sends, &e) || e.Code != resolve.CodeHost {
					t.Errorf("sent %s, %v, want refused", out, sends)
				}
			}
			if strings.Contains(c.name, "elsewhere") && (sends == nil || strings.Count(out, "g00d") != 1) {
				t.Errorf("sent %s, %v: only where it may go", out, sends)
			}
			if strings.Contains(c.name, "not declared") && strings.Contains(out, "fr33") {
				t.Errorf("sent %s", out)
			}
		})
	}
}

// TestBoundBodyStaysBound: a body that holds a bound value goes nowhere else, whatever
// becomes of the trigger while it waits.
func TestBoundBodyStaysBound(t *testing.T) {
	k := bindings(t, nil)
	compile := func(url, payload, headers string) *Destination {
		t.Helper()
		c, problems := k.Compile(&Record{Trigger: decoded(t, with(`"payload":"`+payload+`","webhooks":[{"url":"`+url+`","headers":{`+headers+`}}]`))})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return c.Destinations[0]
	}
	before := compile("https://good.example.com/x", "{{ good }}", `"A":"{{ instance.id }}"`)
	rendered, err := before.Render(saleEvent("7", "n"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(rendered) // as the store keeps it
	if err != nil {
		t.Fatal(err)
	}
	rendered = nil
	if err := json.Unmarshal(kept, &rendered); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url string
		good      bool
	}{{"as it was", "https://good.example.com/x", true}, {"another path", "https://good.example.com/y", true}, {"another host", "https://evil.example/x", false}} {
		var m sink.Message
		err := compile(c.url, "nothing any more", `"A":"{{ instance.id }}"`).Fill(t.Context(), &m, rendered)
		if e := (*resolve.Error)(nil); c.good != (err == nil) || err != nil && (!errors.As(err, &e) || e.Code != resolve.CodeHost) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.good && (len(m.Headers) != 1 || m.Headers[0].Value != "7") {
			t.Errorf("%s: headers %v", c.name, m.Headers)
		}
	}
	// One that was rendered without such a value goes wherever the trigger leads.
	rendered, err = compile("https://good.example.com/x", "x", ``).Render(saleEvent("7", "n"))
	var m sink.Message
	if err != nil || compile("https://evil.example/x", "{{ instance.id }}", ``).Fill(t.Context(), &m, rendered) != nil {
		t.Error("bound without reason")
	}
}

// TestValueTakenOutOfTheConfiguration: the payload of a stored trigger is not rendered
// without it.
func TestValueTakenOutOfTheConfiguration(t *testing.T) {
	for name, c := range map[string]resolve.Config{"gone": {Literal: "x", AllowInPayload: true}, "shop.region": {Literal: "s3cret"}} {
		r, err := resolve.New(map[string]resolve.Config{name: c}, resolve.Env{Reserved: reserved})
		if err != nil {
			t.Fatal(err)
		}
		k := testCompiler(t)
		k.Resolver = r
		got, problems := k.Compile(&Record{Trigger: decoded(t, with(`"payload":{"a":"{{ shop.region }}"}`))})
		if got.Broken == nil || !strings.Contains(got.Broken.Error(), "/payload/a of the trigger: line 1, column 4: ") || len(problems) != 1 {
			t.Errorf("%s: broken %v, problems %v", name, got.Broken, problems)
		}
		r.Close()
	}
}

func TestConnectionDetails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	r, err := resolve.New(map[string]resolve.Config{"a.token": {File: file, TTL: time.Second}, "a.url": {Literal: "redis://h:1"}}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k := testCompiler(t)
	k.Resolver = r
	k.Broker = func(string) (Endpoint, bool) {
		return Endpoint{Kind: sink.Kind{Name: "memory"}, Conn: map[string]any{
			"url": "{{ a.url }}/{{ a.token }}", "list": []any{"x", "{{ a.token }}", 7}, "table": map[string]any{"deep": []any{map[string]any{"t": "<{{ a.token }}>"}}, "n": 1.5}, "plain": true,
		}}, true
	}
	got, problems := k.Compile(&Record{Trigger: decoded(t, with(`"msg_broker_queues":[{"name":"k","conn_details":{"own":"{{a.token}}"}}]`))})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	d := got.Destinations[0]
	conn, first, err := d.Conn(t.Context())
	const want = "map[list:[x one 7] own:one plain:true table:map[deep:[map[t:<one>]] n:1.5] url:redis://h:1/one]"
	if err != nil || fmt.Sprint(conn) != want {
		t.Fatalf("got %v, %v, want %s", conn, err, want)
	}
	if _, again, _ := d.Conn(t.Context()); again != first {
		t.Error("the key differs for the same details")
	}
	// A rotated token makes another connection. It may be read anew between two of its
	// places; the next attempt has it in all.
	write("two")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, key, err := d.Conn(t.Context())
		if err != nil || time.Now().After(until) {
			t.Fatal(conn, err)
		}
		if same := fmt.Sprint(conn) == want; same != (key == first) {
			t.Fatalf("%v has the key %q", conn, key)
		}
		if fmt.Sprint(conn) == strings.ReplaceAll(want, "one", "two") {
			break
		}
	}
	for at, detail := range map[string]string{
		"row": "{{ instance.id }}", "filter": "{{ a.token|upper }}", "tag": "{% if a %}x{% endif %}", "open": "x {{ a.token", "unknown": "{{ a.other }}",
	} {
		_, problems := k.Compile(&Record{Trigger: decoded(t, with(`"msg_broker_queues":[{"name":"k","conn_details":{"d":"`+detail+`"}}]`))})
		if len(problems) != 1 || problems[0].Pointer != "/msg_broker_queues/0/conn_details/d" {
			t.Errorf("%s: %v", at, problems)
		}
	}
}

func TestValuesInPayloads(t *testing.T) {
	r, err := resolve.New(map[string]resolve.Config{
		"shop": {Literal: "S", AllowInPayload: true}, "shop.region": {Literal: `e"u`, AllowInPayload: true}, "shop.region.long.name": {Literal: "L{{ instance.id }}", AllowInPayload: true},
		"shop.lines": {Literal: "a\nb", AllowInPayload: true, Multiline: true}, "shop.secret": {Literal: "s3cret"},
	}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k := testCompiler(t)
	k.Resolver = r
	for _, c := range []struct{ payload, want, problem string }{
		{`{"{{ shop }}":"{{ shop.region }}","n":["{{ shop.region.long.name|lower }}-{{ instance.id }}"],"l":"{{ shop.lines }}"}`, `{"S":"e\"u","n":["l{{ instance.id }}-7"],"l":"a\nb"}`, ""},
		{`"{% if shop.region == 'x' %}1{% else %}{{ shop.region }}{% endif %}"`, `e"u`, ""},
		{`"{% with r=shop.region %}{{ r }}{% endwith %}{{ shop|default:'' }}"`, `e"uS`, ""},
		{`"{{ shop.region|json }}"`, `"e\"u"`, ""},
		{`{"a":"{{ shop.secret }}"}`, "", "/payload/a not_allowed"},
		{`"{{ shop.regio }}"`, "", "/payload unknown"},
		{`"{{ shop.region.x }}"`, "", "/payload unknown"},
		{`"{{ nothing.of.this }}"`, "", "/payload unknown"},
	} {
		got, problems := k.Compile(&Record{Trigger: decoded(t, with(`"payload":`+c.payload+`,"webhooks":[{"url":"https://example.com"}]`))})
		var all []string
		for _, p := range problems {
			all = append(all, p.Pointer+" "+p.Code)
			if strings.Contains(p.Detail, "shop.secret") != strings.Contains(c.payload, "shop.secret") || strings.Contains(p.Detail, "s3cret") {
				t.Errorf("%s: %s", c.payload, p.Detail)
			}
		}
		if s := strings.Join(all, " "); s != c.problem {
			t.Errorf("%s: problems %s, want %s", c.payload, s, c.problem)
		}
		body, _, err := got.FetchBody(t.Context(), nil, saleEvent("7", "n"))
		if err != nil || c.problem == "" && string(body) != c.want || strings.Contains(string(body), "s3cret") {
			t.Errorf("%s: %s, %v, want %s", c.payload, body, err, c.want)
		}
		if again, _, err := got.AppendBody(nil, saleEvent("7", "n")); string(again) != string(body) || err != nil {
			t.Errorf("%s: %s, %v", c.payload, again, err)
		}
	}
	// Conditions, ordering keys and headers see none of them but as plain references.
	for _, c := range []struct{ body, want string }{
		{with(`"condition":"shop.region == 'x'"`), "/condition not_allowed"},
		{with(`"ordering_key":"{{ shop.region }}"`), "/ordering_key not_allowed"},
		{webhook(`"A":"{{ shop.region|upper }}"`), "/webhooks/0/headers/A not_allowed"},
		{webhook(`"A":"{{ shop.secret|upper }}"`), "/webhooks/0/headers/A not_allowed"},
	} {
		_, problems := k.Compile(&Record{Trigger: decoded(t, c.body)})
		if len(problems) != 1 || problems[0].Pointer+" "+problems[0].Code != c.want {
			t.Errorf("%s: %v, want %s", c.body, problems, c.want)
		}
	}
	e := saleEvent("7", "n")
	e.Values = &valueObject{values: map[string]string{"a.b": "x"}}
	if v, ok := e.Get("instance"); !ok || v.IsNone() {
		t.Error("values hide the row")
	}
}

// TestBodyWaitsForNothing: a body whose value is not there yet is rendered later.
func TestBodyWaitsForNothing(t *testing.T) {
	dir := t.TempDir()
	r, err := resolve.New(map[string]resolve.Config{
		"slow": {Command: resolve.Command{Argv: []string{"/bin/sh", "-c", "while ! test -e " + dir + "/go; do sleep 0.01; done; echo tok"}}, AllowInPayload: true},
		"gone": {File: dir + "/none", AllowInPayload: true},
	}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k := testCompiler(t)
	k.Resolver = r
	compile := func(payload string) *Compiled {
		c, problems := k.Compile(&Record{Trigger: decoded(t, with(`"payload":"`+payload+`","webhooks":[{"url":"https://example.com"}]`))})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return c
	}
	c := compile("{{ slow }} {{ instance.id }}")
	if body, _, err := c.AppendBody([]byte("x"), saleEvent("7", "n")); !errors.Is(err, ErrUnfetched) || string(body) != "x" {
		t.Fatalf("got %q, %v", body, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = c.FetchBody(ctx, nil, saleEvent("7", "n"))
	if e := (*sink.Error)(nil); !errors.As(err, &e) || e.Class != sink.Unavailable || e.Code != "dynamic_value" || !Unresolved(err) {
		t.Fatalf("error %v, want that of an unfetched value", err)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, render := range []func(*payload.Event) ([]byte, string, error){
		func(e *payload.Event) ([]byte, string, error) { return c.FetchBody(t.Context(), nil, e) },
		func(e *payload.Event) ([]byte, string, error) { return c.AppendBody(nil, e) },
	} {
		if body, kind, err := render(saleEvent("7", "n")); string(body) != "tok 7" || kind != payload.TextType || err != nil {
			t.Errorf("got %q, %s, %v", body, kind, err)
		}
	}
	c = compile("{{ gone }}")
	if _, _, err := c.FetchBody(t.Context(), nil, saleEvent("7", "n")); !Unresolved(err) || !strings.Contains(err.Error(), "dynamic value gone: ") {
		t.Errorf("error %v", err)
	}
	if Unresolved(errors.New("x")) {
		t.Error("any error is that of a value")
	}
}
