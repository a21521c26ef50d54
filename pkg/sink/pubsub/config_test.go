package pubsub

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

// serviceAccount is the key of an account that nobody knows.
func serviceAccount(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": sinktest.Secret,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "test@" + project + ".iam.gserviceaccount.com", "client_id": "1", "token_uri": "https://127.0.0.1:1/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name         string
		conn, params map[string]any // conn stands over a good one
		want         string         // fields and codes
	}{
		{"least", nil, nil, ""},
		{"all", map[string]any{"credentials_file": "/x.json", "quota_project": "other-project", "endpoint": "us-east1-pubsub.googleapis.com:443", "enable_message_ordering": "false"}, map[string]any{"x": "y"}, ""},
		{"templates", map[string]any{"project": "{{ a }}", "topic": "{{ b }}", "credentials_json": "{{ c }}", "endpoint": "{{ d }}"}, nil, ""},
		{"domain project", map[string]any{"project": "example.com:shop-1"}, nil, ""},
		{"no project", map[string]any{"project": nil}, nil, "conn_details/project required"},
		{"no topic", map[string]any{"topic": ""}, nil, "conn_details/topic required"},
		{"path", map[string]any{"topic": "projects/p/topics/t"}, nil, "conn_details/topic invalid"},
		{"goog", map[string]any{"topic": "google"}, nil, "conn_details/topic invalid"},
		{"no text", map[string]any{"topic": []any{}}, nil, "conn_details/topic invalid"},
		{"json", map[string]any{"credentials_json": "{"}, nil, "conn_details/credentials_json invalid"},
		{"two credentials", map[string]any{"credentials_json": "{}", "credentials_file": "x"}, nil, "conn_details/credentials_json invalid"},
		{"endpoint", map[string]any{"endpoint": "https://pubsub.googleapis.com"}, nil, "conn_details/endpoint invalid"},
		{"emulator and endpoint", map[string]any{"endpoint": "a:1", "emulator_host": "b:2"}, nil, "conn_details/emulator_host invalid"},
		{"ordering", map[string]any{"enable_message_ordering": "maybe"}, nil, "conn_details/enable_message_ordering invalid"},
		{"unknown", map[string]any{"projekt": "x"}, nil, "conn_details/projekt unknown"},
		{"own attribute", nil, map[string]any{"event-id": "x"}, "parameters/event-id not_allowed"},
		{"google's attribute", nil, map[string]any{"googX": "x"}, "parameters/googX invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := map[string]any{"project": project, "topic": "sales"}
			maps.Copy(conn, tt.conn)
			var got []string
			for _, p := range Kind.Check(conn, tt.params) {
				got = append(got, p.Field+" "+p.Code)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		conn map[string]any
		want []string
	}{
		{map[string]any{}, []string{defaultAddress}},
		{map[string]any{"endpoint": "private.example.com"}, []string{"private.example.com:443"}},
		{map[string]any{"emulator_host": "localhost"}, []string{"localhost:8085"}},
		{map[string]any{"endpoint": "a/b:1"}, nil},
	} {
		if got := Kind.Addresses(tt.conn); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %q, want %q", tt.conn, got, tt.want)
		}
	}
}

// Credentials that name programs or addresses come from the environment alone.
func TestOpenRefusesOtherCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(`{"type":"external_account","credential_source":{"url":"http://169.254.169.254/s3cret"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range []map[string]any{
		{"credentials_file": file},
		{"credentials_file": file + "x"},
		{"credentials_json": `{"type":"service_account","private_key":"s3cret"}`},
		{"credentials_json": `{"type":"authorized_user","refresh_token":"s3cret"}`},
		{"credentials_json": 5},
		{"topic": "x"},
	} {
		conn := map[string]any{"project": project, "topic": "sales"}
		maps.Copy(conn, more)
		s, err := Kind.Open(t.Context(), conn, sinktest.Env())
		if err == nil {
			// The private key is parsed when it is first used.
			sinktest.Expect(t, sinktest.Send(t, s, message1("1", "k", "x"))[0], sink.Misconfigured, "not_authorized")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if e := sink.Classify(err); e.Class != sink.Misconfigured || strings.Contains(err.Error(), sinktest.Secret) {
			t.Errorf("%v: got %v", more, err)
		}
	}
}

// The keys of rows are any bytes; different ones stay different.
func TestOrderingKey(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []string{"", "1", "Müller", "\xff", "\xfe", strings.Repeat("x", 1024), strings.Repeat("x", 1025), strings.Repeat("x", 1026)} {
		k := orderingKey([]byte(key))
		if len(k) > maxOrderingKey || seen[k] || key == "Müller" && k != key {
			t.Errorf("%.20q: %q", key, k)
		}
		seen[k] = true
	}
}
