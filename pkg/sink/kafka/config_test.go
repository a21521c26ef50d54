package kafka

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

func TestCheck(t *testing.T) {
	with := func(more map[string]any) map[string]any {
		m := map[string]any{"bootstrap_servers": "kafka:9092"}
		maps.Copy(m, more)
		return m
	}
	topic := map[string]any{"topic": "sales"}
	sasl := map[string]any{"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "{{ a.user }}", "sasl_plain_password": "{{ a.password }}"}
	tests := []struct {
		name         string
		conn, params map[string]any
		want         string
	}{
		{"good", with(nil), topic, ""},
		{"list", map[string]any{"bootstrap_servers": []any{"a:1", "b"}}, topic, ""},
		{"commas", map[string]any{"bootstrap_servers": "a:1, b:2,"}, topic, ""},
		{"templates", map[string]any{"bootstrap_servers": "{{ a.b }}"}, map[string]any{"topic": "sales-{{ instance.id }}"}, ""},
		{"sasl", with(sasl), topic, ""},
		{"everything", with(map[string]any{
			"client_id": "me", "compression_type": "zstd", "max_request_size": 2000000.0, "acks": "all", "allow_auto_create_topics": true,
			"security_protocol": "ssl", "ssl_cafile": "/no/such/file", "ssl_check_hostname": "false",
		}), topic, ""},
		{"nothing", nil, nil, "conn_details/bootstrap_servers required,parameters/topic required"},
		{"no servers", map[string]any{"bootstrap_servers": " , "}, topic, "conn_details/bootstrap_servers invalid"},
		{"empty list", map[string]any{"bootstrap_servers": []any{}}, topic, "conn_details/bootstrap_servers invalid"},
		{"numbers", map[string]any{"bootstrap_servers": []any{5}}, topic, "conn_details/bootstrap_servers invalid"},
		{"object", map[string]any{"bootstrap_servers": map[string]any{}}, topic, "conn_details/bootstrap_servers invalid"},
		{"port", map[string]any{"bootstrap_servers": "a:99999,b:x,:1,a:0"}, topic, "conn_details/bootstrap_servers invalid,conn_details/bootstrap_servers invalid,conn_details/bootstrap_servers invalid,conn_details/bootstrap_servers invalid"},
		{"types", with(map[string]any{"client_id": []any{}, "ssl_check_hostname": "maybe", "max_request_size": "big", "compression_type": "rar", "acks": 1, "security_protocol": "TLS"}), topic, "conn_details/acks invalid,conn_details/client_id invalid,conn_details/compression_type invalid,conn_details/max_request_size invalid,conn_details/security_protocol invalid,conn_details/ssl_check_hostname invalid"},
		{"acks -1", with(map[string]any{"acks": -1.0}), topic, ""},
		{"small", with(map[string]any{"max_request_size": 10}), topic, "conn_details/max_request_size invalid"},
		{"client id", with(map[string]any{"client_id": "a b"}), topic, "conn_details/client_id invalid"},
		{"sasl without user", with(map[string]any{"security_protocol": "SASL_PLAINTEXT"}), topic, "conn_details/sasl_plain_password required,conn_details/sasl_plain_username required"},
		{"mechanism", with(map[string]any{"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI", "sasl_plain_username": "u", "sasl_plain_password": "p"}), topic, "conn_details/sasl_mechanism invalid"},
		{"mechanism without protocol", with(map[string]any{"sasl_mechanism": "PLAIN"}), topic, "conn_details/sasl_mechanism invalid"},
		{"protocol to come", with(map[string]any{"security_protocol": "{{ a.b }}", "sasl_mechanism": "PLAIN", "ssl_cafile": "/ca.pem"}), topic, ""},
		{"files without protocol", with(map[string]any{"ssl_cafile": "/ca.pem"}), topic, "conn_details/ssl_cafile invalid"},
		{"half a pair", with(map[string]any{"security_protocol": "SSL", "ssl_certfile": "/c.pem"}), topic, "conn_details/ssl_keyfile invalid"},
		{"unknown", with(map[string]any{"sasl_pain_username": "u", "ssl": true}), topic, "conn_details/sasl_pain_username unknown,conn_details/ssl unknown"},
		{"topic", with(nil), map[string]any{"topic": "a b"}, "parameters/topic invalid"},
		{"topic of dots", with(nil), map[string]any{"topic": ".."}, "parameters/topic invalid"},
		{"topic too long", with(nil), map[string]any{"topic": strings.Repeat("x", 250)}, "parameters/topic invalid"},
		{"topic of another type", with(nil), map[string]any{"topic": 5}, "parameters/topic required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Kind.Check(tt.conn, tt.params) {
				got = append(got, p.Field+" "+p.Code)
			}
			if s := strings.Join(got, ","); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	c, err := newConfig(map[string]any{
		"bootstrap_servers": "a, b:1", "client_id": "me", "security_protocol": "SASL_SSL", "sasl_mechanism": "scram-sha-256",
		"sasl_plain_username": "u", "sasl_plain_password": "p", "compression_type": "LZ4", "max_request_size": "5000",
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(c.brokers, " ") != "a:9092 b:1" || c.maxRequest != 5000 || c.codec.String() != "lz4" {
		t.Errorf("%+v", c)
	}
	if s := c.sarama; s.ClientID != "me" || !s.Net.TLS.Enable || !s.Net.SASL.Enable || s.Net.SASL.Mechanism != "SCRAM-SHA-256" || s.Net.SASL.Password != "p" {
		t.Errorf("%+v", s.Net)
	}
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range []map[string]any{
		{"ssl_cafile": filepath.Join(dir, "none")}, {"ssl_cafile": junk}, {"ssl_certfile": junk}, {"ssl_certfile": junk, "ssl_keyfile": junk},
	} {
		more["bootstrap_servers"], more["security_protocol"] = "a", "SSL"
		if _, err := newConfig(more); err == nil {
			t.Errorf("%v was accepted", more)
		}
	}
}

func TestSCRAM(t *testing.T) {
	for name, hash := range map[string]scram.HashGeneratorFcn{"256": scram.SHA256, "512": scram.SHA512} {
		stored := func(password string) scram.StoredCredentials {
			c, err := hash.NewClient("user", password, "")
			if err != nil {
				t.Fatal(err)
			}
			cred, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
			if err != nil {
				t.Fatal(err)
			}
			return cred
		}
		for _, password := range []string{"right", "wrong"} {
			server, err := hash.NewServer(func(string) (scram.StoredCredentials, error) { return stored("right"), nil })
			if err != nil {
				t.Fatal(err)
			}
			client := newSCRAM(hash)()
			if err := client.Begin("user", password, ""); err != nil {
				t.Fatal(err)
			}
			conv := server.NewConversation()
			challenge := ""
			for !client.Done() {
				answer, err := client.Step(challenge)
				if err != nil {
					break
				}
				if challenge, err = conv.Step(answer); err != nil {
					break
				}
			}
			if conv.Valid() != (password == "right") {
				t.Errorf("SCRAM-SHA-%s with the %s password: %v", name, password, conv.Valid())
			}
		}
	}
}
