package config

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDynamicValues(t *testing.T) {
	_, _, err := load(t, oneSource+`dynamic_values:
  a.b:
    http:
      url: ftp://u:hunter2@h
      method: PUT
      headers:
        X: "{{ c }}"
        "Y Z": hunter2
    ttl: 10ms
    hosts:
      - ok.example.com
      - "*.example.com"
  c: {command: {argv: []}, pointer: x, timeout: 1h}
  d:
    sql:
      source: shoq
      query: ""
  e:
    oauth2: {token_url: "https://h/", scopes: [""]}
    secret: vault://x
    colour: blue
  f: {file: /x, max_age: 1s}
  "1": {env: X}
  g: {}
`)
	want := `w.yaml:5: dynamic_values.a.b.http.url: must begin with http:// or https:// and a host
w.yaml:6: dynamic_values.a.b.http.method: must be GET or POST
w.yaml:8: dynamic_values.a.b.http.headers.X: names a dynamic value, which a dynamic value cannot; write ${NAME} or ${file:/path}
w.yaml:9: dynamic_values.a.b.http.headers.Y Z: is no legal header name
w.yaml:10: dynamic_values.a.b.ttl: must be at least 1s
w.yaml:13: dynamic_values.a.b.hosts[1]: "*.example.com" must be a host name or an address, without scheme, port or path
w.yaml:14: dynamic_values.c.command.argv: is required: the program and its arguments, as a list
w.yaml:14: dynamic_values.c.timeout: must be more than 0 and at most 10m0s
w.yaml:14: dynamic_values.c.pointer: must begin with /, as in /data/token
w.yaml:17: dynamic_values.d.sql.source: there is no source "shoq"
w.yaml:18: dynamic_values.d.sql.query: is required
w.yaml:20: dynamic_values.e.oauth2.client_id: is required
w.yaml:20: dynamic_values.e.oauth2.client_secret: is required
w.yaml:20: dynamic_values.e.oauth2.scopes[0]: is empty
w.yaml:21: dynamic_values.e.secret: must begin with awssecretsmanager://, awsparamstore:// or gcpsecretmanager://
w.yaml:22: dynamic_values.e.colour: there is no such setting; there are env, file, literal, command, http, oauth2, sql, secret, pointer, hosts, ttl, max_age, timeout, allow_in_payload, multiline
w.yaml:23: dynamic_values.f.max_age: must not be less than the ttl, which is 10s
w.yaml:24: dynamic_values.1: the name must be letters, digits and _ in segments joined by dots, at most 255 bytes
w.yaml:25: dynamic_values.g: give exactly one of env, file, literal, command, http, oauth2, sql, secret`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, _, err = load(t, oneSource+"dynamic_values:\n  e:\n    oauth2: {token_url: 'https://h/', client_id: x, client_secret: y}\n    file: /x\n")
	if want = "w.yaml:4: dynamic_values.e: give exactly one of env, file, literal, command, http, oauth2, sql, secret"; err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestDynamicValuesAreExpanded(t *testing.T) {
	c := mustLoad(t, oneSource+`dynamic_values:
  a: {http: {url: "https://h/${KEY}", headers: {X: "${TOKEN}"}}, ttl: 90}
  b: {command: {argv: [printf, "$$HOME", "${TOKEN}"], env: {T: "${TOKEN}"}}, timeout: 2s}
`, "KEY=k", "TOKEN=t", "WALTRIGGER_DYNAMIC_VALUES__A__MAX_AGE=1h", "WALTRIGGER_DYNAMIC_VALUES__A__HTTP__METHOD=POST")
	a, b := c.DynamicValues["a"], c.DynamicValues["b"]
	if a.HTTP.URL != "https://h/k" || a.HTTP.Headers["X"] != "t" || a.TTL != 90*time.Second || a.MaxAge != time.Hour || a.HTTP.Method != http.MethodPost {
		t.Errorf("a is %s", printed(t, c))
	}
	if strings.Join(b.Command.Argv, " ") != "printf $HOME t" || b.Command.Env["T"] != "t" || b.Timeout != 2*time.Second {
		t.Errorf("b is %s", printed(t, c))
	}
}

// TestReferencesOfBrokers: what brokers and actions name is known at the start.
func TestReferencesOfBrokers(t *testing.T) {
	const values = `dynamic_values:
  mq.password: {env: X}
  mq.bound: {env: X, hosts: [mq.example.com]}
  mq.key: {env: X, multiline: true}
  cluster: {env: X, hosts: [a, b]}
  broken: {}
`
	mustLoad(t, oneSource+strings.Replace(values, "  broken: {}\n", "", 1)+`brokers:
  r: {broker_type: rabbitmq, conn_details: {host: mq.example.com, login: u, password: "{{ mq.bound }}"}, params: {queue: "{{ mq.password }}", x-id: "{{ instance.id|default:0 }}"}}
  u: {broker_type: redis, conn_details: {url: "{{ mq.password }}"}, params: {channel: x}}
  n: {broker_type: nats, conn_details: {servers: ["nats://a:4222", "nats://b:4222"], token: "{{ cluster }}"}, params: {subject: x}}
  k: {broker_type: kafka, conn_details: {bootstrap_servers: "a:9092, b"}, params: {topic: x, secret: "{{ cluster }}"}}
  p: {broker_type: gcp_pubsub, conn_details: {project: my-project, topic: sales, credentials_json: "{{ mq.key }}"}}
actions:
  f: {broker_type: aws_lambda, conn_details: {region: eu-central-1, aws_access_key_id: x, aws_secret_access_key: "{{ mq.password }}"}, params: {FunctionName: f}}
`)
	_, _, err := load(t, oneSource+values+`brokers:
  r:
    broker_type: rabbitmq
    conn_details:
      host: other.example.com
      login: "{{ nobody }}"
      password: "{{ mq.bound }}"
      virtualhost: "{{ instance.id }}"
      url: ""
    params:
      queue: "{{ broken }}"
      x/y: "{{ instanc.id }}"
      z: "{% if %}"
  n: {broker_type: nats, conn_details: {servers: ["nats://a:4222", "nats://c:4222"], token: "{{ cluster }}"}}
  u: {broker_type: redis, conn_details: {url: "{{ mq.bound }}"}}
  w: {broker_type: redis, conn_details: {host: a, password: "{{ mq.password|upper }}"}}
actions:
  f: {broker_type: aws_lambda, conn_details: {region: "{{ none }}"}}
`)
	want := `w.yaml:7: dynamic_values.broken: give exactly one of env, file, literal, command, http, oauth2, sql, secret
w.yaml:13: brokers.r.conn_details.login: the configuration declares no dynamic value nobody
w.yaml:14: brokers.r.conn_details.password: dynamic value mq.bound: it is bound to other hosts than other.example.com
w.yaml:15: brokers.r.conn_details.virtualhost: connection details cannot name the row, as {{ instance.id }} does
w.yaml:19: brokers.r.params.x/y: the configuration declares no dynamic value instanc.id
w.yaml:20: brokers.r.params.z: line 1, column 6: unexpected end of expression
w.yaml:21: brokers.n.conn_details.token: dynamic value cluster: it is bound to other hosts than c
w.yaml:22: brokers.u.conn_details.url: dynamic value mq.bound: it is bound to hosts and may be used for them only
w.yaml:23: brokers.w.conn_details.password: connection details may hold {{ name }} of dynamic values, and no other template
w.yaml:25: actions.f.conn_details.region: the configuration declares no dynamic value none`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
