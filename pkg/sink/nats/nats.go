// Package nats sends messages to subjects that a JetStream stream of NATS keeps.
//
//	Send ── all messages on one connection, in order ── one acknowledgement a message
//
// The message id goes along, so that a stream takes a repetition for what it is within
// its duplicate window. Servers that a cluster advertises are not connected to: the
// details name those that may be.
package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

const maxBatch = 512

// Kind is the kind of NATS queues. A Send holds one message of a key at most: a stream
// may refuse a message (it is full) and take those after it.
var Kind = sink.Kind{
	Name:     "nats",
	Ordered:  true,
	MaxBatch: 512,
	Conn:     connParams,
	Params:   params,
	Check:    check,
	Addresses: func(conn map[string]any) []string {
		return details.Named(read(details.Check(conn, connParams)).addresses...)
	},
	Open: func(_ context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(conn, env)
	},
}

// Sink sends to one server at a time.
type Sink struct {
	cfg   *config
	conns *conns.Set

	link    *link // nil = to be made
	headers []sink.Header
}

// link is a connection, with what the server says on it.
type link struct {
	*nats.Conn
	closed chan struct{} // when the connection is
	inbox  string        // acknowledgements come to inbox.N
	next   uint64        // N of the next message
	acks   chan ack
	denied chan error // rights that are missing
}

// ack is the answer to message N.
type ack struct {
	n   uint64
	msg *nats.Msg
}

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	r := details.Read(conn)
	cfg := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, conns: conns.New(env.Dial)}, nil
}

// dialer dials for the client within one connect.
type dialer struct {
	ctx context.Context
	set *conns.Set
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.set.Dial(d.ctx, network, address, nil)
}

// connectTime bounds a connect by its parts, in case ctx is long.
const connectTime = 10 * time.Second

func (s *Sink) connect(ctx context.Context) error {
	if s.link != nil && !s.link.IsClosed() {
		return nil
	}
	s.disconnect()
	l := &link{closed: make(chan struct{}), acks: make(chan ack, 2*maxBatch), denied: make(chan error, 16)}
	opts := []nats.Option{
		nats.Name("waltrigger"), nats.NoReconnect(), nats.SkipHostLookup(), nats.SetCustomDialer(&dialer{ctx, s.conns}), nats.Timeout(connectTime),
		nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.deny(err) }),
	}
	c := s.cfg
	switch {
	case c.user != "":
		opts = append(opts, nats.UserInfo(c.user, c.password))
	case c.token != "":
		opts = append(opts, nats.Token(c.token))
	case c.creds != "":
		opts = append(opts, nats.UserCredentials(c.creds))
	case c.nkey != "":
		o, err := nats.NkeyOptionFromSeed(c.nkey)
		if err != nil {
			return &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: fmt.Errorf("read nkeys_seed: %w", err)}
		}
		opts = append(opts, o)
	}
	if c.inboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.inboxPrefix))
	}
	if c.tls != nil {
		opts = append(opts, nats.Secure(c.tls))
	}
	conn, err := nats.Connect(strings.Join(c.servers, ","), opts...)
	if err != nil {
		return err
	}
	l.Conn, s.link = conn, l
	l.inbox = conn.NewInbox() + "."
	_, err = conn.Subscribe(l.inbox+"*", l.answer)
	return err
}

// Send sends msgs; see sink.Sink.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if err := s.conns.Begin(ctx); err != nil {
		return sink.All(len(msgs), classify(err))
	}
	defer s.conns.End()
	if err := s.connect(ctx); err != nil {
		s.disconnect()
		return sink.All(len(msgs), classify(s.conns.Error(ctx, err)))
	}
	t := &transfer{Sink: s, link: s.link, ctx: ctx, msgs: msgs, waiting: make([]bool, len(msgs)), first: s.link.next}
	t.publish()
	t.wait()
	if t.broken || ctx.Err() != nil {
		s.disconnect()
	}
	return t.errs
}

// Close closes the connection.
func (s *Sink) Close() error {
	s.disconnect()
	return nil
}

func (s *Sink) disconnect() {
	s.conns.CloseAll()
	if s.link == nil {
		return
	}
	s.link.Close()
	<-s.link.closed
	s.link = nil
}

// answer takes in what came to the inbox. It never waits: what has no place was not
// asked for.
func (l *link) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, l.inbox), 10, 64)
	if err != nil {
		return
	}
	select {
	case l.acks <- ack{n, m}:
	default:
	}
}

func (l *link) deny(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	select {
	case l.denied <- err:
	default:
	}
}
