package trigger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// said gives "pointer code" of each problem.
func said(problems []Problem) string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Pointer+" "+p.Code)
	}
	return strings.Join(out, ";")
}

func decoded(t *testing.T, body string) *Trigger {
	t.Helper()
	tr, problems := Decode([]byte(body))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return tr
}

func patterns(t *testing.T, ps ...string) URLPatterns {
	t.Helper()
	if ps == nil {
		ps = []string{}
	}
	out, err := CompileURLPatterns(ps)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func testEnv() Env {
	kind := sink.Kind{
		Name: "kafka", Params: []sink.Param{{Name: "topic", Required: true}},
		Check: func(conn, params map[string]any) (out []sink.Problem) {
			if conn["bootstrap_servers"] == nil {
				out = append(out, sink.Problem{Field: "conn_details/bootstrap_servers", Code: "required", Detail: "is required"})
			}
			if n, ok := params["partition"]; ok && n != 7 {
				out = append(out, sink.Problem{Field: "parameters/partition", Code: "invalid", Detail: fmt.Sprintf("%T", n)})
			}
			return out
		},
	}
	return Env{
		CheckURL: func(u string) error {
			if strings.Contains(u, "{") {
				return fmt.Errorf("templates are not taken out of %s", u)
			}
			if strings.Contains(u, "//10.") {
				return &Problem{Code: "private", Detail: "is private"}
			}
			return nil
		},
		Broker: func(name string) (Endpoint, bool) {
			return Endpoint{Kind: kind, Conn: map[string]any{"bootstrap_servers": "k:1"}, Params: map[string]any{"topic": "t"}}, name == "fixed"
		},
		Action:      func(name string) (Endpoint, bool) { return Endpoint{Kind: kind}, name == "open" },
		BrokerNames: []string{"fixed", "other"},
		Resolve: func(_ context.Context, c ContentType) (Table, error) {
			switch c.ModelName {
			case "Sale":
				return Table{"shop", "public", "sale"}, nil
			case "Down":
				return Table{}, fmt.Errorf("%w: connection refused", ErrUnavailable)
			case "Ambiguous":
				return Table{}, &Problem{Pointer: "/source", Code: CodeRequired, Detail: "two sources have it"}
			}
			return Table{}, fmt.Errorf("%w; did you mean Sale?", ErrNoTable)
		},
		MaxWebhookTimeout: 10 * time.Second, MaxBrokerTimeout: 5 * time.Second,
	}
}

func TestValidate(t *testing.T) {
	model := func(name, more string) string {
		return `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"a","model":"` + name + `"` + more + `}],"actions":[{"name":"open","conn_details":{"bootstrap_servers":"x"}}]}`
	}
	hook := func(url string) string { return with(`"webhooks":[{"url":"` + url + `"}]`) }
	for _, c := range []struct {
		name, body string
		change     func(e *Env)
		problems   string
		warnings   string // parts, separated by ;
	}{
		{"right", model("Sale", ""), nil, "", ""},
		{"no destination", minimal + "}", nil, "", "no destination"},
		{"pre signals", strings.Replace(model("Sale", ""), `{"signal":"post_save"}`, `{"signal":"pre_save"},{"signal":"pre_delete"}`, 1), nil, "", "pre_save fires after the commit;pre_delete fires after"},
		{"unknown model", model("Sael", ""), nil, "/content_types/0 unknown", ""},
		{"model to come", model("Sael", `,"allow_missing":true`), nil, "", "no such table yet"},
		{"ambiguous", model("Ambiguous", ""), nil, "/content_types/0/source required", ""},
		{"unavailable", model("Down", ""), nil, "", ""},
		{"allowed types", model("Sale", ""), func(e *Env) { e.AllowedContentTypes = []string{"x.*", "A.sale"} }, "", ""},
		{"not allowed type", model("Sale", ""), func(e *Env) { e.AllowedContentTypes = []string{"a.Sal", "b.*"} }, "/content_types/0 not_allowed", ""},
		{"no type allowed", model("Sale", ""), func(e *Env) { e.AllowedContentTypes = []string{} }, "/content_types/0 not_allowed", ""},
		{"url", hook("https://example.com/{{ instance.id }}?a={% if x %}{{ y }}{% endif %}"), nil, "", ""},
		{"url private", hook("https://10.0.0.1/"), nil, "/webhooks/0/url private", ""},
		{"template in the host", hook("https://{{ instance.host }}/"), nil, "/webhooks/0/url template", ""},
		{"template in the scheme", hook("{{ a }}://example.com/"), nil, "/webhooks/0/url template", ""},
		{"template as url", hook("{{ a }}"), nil, "/webhooks/0/url template", ""},
		{"template behind a backslash", hook(`https://a.com\\{{ x }}@b.com/`), nil, "", ""}, // a backslash ends the host here; the guard refuses it
		{"allowed url", hook("https://example.com/x"), func(e *Env) { e.AllowedURLs = patterns(t, "https://example.com/.*") }, "", ""},
		{"longer than the pattern", hook("https://example.com.evil.com/"), func(e *Env) { e.AllowedURLs = patterns(t, "https://example.com") }, "/webhooks/0/url not_allowed", ""},
		{"behind the pattern", hook("https://evil.com/?https://example.com"), func(e *Env) { e.AllowedURLs = patterns(t, "https://example.com") }, "/webhooks/0/url not_allowed", ""},
		{"no url allowed", hook("https://example.com/"), func(e *Env) { e.AllowedURLs = patterns(t) }, "/webhooks/0/url not_allowed", ""},
		{"alternatives are anchored", hook("https://evil.com/x"), func(e *Env) { e.AllowedURLs = patterns(t, "https://a.com/x|x") }, "/webhooks/0/url not_allowed", ""},
		{"long timeouts", with(`"webhooks":[{"url":"https://a.com","timeout_secs":10.5}],"msg_broker_queues":[{"name":"fixed","timeout_secs":5}]`), nil, "", "/webhooks/0/timeout_secs: the configuration allows at most 10 seconds"},
		{"unknown broker", with(`"msg_broker_queues":[{"name":"fixd"}]`), nil, "/msg_broker_queues/0/name unknown", ""},
		{"unknown action", with(`"actions":[{"name":"fixed"}]`), nil, "/actions/0/name unknown", ""},
		{
			"fixed", with(`"msg_broker_queues":[{"name":"fixed","conn_details":{"bootstrap_servers":"k:1"},"parameters":{"topic":"t","x":"y"}}]`), nil,
			"/msg_broker_queues/0/conn_details/bootstrap_servers not_allowed;/msg_broker_queues/0/parameters/topic not_allowed", "",
		},
		{
			"a file of the daemon's machine", with(`"actions":[{"name":"open","conn_details":{"bootstrap_servers":"x","ssl_cafile":"/etc/shadow"}}]`), nil,
			"/actions/0/conn_details/ssl_cafile not_allowed", "",
		},
		{"what the kind lacks", with(`"actions":[{"name":"open","parameters":{"partition":"7"}}]`), nil, "/actions/0/conn_details/bootstrap_servers required;/actions/0/parameters/partition invalid", ""},
		{"numbers as a file has them", with(`"actions":[{"name":"open","conn_details":{"bootstrap_servers":"x"},"parameters":{"partition":7}}]`), nil, "", ""},
		{"templates", model("Sale", ""), func(e *Env) {
			e.Compile = func(*Trigger) ([]Problem, []string) {
				return []Problem{{"/payload", CodeTemplate, "x"}}, []string{"from the compiler"}
			}
		}, "/payload template", "from the compiler"},
		{"shadow", with(`"mode":"shadow"`), nil, "", "nothing is sent"},
		{"fields without updates", `{"config_signals":[{"signal":"post_delete"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}],"fields":["a"]}`, nil, "", "fields concerns updates only"},
		{"fields", with(`"fields":["a"]`), nil, "", "no destination"},
		{"a marker for no secret", with(`"webhooks":[{"url":"https://example.com/","secret":["[redacted]","{{ a.b }}"]},{"url":"https://example.com/","secret":"[redacted]"}]`), nil, "/webhooks/0/secret/0 secret_missing;/webhooks/1/secret secret_missing", ""},
		{"what the kind says of secrets", with(`"webhooks":[{"url":"https://example.com/","secret":"x"},{"url":"https://example.com/","secret":["x","x"]}]`), func(e *Env) {
			e.Webhook.Check = func(_, params map[string]any) (out []sink.Problem) {
				for i := range params["secret"].([]string) {
					out = append(out, sink.Problem{Field: fmt.Sprintf("parameters/secret/%d", i), Code: "invalid", Detail: "x"})
				}
				return out
			}
		}, "/webhooks/0/secret invalid;/webhooks/1/secret/0 invalid;/webhooks/1/secret/1 invalid", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnv()
			if c.change != nil {
				c.change(&env)
			}
			v := Validate(t.Context(), decoded(t, c.body), env)
			if got := said(v.Problems); got != c.problems {
				t.Errorf("got %q, want %q: %v", got, c.problems, v.Problems)
			}
			all := strings.Join(v.Warnings, "\n")
			for part := range strings.SplitSeq(c.warnings, ";") {
				if !strings.Contains(all, part) {
					t.Errorf("warnings %q lack %q", all, part)
				}
			}
			if c.warnings == "" && all != "" {
				t.Errorf("warnings %q", all)
			}
			if (v.Unavailable != nil) != (c.name == "unavailable") {
				t.Errorf("unavailable: %v", v.Unavailable)
			}
			if c.name == "right" && v.Tables[0] != (Table{"shop", "public", "sale"}) {
				t.Errorf("tables %v", v.Tables)
			}
		})
	}
}

func TestValidateNamesTheNearest(t *testing.T) {
	v := Validate(t.Context(), decoded(t, with(`"msg_broker_queues":[{"name":"Fixd"}]`)), testEnv())
	if len(v.Problems) != 1 || !strings.Contains(v.Problems[0].Detail, "did you mean fixed?") {
		t.Errorf("got %v", v.Problems)
	}
}

func TestCompileURLPatterns(t *testing.T) {
	if ps, err := CompileURLPatterns(nil); ps != nil || err != nil || !ps.Allows("x") {
		t.Errorf("nil: %v %v", ps, err)
	}
	for _, bad := range []string{"(", ")(", "a)|(b", "[", `\1`, "(?!x)", strings.Repeat("a", 1001)} {
		if _, err := CompileURLPatterns([]string{bad}); err == nil {
			t.Errorf("%.20q is accepted", bad)
		}
	}
}

func TestJoinTellsAMistakeOnce(t *testing.T) {
	first := []Problem{{"/a/0/b", "x", ""}, {"", "y", ""}}
	more := []Problem{{"/a/0/b", "z", ""}, {"/a/0/b/c", "z", ""}, {"/a/0", "z", ""}, {"/a/0/bc", "z", ""}, {"/a/00", "z", ""}}
	if got := said(Join(slices.Clone(first), more)); got != "/a/0/b x; y;/a/0/bc z;/a/00 z" {
		t.Error(got)
	}
}

func TestTimeout(t *testing.T) {
	secs := func(f float64) *float64 { return &f }
	for _, c := range []struct {
		secs *float64
		want time.Duration
	}{{nil, 30 * time.Second}, {secs(2.25), 2250 * time.Millisecond}, {secs(31), 30 * time.Second}, {secs(1e300), 30 * time.Second}, {secs(1e-300), time.Millisecond}} {
		if got := Timeout(c.secs, 30*time.Second); got != c.want {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}
