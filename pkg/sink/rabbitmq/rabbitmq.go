// Package rabbitmq sends messages to queues and exchanges of RabbitMQ and other servers
// that speak AMQP 0-9-1.
//
//	Send ── all messages, persistent and mandatory, on one channel for each exchange
//	     ── a confirm for each; what no queue takes comes back before it
//
// Queues and exchanges are used as they are and never declared.
package rabbitmq

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

const maxBatch = 512

// Kind is the kind of RabbitMQ queues. A Send holds one message of a key at most: a
// server may refuse a message (its queue is full) and take those after it.
var Kind = sink.Kind{
	Name:     "rabbitmq",
	Ordered:  true,
	MaxBatch: maxBatch,
	Conn:     connParams,
	Params:   params,
	Check:    check,
	Addresses: func(conn map[string]any) []string {
		return details.Named(read(details.Check(conn, connParams)).address)
	},
	Open: func(_ context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(conn, env)
	},
}

// Sink sends to one server.
type Sink struct {
	cfg     *config
	conns   *conns.Set
	version string
	link    *link // nil = to be made
	most    int   // bytes of a body, learnt from a refusal; 0 = not known
}

// link is a connection.
type link struct {
	conn     *amqp.Connection
	ended    chan *amqp.Error    // closed when the connection is
	channels map[string]*channel // by exchange

	mu      sync.Mutex
	blocked string // why the server takes nothing now, "" = it does
}

// channel is one in confirm mode. An error of one exchange closes its channel alone.
type channel struct {
	*amqp.Channel
	ended   chan *amqp.Error
	returns chan amqp.Return
}

// maxChannels bounds channels, should exchanges be named by the row.
const maxChannels = 64

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	r := details.Read(conn)
	cfg := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, conns: conns.New(env.Dial), version: env.Version}, nil
}

// heartbeat is how often either side shows that it is there.
const heartbeat = 10 * time.Second

func (s *Sink) connect(ctx context.Context) error {
	if s.link != nil && !s.link.conn.IsClosed() {
		return nil
	}
	s.disconnect()
	nc, err := s.conns.Dial(ctx, "tcp", s.cfg.address, s.cfg.tls)
	if err != nil {
		return err
	}
	conn, err := amqp.Open(nc, amqp.Config{
		SASL:  []amqp.Authentication{&amqp.PlainAuth{Username: s.cfg.username, Password: s.cfg.password}},
		Vhost: s.cfg.vhost, Heartbeat: heartbeat, Locale: "en_US", Properties: amqp.Table{"product": "waltrigger", "version": s.version},
	})
	if err != nil {
		nc.Close()
		return err
	}
	l := &link{conn: conn, ended: conn.NotifyClose(make(chan *amqp.Error, 1)), channels: map[string]*channel{}}
	blockings := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	go func() { // ends with the connection
		for b := range blockings {
			l.mu.Lock()
			l.blocked = ""
			if b.Active {
				l.blocked = "the server takes no messages: " + b.Reason
			}
			l.mu.Unlock()
		}
	}()
	s.link = l
	return nil
}

// blockedBy is why the server takes nothing, "" = it does.
func (l *link) blockedBy() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blocked
}

// channel returns the one of an exchange.
func (l *link) channel(exchange string) (*channel, error) {
	if c := l.channels[exchange]; c != nil && !c.IsClosed() {
		return c, nil
	}
	if len(l.channels) >= maxChannels {
		for name, c := range l.channels {
			_ = c.Close()
			delete(l.channels, name)
		}
	}
	ch, err := l.conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &channel{Channel: ch, ended: ch.NotifyClose(make(chan *amqp.Error, 1)), returns: ch.NotifyReturn(make(chan amqp.Return, 2*maxBatch))}
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return nil, err
	}
	l.channels[exchange] = c
	return c, nil
}

// Send sends msgs; see sink.Sink.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if err := s.conns.Begin(ctx); err != nil {
		return sink.All(len(msgs), classify(err))
	}
	defer s.conns.End()
	if err := s.connect(ctx); err != nil {
		s.conns.CloseAll()
		return sink.All(len(msgs), classify(s.conns.Error(ctx, err)))
	}
	if why := s.link.blockedBy(); why != "" {
		return sink.All(len(msgs), &sink.Error{Class: sink.Unavailable, Code: codeBlocked, Err: errors.New(why)})
	}
	t := &transfer{Sink: s, ctx: ctx, msgs: msgs}
	t.run()
	if t.broken || ctx.Err() != nil || s.link.conn.IsClosed() {
		s.disconnect()
	}
	return t.errs
}

// Close closes the connection.
func (s *Sink) Close() error {
	if s.link != nil && !s.link.conn.IsClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.conns.Begin(ctx) == nil {
			_ = s.link.conn.CloseDeadline(time.Now().Add(time.Second)) // closed below in any case
			s.conns.End()
		}
	}
	s.disconnect()
	return nil
}

// disconnect closes the connection and waits until the client has noticed.
func (s *Sink) disconnect() {
	s.conns.CloseAll()
	if s.link == nil {
		return
	}
	for range s.link.ended { // closed once its reader has ended
	}
	s.link = nil
}
