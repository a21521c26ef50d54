package trigger

import (
	"errors"
	"strings"
	"testing"
)

func isSecret(_, _, group, param string) bool {
	return group == "conn_details" && param == "password" || group == "parameters" && param == "token"
}

func TestLiteralSecret(t *testing.T) {
	for value, want := range map[string]bool{
		"":                                    false,
		"  ":                                  false,
		"hunter2":                             true,
		"Bearer hunter2":                      true,
		"{{ myapp.utils.get_token }}":         false,
		"Bearer {{ myapp.utils.get_token }}":  false,
		"bearer  {{ a }} ":                    false,
		"Basic {{ a.user }}{{ a.password }}":  false,
		"Basic {{ a.user }}:{{ a.password }}": true,
		"Bearer x{{ a }}":                     true,
		"{{ a }}hunter2":                      true,
		`{{ "hunter2" }}`:                     true,
		`{{ a|default:"hunter2" }}`:           true,
		`{{ 'hunter2' }}`:                     true,
		"{% if a %}{{ b }}{% endif %}":        false,
		"{% if a %}hunter2{% endif %}":        true,
		"{{ a":                                true,
		"}} hunter2 {{":                       true,
	} {
		if got := literalSecret(value); got != want {
			t.Errorf("%q: got %v", value, got)
		}
	}
}

func TestSecretHeader(t *testing.T) {
	for name, want := range map[string]bool{
		"Authorization": true, "proxy-authorization": true, "COOKIE": true, "X-Api-Key": true, "X-Auth-Token": true, "Client-Secret": true,
		"X-Password": true, "Content-Type": false, "X-Trace": false, "Accept": false, "X-Signature": true,
	} {
		if got := SecretHeader(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

const secretive = `"webhooks":[{"id":"w","url":"https://a.com/x","headers":{"Authorization":"hunter2","X-Plain":"p","Cookie":"{{ a.b }}"},"secret":["whsec_hunter2a","{{ a.b }}","whsec_hunter2b"]}],
	"msg_broker_queues":[{"id":"q","name":"k","conn_details":{"host":"h","password":"hunter2"},"parameters":{"token":"hunter2","topic":"t"}}],
	"actions":[{"id":"a","name":"f","parameters":{"token":12345}}]`

func TestRedactAndInherit(t *testing.T) {
	old := decoded(t, with(secretive))
	clear := string(old.JSON())
	shown := string(old.Redact(isSecret).JSON())
	if strings.Contains(shown, "hunter2") || strings.Contains(shown, "12345") || strings.Count(shown, Redacted) != 6 || !strings.Contains(shown, "{{ a.b }}") {
		t.Errorf("shown: %s", shown)
	}
	if string(old.JSON()) != clear {
		t.Error("Redact changed the trigger")
	}
	back, err := FromJSON([]byte(shown))
	if err != nil {
		t.Fatal(err)
	}
	if problems := Inherit(back, old); len(problems) > 0 || string(back.JSON()) != clear {
		t.Errorf("sent back: %v\n%s\n%s", problems, back.JSON(), clear)
	}
	const moved = "/webhooks/0/headers/Authorization secret_missing;/webhooks/0/secret/0 secret_missing;/webhooks/0/secret/2 secret_missing"
	for _, c := range []struct{ name, from, to, want string }{
		{"other path", `a.com/x`, `a.com/y?z#w`, ""},
		{"host in capitals", `https://a.com`, `HTTPS://A.com`, ""},
		{"other host", `a.com/x`, `b.com/x`, moved},
		{"other port", `a.com/x`, `a.com:81/x`, moved},
		{"other scheme", `https://a`, `http://a`, moved},
		{"user information", `https://a.com`, `https://a.com@b.com`, moved},
		{"backslash", `https://a.com`, `https://a.com\\@b.com`, ""}, // the host is still a.com; the guard refuses such a URL
		{"other header", `"X-Plain":"p"`, `"X-Plain":"[redacted]"`, ""},
		{"new header", `"X-Plain"`, `"X-Token":"[redacted]","X-Plain"`, "/webhooks/0/headers/X-Token secret_missing"},
		{"other webhook", `"id":"w"`, `"id":"v"`, moved},
		{"other detail", `"host":"h"`, `"host":"evil"`, "/msg_broker_queues/0/conn_details/password secret_missing;/msg_broker_queues/0/parameters/token secret_missing"},
		{"more details", `"host":"h"`, `"host":"h","proxy":"evil"`, "/msg_broker_queues/0/conn_details/password secret_missing;/msg_broker_queues/0/parameters/token secret_missing"},
		{"other broker", `"name":"k"`, `"name":"l"`, "/msg_broker_queues/0/conn_details/password secret_missing;/msg_broker_queues/0/parameters/token secret_missing"},
		{"other parameter", `"topic":"t"`, `"topic":"u"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(shown, c.from) {
				t.Fatalf("%s lacks %s", shown, c.from)
			}
			sent, err := FromJSON([]byte(strings.Replace(shown, c.from, c.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if got := said(Inherit(sent, old)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want == "" && strings.Contains(string(sent.JSON()), Redacted) {
				t.Errorf("a marker is left: %s", sent.JSON())
			}
			if strings.Contains(c.want, "Authorization") && strings.Contains(string(sent.JSON()), `"Authorization":"hunter2"`) {
				t.Errorf("the secret moves: %s", sent.JSON())
			}
		})
	}
	rotated := decoded(t, with(`"webhooks":[{"id":"w","url":"https://a.com/","secret":["whsec_new","[redacted]"]}]`))
	if problems := Inherit(rotated, old); len(problems) > 0 || strings.Join(rotated.Webhooks[0].Secret.Values, " ") != "whsec_new whsec_hunter2a" {
		t.Errorf("rotated: %v %v", rotated.Webhooks[0].Secret, problems)
	}
	more := decoded(t, with(`"webhooks":[{"id":"w","url":"https://a.com/","secret":["[redacted]","[redacted]","[redacted]","[redacted]"]}]`))
	if got := said(Inherit(more, old)); got != "/webhooks/0/secret/2 secret_missing;/webhooks/0/secret/3 secret_missing" {
		t.Errorf("more markers than secrets: %s", got)
	}
	fresh := decoded(t, with(strings.ReplaceAll(secretive, "hunter2", Redacted)))
	if got := Inherit(fresh, nil); len(got) != 3 { // the signing secrets hold more than the marker
		t.Errorf("markers in a new trigger: %v", got)
	}
}

func TestInheritIDs(t *testing.T) {
	old := decoded(t, with(`"webhooks":[{"id":"d1","url":"a"},{"id":"mine","url":"b"}],"actions":[{"id":"d3","name":"f"}]`))
	for _, c := range []struct{ sent, want, problems string }{
		{`"webhooks":[{"url":"x"},{"url":"y"}],"actions":[{"name":"g"}]`, "d1 mine d3", ""},
		{`"webhooks":[{"url":"x"},{"url":"y"},{"url":"z"}]`, "d1 mine -", ""},
		{`"webhooks":[{"id":"mine","url":"b"},{"id":"d1","url":"a"}]`, "mine d1", ""},
		{`"webhooks":[{"url":"new"},{"id":"d1","url":"a"}]`, "- d1", ""},
		{`"webhooks":[{"id":"other","url":"b"},{"url":"y"}]`, "other mine", ""},
		{`"webhooks":[{"id":"d9","url":"b"}]`, "d9", "/webhooks/0/id unknown"},
	} {
		sent := decoded(t, with(c.sent))
		problems := said(Inherit(sent, old))
		var ids []string
		for _, id := range sent.DestinationIDs() {
			if *id == "" {
				ids = append(ids, "-")
			} else {
				ids = append(ids, *id)
			}
		}
		if got := strings.Join(ids, " "); got != c.want || problems != c.problems {
			t.Errorf("%s: got %s (%s), want %s (%s)", c.sent, got, problems, c.want, c.problems)
		}
	}
}

func TestMergePatch(t *testing.T) {
	base := decoded(t, with(`"name":"n","payload":{"b":{"x":1.50,"y":[1,2]},"a":"\u0041<"},"webhooks":[{"id":"w","url":"u"}]`))
	for _, c := range []struct{ patch, want, problem string }{
		{`{}`, string(base.JSON()), ""},
		{`{"payload":{"b":{"y":null,"z":{"k":null,"l":2}},"c":{}}}`, `"payload":{"b":{"x":1.50,"z":{"l":2}},"a":"\u0041<","c":{}}`, ""},
		{`{"payload":{"a":{"n":1}}}`, `"a":{"n":1}`, ""},
		{`{"payload":5,"name":null}`, `"payload":5`, ""},
		{`{"webhooks":[]}`, `"webhooks":[]`, ""},
		{`{"message_broker_queues":[{"name":"k"}]}`, `"message_broker_queues":[{"name":"k"}]`, ""},
		{`[1]`, "", " invalid_type"},
		{`{"a":1,"a":2}`, "", "/a duplicate_key"},
		{`{"a":`, "", "/a malformed_json"},
	} {
		got, problems := MergePatch(base, []byte(c.patch))
		if said(problems) != c.problem || !strings.Contains(string(got), strings.TrimSuffix(c.want, "}")) {
			t.Errorf("%s: got %s %v, want %s", c.patch, got, problems, c.want)
		}
		if c.problem == "" && strings.Contains(c.patch, `"name":null`) && strings.Contains(string(got), `"name"`) {
			t.Errorf("%s: the name is left: %s", c.patch, got)
		}
	}
}

// TestMapSecrets: whatever is hidden in answers is among what the store can encrypt.
func TestMapSecrets(t *testing.T) {
	tr := decoded(t, `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}],"webhooks":[{"url":"https://x","headers":{"Authorization":"hunter2","X-Key":"hunter2"},"secret":["hunter2","hunter2b"]}],
		"msg_broker_queues":[{"name":"k","conn_details":{"sasl_password":"hunter2"},"parameters":{"token":"hunter2"}}],
		"actions":[{"name":"f","conn_details":{"aws_secret_access_key":"hunter2"},"parameters":{"secret":"hunter2"}}]}`)
	before := string(tr.JSON())
	seen := map[string]bool{}
	out, err := tr.MapSecrets(func(at string, v any) (any, error) {
		if seen[at] {
			t.Errorf("%s comes twice", at)
		}
		seen[at] = true
		return "sealed", nil
	})
	if err != nil || strings.Contains(string(out.JSON()), "hunter2") || strings.Count(string(out.JSON()), `"sealed"`) != 8 {
		t.Errorf("%s, %v", out.JSON(), err)
	}
	if string(tr.JSON()) != before {
		t.Error("the trigger itself was changed")
	}
	if _, err := tr.MapSecrets(func(string, any) (any, error) { return nil, errors.New("no") }); err == nil {
		t.Error("an error is lost")
	}
}
