package resolve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	oauth := OAuth2{TokenURL: "https://idp.example.com/token", ClientID: "id", ClientSecret: "hush"}
	for _, c := range []struct {
		c    Config
		want string // key: a part of the text; several with |
	}{
		{Config{Command: Command{Argv: []string{"vault", "{{.x}}", ""}, Env: map[string]string{"A_1": ""}}}, ""},
		{Config{HTTP: HTTP{URL: "https://vault:8200/v1/x?a=b", Method: "POST", Body: "x", Headers: map[string]string{"X-Vault-Token": "t"}}, Pointer: "/a~1b/0/~0"}, ""},
		{Config{OAuth2: oauth, MaxAge: time.Hour, TTL: time.Minute, Timeout: time.Second}, ""},
		{Config{SQL: SQL{Source: "shop", Query: "select 1"}}, ""},
		{Config{Secret: "awssecretsmanager://shop/token?region=eu-central-1&profile=p&role=arn:aws:iam::123456789012:role/x&role_external_id=y&endpoint=http://a"}, ""},
		{Config{Secret: "awssecretsmanager:///arn:aws:secretsmanager:eu-central-1:123456789012:secret:x"}, ""},
		{Config{Secret: "awsparamstore:///shop/token"}, ""},
		{Config{Secret: "gcpsecretmanager://projects/my-project/secrets/token?endpoint=x.example.com:443"}, ""},
		{Config{Literal: "a\nb", Multiline: true}, ""},
		{Config{Literal: "{\n\"a\":\"x\"}", Pointer: "/a"}, ""},

		{Config{}, ": exactly one of env, file, literal, command, http, oauth2, sql, secret"},
		{Config{Env: "A", SQL: SQL{Source: "shop", Query: "x"}}, ": exactly one"},
		{Config{Literal: "a\nb"}, "literal: line break"},
		{Config{Literal: "a\x00b", Multiline: true}, "literal: NUL"},
		{Config{Literal: strings.Repeat("x", maxValue+1)}, "literal: larger"},
		{Config{Env: "A", Pointer: "a"}, "pointer: begin with /"},
		{Config{Env: "A", Pointer: "/~2"}, "pointer: ~"},
		{Config{Env: "A", Pointer: "/a~"}, "pointer: ~"},
		{Config{Env: "A", TTL: time.Millisecond, Timeout: time.Hour}, "ttl: at least 1s|timeout: at most 10m0s"},
		{Config{Env: "A", MaxAge: time.Hour}, "max_age: no meaning"},
		{Config{File: "/a", MaxAge: time.Second}, "max_age: not be less than the ttl, which is 10s"},
		{Config{File: "/a", TTL: time.Minute, MaxAge: time.Second}, "max_age: 1m0s"},
		{Config{Env: "A", Hosts: []string{"a", "b:1", ""}}, "hosts[1]: host name|hosts[2]: host name"},

		{Config{Command: Command{Argv: []string{}}}, "command.argv: required"},
		{Config{Command: Command{Argv: []string{""}}}, "command.argv: required"},
		{Config{Command: Command{Argv: []string{"a", "b\x00"}}}, "command.argv[1]: NUL"},
		{Config{Command: Command{Env: map[string]string{"A": ""}}}, "command.argv: required"},
		{Config{Command: Command{Argv: []string{"a"}, Env: map[string]string{"A=": "x", "B": "\x00", "": ""}}}, "command.env.: no legal name|command.env.A=: no legal name|command.env.B: NUL"},

		{Config{HTTP: HTTP{Method: "GET"}}, "http.url: required"},
		{Config{HTTP: HTTP{URL: "vault:8200"}}, "http.url: begin with http"},
		{Config{HTTP: HTTP{URL: "ftp://hunter2"}}, "http.url: begin with http"},
		{Config{HTTP: HTTP{URL: "https:///x"}}, "http.url: and a host"},
		{Config{HTTP: HTTP{URL: "https://:1/x"}}, "http.url: and a host"},
		{Config{HTTP: HTTP{URL: "https://u:hunter2@h/x"}}, "http.url: user name"},
		{Config{HTTP: HTTP{URL: "https://h/%zz?hunter2"}}, "http.url: no URL"},
		{Config{HTTP: HTTP{URL: "https://h/x#y"}}, "http.url: fragment"},
		{Config{HTTP: HTTP{URL: "https://h/{{ a.b }}"}}, "http.url: a dynamic value cannot"},
		{Config{HTTP: HTTP{URL: "https://h", Method: "PUT", Body: "x"}}, "http.method: GET or POST|http.body: method: POST"},
		{Config{HTTP: HTTP{URL: "https://h", Body: "x"}}, "http.body: method: POST"},
		{Config{HTTP: HTTP{URL: "https://h", Headers: map[string]string{"a b": "", "C": "hunter2\r\n", "D": "{{ x }}"}}}, "http.headers.C: line break|http.headers.D: a dynamic value cannot|http.headers.a b: header name"},

		{Config{OAuth2: OAuth2{ClientID: "x"}}, "oauth2.token_url: required|oauth2.client_secret: required"},
		{Config{OAuth2: OAuth2{Scopes: []string{""}}}, "oauth2.token_url: required|oauth2.client_id: required|oauth2.client_secret: required|oauth2.scopes[0]: empty"},
		{Config{OAuth2: OAuth2{TokenURL: "x", ClientID: "{{ a }}", ClientSecret: "{{ a }}", AuthStyle: "body", Params: map[string]string{"scope": "x"}}}, "oauth2.token_url: begin|oauth2.client_id: cannot|oauth2.client_secret: cannot|oauth2.params.scope: setting of its own|oauth2.auth_style: auto, header or params"},

		{Config{SQL: SQL{Source: "x"}}, "sql.query: required"},
		{Config{SQL: SQL{Query: " \n"}}, "sql.source: required|sql.query: required"},
		{Config{SQL: SQL{Source: "x", Query: "select '\x00'"}}, "sql.query: NUL"},

		{Config{Secret: "shop/token"}, "secret: begin with awssecretsmanager://"},
		{Config{Secret: "vault://x"}, "secret: begin with"},
		{Config{Secret: "awssecretsmanager://%zz"}, "secret: no URL"},
		{Config{Secret: "awssecretsmanager://?region=x"}, "secret: the name of a secret"},
		{Config{Secret: "awsparamstore:///"}, "secret: the name of a parameter"},
		{Config{Secret: "awsparamstore://u:hunter2@x"}, "secret: the name of a parameter"},
		{Config{Secret: "awsparamstore:x"}, "secret: the name of a parameter"},
		{Config{Secret: "awsparamstore://x#hunter2"}, "secret: the name of a parameter"},
		{Config{Secret: "awsparamstore://x?decoder=string&region=EU+1&role=x&wait=1s"}, `secret: no parameter "decoder"; there are endpoint, profile, region, role, role_external_id|secret: parameter region|secret: parameter role|secret: no parameter "wait"`},
		{Config{Secret: "awsparamstore://x?region=a&region=b"}, "secret: parameter region"},
		{Config{Secret: "awsparamstore://x?a;b"}, "secret: query"},
		{Config{Secret: "gcpsecretmanager://my-project/token"}, "secret: projects/PROJECT/secrets/SECRET"},
		{Config{Secret: "gcpsecretmanager://projects/my-project/secrets/token/versions/latest?region=x&endpoint=https://x"}, `secret: projects/PROJECT|secret: parameter endpoint|secret: no parameter "region"; there are endpoint`},
	} {
		var got []string
		for _, p := range Check("a.b", c.c, nil) {
			got = append(got, p.Key+": "+p.Text)
		}
		want := strings.Split(c.want, "|")
		if c.want == "" {
			want = nil
		}
		ok := len(got) == len(want)
		for i := 0; ok && i < len(want); i++ {
			key, text, _ := strings.Cut(want[i], ": ")
			ok = strings.HasPrefix(got[i], key+": ") && strings.Contains(got[i], text)
		}
		if all := strings.Join(got, "\n"); !ok || strings.Contains(all, "hunter2") || strings.Contains(all, "hush") {
			t.Errorf("got\n%s\nwant\n%s", all, strings.Join(want, "\n"))
		}
	}
}

func TestConfigIsNotPrinted(t *testing.T) {
	c := Config{
		Literal: "hunter2", Command: Command{Argv: []string{"hunter2"}, Env: map[string]string{"A": "hunter2"}}, HTTP: HTTP{URL: "hunter2"},
		OAuth2: OAuth2{ClientSecret: "hunter2"},
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", c, "all", map[string]Config{"a": c}, "list", []Config{c})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, map[string]Config{"a": c})
	}
	b, err := json.Marshal(map[string]Config{"a": c})
	if err != nil {
		t.Fatal(err)
	}
	if out.Write(b); strings.Contains(out.String(), "hunter2") {
		t.Error(out.String())
	}
}
