package resolve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"gocloud.dev/runtimevar"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// moto gives the URL in WALTRIGGER_TEST_AWS, and surroundings with credentials.
func moto(t *testing.T) string {
	t.Helper()
	endpoint := os.Getenv("WALTRIGGER_TEST_AWS")
	if endpoint == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatal("WALTRIGGER_TEST_AWS is not set")
		}
		t.Skip("WALTRIGGER_TEST_AWS is not set")
	}
	alone(t)
	return endpoint
}

// alone makes the SDK read no settings of the machine and of whoever runs the tests.
func alone(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, v := range map[string]string{
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "s3cret-key", "AWS_SESSION_TOKEN": "s3cret-token",
	} {
		t.Setenv(name, v)
	}
}

func TestAWS(t *testing.T) {
	endpoint := moto(t)
	at := "?region=us-east-1&endpoint=" + url.QueryEscape(endpoint)
	cfg, err := awsConfig(t.Context(), url.Values{"region": {"us-east-1"}, "endpoint": {endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	sm, ps := secretsmanager.NewFromConfig(cfg), ssm.NewFromConfig(cfg)
	unique := fmt.Sprintf("waltrigger-%d", time.Now().UnixNano())
	var arn string
	for name, in := range map[string]secretsmanager.CreateSecretInput{
		"text":   {SecretString: aws.String("tok\n")},
		"json":   {SecretString: aws.String(`{"user":"u","password":"tok"}`)},
		"binary": {SecretBinary: []byte("tok")},
		"pem":    {SecretString: aws.String("a\nb\n")},
	} {
		in.Name = aws.String(unique + "/" + name)
		out, err := sm.CreateSecret(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		if name == "text" {
			arn = *out.ARN
		}
	}
	for name, kind := range map[string]types.ParameterType{"plain": types.ParameterTypeString, "secure": types.ParameterTypeSecureString} {
		if _, err := ps.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/" + unique + "/" + name), Value: aws.String("tok"), Type: kind}); err != nil {
			t.Fatal(err)
		}
	}
	const role = "arn:aws:iam::123456789012:role/waltrigger"
	t.Setenv("AWS_ENDPOINT_URL_STS", endpoint)
	tests := []struct {
		c          Config
		want, code string
		text       string // in the error
	}{
		{Config{Secret: "awssecretsmanager://" + unique + "/text" + at}, "tok", "", ""},
		{Config{Secret: "awssecretsmanager:///" + arn + at}, "tok", "", ""},
		{Config{Secret: "awssecretsmanager://" + unique + "/json" + at, Pointer: "/password"}, "tok", "", ""},
		{Config{Secret: "awssecretsmanager://" + unique + "/binary" + at}, "tok", "", ""},
		{Config{Secret: "awssecretsmanager://" + unique + "/pem" + at, Multiline: true}, "a\nb", "", ""},
		{Config{Secret: "awssecretsmanager://" + unique + "/pem" + at}, "", CodeInvalid, "line break"},
		{Config{Secret: "awssecretsmanager://" + unique + "/json" + at, Pointer: "/none"}, "", CodeInvalid, "no /none"},
		{Config{Secret: "awssecretsmanager://" + unique + "/none" + at}, "", CodeFetch, "ResourceNotFoundException: "},
		{Config{Secret: "awssecretsmanager://" + unique + "/text" + at + "&role=" + role + "&role_external_id=x"}, "tok", "", ""},
		{Config{Secret: "awsparamstore:///" + unique + "/plain" + at}, "tok", "", ""},
		{Config{Secret: "awsparamstore:///" + unique + "/secure" + at}, "tok", "", ""},
		{Config{Secret: "awsparamstore:///" + unique + "/none" + at}, "", CodeFetch, "ParameterNotFound: "},
		{Config{Secret: "awsparamstore://x?endpoint=" + endpoint}, "", CodeFetch, "there is no region"},
		{Config{Secret: "awsparamstore://x?region=us-east-1&profile=none"}, "", CodeFetch, "load configuration of AWS"},
		{Config{Secret: "awssecretsmanager://x?region=us-east-1&endpoint=http://127.0.0.1:1"}, "", CodeFetch, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(strings.NewReplacer(unique, "", at, "").Replace(tt.c.Secret)+tt.c.Pointer, func(t *testing.T) {
			r := newResolver(t, map[string]Config{"a.b": tt.c})
			got, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("value %q, want %q", got, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "s3cret")) {
				t.Fatalf("error %v, want one about %q", err, tt.text)
			}
		})
	}
	t.Run("again and again", func(t *testing.T) {
		for name, secret := range map[string]string{"text": "awssecretsmanager://" + unique + "/text" + at, "plain": "awsparamstore:///" + unique + "/plain" + at} {
			v := newResolver(t, map[string]Config{"a.b": {Secret: secret}}).values["a.b"]
			for range 100 {
				if s, _, err := v.fetcher.fetch(t.Context()); s != "tok" || err != nil {
					t.Fatal(name, s, err)
				}
			}
		}
	})
	t.Run("rotated", func(t *testing.T) {
		r := newResolver(t, map[string]Config{"a.b": {Secret: "awssecretsmanager://" + unique + "/text" + at, TTL: time.Second}})
		if v, err := r.Resolve(t.Context(), "a.b"); v != "tok" || err != nil {
			t.Fatal(v, err)
		}
		if _, err := sm.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("new")}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 20 { // all of them see it once the old one's time is over
			wg.Go(func() {
				for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
					v, err := r.Resolve(t.Context(), "a.b")
					if v == "new" {
						return
					}
					if v != "tok" || err != nil || time.Now().After(until) {
						t.Errorf("got %q, %v", v, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestAWSFaults has a server of its own, which answers as Moto never does.
func TestAWSFaults(t *testing.T) {
	alone(t)
	stop := make(chan struct{})
	answers := map[string]func(w http.ResponseWriter){
		"signature": func(w http.ResponseWriter) {
			w.Header().Set("X-Amzn-ErrorType", "InvalidSignatureException")
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"InvalidSignatureException","message":"The Canonical String should have been 'x-amz-security-token:s3cret-token'"}`)
		},
		"denied": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"AccessDeniedException","message":"User x is not authorized to perform: secretsmanager:GetSecretValue"}`)
		},
		"nonsense": func(w http.ResponseWriter) { io.WriteString(w, "s3cret") },
		"hang":     func(http.ResponseWriter) { <-stop },
		"both": func(w http.ResponseWriter) {
			io.WriteString(w, `{"VersionId":"1","SecretString":"s3cret","SecretBinary":"czNjcmV0"}`)
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[strings.Trim(r.URL.Path, "/")](w)
	}))
	defer s.Close()
	defer close(stop)
	for name, want := range map[string]string{
		"signature": "InvalidSignatureException", "denied": "AccessDeniedException: User x is not authorized", "nonsense": "deserialization failed",
		"hang": "no answer in time", "both": "both SecretBinary and SecretString",
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{Secret: "awssecretsmanager://x?region=us-east-1&endpoint=" + s.URL + "/" + name}
			if name == "hang" {
				c.Timeout = 300 * time.Millisecond
			}
			r := newResolver(t, map[string]Config{"a.b": c})
			_, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, CodeFetch)
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v, want one about %q", err, want)
			}
		})
	}
}

// google is the service of Google in this process.
type google struct {
	secretmanagerpb.UnimplementedSecretManagerServiceServer
}

func (google) AccessSecretVersion(ctx context.Context, in *secretmanagerpb.AccessSecretVersionRequest) (*secretmanagerpb.AccessSecretVersionResponse, error) {
	switch in.Name {
	case "projects/my-project/secrets/token/versions/latest":
		return &secretmanagerpb.AccessSecretVersionResponse{Name: in.Name, Payload: &secretmanagerpb.SecretPayload{Data: []byte("tok\n")}}, nil
	case "projects/my-project/secrets/hang/versions/latest":
		<-ctx.Done()
		return nil, ctx.Err()
	case "projects/my-project/secrets/denied/versions/latest":
		return nil, status.Error(codes.PermissionDenied, "Permission 'secretmanager.versions.access' denied")
	}
	return nil, status.Error(codes.NotFound, "Secret not found or has no versions.")
}

func (google) GetSecretVersion(_ context.Context, in *secretmanagerpb.GetSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return &secretmanagerpb.SecretVersion{Name: in.Name}, nil
}

func TestGCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	secretmanagerpb.RegisterSecretManagerServiceServer(s, google{})
	go s.Serve(l)
	defer s.Stop()
	plain := func(address string) manager {
		return manager{open: func(ctx context.Context, name string, _ url.Values) (*runtimevar.Variable, func(), error) {
			return openGCPWith(ctx, name, []option.ClientOption{
				option.WithEndpoint(address), option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
			})
		}}
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, tt := range []struct{ name, address, want, code, text string }{
		{"token", l.Addr().String(), "tok", "", ""},
		{"none", l.Addr().String(), "", CodeFetch, "NotFound: Secret not found"},
		{"denied", l.Addr().String(), "", CodeFetch, "PermissionDenied: Permission"},
		{"hang", l.Addr().String(), "", CodeFetch, "no answer in time"},
		{"token", gone.Addr().String(), "", CodeFetch, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newResolver(t, map[string]Config{"a.b": {Secret: "gcpsecretmanager://projects/my-project/secrets/" + tt.name}})
			v := r.values["a.b"]
			v.fetcher.(*entry).manager = plain(tt.address)
			if tt.name == "hang" {
				v.timeout = 300 * time.Millisecond
			}
			got, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, tt.code)
			if got != tt.want || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %q, %v, want %q or %q", got, err, tt.want, tt.text)
			}
		})
	}
	// The way by the machine's own credentials, of which there are none.
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/none/key.json")
	r := newResolver(t, map[string]Config{"a.b": {Secret: "gcpsecretmanager://projects/my-project/secrets/token?endpoint=" + l.Addr().String()}})
	_, err = r.Resolve(t.Context(), "a.b")
	checkError(t, err, CodeFetch)
	if !strings.Contains(err.Error(), "/none/key.json") {
		t.Errorf("error %v", err)
	}
}
