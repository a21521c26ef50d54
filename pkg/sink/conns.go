package sink

import (
	"context"
	"net"
	"sync"
)

// Conns dials for a client library that connects in the background, and knows what is
// open, so that nothing outlives the Sink that uses it. Safe for concurrent use.
type Conns struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	open    map[*trackedConn]struct{}
	closed  bool
	dialing sync.WaitGroup
}

// NewConns returns Conns that dial by dial, which is Env.Dial or stands before it.
func NewConns(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Conns {
	ctx, stop := context.WithCancel(context.Background())
	return &Conns{dial: dial, ctx: ctx, stop: stop, open: map[*trackedConn]struct{}{}}
}

// Dial connects; after Close it fails with net.ErrClosed.
func (c *Conns) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	c.dialing.Add(1)
	c.mu.Unlock()
	defer c.dialing.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	nc, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	t := &trackedConn{Conn: nc, of: c}
	c.open[t] = struct{}{}
	return t, nil
}

// Close ends dials, closes all connections, and returns when no dial is under way.
func (c *Conns) Close() {
	c.mu.Lock()
	c.closed = true
	for t := range c.open {
		t.Conn.Close()
	}
	clear(c.open)
	c.mu.Unlock()
	c.stop()
	c.dialing.Wait()
}

// trackedConn leaves the set when it is closed.
type trackedConn struct {
	net.Conn
	of *Conns
}

func (t *trackedConn) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}
