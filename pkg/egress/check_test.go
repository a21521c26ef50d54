package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func newGuard(t *testing.T, p Policy) *Guard {
	t.Helper()
	g, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// checkBlocked expects a *Blocked whose text holds want; "" = no error.
func checkBlocked(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if b := (*Blocked)(nil); !errors.As(err, &b) {
		t.Errorf("error %v, want a refusal about %q", err, want)
	} else if !strings.Contains(b.Error(), want) {
		t.Errorf("refusal %q, want one about %q", b, want)
	}
}

func TestNew(t *testing.T) {
	_, err := New(Policy{
		AllowHosts: []string{"a:b", "127.1", "https://x", "x:0", "", "[::1", "fe80::1%eth0"},
		AllowCIDRs: []string{"10.0.0.1/8", "x", "::ffff:10.0.0.0/104"},
		DenyCIDRs:  []string{"300.0.0.0/8"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"a:b"`, `"127.1"`, `"https://x"`, `"x:0"`, `allow_hosts: ""`, `"[::1"`, `fe80::1%eth0`, "perhaps 10.0.0.0/8", `"x" is no range`,
		"write the IPv4 range", `deny_cidrs: "300.0.0.0/8"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s:\n%v", want, err)
		}
	}
	newGuard(t, Policy{AllowHosts: []string{"db.internal", "db:1", "10.0.0.1", "10.0.0.1:2", "::1", "[::1]:3", "X.Y.:4"}, AllowCIDRs: []string{"10.0.0.7", "fd00::/8"}})
}

func TestCheckURL(t *testing.T) {
	g := newGuard(t, Policy{
		AllowHosts: []string{"intern.example:6379", "10.9.9.9", "169.254.169.254:8080", "localhost:9000"},
		AllowCIDRs: []string{"192.168.7.0/24", "100.100.0.0/16", "fd00::/8"},
		DenyCIDRs:  []string{"192.168.7.66/32", "8.8.8.0/24"},
	})
	g.AddOwnListener(netip.MustParseAddrPort("192.168.7.1:8080"))
	tests := []struct{ url, want string }{
		{"https://example.com/hook?a=b#c", ""},
		{"http://example.com:8080", ""},
		{"https://EXAMPLE.com./", ""},
		{"https://xn--mnchen-3ya.de/", ""},
		{"http://93.184.216.34/", ""},
		{"http://[2606:2800:220:1::1]:8443/", ""},
		{"http://under_score.example/", ""},
		{"http://[64:ff9b::5db8:d822]/", ""}, // NAT64 of a public address
		// loopback and this host
		{"http://127.0.0.1/", "egress.allow_cidrs: [127.0.0.0/8]"},
		{"http://127.8.8.8:8080/", "loopback"},
		{"http://localhost", "loopback"},
		{"http://LOCALHOST./", "loopback"},
		{"http://x.localhost/", "loopback"},
		{"http://ip6-localhost/", "loopback"},
		{"http://[::1]/", "loopback"},
		{"http://[::]/", "unspecified"},
		{"http://0.0.0.0/", "this network"},
		// numbers that some resolver takes for an address
		{"http://127.1/", "looks like a number"},
		{"http://2130706433/", "looks like a number"},
		{"http://0x7f000001/", "looks like a number"},
		{"http://0x7f.1/", "looks like a number"},
		{"http://0177.0.0.1/", "looks like a number"},
		{"http://017700000001/", "looks like a number"},
		{"http://0/", "looks like a number"},
		{"http://1.2.3.4.5/", "looks like a number"},
		{"http://127.0.0.1./", "loopback"},
		{"http://example.0x7f/", "looks like a number"},
		// digits and dots of other scripts
		{"http://①②⑦.⓪.⓪.①/", "beyond ASCII"},
		{"http://127。0。0。1/", "beyond ASCII"},
		{"http://１２７.0.0.1/", "beyond ASCII"},
		{"http://exаmple.com/", "beyond ASCII"},
		{"http://münchen.de/", "xn--"},
		// IPv4 in IPv6
		{"http://[::ffff:127.0.0.1]/", "loopback"},
		{"http://[::ffff:7f00:1]/", "loopback"},
		{"http://[::127.0.0.1]/", "IPv4-compatible"},
		{"http://[::ffff:0:7f00:1]/", "IPv4-translated"},
		{"http://[64:ff9b::7f00:1]/", "NAT64"},
		{"http://[64:ff9b::a9fe:a9fe]/", "metadata"},
		{"http://[64:ff9b:1::7f00:1]/", "NAT64"},
		{"http://[2002:7f00:1::]/", "6to4"},
		{"http://[2001:0:7f00:1::]/", "Teredo"},
		{"http://[2606:2800::5efe:7f00:1]/", "ISATAP"},
		{"http://[fe80::1%25eth0]/", "zone"},
		{"http://[fe80::1]/", "link-local"},
		// metadata, whatever else is allowed
		{"http://169.254.169.254/latest", `egress.allow_hosts: ["169.254.169.254:80"]`},
		{"http://169.254.169.254:8080/", ""},
		{"http://169.254.170.2/", "metadata"},
		{"http://[fd00:ec2::254]/", "metadata"},
		{"http://100.100.100.200/", "metadata"},
		{"http://100.100.100.201/", ""},
		{"http://168.63.129.16/", "metadata"},
		{"http://192.0.0.192/", "metadata"},
		{"http://metadata.google.internal/", "metadata"},
		{"http://METADATA/", "metadata"},
		// private and otherwise special
		{"http://10.0.0.5/", "egress.allow_cidrs: [10.0.0.0/8]"},
		{"http://172.31.255.255/", "RFC 1918"},
		{"http://172.32.0.1/", ""},
		{"http://192.168.0.1/", "RFC 1918"},
		{"http://100.64.0.1/", "RFC 6598"},
		{"http://198.19.0.1/", "benchmarks"},
		{"http://192.0.2.1/", "documentation"},
		{"http://[fd12::1]/", ""},
		{"http://[fc12::1]/", "unique local"},
		{"http://[2001:db8::1]/", "documentation"},
		{"http://[4000::1]/", "not a global unicast"},
		{"http://[ff02::1]/", "multicast"},
		{"http://224.0.0.1/", "multicast"},
		{"http://255.255.255.255/", "broadcast"},
		{"http://240.0.0.1/", "reserved"},
		// policy
		{"http://192.168.7.2/", ""},
		{"http://192.168.7.66/", "deny_cidrs"},
		{"http://8.8.8.8/", "deny_cidrs"},
		{"http://[64:ff9b::808:808]/", "deny_cidrs"},
		{"http://192.168.7.1:8080/", "listener of this daemon"},
		{"http://192.168.7.1:8081/", ""},
		{"http://10.9.9.9:8000/", ""},
		{"http://localhost:9000/", ""},
		{"http://localhost:9001/", "loopback"},
		{"http://kubernetes.default.svc/", "Kubernetes"},
		{"https://kubernetes.default.svc.cluster.local/", "Kubernetes"},
		// forms
		{"https://good@127.0.0.1/", "user name"},
		{"http://user:pw@example.com/", "user name"},
		{`http://127.0.0.1\@ok.com/`, "backslash"},
		{"http:///x", "no host"},
		{"http:/h", "no host"},
		{"http:h", "no host"},
		{" http://h/", "space"},
		{"http://h\n/", "control"},
		{"http://h/a b", "space"},
		{"http://h/\x7f", "control"},
		{"http://%31%32%37.0.0.1/", "parse"},
		{"http://[127.0.0.1]/", "parse"},
		{"http://[::1/", "parse"},
		{"http://h:/", "port is missing"},
		{"http://h:99999/", "no port"},
		{"http://h:-1/", "parse"},
		{"http://h:0/", "no port"},
		{"http://h:22/", "port 22"},
		{"http://h:25/", "port 25"},
		{"http://h:6379/", `egress.allow_hosts: ["h:6379"]`},
		{"http://h:11211/", "port 11211"},
		{"http://h:5432/", "port 5432"},
		{"http://intern.example:6379/", ""},
		{"http://a..b/", "label"},
		{"http://.a/", "label"},
		{"http://" + strings.Repeat("a", 64) + ".com/", "label"},
		{"http://" + strings.Repeat("a.", 127) + "com/", "253"},
		{"http://a,b/", "holds"},
		{"http://a:b:c/", "parse"},
		{"", "http://"},
		{"example.com", "http://"},
		{"file:///etc/passwd", "http://"},
		{"gopher://h/", "http://"},
		{"ftp://h/", "http://"},
		{"data:text/plain,x", "http://"},
		{"javascript:alert(1)", "http://"},
		{"unix:///run/x", "http://"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) { checkBlocked(t, g.CheckURL(tt.url), tt.want) })
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	g := newGuard(t, Policy{})
	for _, u := range []string{"http://u:s3cret@h/", "http://127.0.0.1/?k=s3cret", "http://[::1/?k=s3cret", "http://h:x/?k=s3cret", "ftp://h/?k=s3cret", "http://h/\ns3cret"} {
		err := g.CheckURL(u)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

func TestCheckHost(t *testing.T) {
	g := newGuard(t, Policy{AllowHosts: []string{"10.1.1.1:9092", "localhost"}})
	tests := []struct{ address, want string }{
		{"kafka.example.com:9092", ""},
		{"kafka.example.com", ""},
		{"redis.example.com:6379", ""},
		{"10.1.1.1:9092", ""},
		{"10.1.1.1", ""},
		{"10.1.1.1:9093", "RFC 1918"},
		{"localhost:1", ""},
		{"::1", "loopback"},
		{"[::1]:9092", "loopback"},
		{"127.1:9092", "looks like a number"},
		{"h:0", "no port"},
		{"h:http", "no port"},
		{"a:b:c", "brackets"},
		{"http://h", "no port"},
		{"", "empty"},
		{"169.254.169.254:80", "metadata"},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) { checkBlocked(t, g.CheckHost(tt.address), tt.want) })
	}
}

// Ranges must come before those that hold them, or their names would never be seen.
func TestTableOrder(t *testing.T) {
	for i, a := range special {
		for _, b := range special[:i] {
			if b.prefix.Bits() <= a.prefix.Bits() && b.prefix.Overlaps(a.prefix) {
				t.Errorf("%s stands behind %s", a.prefix, b.prefix)
			}
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	g, err := New(Policy{})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"http://a.b:80/x", "http://[::1]:1", "http://1.2.3.4", "http://[64:ff9b::1.2.3.4]", "https://①.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if err := g.CheckURL(raw); err != nil {
			if b := (*Blocked)(nil); !errors.As(err, &b) || len(err.Error()) > 1000 {
				t.Fatalf("%T %v", err, err)
			}
		}
	})
}
