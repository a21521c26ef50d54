package aws

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestMain(m *testing.M) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true"} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

const secret = "s3cret+/="

func env(dial dialFunc) sink.Env {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return sink.Env{Dial: dial, Log: slog.New(slog.DiscardHandler)}
}

func opened(t *testing.T, conn map[string]any, dial dialFunc) *Session {
	t.Helper()
	s, err := Open(t.Context(), conn, env(dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestCheck(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/service/waltrigger"
	tests := []struct {
		name string
		conn map[string]any
		want string // fields and codes
	}{
		{"empty", map[string]any{}, ""},
		{"as in Python", map[string]any{"endpoint_url": "https://sqs.eu-central-1.amazonaws.com", "region_name": "eu-central-1", "aws_access_key_id": "A", "aws_secret_access_key": "s", "aws_session_token": "t"}, ""},
		{"role", map[string]any{"region": "eu-central-1", "role_arn": role, "external_id": "x", "verify": "/ca.pem"}, ""},
		{"templates", map[string]any{"region": "{{ a.b }}", "endpoint_url": "{{ a.c }}", "aws_access_key_id": "{{ a.d }}", "aws_secret_access_key": "{{ a.e }}", "role_arn": "{{ a.f }}"}, ""},
		{"region", map[string]any{"region": "evil.example.com/#"}, "conn_details/region invalid"},
		{"two regions", map[string]any{"region": "a", "region_name": "b"}, "conn_details/region_name invalid"},
		{"scheme", map[string]any{"endpoint_url": "ftp://x"}, "conn_details/endpoint_url invalid"},
		{"password", map[string]any{"endpoint_url": "http://u:s3cret@x"}, "conn_details/endpoint_url invalid"},
		{"half a key", map[string]any{"aws_access_key_id": "A"}, "conn_details/aws_secret_access_key invalid"},
		{"token alone", map[string]any{"aws_session_token": "t"}, "conn_details/aws_session_token invalid"},
		{"no role", map[string]any{"role_arn": "waltrigger"}, "conn_details/role_arn invalid"},
		{"external id alone", map[string]any{"external_id": "x"}, "conn_details/external_id invalid"},
		{"unverified", map[string]any{"verify": false}, "conn_details/verify invalid"},
		{"no text", map[string]any{"region": []any{"x"}}, "conn_details/region invalid"},
		{"unknown", map[string]any{"regoin": "x"}, "conn_details/regoin unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Check(tt.conn).Problems() {
				got = append(got, p.Field+" "+p.Code)
				if strings.Contains(p.Detail, "s3cret") {
					t.Errorf("the problem shows a secret: %s", p.Detail)
				}
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for endpoint, want := range map[string][]string{
		"": nil, "https://vpce-1.sqs.eu-central-1.vpce.amazonaws.com": {"vpce-1.sqs.eu-central-1.vpce.amazonaws.com:443"},
		"http://localhost:4566": {"localhost:4566"}, "http://localhost": {"localhost:80"}, "{{ a.b }}": nil, "://": nil,
	} {
		if got := Addresses(map[string]any{"endpoint_url": endpoint}); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", endpoint, got, want)
		}
	}
}

// The settings of the machine count where the details say nothing.
func TestOpenReadsTheEnvironment(t *testing.T) {
	if _, err := Open(t.Context(), map[string]any{}, env(nil)); err == nil || sink.Classify(err).Class != sink.Misconfigured {
		t.Errorf("without a region: %v", err)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	s := opened(t, map[string]any{}, nil)
	if c, err := s.Config.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "ENVKEY" || s.Config.Region != "eu-west-1" {
		t.Errorf("%s in %s, %v", c.AccessKeyID, s.Config.Region, err)
	}
	s = opened(t, map[string]any{"region": "us-east-2", "aws_access_key_id": "OWN", "aws_secret_access_key": "y"}, nil)
	if c, err := s.Config.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "OWN" || s.Config.Region != "us-east-2" {
		t.Errorf("%s in %s, %v", c.AccessKeyID, s.Config.Region, err)
	}
}

func request(t *testing.T, s *Session) error {
	t.Helper()
	url := "http://x/1/q"
	_, err := sqs.NewFromConfig(s.Config).GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url})
	return err
}

func TestNoCredentialsAnywhere(t *testing.T) {
	s := opened(t, map[string]any{"region": "us-east-1"}, func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("nothing is dialled without credentials")
	})
	if e := s.Classify(t.Context(), request(t, s)); e.Class != sink.Misconfigured || e.Code != CodeAuth {
		t.Errorf("got %s %s: %v", e.Class, e.Code, e)
	}
}

// A role is assumed with the details' own credentials, at the service that the
// environment names; what it refuses is told as a trouble of credentials.
func TestAssumeRole(t *testing.T) {
	var calls []string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		calls = append(calls, string(b))
		if len(calls) == 1 {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>x</SecretAccessKey>`+
			`<SessionToken>y</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	defer sts.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	s := opened(t, map[string]any{
		"region": "us-east-1", "endpoint_url": "http://127.0.0.1:1", "aws_access_key_id": "A", "aws_secret_access_key": secret,
		"role_arn": "arn:aws:iam::123456789012:role/x", "external_id": "ours",
	}, nil)
	if e := s.Classify(t.Context(), request(t, s)); e.Class != sink.Misconfigured || e.Code != CodeAuth || !strings.Contains(e.Error(), "get credentials") {
		t.Errorf("got %s %s: %v", e.Class, e.Code, e)
	}
	if e := s.Classify(t.Context(), request(t, s)); e.Class != sink.Unavailable || e.Code != sink.CodeRefused {
		t.Errorf("got %s %s: %v", e.Class, e.Code, e)
	}
	if c, err := s.Config.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "ROLEKEY" || len(calls) != 2 || !strings.Contains(calls[1], "ExternalId=ours") {
		t.Errorf("%s, %v, %q", c.AccessKeyID, err, calls)
	}
}

// Only the client of credentials may reach the machine's own services, and it goes
// everywhere else by the guard.
func TestCredentialDial(t *testing.T) {
	var guarded []string
	dial := credentialDial(func(_ context.Context, _, address string) (net.Conn, error) {
		guarded = append(guarded, address)
		return nil, errors.New("no")
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, address := range append([]string{"169.254.169.254:8080", "10.0.0.1:80", "sts.us-east-1.amazonaws.com:443"}, credentialServices...) {
		if c, err := dial(ended, "tcp", address); err == nil {
			c.Close()
		}
	}
	if want := []string{"169.254.169.254:8080", "10.0.0.1:80", "sts.us-east-1.amazonaws.com:443"}; !slices.Equal(guarded, want) {
		t.Errorf("asked for %q, want %q", guarded, want)
	}
}

func TestCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{}`)
	}))
	defer srv.Close()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	conn := map[string]any{"region": "us-east-1", "endpoint_url": srv.URL, "aws_access_key_id": "A", "aws_secret_access_key": "s"}
	s := opened(t, conn, nil)
	if e := s.Classify(t.Context(), request(t, s)); e.Class != sink.Unavailable || e.Code != sink.CodeTLS {
		t.Errorf("got %s %s: %v", e.Class, e.Code, e)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	conn["verify"] = file
	if err := request(t, opened(t, conn, nil)); err != nil {
		t.Error(err)
	}
	conn["verify"] = file + ".none"
	if _, err := Open(t.Context(), conn, env(nil)); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// A body that is closed while its end is looked for ends all the same.
func TestBodiesAreReadNotWritten(t *testing.T) {
	var got io.Reader
	client := bounded{clientFunc(func(req *http.Request) (*http.Response, error) {
		got = req.Body
		return &http.Response{Body: http.NoBody}, nil
	})}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x", io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, writes := got.(io.WriterTo); writes {
		t.Error("the body has WriteTo")
	}
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }

func TestClassifyHidesSecrets(t *testing.T) {
	s := opened(t, map[string]any{"region": "us-east-1", "aws_access_key_id": "A", "aws_secret_access_key": secret, "aws_session_token": "t0ken"}, nil)
	for _, e := range []*sink.Error{
		s.Code("ValidationError", "wrong: "+secret+" and t0ken"), s.Code("SignatureDoesNotMatch", "x-amz-security-token:t0ken"),
		s.Classify(t.Context(), errors.New("dial s3cret%2B%2F%3D, t0ken")),
	} {
		if strings.Contains(e.Error(), "s3cret") || strings.Contains(e.Error(), "t0ken") {
			t.Errorf("the error shows a secret: %v", e)
		}
	}
}

func TestCode(t *testing.T) {
	s := &Session{}
	tests := []struct {
		code, message string
		class         sink.Class
		want          string
	}{
		{"AWS.SimpleQueueService.NonExistentQueue", "", sink.Misconfigured, CodeMissing},
		{"com.amazonaws.sqs#QueueDoesNotExist", "", sink.Misconfigured, CodeMissing},
		{"NotFound", "Topic does not exist", sink.Misconfigured, CodeMissing},
		{"AuthorizationError", "", sink.Misconfigured, CodeAuth},
		{"KMS.DisabledException", "", sink.Misconfigured, CodeAuth},
		{"KmsDisabled", "", sink.Misconfigured, CodeAuth},
		{"InvalidParameter", "Invalid parameter: Message too long", sink.Permanent, CodeTooLarge},
		{"InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.", sink.Permanent, CodeTooLarge},
		{"AWS.SimpleQueueService.BatchRequestTooLong", "", sink.Permanent, CodeTooLarge},
		{"InvalidParameterValue", "other", sink.Rejected, "aws_error"},
		{"RequestThrottled", "", sink.Unavailable, "throttled"},
		{"InternalError", "", sink.Unavailable, "aws_error"},
		{"", "", sink.Rejected, "aws_error"},
	}
	for _, tt := range tests {
		if e := s.Code(tt.code, tt.message); e.Class != tt.class || e.Code != tt.want {
			t.Errorf("%s %q: got %s %s", tt.code, tt.message, e.Class, e.Code)
		}
	}
}
