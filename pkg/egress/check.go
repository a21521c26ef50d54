package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ports below 1024 other than 80 and 443 are refused for URLs; these others are too:
// what listens there speaks another protocol, and a POST to it does harm or probes.
var refusedPorts = []uint16{
	1080, 1433, 1521, 2049, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 5432, 5672, 5900, 6000, 6379, 6380, 6443, 6666, 6667,
	9042, 9092, 10250, 10255, 11211, 26379, 27017, 27018,
}

// CheckURL says why a trigger may not send to raw, as far as this can be known without
// resolving its host; Dial checks the rest. The error is a *Blocked.
func (g *Guard) CheckURL(raw string) error {
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		return &Blocked{Reason: fmt.Sprintf("the URL holds a space, control character or backslash at byte %d", i)}
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error // its text repeats the URL, which may hold a secret
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return &Blocked{Reason: fmt.Sprintf("the URL does not parse: %v", err)}
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return &Blocked{Reason: "the URL must begin with http:// or https://"}
	}
	if u.User != nil {
		return &Blocked{Host: u.Hostname(), Reason: "the URL holds a user name or password; send it in a header"}
	}
	if u.Host == "" || u.Opaque != "" {
		return &Blocked{Reason: "the URL has no host"}
	}
	port := uint16(80)
	if u.Scheme == "https" {
		port = 443
	}
	host, given, err := splitPort(u.Host)
	if err != nil {
		return &Blocked{Reason: err.Error()}
	}
	if given != "" {
		n, err := strconv.ParseUint(given, 10, 16)
		if err != nil || n == 0 {
			return &Blocked{Host: host, Reason: fmt.Sprintf("%q is no port", given)}
		}
		port = uint16(n)
	}
	if err := g.checkHost(host, port); err != nil {
		return err
	}
	if (port < 1024 && port != 80 && port != 443 || slices.Contains(refusedPorts, port)) && !g.explicit(host, port) {
		return &Blocked{Host: host, Reason: fmt.Sprintf("port %d is not one that speaks HTTP", port), Mend: allowHostMend(canonical(host), port)}
	}
	return nil
}

// explicit reports whether allow_hosts names this port of host.
func (g *Guard) explicit(host string, port uint16) bool {
	return slices.Contains(g.hosts[canonical(host)], port)
}

// CheckHost does the same for a host or host:port that is no URL, such as a broker's;
// any port but 0 is good.
func (g *Guard) CheckHost(address string) error {
	host, given := address, ""
	if _, err := netip.ParseAddr(address); err != nil {
		if host, given, err = splitPort(address); err != nil {
			return &Blocked{Reason: err.Error()}
		}
	}
	var port uint64
	if given != "" {
		var err error
		if port, err = strconv.ParseUint(given, 10, 16); err != nil || port == 0 {
			return &Blocked{Host: host, Reason: fmt.Sprintf("%q is no port", given)}
		}
	}
	return g.checkHost(host, uint16(port))
}

// checkHost checks the form of a host, and its address if it is one. port 0 = unknown.
func (g *Guard) checkHost(host string, port uint16) error {
	name := canonical(host)
	ip, err := netip.ParseAddr(name)
	if err == nil {
		if b := g.verdict(ip, port, nil); b != nil {
			b.Host = host
			return b
		}
		return nil
	}
	if why := nameTrouble(name); why != "" {
		return &Blocked{Host: printable(host), Reason: why}
	}
	if g.listed(name, port) {
		return nil
	}
	if within(name, "localhost", "localhost.localdomain", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback", "localhost4", "localhost6") {
		if b := g.verdict(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port, nil); b != nil {
			return &Blocked{Host: host, Reason: b.Reason, Mend: allowHostMend(name, port)}
		}
	}
	if b := forbiddenName(name, port); b != nil {
		return b
	}
	return nil
}

// forbiddenName refuses names of services that hold credentials, in case their
// addresses lie in a range that is allowed.
func forbiddenName(name string, port uint16) *Blocked {
	if within(name, "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal") {
		return &Blocked{Host: name, Reason: "is a cloud metadata service", Mend: allowHostMend(name, port)}
	}
	if within(name, "kubernetes", "kubernetes.default", "kubernetes.default.svc") || strings.HasPrefix(name, "kubernetes.default.svc.") {
		return &Blocked{Host: name, Reason: "is the Kubernetes API", Mend: allowHostMend(name, port)}
	}
	return nil
}

// within reports whether name is one of the names, or below it.
func within(name string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return name == n || strings.HasSuffix(name, "."+n) })
}

// canonical makes hosts comparable: no case, brackets or dot at the end; addresses in
// their shortest form.
func canonical(host string) string {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return host
}

// splitPort splits host, host:port, [ip6] and [ip6]:port; port "" = none given.
func splitPort(s string) (host, port string, err error) {
	rest := s
	if strings.HasPrefix(s, "[") {
		var ok bool
		if host, rest, ok = strings.Cut(s[1:], "]"); !ok {
			return "", "", errors.New("the host's bracket is not closed")
		}
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() {
			return "", "", errors.New("brackets hold something else than an IPv6 address")
		}
		if rest == "" {
			return host, "", nil
		}
		if rest[0] != ':' {
			return "", "", errors.New("something follows the host's bracket")
		}
		port = rest[1:]
	} else if host, port, _ = strings.Cut(s, ":"); strings.Contains(port, ":") {
		return "", "", errors.New("an IPv6 address must stand in brackets")
	}
	if strings.HasSuffix(rest, ":") {
		return "", "", errors.New("a port is missing after the colon")
	}
	return host, port, nil
}

// nameTrouble says why name, which is canonical and no address, is no legal host name;
// "" = it is one. Above all it refuses what some resolver takes for an address: digits
// of other scripts fold to ASCII ones, and 127.1, 0x7f000001 and 2130706433 are
// 127.0.0.1 to the C library.
func nameTrouble(name string) string {
	if name == "" {
		return "the host is empty"
	}
	if len(name) > 253 {
		return "the host is longer than 253 characters"
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 0x80:
			return "the host holds characters beyond ASCII; write it in its ASCII form (xn--…)"
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return fmt.Sprintf("the host holds %q", c)
		}
	}
	var last string
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "the host has a label that is empty or longer than 63 characters"
		}
		last = label
	}
	// The rule of the URL standard: a host that ends in a number is an address.
	digits := strings.Trim(last, "0123456789") == ""
	hex := strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
	if digits || hex {
		return "the host looks like a number; write addresses as 192.0.2.1 or [2001:db8::1]"
	}
	return ""
}

// printable keeps a host that was refused from being longer than its message.
func printable(host string) string {
	if len(host) > 100 {
		host = host[:100] + "…"
	}
	return strconv.QuoteToASCII(host)
}
