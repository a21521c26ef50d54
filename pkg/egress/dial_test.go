package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dns answers A questions in this process. Each name has a list of answers: the first
// question gets the first, the last one is repeated.
type dns struct {
	mu      sync.Mutex
	answers map[string][][]string
	asked   map[string]int
}

func newDNS(answers map[string][][]string) *dns {
	return &dns{answers: answers, asked: map[string]int{}}
}

func (d *dns) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go d.serve(server)
		return client, nil
	}}
}

func (d *dns) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			return
		}
		out, err := d.answer(m).Pack()
		if err != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

func (d *dns) answer(m dnsmessage.Message) *dnsmessage.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	list := d.answers[name]
	if len(list) == 0 {
		m.RCode = dnsmessage.RCodeNameError
		return &m
	}
	if q.Type != dnsmessage.TypeA {
		return &m
	}
	addrs := list[min(d.asked[name], len(list)-1)]
	d.asked[name]++
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 0},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	return &m
}

// listen accepts on addr and counts.
func listen(t *testing.T, addr string) (port string, accepted func() int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func dial(t *testing.T, d DialFunc, network, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := d(ctx, network, address)
	if err == nil {
		c.Close()
	}
	return err
}

func TestDial(t *testing.T) {
	// 127.0.0.2 stands for a public address: it is allowed, all other loopback is not.
	port, _ := listen(t, "127.0.0.2:0")
	own, _ := listen(t, "127.0.0.2:0")
	denied, _ := listen(t, "127.0.0.3:0")
	g := newGuard(t, Policy{
		AllowCIDRs: []string{"127.0.0.2/31"}, DenyCIDRs: []string{"127.0.0.3/32"},
		AllowHosts: []string{"named.example", "ported.example:" + own},
	})
	g.AddOwnListener(netip.MustParseAddrPort("0.0.0.0:" + own))
	g.resolver = newDNS(map[string][][]string{
		"good.example": {{"127.0.0.2"}}, "loop.example": {{"127.0.0.1"}}, "ten.example": {{"10.0.0.5"}}, "meta.example": {{"169.254.169.254"}},
		"mixed.example": {{"127.0.0.1", "10.0.0.5", "127.0.0.2"}}, "bad.example": {{"127.0.0.1", "10.0.0.5"}},
		"named.example": {{"127.0.0.2"}}, "ported.example": {{"127.0.0.2"}}, "denied.example": {{"127.0.0.3"}},
		"kubernetes.default.svc": {{"127.0.0.2"}},
	}).resolver()
	tests := []struct{ network, address, want string }{
		{"tcp", "good.example:" + port, ""},
		{"tcp4", "GOOD.example.:" + port, ""},
		{"tcp", "127.0.0.2:" + port, ""},
		{"tcp", "[::ffff:127.0.0.2]:" + port, ""},
		{"tcp", "loop.example:" + port, "loop.example (127.0.0.1) is loopback"},
		{"tcp", "ten.example:" + port, "egress.allow_cidrs: [10.0.0.0/8]"},
		{"tcp", "meta.example:80", "metadata"},
		{"tcp", "mixed.example:" + port, ""},
		{"tcp", "bad.example:" + port, "not allowed"},
		{"tcp", "127.0.0.1:" + port, "loopback"},
		{"tcp", "[::1]:" + port, "loopback"},
		{"tcp", "[64:ff9b::7f00:1]:" + port, "NAT64"},
		{"tcp", "[2002:7f00:1::]:" + port, "6to4"},
		{"tcp", "[fe80::1%lo]:" + port, "zone"},
		{"tcp", "0x7f000002:" + port, "looks like a number"},
		{"tcp", "127.2:" + port, "looks like a number"},
		{"tcp", "①②⑦.0.0.2:" + port, "beyond ASCII"},
		{"tcp", "good.example:0", "no port"},
		{"tcp", "good.example:x", "no port"},
		{"udp", "good.example:" + port, "network"},
		{"unix", "/run/x", "network"},
		{"tcp", "good.example:" + own, "listener of this daemon"},
		{"tcp", "named.example:" + own, ""},
		{"tcp", "ported.example:" + own, ""},
		{"tcp", "ported.example:" + port, ""},
		{"tcp", "denied.example:" + denied, "deny_cidrs"},
		{"tcp", "kubernetes.default.svc:" + port, "Kubernetes"},
	}
	for _, tt := range tests {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) { checkBlocked(t, dial(t, g.Dial, tt.network, tt.address), tt.want) })
	}
}

func TestRebinding(t *testing.T) {
	port, accepted := listen(t, "127.0.0.2:0")
	inside, reached := listen(t, "127.0.0.1:"+port)
	if inside != port {
		t.Fatal("the two listeners must share a port")
	}
	g := newGuard(t, Policy{AllowCIDRs: []string{"127.0.0.2/32"}})
	d := newDNS(map[string][][]string{"rebind.example": {{"127.0.0.2"}, {"127.0.0.1"}}})
	g.resolver = d.resolver()
	address := "rebind.example:" + port
	if err := dial(t, g.Dial, "tcp", address); err != nil {
		t.Fatal(err)
	}
	checkBlocked(t, dial(t, g.Dial, "tcp", address), "loopback")
	for late := time.Now().Add(10 * time.Second); accepted() == 0 && time.Now().Before(late); {
		time.Sleep(time.Millisecond) // the kernel accepts before the listener does
	}
	if accepted() != 1 || reached() != 0 {
		t.Fatalf("allowed address reached %d times, the other %d times", accepted(), reached())
	}
}

func TestProxyVariablesAreIgnored(t *testing.T) {
	port, _ := listen(t, "127.0.0.2:0")
	proxy, used := listen(t, "127.0.0.1:0")
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(v, "http://127.0.0.1:"+proxy)
	}
	g := newGuard(t, Policy{AllowCIDRs: []string{"127.0.0.2"}})
	if err := dial(t, g.Dial, "tcp", "127.0.0.2:"+port); err != nil {
		t.Fatal(err)
	}
	if used() != 0 {
		t.Fatal("the proxy was asked")
	}
}

func TestOperator(t *testing.T) {
	port, _ := listen(t, "127.0.0.1:0")
	own, _ := listen(t, "127.0.0.1:0")
	answers := map[string][][]string{"broker.example": {{"127.0.0.1"}}, "peer.example": {{"127.0.0.1"}}}
	g := newGuard(t, Policy{DenyCIDRs: []string{"10.3.0.0/16"}})
	g.resolver = newDNS(answers).resolver()
	g.AddOwnListener(netip.MustParseAddrPort("127.0.0.1:" + own))
	t.Run("as written", func(t *testing.T) {
		checkBlocked(t, dial(t, g.Operator("Broker.example:"+port), "tcp", "broker.example:"+port), "")
		checkBlocked(t, dial(t, g.Operator("127.0.0.1:"+port), "tcp", "127.0.0.1:"+port), "")
	})
	t.Run("peer of a loopback broker", func(t *testing.T) {
		d := g.Operator("broker.example:1", "broker.example:"+port)
		checkBlocked(t, dial(t, d, "tcp", "peer.example:"+port), "loopback")
		checkBlocked(t, dial(t, d, "tcp", "broker.example:"+port), "")
		checkBlocked(t, dial(t, d, "tcp", "peer.example:"+port), "")
		checkBlocked(t, dial(t, d, "tcp", "127.0.0.1:"+own), "listener of this daemon")
		checkBlocked(t, dial(t, d, "tcp", "10.0.0.1:9092"), "RFC 1918")
		checkBlocked(t, dial(t, d, "tcp", "169.254.169.254:80"), "metadata")
	})
	t.Run("peer of a private broker", func(t *testing.T) {
		o := &operator{g: g, written: map[string]bool{}}
		o.learn(netip.MustParseAddr("::ffff:10.0.0.1"))
		checkBlocked(t, dial(t, o.dial, "tcp", "127.0.0.1:"+port), "loopback")
		checkBlocked(t, dial(t, o.dial, "tcp", "169.254.169.254:80"), "metadata")
		checkBlocked(t, dial(t, o.dial, "tcp", "10.3.0.1:80"), "deny_cidrs")
		checkBlocked(t, dial(t, o.dial, "tcp", "[fd00:ec2::254]:80"), "metadata")
		for _, ip := range []string{"10.2.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"} {
			if b := g.verdict(netip.MustParseAddr(ip), 9092, o.peers()); b != nil {
				t.Errorf("%s: %v", ip, b)
			}
		}
	})
	t.Run("peer of a public broker", func(t *testing.T) {
		d := g.Operator("93.184.216.34:9092")
		checkBlocked(t, dial(t, d, "tcp", "10.0.0.1:9092"), "RFC 1918")
		checkBlocked(t, dial(t, d, "tcp", "127.0.0.1:"+port), "loopback")
	})
}

func TestDialErrors(t *testing.T) {
	g := newGuard(t, Policy{AllowCIDRs: []string{"127.0.0.0/8"}})
	g.resolver = newDNS(nil).resolver()
	var dnsErr *net.DNSError
	if err := dial(t, g.Dial, "tcp", "none.example:80"); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Errorf("error %v, want one of DNS", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Dial(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("error %v, want the context's", err)
	}
}

func BenchmarkVerdict(b *testing.B) {
	g, err := New(Policy{AllowCIDRs: []string{"10.0.0.0/8"}})
	if err != nil {
		b.Fatal(err)
	}
	ip := netip.MustParseAddr("2606:2800:220:1::1")
	b.ReportAllocs()
	for b.Loop() {
		if g.verdict(ip, 443, nil) != nil {
			b.Fatal("blocked")
		}
	}
}
