package lambda

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws/awstest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	awstest.Alone()
	goleak.VerifyTestMain(m)
}

// service stands in for Lambda's Invoke, as Moto runs functions in containers only: it
// has the function sales, keeps its events, and answers as the reference of the API says.
type service struct {
	*http.Server
	address string

	mu     sync.Mutex
	events []invocation
	answer func(w http.ResponseWriter) // instead of the function's; nil = none
}

type invocation struct {
	kind, qualifier string
	body            []byte
	custom          map[string]string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *service) start(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.Server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func(h *http.Server) { _ = h.Serve(l) }(s.Server)
}

func (s *service) restart(t *testing.T, down func()) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	down()
	s.start(t, s.address)
}

// refuse answers an error as services that speak REST and JSON do.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("X-Amzn-ErrorType", kind)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Message": message, "Type": "User"})
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	const prefix, suffix = "/2015-03-31/functions/", "/invocations"
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, prefix), suffix)
	auth := r.Header.Get("Authorization")
	switch {
	case r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, prefix) || !strings.HasSuffix(r.URL.Path, suffix):
		refuse(w, http.StatusNotFound, "UnknownOperationException", "")
		return
	case !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIATEST/") || !strings.Contains(auth, "/us-east-1/lambda/aws4_request") ||
		!strings.Contains(auth, "x-amz-client-context") || r.Header.Get("X-Amz-Security-Token") == "":
		refuse(w, http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	case name != "sales":
		refuse(w, http.StatusNotFound, "ResourceNotFoundException:http://internal", "Function not found: "+name)
		return
	case len(body) > 0 && !json.Valid(body):
		refuse(w, http.StatusBadRequest, "InvalidRequestContentException", "Could not parse request body into json")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		s.answer(w)
		return
	}
	var about struct{ Custom map[string]string }
	raw, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-Client-Context"))
	if err != nil || json.Unmarshal(raw, &about) != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.")
		return
	}
	s.events = append(s.events, invocation{r.Header.Get("X-Amz-Invocation-Type"), r.URL.Query().Get("Qualifier"), body, about.Custom})
	if r.Header.Get("X-Amz-Invocation-Type") == "Event" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	_, _ = w.Write([]byte(`"done"`))
}

func (s *service) invocations() []invocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]invocation(nil), s.events...)
}

func (s *service) received(*testing.T) []sinktest.Received {
	var out []sinktest.Received
	for _, e := range s.invocations() {
		h := map[string]string{}
		for name, v := range e.custom {
			h[strings.ToLower(name)] = v
		}
		out = append(out, sinktest.Received{ID: h[sink.HeaderEventID], ContentType: h[sink.HeaderContentType], Body: e.body, Headers: h})
	}
	return out
}

func TestConformance(t *testing.T) {
	s := newService(t)
	sinktest.Run(t, sinktest.Harness{
		Kind: Kind, Conn: awstest.Conn("http://" + s.address), Params: map[string]string{"FunctionName": "sales"},
		Received: s.received, Restart: s.restart, Secrets: []string{sinktest.Secret},
		Refused: func(b []byte) bool { return !json.Valid(b) },
	})
}

// The event is the body itself, encoded once.
func TestBodies(t *testing.T) {
	srv := newService(t)
	s := sinktest.Open(t, Kind, awstest.Conn("http://"+srv.address))
	tests := []struct{ contentType, body, want string }{
		{"application/json", `{"name": "Ada"}`, `{"name": "Ada"}`},
		{"application/json", `[1, null]`, `[1, null]`},
		{"application/json", `"Ada"`, `"Ada"`},
		{"text/plain; charset=utf-8", `Hi "Ada" <&>` + "\n\u2028🎉", `"Hi \"Ada\" <&>\n\u2028🎉"`},
		{"text/plain; charset=utf-8", "", `""`},
	}
	for i, tt := range tests {
		m := awstest.Message("1", "k", tt.body, map[string]string{"FunctionName": "sales", "InvocationType": "Event", "Qualifier": "v1"})
		m.ContentType = tt.contentType
		if err := sinktest.Send(t, s, m)[0]; err != nil {
			t.Fatal(err)
		}
		got := srv.invocations()[i]
		if string(got.body) != tt.want || got.kind != "Event" || got.qualifier != "v1" {
			t.Errorf("%s %s: got %s, %s, %s", tt.contentType, tt.body, got.body, got.kind, got.qualifier)
		}
	}
	large := awstest.Message("1", "k", `"`+strings.Repeat("x", maxBody-2)+`"`, map[string]string{"FunctionName": "sales"})
	if err := sinktest.Send(t, s, large)[0]; err != nil {
		t.Errorf("a body of %d bytes: %v", len(large.Body), err)
	}
	large.Body = []byte(`"` + strings.Repeat("x", maxBody-1) + `"`)
	sinktest.Expect(t, sinktest.Send(t, s, large)[0], sink.Permanent, "too_large")
	bad := awstest.Message("1", "k", "\xff", large.Params)
	bad.ContentType = "text/plain"
	sinktest.Expect(t, sinktest.Send(t, s, bad)[0], sink.Permanent, "body_invalid")
	head := awstest.Message("1", "k", "1", large.Params)
	head.Headers = []sink.Header{{Name: "x", Value: strings.Repeat("x", maxContext)}}
	sinktest.Expect(t, sinktest.Send(t, s, head)[0], sink.Permanent, "header_invalid")
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter)
		class  sink.Class
		code   string
		after  time.Duration
	}{
		{"function failed", func(w http.ResponseWriter) {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			_, _ = io.WriteString(w, `{"errorMessage":"s3cret-in-a-message","errorType":"KeyError"}`)
		}, sink.Rejected, "function_error", 0},
		{"throttled", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			refuse(w, 429, "TooManyRequestsException", "Rate Exceeded.")
		}, sink.Unavailable, "throttled", 7 * time.Second},
		{"too large", func(w http.ResponseWriter) {
			refuse(w, 413, "RequestTooLargeException", "Request must be smaller than 1048576 bytes")
		}, sink.Permanent, "too_large", 0},
		{"no leave", func(w http.ResponseWriter) {
			refuse(w, 403, "AccessDeniedException", "User: x is not authorized to perform: lambda:InvokeFunction")
		}, sink.Misconfigured, "not_authorized", 0},
		{"signature", func(w http.ResponseWriter) {
			refuse(w, 403, "InvalidSignatureException", "The Canonical String should have been x-amz-security-token:s3cret-token/+=")
		}, sink.Misconfigured, "not_authorized", 0},
		{"bad signature that names no code", func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, sink.Misconfigured, "not_authorized", 0},
		{"key of an encryption", func(w http.ResponseWriter) { refuse(w, 502, "KMSDisabledException", "key disabled") }, sink.Misconfigured, "not_authorized", 0},
		{"broken", func(w http.ResponseWriter) { refuse(w, 500, "ServiceException", "oops") }, sink.Unavailable, "aws_error", 0},
		{"proxy", func(w http.ResponseWriter) { http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway) }, sink.Unavailable, "", 0},
		{"conflict", func(w http.ResponseWriter) { refuse(w, 409, "ResourceConflictException", "being updated") }, sink.Rejected, "aws_error", 0},
	}
	srv := newService(t)
	s := sinktest.Open(t, Kind, awstest.Conn("http://"+srv.address))
	m := awstest.Message("1", "k", "{}", map[string]string{"FunctionName": "sales"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			srv.mu.Lock()
			srv.answer = func(w http.ResponseWriter) { calls++; tt.answer(w) }
			srv.mu.Unlock()
			err := sinktest.Send(t, s, m)[0]
			e := sink.Classify(err)
			if err == nil || e.Class != tt.class || tt.code != "" && e.Code != tt.code || e.RetryAfter != tt.after {
				t.Errorf("got %s %s after %v: %v", e.Class, e.Code, e.RetryAfter, err)
			}
			srv.mu.Lock()
			defer srv.mu.Unlock()
			if calls != 1 {
				t.Errorf("tried %d times", calls)
			}
		})
	}
}

// What Moto can show without containers.
func TestMoto(t *testing.T) {
	m := awstest.Message("1", "k", "{}", map[string]string{"FunctionName": "none"})
	sinktest.Expect(t, sinktest.Send(t, sinktest.Open(t, Kind, awstest.Conn(awstest.Endpoint(t))), m)[0], sink.Misconfigured, "not_found")
	server := awstest.Own(t, "INITIAL_NO_AUTH_ACTION_COUNT=0")
	s := sinktest.Open(t, Kind, awstest.Conn(server.URL))
	sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Misconfigured, "not_authorized")
	server.Restart(t, func() { sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Unavailable, sink.CodeRefused) })
	sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Misconfigured, "not_authorized")
}

func TestMissingFunction(t *testing.T) {
	srv := newService(t)
	s := sinktest.Open(t, Kind, awstest.Conn("http://"+srv.address))
	for name, want := range map[string]struct {
		class sink.Class
		code  string
	}{
		"none": {sink.Misconfigured, "not_found"}, "": {sink.Permanent, "function_invalid"}, "../x": {sink.Permanent, "function_invalid"},
	} {
		sinktest.Expect(t, sinktest.Send(t, s, awstest.Message("1", "k", "{}", map[string]string{"FunctionName": name}))[0], want.class, want.code)
	}
	for name, value := range map[string]string{"InvocationType": "DryRun", "Qualifier": "a b"} {
		sinktest.Expect(t, sinktest.Send(t, s, awstest.Message("1", "k", "{}", map[string]string{"FunctionName": "sales", name: value}))[0], sink.Permanent, "function_invalid")
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		params map[string]any
		want   string // fields and codes
	}{
		{"least", map[string]any{"FunctionName": "sales"}, ""},
		{"all", map[string]any{"FunctionName": "123456789012:function:sales", "InvocationType": "Event", "Qualifier": "$LATEST", "x-own": "1"}, ""},
		{"arn", map[string]any{"FunctionName": "arn:aws:lambda:eu-central-1:123456789012:function:sales:v1"}, ""},
		{"templates", map[string]any{"FunctionName": "{{ a.b }}", "InvocationType": "{{ a.c }}", "Qualifier": "{{ a.d }}"}, ""},
		{"none", map[string]any{}, "parameters/FunctionName required"},
		{"empty", map[string]any{"FunctionName": ""}, "parameters/FunctionName required"},
		{"name", map[string]any{"FunctionName": "a b"}, "parameters/FunctionName invalid"},
		{"no text", map[string]any{"FunctionName": 5}, "parameters/FunctionName invalid"},
		{"dry run", map[string]any{"FunctionName": "f", "InvocationType": "DryRun"}, "parameters/InvocationType invalid"},
		{"qualifier", map[string]any{"FunctionName": "f", "Qualifier": "a b"}, "parameters/Qualifier invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Kind.Check(map[string]any{"region": "eu-central-1"}, tt.params) {
				got = append(got, p.Field+" "+p.Code)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
