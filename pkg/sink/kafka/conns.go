package kafka

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialTime bounds a dial outside of Send.
const dialTime = 10 * time.Second

// conns dials for sarama, which knows no contexts, and can close all connections: that
// ends whatever sarama is doing. Safe for concurrent use.
type conns struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	ctx     context.Context // of the Send that runs, nil = none
	stop    func() bool
	open    map[net.Conn]struct{}
	refused error // the last error of dialling in this Send
}

func newConns(dial func(ctx context.Context, network, address string) (net.Conn, error)) *conns {
	return &conns{dial: dial, open: map[net.Conn]struct{}{}}
}

// begin makes dials and connections end with ctx, until end.
func (c *conns) begin(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.refused = ctx, nil
	c.stop = context.AfterFunc(ctx, c.closeAll)
}

func (c *conns) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
	c.ctx = nil
}

// refusal is why the last dial of this Send failed, nil = none did.
func (c *conns) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// Dial is proxy.Dialer.
func (c *conns) Dial(network, address string) (net.Conn, error) {
	c.mu.Lock()
	ctx := c.ctx
	c.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	dctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	nc, err := c.dial(dctx, network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.refused = err
		return nil, err
	}
	if ctx.Err() != nil { // closeAll has run already
		nc.Close()
		return nil, ctx.Err()
	}
	t := &conn{Conn: nc, of: c}
	c.open[t] = struct{}{}
	return t, nil
}

func (c *conns) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc := range c.open {
		nc.(*conn).Conn.Close()
	}
	clear(c.open)
}

// conn leaves the set when it is closed.
type conn struct {
	net.Conn
	of *conns
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
