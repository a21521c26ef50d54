// Package conns keeps the connections of clients that do not end with a context, or not
// at once: closing them ends whatever such a client is doing.
package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// dialTime bounds a dial outside of Begin and End.
const dialTime = 10 * time.Second

// Set holds connections. Safe for concurrent use.
type Set struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	ctx     context.Context // of what is under way, nil = nothing is
	stop    func()
	open    map[*conn]struct{}
	refused error // why the last dial since Begin failed
}

// New returns a Set that dials by dial.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Set {
	return &Set{dial: dial, open: map[*conn]struct{}{}}
}

// Begin makes dials and connections end with ctx, until End. If ctx has ended already it
// begins nothing and says so: the connections close in a goroutine of their own, and until
// then a client would still write to them.
func (s *Set) Begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx, s.refused = ctx, nil
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		s.CloseAll()
	})
	s.stop = func() {
		if !stop() {
			<-closed
		}
	}
	return nil
}

// End ends what Begin began. If the context ended it waits until the connections are
// closed: later it would be those of the next Begin.
func (s *Set) End() {
	s.mu.Lock()
	stop := s.stop
	s.ctx, s.stop = nil, nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Dial opens a connection; with config not nil it speaks TLS.
func (s *Set) Dial(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	nc, err := s.connect(ctx, network, address, config)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refused = err
		return nil, err
	}
	return nc, nil
}

var errIdle = errors.New("no dial is wanted now")

func (s *Set) connect(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	s.mu.Lock()
	under := s.ctx
	s.mu.Unlock()
	if under == nil { // a client that reconnects in the background shall not
		return nil, errIdle
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	defer context.AfterFunc(under, cancel)()
	nc, err := s.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if config != nil {
		if nc, err = sink.Handshake(ctx, nc, config); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx != under || under.Err() != nil { // CloseAll has run already
		nc.Close()
		return nil, context.Cause(under)
	}
	c := &conn{Conn: nc, of: s}
	s.open[c] = struct{}{}
	return c, nil
}

// Refusal is why the last dial since Begin failed, nil = none did.
func (s *Set) Refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// CloseAll closes all connections.
func (s *Set) CloseAll() {
	s.mu.Lock()
	open := s.open
	s.open = map[*conn]struct{}{}
	s.mu.Unlock()
	for c := range open {
		c.hardClose()
	}
}

// Error is err of a client, with what is known better: that ctx ended, or why a dial
// failed.
func (s *Set) Error(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	if refused := s.Refusal(); refused != nil && !errors.Is(err, refused) {
		return errors.Join(refused, err)
	}
	return err
}

// conn leaves the set when it is closed.
type conn struct {
	net.Conn
	of *Set
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// hardClose closes below TLS, whose Close would wait for a peer that takes nothing in.
func (c *conn) hardClose() {
	if t, ok := c.Conn.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	c.Conn.Close()
}
