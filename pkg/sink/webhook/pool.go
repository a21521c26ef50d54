package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

const (
	idleTime = 60 * time.Second // an idle connection is closed after it
	maxIdle  = 512              // idle connections of one host
	// staleTime is after how much idleness a connection may well have been closed by
	// the peer without our knowing.
	staleTime = 100 * time.Millisecond
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// pool keeps idle connections, the last used first. Safe for concurrent use.
type pool struct {
	dial   dialFunc
	config *tls.Config

	mu     sync.Mutex
	hosts  map[hostKey]*[]*conn
	sweep  *time.Timer // nil while no connection is idle
	closed bool
}

type hostKey struct {
	address string
	secure  bool
}

func newPool(dial dialFunc, config *tls.Config) *pool {
	return &pool{dial: dial, config: config, hosts: map[hostKey]*[]*conn{}}
}

// do sends one request and returns the response.
func (p *pool) do(ctx context.Context, q *request, deadline time.Time) (response, error) {
	key := hostKey{q.address, q.secure}
	c := p.idle(key)
	if c != nil {
		stale := time.Since(c.since) > staleTime
		r, err := p.exchange(ctx, c, q, deadline)
		if err == nil || !stale || !r.unanswered || ctx.Err() != nil || sink.Network(err).Code != sink.CodeReset {
			return r, err
		}
		// The peer had closed the idle connection before the request reached it: no
		// attempt was made yet.
	}
	c, err := p.open(ctx, key, q.target, deadline)
	if err != nil {
		return response{}, err
	}
	return p.exchange(ctx, c, q, deadline)
}

func (p *pool) exchange(ctx context.Context, c *conn, q *request, deadline time.Time) (response, error) {
	began := time.Now()
	r, err := c.exchange(ctx, q, deadline)
	if err != nil && r.unanswered {
		p.doubt(c.key, began)
	}
	if err != nil || r.last {
		c.Close()
		return r, err
	}
	p.put(c)
	return r, nil
}

// idle takes an idle connection, nil if there is none.
func (p *pool) idle(key hostKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[key]
	if list == nil || len(*list) == 0 {
		return nil
	}
	n := len(*list) - 1
	c := (*list)[n]
	(*list)[n] = nil
	*list = (*list)[:n]
	return c
}

func (p *pool) open(ctx context.Context, key hostKey, t *target, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := p.dial(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	if t.secure {
		config := p.config.Clone()
		config.ServerName = t.server
		if nc, err = sink.Handshake(ctx, nc, config); err != nil {
			return nil, err
		}
	}
	return newConn(nc, key), nil
}

func (p *pool) put(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[c.key]
	if list == nil {
		list = new([]*conn)
		p.hosts[c.key] = list
	}
	if p.closed || len(*list) >= maxIdle {
		c.Close()
		return
	}
	*list = append(*list, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTime/2, p.clean)
	}
}

// doubt closes what is idle since before then: a request was not answered, and if the way
// to the host is lost the others would find out one by one, each after its time-out.
func (p *pool) doubt(key hostKey, then time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[key]
	if list == nil {
		return
	}
	n := 0 // the longest idle stand first
	for n < len(*list) && (*list)[n].since.Before(then) {
		(*list)[n].Close()
		n++
	}
	*list = slices.Delete(*list, 0, n)
}

// clean closes what was idle for too long.
func (p *pool) clean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := time.Now()
	for key, list := range p.hosts {
		n := 0 // the longest idle stand first
		for n < len(*list) && now.Sub((*list)[n].since) >= idleTime {
			(*list)[n].Close()
			n++
		}
		if n == len(*list) {
			delete(p.hosts, key)
			continue
		}
		*list = append((*list)[:0], (*list)[n:]...)
	}
	p.sweep = nil
	if len(p.hosts) > 0 {
		p.sweep = time.AfterFunc(idleTime/2, p.clean)
	}
}

// close closes the idle connections; others are closed when they are put back.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for key, list := range p.hosts {
		for _, c := range *list {
			c.Close()
		}
		delete(p.hosts, key)
	}
}
