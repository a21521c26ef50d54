package aws

import (
	"context"
	"net"
	"sync"
)

// conns dials for net/http, which does so in the background, and knows what is
// open, so that nothing outlives the Session. Safe for concurrent use.
type conns struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	open    map[*trackedConn]struct{}
	closed  bool
	dialing sync.WaitGroup
	also    *conns // closed with these, may be nil
}

// newConns returns conns that dial by dial.
func newConns(dial func(ctx context.Context, network, address string) (net.Conn, error)) *conns {
	ctx, stop := context.WithCancel(context.Background())
	return &conns{dial: dial, ctx: ctx, stop: stop, open: map[*trackedConn]struct{}{}}
}

// Dial connects; after Close it fails with net.ErrClosed.
func (c *conns) Dial(ctx context.Context, network, address string) (net.Conn, error) {
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
func (c *conns) Close() {
	c.mu.Lock()
	c.closed = true
	for t := range c.open {
		t.Conn.Close()
	}
	clear(c.open)
	c.mu.Unlock()
	c.stop()
	c.dialing.Wait()
	if c.also != nil {
		c.also.Close()
	}
}

// trackedConn leaves the set when it is closed.
type trackedConn struct {
	net.Conn
	of *conns
}

func (t *trackedConn) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}
