package egress

import "net/netip"

// named is a range with what it is for.
type named struct {
	prefix netip.Prefix
	name   string
}

func ranges(list ...[2]string) []named {
	out := make([]named, 0, len(list))
	for _, e := range list {
		out = append(out, named{netip.MustParsePrefix(e[0]), e[1]})
	}
	return out
}

// special are the ranges of the IANA IPv4 and IPv6 Special-Purpose Address Registries
// (RFC 6890 and its updates), multicast and what is reserved. The more specific range
// comes first where ranges overlap. Ranges that the registries call globally reachable
// but that lead to a service nearby (anycast of relays and of AS112) are among them:
// no receiver of webhooks lives there.
var special = ranges(
	[2]string{"0.0.0.0/8", "this network (RFC 791)"},
	[2]string{"10.0.0.0/8", "private (RFC 1918)"},
	[2]string{"100.64.0.0/10", "shared address space (RFC 6598)"},
	[2]string{"127.0.0.0/8", "loopback"},
	[2]string{"169.254.0.0/16", "link-local"},
	[2]string{"172.16.0.0/12", "private (RFC 1918)"},
	[2]string{"192.0.0.0/24", "reserved for IETF protocols (RFC 6890)"},
	[2]string{"192.0.2.0/24", "for documentation (RFC 5737)"},
	[2]string{"192.31.196.0/24", "AS112 (RFC 7535)"},
	[2]string{"192.52.193.0/24", "AMT (RFC 7450)"},
	[2]string{"192.88.99.0/24", "a 6to4 relay (RFC 7526)"},
	[2]string{"192.168.0.0/16", "private (RFC 1918)"},
	[2]string{"192.175.48.0/24", "AS112 (RFC 7534)"},
	[2]string{"198.18.0.0/15", "for benchmarks (RFC 2544)"},
	[2]string{"198.51.100.0/24", "for documentation (RFC 5737)"},
	[2]string{"203.0.113.0/24", "for documentation (RFC 5737)"},
	[2]string{"224.0.0.0/4", "multicast"},
	[2]string{"255.255.255.255/32", "broadcast"},
	[2]string{"240.0.0.0/4", "reserved (RFC 1112)"},

	[2]string{"::/128", "the unspecified address"},
	[2]string{"::1/128", "loopback"},
	[2]string{"::/96", "an IPv4-compatible address (RFC 4291)"},
	[2]string{"::ffff:0:0:0/96", "an IPv4-translated address (RFC 2765)"},
	[2]string{"64:ff9b:1::/48", "local-use NAT64 (RFC 8215)"},
	[2]string{"100::/64", "discard-only (RFC 6666)"},
	[2]string{"100:0:0:1::/64", "a dummy prefix (RFC 9780)"},
	[2]string{"2001::/32", "Teredo (RFC 4380)"},
	[2]string{"2001::/23", "reserved for IETF protocols (RFC 2928)"},
	[2]string{"2001:db8::/32", "for documentation (RFC 3849)"},
	[2]string{"2002::/16", "6to4 (RFC 3056)"},
	[2]string{"2620:4f:8000::/48", "AS112 (RFC 7534)"},
	[2]string{"3fff::/20", "for documentation (RFC 9637)"},
	[2]string{"5f00::/16", "segment routing (RFC 9602)"},
	[2]string{"fc00::/7", "unique local (RFC 4193)"},
	[2]string{"fe80::/10", "link-local"},
	[2]string{"fec0::/10", "site-local (RFC 3879)"},
	[2]string{"ff00::/8", "multicast"},
)

// private are the ranges that a broker of a private network may advertise.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
	v4compat   = netip.MustParsePrefix("::/96")
	v4transl   = netip.MustParsePrefix("::ffff:0:0:0/96")
	global6    = netip.MustParsePrefix("2000::/3")
)

// metadata are the services from which machines of a cloud fetch their credentials:
// AWS (EC2, ECS, EKS), GCP, Azure, Alibaba, Oracle, Tencent.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"), netip.MustParseAddr("fd20:ce::254"),
	netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
	netip.MustParseAddr("169.254.0.23"),
}

// specialRange finds the range of ip, which is unmapped, if it is not an ordinary
// public address. Of IPv6 only 2000::/3 is given to networks at all.
func specialRange(ip netip.Addr) (named, bool) {
	for _, r := range special {
		if r.prefix.Contains(ip) {
			return r, true
		}
	}
	if ip.Is6() && !global6.Contains(ip) {
		return named{netip.PrefixFrom(ip, 128), "not a global unicast address"}, true
	}
	if ip.Is6() && isISATAP(ip) {
		return named{netip.PrefixFrom(ip, 128), "an ISATAP address (RFC 5214)"}, true
	}
	return named{}, false
}

func isISATAP(ip netip.Addr) bool {
	b := ip.As16()
	return b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// embedded gives the IPv4 addresses that an IPv6 address leads to.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	v4 := func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
	switch {
	case nat64.Contains(ip), nat64Local.Contains(ip), v4transl.Contains(ip), isISATAP(ip):
		return []netip.Addr{v4(b[12:16])}
	case v4compat.Contains(ip) && !ip.IsUnspecified() && !ip.IsLoopback():
		return []netip.Addr{v4(b[12:16])}
	case sixToFour.Contains(ip):
		return []netip.Addr{v4(b[2:6])}
	case teredo.Contains(ip): // the server's, and the client's with its bits flipped
		return []netip.Addr{v4(b[4:8]), v4([]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	}
	return nil
}
