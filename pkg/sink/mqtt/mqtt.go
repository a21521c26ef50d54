// Package mqtt sends messages to topics of servers that speak MQTT 5.
//
//	Send ── all messages on one connection, as many at once as the server allows
//	     ── PUBACK (QoS 1) or PUBCOMP (QoS 2) for each
//
// Headers travel as user properties, which version 3 of the protocol does not have. A
// server accepts messages that nobody subscribed to, and forgets them unless they are
// retained.
package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// Kind is the kind of MQTT queues. A Send holds one message of a key at most: a server
// may refuse a message and take those after it.
var Kind = sink.Kind{
	Name:     "mqtt",
	Ordered:  true,
	MaxBatch: 256,
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
	cfg   *config
	conns *conns.Set
	link  *link // nil = to be made

	// careful = the server closed the connection over one of several messages; they are
	// sent one by one until it is found.
	careful bool
}

// link is a connection.
type link struct {
	client *paho.Client
	most   int        // bytes of a packet; 0 = any
	lost   chan error // why it ended, has room for one
}

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	r := details.Read(conn)
	cfg := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, conns: conns.New(env.Dial)}, nil
}

// keepAlive is after how many seconds of silence the connection is tried.
const keepAlive = 30

// longest is more than a Send may take: its context ends it, not the client's limit.
const longest = 24 * time.Hour

func (s *Sink) connect(ctx context.Context) error {
	if s.link != nil {
		select {
		case <-s.link.client.Done():
			s.disconnect()
		default:
			return nil
		}
	}
	conn, err := s.conns.Dial(ctx, "tcp", s.cfg.address, s.cfg.tls)
	if err != nil {
		return err
	}
	l := &link{lost: make(chan error, 1)}
	end := func(err error) {
		select {
		case l.lost <- err:
		default:
		}
	}
	l.client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), PacketTimeout: longest, OnClientError: end,
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){},
		OnServerDisconnect: func(d *paho.Disconnect) { end(disconnected(d)) },
	})
	one := uint16(1)
	c := &paho.Connect{ClientID: s.cfg.clientID, KeepAlive: keepAlive, CleanStart: true, Properties: &paho.ConnectProperties{ReceiveMaximum: &one}}
	if c.ClientID == "" {
		c.ClientID = "waltrigger-" + strings.ToLower(rand.Text())
	}
	if s.cfg.username != "" {
		c.Username, c.UsernameFlag = s.cfg.username, true
		c.Password, c.PasswordFlag = []byte(s.cfg.password), true
	}
	ack, err := l.client.Connect(ctx, c)
	if err != nil {
		if ack != nil && ack.ReasonCode >= 0x80 {
			return connectRefused(ack)
		}
		return err
	}
	if p := ack.Properties; p != nil && p.MaximumPacketSize != nil {
		l.most = int(*p.MaximumPacketSize)
	}
	s.link = l
	return nil
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
	errs, ended := s.publish(ctx, msgs)
	if ended || ctx.Err() != nil {
		s.disconnect()
	}
	return errs
}

// publish sends msgs at once, or one by one if one of them ends the connection.
func (s *Sink) publish(ctx context.Context, msgs []*sink.Message) (errs []error, ended bool) {
	errs = make([]error, len(msgs))
	// The client may leave a message waiting for ever when the connection ends.
	alive, cancel := context.WithCancel(ctx)
	var wg, watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-s.link.client.Done():
			cancel()
		case <-alive.Done():
		}
	})
	defer watch.Wait()
	defer cancel()
	for i, m := range msgs {
		p, err := s.packet(m)
		switch {
		case err != nil:
			errs[i] = err
		case !s.careful:
			wg.Go(func() { errs[i] = s.send(ctx, alive, p) })
		case ended:
			errs[i] = errNotSent
		default:
			errs[i] = s.send(ctx, alive, p)
			ended = errors.Is(errs[i], errLost)
		}
	}
	wg.Wait()
	failed, lost := false, 0
	for _, err := range errs {
		failed = failed || err != nil
		if errors.Is(err, errLost) {
			lost++
		}
	}
	s.careful = false
	if !failed {
		return nil, false
	}
	var why error
	if lost > 0 {
		s.careful = lost > 1 // it may have been over any of them
		why = s.whyLost(ctx)
		var refused *refusedError
		if errors.As(why, &refused) && refused.ofMessage() && lost > 1 {
			why = errOther
		}
	}
	for i, err := range errs {
		if errors.Is(err, errLost) && why != nil {
			err = why
		}
		if err != nil {
			errs[i] = classify(s.conns.Error(ctx, err))
		}
	}
	return errs, lost > 0
}

var (
	errLost    = errors.New("the connection ended before the message was acknowledged")
	errNotSent = errors.New("not sent, as the connection ended")
	errOther   = errors.New("the server closed the connection over a message of the same batch")
)

// whyLost waits for the reason, which comes after the fact.
func (s *Sink) whyLost(ctx context.Context) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case err := <-s.link.lost:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// packet makes m's.
func (s *Sink) packet(m *sink.Message) (*paho.Publish, error) {
	p := &paho.Publish{Topic: m.Params[paramTopic], Payload: m.Body, Properties: &paho.PublishProperties{ContentType: m.ContentType}}
	if !legalTopic(p.Topic) {
		return nil, &sink.Error{Class: sink.Permanent, Code: codeTopic, Err: fmt.Errorf("%q is no topic to publish to", p.Topic)}
	}
	var ok bool
	if p.QoS, ok = readQoS(m.Params[paramQoS]); !ok {
		return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: fmt.Errorf("qos %q is neither 1 nor 2", m.Params[paramQoS])}
	}
	if v := m.Params[paramRetain]; v != "" {
		var err error
		if p.Retain, err = strconv.ParseBool(strings.ToLower(v)); err != nil {
			return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: fmt.Errorf("retain %q is neither true nor false", v)}
		}
	}
	for _, h := range m.EventHeaders(append([]sink.Header(nil), m.Headers...)) {
		if !legalText(h.Name) || !legalText(h.Value) {
			return nil, &sink.Error{Class: sink.Permanent, Code: "invalid_header", Err: fmt.Errorf("%.100q cannot be sent as a user property: it is too long, or no UTF-8", h.Name)}
		}
		p.Properties.User = append(p.Properties.User, paho.UserProperty{Key: h.Name, Value: h.Value})
	}
	if s.link.most > 0 {
		// The packet's id is not set yet, and has its two bytes all the same.
		if n, err := p.Packet().WriteTo(io.Discard); err == nil && int(n) > s.link.most {
			return nil, &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: fmt.Errorf("a packet of %d bytes, more than the server's %d", n, s.link.most)}
		}
	}
	return p, nil
}

func legalText(s string) bool {
	return len(s) <= 65535 && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// send sends one message and waits for its acknowledgement. alive ends with ctx, or the
// connection.
func (s *Sink) send(ctx, alive context.Context, p *paho.Publish) error {
	r, err := s.link.client.Publish(alive, p)
	switch {
	case r != nil && r.ReasonCode >= 0x80:
		refused := &refusedError{code: r.ReasonCode}
		if r.Properties != nil {
			refused.reason = r.Properties.ReasonString
		}
		return refused
	case err == nil || ctx.Err() != nil || errors.Is(err, paho.ErrInvalidArguments):
		return err
	case alive.Err() != nil:
		return errLost
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

// Close closes the connection.
func (s *Sink) Close() error {
	if s.link != nil {
		select {
		case <-s.link.client.Done():
		default:
			// A server that is not told takes the end for a failure of the client.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if s.conns.Begin(ctx) == nil {
				_ = s.link.client.Disconnect(&paho.Disconnect{})
				s.conns.End()
			}
		}
	}
	s.disconnect()
	return nil
}

// disconnect closes the connection and waits until the client has ended.
func (s *Sink) disconnect() {
	s.conns.CloseAll()
	if s.link != nil {
		<-s.link.client.Done()
		s.link = nil
	}
}
