package pubsub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"PUBSUB_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"} {
		_ = os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m)
}

const (
	project = "test-project"
)

// server is pstest's, which keeps its messages while the gRPC server before it restarts.
type server struct {
	*pstest.Server
	address string
	options []grpc.ServerOption
	grpc    *grpc.Server
}

func newServer(t *testing.T, options ...grpc.ServerOption) *server {
	t.Helper()
	s := &server{Server: pstest.NewServer(), options: append(options, grpc.MaxRecvMsgSize(20<<20))}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(func() {
		s.grpc.Stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"sales", "other"} {
		if _, err := s.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/" + project + "/topics/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *server) start(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.grpc = grpc.NewServer(s.options...)
	pubsubpb.RegisterPublisherServer(s.grpc, &s.GServer)
	go func(g *grpc.Server) { _ = g.Serve(l) }(s.grpc)
}

func (s *server) restart(t *testing.T, down func()) {
	t.Helper()
	s.grpc.Stop()
	down()
	s.start(t, s.address)
}

func (s *server) received(*testing.T) []sinktest.Received {
	var out []sinktest.Received
	for _, m := range s.Messages() {
		h := map[string]string{}
		for name, v := range m.Attributes {
			h[strings.ToLower(name)] = v
		}
		out = append(out, sinktest.Received{ID: h[sink.HeaderEventID], Key: m.OrderingKey, ContentType: h[sink.HeaderContentType], Body: m.Data, Headers: h})
	}
	return out
}

func (s *server) conn() map[string]any {
	return map[string]any{"project": project, "topic": "sales", "emulator_host": s.address}
}

func message1(id, key, body string) *sink.Message {
	return &sink.Message{ID: id, Key: []byte(key), Body: []byte(body), ContentType: "application/json", Signal: "post_save", Model: "myapp.Sale"}
}

func TestConformance(t *testing.T) {
	s := newServer(t)
	sinktest.Run(t, sinktest.Harness{
		Kind: Kind, Conn: s.conn(), Received: s.received, Key: true, Restart: s.restart, MaxBody: 4 << 20,
	})
}

// With ordering off, messages of all keys share requests.
func TestConformanceWithoutOrderingKeys(t *testing.T) {
	s := newServer(t)
	conn := s.conn()
	conn["enable_message_ordering"] = false
	sinktest.Run(t, sinktest.Harness{Kind: Kind, Conn: conn, Received: s.received, Restart: s.restart, MaxBody: 4 << 20})
}

// What cannot be sent fails alone, but nothing of its key follows it in the same Send.
func TestOneThatCannotBeSent(t *testing.T) {
	srv := newServer(t)
	s := sinktest.Open(t, Kind, srv.conn())
	large := message1("2", "a", strings.Repeat("x", maxMessage))
	own := message1("4", "b", "x")
	own.Headers = []sink.Header{{Name: sink.HeaderEventID, Value: "other"}}
	google := message1("5", "c", "x")
	google.Headers = []sink.Header{{Name: "googclient_x", Value: "y"}}
	bad := message1("6", "d", "x")
	bad.Headers = []sink.Header{{Name: "x", Value: "\xff"}}
	long := message1("7", "e", "x")
	long.Headers = []sink.Header{{Name: "x", Value: strings.Repeat("x", maxAttributeValue+1)}}
	errs := sinktest.Send(t, s, message1("1", "a", "x"), large, message1("3", "a", "x"), own, google, bad, long, message1("8", "f", "x"))
	if errs[0] != nil || errs[7] != nil {
		t.Errorf("%v, %v", errs[0], errs[7])
	}
	sinktest.Expect(t, errs[1], sink.Permanent, "too_large")
	sinktest.Expect(t, errs[2], sink.Permanent, "held_back")
	for _, i := range []int{3, 4, 5, 6} {
		sinktest.Expect(t, errs[i], sink.Permanent, "header_invalid")
	}
	if n := len(srv.Messages()); n != 2 {
		t.Errorf("%d messages arrived, want 2", n)
	}
}

// refusing is a server whose schema does not like the message with the id bad.
func refusing(t *testing.T, bad string, requests *atomic.Int32) *server {
	t.Helper()
	return newServer(t, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		requests.Add(1)
		for _, m := range req.(*pubsubpb.PublishRequest).Messages {
			if m.Attributes[sink.HeaderEventID] == bad {
				return nil, status.Error(codes.InvalidArgument, "a schema does not like it")
			}
		}
		return next(ctx, req)
	}))
}

// Large messages of one key take several requests, in order, up to the one refused.
func TestSeveralRequestsOfOneKey(t *testing.T) {
	var requests atomic.Int32
	srv := refusing(t, "5", &requests)
	s := sinktest.Open(t, Kind, srv.conn())
	var msgs []*sink.Message
	for i := range 10 {
		msgs = append(msgs, message1(fmt.Sprint(i), "k", strings.Repeat("x", 4<<20)))
	}
	for i, err := range sinktest.Send(t, s, msgs...) {
		switch {
		case i < 5 && err != nil:
			t.Errorf("message %d: %v", i, err)
		case i == 5:
			sinktest.Expect(t, err, sink.Rejected, "invalid_argument")
		case i > 5:
			sinktest.Expect(t, err, sink.Permanent, "held_back")
		}
	}
	// Two messages a request: 0 1, 2 3, 4 5 which is refused, 4, 5.
	if n := len(srv.Messages()); n != 5 || requests.Load() != 5 {
		t.Errorf("%d messages in %d requests", n, requests.Load())
	}
}

// Without ordering keys, one that is refused holds back nothing.
func TestRefusedAmongMessagesWithoutOrder(t *testing.T) {
	var requests atomic.Int32
	srv := refusing(t, "700", &requests)
	s := sinktest.Open(t, Kind, srv.conn())
	var msgs []*sink.Message
	for i := range 1000 {
		msgs = append(msgs, message1(fmt.Sprint(i), "", "x"))
	}
	for i, err := range sinktest.Send(t, s, msgs...) {
		if i == 700 {
			sinktest.Expect(t, err, sink.Rejected, "invalid_argument")
		} else if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if n := len(srv.Messages()); n != 999 || requests.Load() > 25 {
		t.Errorf("%d messages in %d requests", n, requests.Load())
	}
}

func TestMissingTopicAndItsReturn(t *testing.T) {
	srv := newServer(t)
	name := "projects/" + project + "/topics/sales"
	if _, err := srv.GServer.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: name}); err != nil {
		t.Fatal(err)
	}
	s := sinktest.Open(t, Kind, srv.conn())
	sinktest.Expect(t, sinktest.Send(t, s, message1("1", "k", "x"))[0], sink.Misconfigured, "unknown_topic")
	if _, err := srv.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		t.Fatal(err)
	}
	if err := sinktest.Send(t, s, message1("1", "k", "x"))[0]; err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheService(t *testing.T) {
	busy, err := status.New(codes.ResourceExhausted, "quota").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		answer error
		class  sink.Class
		code   string
		after  time.Duration
	}{
		{status.Error(codes.PermissionDenied, "no role"), sink.Misconfigured, "not_authorized", 0},
		{status.Error(codes.Unauthenticated, "who are you"), sink.Misconfigured, "not_authorized", 0},
		{status.Error(codes.FailedPrecondition, "key disabled"), sink.Misconfigured, "failed_precondition", 0},
		{status.Error(codes.InvalidArgument, "Request payload size exceeds the limit"), sink.Permanent, "too_large", 0},
		{busy.Err(), sink.Unavailable, "throttled", 7 * time.Second},
		{status.Error(codes.Internal, strings.Repeat("x", 1000)), sink.Unavailable, "pubsub_error", 0},
		{status.Error(codes.Aborted, "again"), sink.Unavailable, "pubsub_error", 0},
		{status.Error(codes.Unavailable, "later"), sink.Unavailable, "unavailable", 0},
		{status.Error(codes.DeadlineExceeded, "slow"), sink.Unavailable, "timeout", 0},
	}
	var answer atomic.Pointer[error]
	var calls atomic.Int32
	srv := newServer(t, grpc.UnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		calls.Add(1)
		return nil, *answer.Load()
	}))
	s := sinktest.Open(t, Kind, srv.conn())
	for _, tt := range tests {
		answer.Store(&tt.answer)
		calls.Store(0)
		err := sinktest.Send(t, s, message1("1", "k", "x"))[0]
		sinktest.Expect(t, err, tt.class, tt.code)
		if e := sink.Classify(err); e.RetryAfter != tt.after || len(e.Error()) > 500 {
			t.Errorf("%v: retry after %v, %d bytes", tt.answer, e.RetryAfter, len(e.Error()))
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%v: tried %d times", tt.answer, n)
		}
	}
}

// A service account's requests carry a token that it signed, over TLS alone.
func TestCredentialsAndTLS(t *testing.T) {
	files := brokertest.Certificates(t)
	pair, err := tls.X509KeyPair(files["cert.pem"], files["key.pem"])
	if err != nil {
		t.Fatal(err)
	}
	var refuse atomic.Bool
	srv := newServer(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair)), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			token := strings.Join(md.Get("authorization"), "")
			if strings.Count(token, ".") != 2 || !strings.HasPrefix(token, "Bearer ey") || refuse.Load() {
				return nil, status.Error(codes.Unauthenticated, "no such account")
			}
			return next(ctx, req)
		}))
	s := sinktest.Open(t, Kind, map[string]any{"project": project, "topic": "sales", "endpoint": srv.address, "credentials_json": serviceAccount(t)})
	sinktest.Expect(t, sinktest.Send(t, s, message1("1", "k", "x"))[0], sink.Unavailable, sink.CodeTLS)
	s.(*Sink).cfg.tls.RootCAs = x509.NewCertPool()
	s.(*Sink).cfg.tls.RootCAs.AppendCertsFromPEM(files["ca.pem"])
	if err := sinktest.Send(t, s, message1("1", "k", "x"))[0]; err != nil {
		t.Fatal(err)
	}
	refuse.Store(true)
	sinktest.Expect(t, sinktest.Send(t, s, message1("2", "k", "x"))[0], sink.Misconfigured, "not_authorized")
}
