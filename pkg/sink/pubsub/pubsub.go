// Package pubsub publishes messages to a topic of Google Cloud Pub/Sub, with the key as
// ordering key.
//
//	Send ── messages by key ── requests of one key, one after the other ┐ all keys
//	                                                                     ┘ at once
//
// It calls the service's Publish itself rather than use the client library's publisher:
// that one goes on in the background after a context ended, retries by itself, and stops
// a key after an error until it is resumed. A request is accepted or refused whole, so
// within one Send the order of each key holds, and nothing of a key goes out after a
// message of that key failed.
package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
)

// Kind is the kind of topics of Google Cloud Pub/Sub.
var Kind = sink.Kind{
	Name: "gcp_pubsub", Ordered: true, Pipelined: true, MaxBatch: 1000, Conn: connParams, Check: check, Addresses: addresses,
	Open: func(_ context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(conn, env)
	},
}

const (
	maxMessages = 1000          // in one request
	maxRequest  = 9_900_000     // bytes; the service's limit is 10 MB
	maxMessage  = maxRequest    // bytes
	atOnce      = 64            // requests under way
	overhead    = 64            // bytes of a request beside its messages, at most
	userAgent   = "waltrigger/" // and the version
)

// Sink publishes to one topic. Called by one goroutine.
type Sink struct {
	cfg   *config
	topic string // projects/…/topics/…
	agent string
	conns *conns.Set
	creds *tokens // nil = none are sent

	conn *grpc.ClientConn // nil = to be made
}

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	cfg, err := newConfig(conn)
	if err != nil {
		return nil, err
	}
	s := &Sink{cfg: cfg, topic: "projects/" + cfg.project + "/topics/" + cfg.topic, agent: userAgent + env.Version, conns: conns.New(env.Dial)}
	if env.Version == "" {
		s.agent += "dev"
	}
	if !cfg.emulator {
		if s.creds, err = newTokens(cfg, env.Dial); err != nil {
			return nil, &sink.Error{Class: sink.Misconfigured, Code: codeConfig, Err: err}
		}
	}
	return s, nil
}

// Close closes all connections.
func (s *Sink) Close() error {
	s.disconnect()
	if s.creds != nil {
		s.creds.close()
	}
	return nil
}

func (s *Sink) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close() // it only fails if it is closed already
		s.conn = nil
	}
	s.conns.CloseAll()
}

// connect makes a client, which connects when it is first used.
func (s *Sink) connect() error {
	if s.conn != nil {
		return nil
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return s.conns.Dial(ctx, "tcp", address, nil)
	}
	secure := insecure.NewCredentials()
	if !s.cfg.emulator {
		secure = credentials.NewTLS(s.cfg.tls)
	}
	c, err := grpc.NewClient("passthrough:///"+s.cfg.address,
		grpc.WithContextDialer(dial), grpc.WithNoProxy(), grpc.WithTransportCredentials(secure), grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(), grpc.WithUserAgent(s.agent), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(4<<20)))
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	s.conn = c
	return nil
}

// Send publishes msgs; see sink.Sink.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if err := s.conns.Begin(ctx); err != nil {
		return sink.All(len(msgs), sink.Network(err))
	}
	defer s.conns.End()
	t := &transfer{Sink: s, errs: make([]error, len(msgs))}
	if err := t.begin(ctx); err != nil {
		return sink.All(len(msgs), err)
	}
	t.run(msgs)
	if t.broken.Load() || ctx.Err() != nil {
		// A client whose connection failed waits before it connects again, and it would
		// not say why it failed: the next Send begins anew.
		s.disconnect()
	}
	for _, err := range t.errs {
		if err != nil {
			return t.errs
		}
	}
	return nil
}

// begin connects and fetches a token; the error is classified.
func (t *transfer) begin(ctx context.Context) error {
	t.ctx = ctx
	if t.creds != nil {
		token, err := t.creds.token(ctx)
		if err != nil {
			return err
		}
		t.ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	if t.cfg.quotaProject != "" {
		t.ctx = metadata.AppendToOutgoingContext(t.ctx, "x-goog-user-project", t.cfg.quotaProject)
	}
	t.ctx = metadata.AppendToOutgoingContext(t.ctx, "x-goog-request-params", "topic="+escape(t.topic))
	if err := t.connect(); err != nil {
		return &sink.Error{Class: sink.Misconfigured, Code: codeConfig, Err: err}
	}
	t.client = pubsubpb.NewPublisherClient(t.conn)
	return nil
}

// run publishes by key, keys at once.
func (t *transfer) run(msgs []*sink.Message) {
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, lane := range t.lanes(msgs) {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			t.lane(lane)
		})
	}
	wg.Wait()
}

var (
	errHeldBack = errors.New("not sent, as an earlier message of its key was refused")
	discard     = slog.New(slog.DiscardHandler)
)
