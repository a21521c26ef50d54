package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
)

// DialFunc is the shape that clients of all protocols take.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Dial connects to an address that comes from a trigger or from a peer. Of a name's
// addresses only those are dialled that are allowed. If there is none, the error is a
// *Blocked; else it is that of net.Dialer.
func (g *Guard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return g.dial(ctx, network, address, nil)
}

func (g *Guard) dial(ctx context.Context, network, address string, peerOf []netip.Prefix) (net.Conn, error) {
	host, port, err := target(network, address)
	if err != nil {
		return nil, err
	}
	name := canonical(host)
	listed := g.listed(name, port)
	if _, err := netip.ParseAddr(name); err != nil {
		if why := nameTrouble(name); why != "" {
			return nil, &Blocked{Host: printable(host), Reason: why}
		}
		if b := forbiddenName(name, port); b != nil && !listed {
			return nil, b
		}
	}
	check := func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return &Blocked{Host: host, Reason: "leads to something that is no address"}
		}
		b := g.verdict(ap.Addr(), ap.Port(), peerOf)
		if b == nil || listed && !g.denied(ap.Addr()) {
			return nil
		}
		b.Host = host
		return b
	}
	return g.connect(ctx, network, address, check)
}

func (g *Guard) denied(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, a := range append([]netip.Addr{ip}, embedded(ip)...) {
		for _, p := range g.deny {
			if p.Contains(a) {
				return true
			}
		}
	}
	return ip.Zone() != ""
}

type control = func(ctx context.Context, network, address string, c syscall.RawConn) error

// connect tries the addresses in turn; check refuses one after it was resolved and
// before a packet is sent, so that no second look at the name can differ from the first.
func (g *Guard) connect(ctx context.Context, network, address string, check control) (net.Conn, error) {
	d := net.Dialer{ControlContext: check, Resolver: g.resolver}
	c, err := d.DialContext(ctx, network, address)
	if b := (*Blocked)(nil); errors.As(err, &b) {
		return nil, b
	}
	return c, err
}

// target splits an address that is to be dialled.
func target(network, address string) (host string, port uint16, err error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return "", 0, &Blocked{Reason: fmt.Sprintf("network %q is not allowed", network)}
	}
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("split address: %w", err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, &Blocked{Host: host, Reason: fmt.Sprintf("%q is no port", p)}
	}
	return host, uint16(n), nil
}

// Operator returns a dial function for a client whose addresses, host:port each, the
// operator wrote in the configuration. These are dialled as they are. Others, which a
// peer advertised, are checked as by Dial, except that they may be private if a written
// address turned out to be, and loopback if one was that.
func (g *Guard) Operator(addresses ...string) DialFunc {
	o := &operator{g: g, written: make(map[string]bool, len(addresses))}
	for _, a := range addresses {
		o.written[canonicalAddress(a)] = true
		if host, _, err := net.SplitHostPort(a); err == nil {
			if ip, err := netip.ParseAddr(host); err == nil {
				o.learn(ip)
			}
		}
	}
	return o.dial
}

// operator remembers in which kinds of network the operator's addresses lie.
type operator struct {
	g       *Guard
	written map[string]bool

	mu       sync.Mutex
	private  bool
	loopback bool
}

func canonicalAddress(a string) string {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return a
	}
	return net.JoinHostPort(canonical(host), port)
}

func (o *operator) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !o.written[canonicalAddress(address)] {
		return o.g.dial(ctx, network, address, o.peers())
	}
	c, err := o.g.connect(ctx, network, address, nil)
	if err != nil {
		return nil, err
	}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		o.learn(a.AddrPort().Addr())
	}
	return c, nil
}

func (o *operator) learn(ip netip.Addr) {
	ip = ip.Unmap()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range private {
		o.private = o.private || p.Contains(ip)
	}
	o.loopback = o.loopback || ip.IsLoopback()
}

// peers are the special ranges that peers may advertise.
func (o *operator) peers() []netip.Prefix {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []netip.Prefix
	if o.private {
		out = append(out, private...)
	}
	if o.loopback {
		out = append(out, loopback...)
	}
	return out
}
