package sinktest

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is a network that fails on demand. Its Dial is given to the sink. Safe for
// concurrent use.
type Net struct {
	mu     sync.Mutex
	conns  map[*conn]struct{}
	refuse error
	stall  chan struct{} // closed by Heal; nil = answers are let through
}

// NewNet returns a network that works.
func NewNet() *Net { return &Net{conns: map[*conn]struct{}{}} }

// refusal is what an egress guard answers.
type refusal struct{}

func (refusal) Error() string { return "address not allowed: a test does not want it" }
func (refusal) Blocked() bool { return true }

// Dial is for sink.Env.
func (n *Net) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	err := n.refuse
	n.mu.Unlock()
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, net: n, closed: make(chan struct{}), moved: make(chan struct{})}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return c, nil
}

// Refuse makes dials fail as if nobody listened.
func (n *Net) Refuse() { n.set(os.NewSyscallError("connect", syscall.ECONNREFUSED)) }

// Block makes dials fail as a guard does.
func (n *Net) Block() { n.set(refusal{}) }

func (n *Net) set(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = err
}

// Stall lets requests through, but no answer until Heal.
func (n *Net) Stall() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stall == nil {
		n.stall = make(chan struct{})
	}
}

// Heal ends all faults.
func (n *Net) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = nil
	if n.stall != nil {
		close(n.stall)
		n.stall = nil
	}
}

// Break resets all connections.
func (n *Net) Break() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		c.Conn.Close()
	}
}

// Open counts connections that were not closed by the sink.
func (n *Net) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// conn is a connection of Net.
type conn struct {
	net.Conn
	net    *Net
	once   sync.Once
	closed chan struct{}

	held []byte // read, but kept from the sink by a stall

	mu    sync.Mutex
	until time.Time
	moved chan struct{} // closed and replaced when until changes
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	c.move(t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.move(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) move(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	close(c.moved)
	c.moved = make(chan struct{})
}

// Read is called by one goroutine at a time.
func (c *conn) Read(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	if len(c.held) > 0 {
		n := copy(b, c.held)
		c.held = c.held[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) {
		err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	if err == nil {
		if werr := c.wait(); werr != nil { // it stalled while the read was waiting
			c.held = append(c.held, b[:n]...)
			return 0, werr
		}
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if errors.Is(err, net.ErrClosed) {
		err = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	}
	return n, err
}

// wait returns when answers are let through.
func (c *conn) wait() error {
	for {
		c.net.mu.Lock()
		stall := c.net.stall
		c.net.mu.Unlock()
		if stall == nil {
			return nil
		}
		c.mu.Lock()
		until, moved := c.until, c.moved
		c.mu.Unlock()
		var late <-chan time.Time
		if !until.IsZero() {
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-stall:
		case <-moved:
		case <-c.closed:
			return net.ErrClosed
		case <-late:
			return os.ErrDeadlineExceeded
		}
	}
}
