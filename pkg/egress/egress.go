// Package egress decides which addresses the daemon may connect to. It stands under
// every outgoing connection: what a name looks like proves nothing, so the address that
// is about to be dialled is checked, after the name was resolved.
//
//	trigger's URL ── CheckURL, when it is saved
//	                    │
//	address ── Dial ── form of the host ── allow_hosts? ── resolve ── each IP: deny_cidrs,
//	                    own listeners, metadata, allow_cidrs, special purpose ── connect
//
// Addresses that the operator wrote are allowed as they are (Operator). All else may
// not be loopback, private, link-local, metadata or otherwise special unless the policy
// lists it. HTTP_PROXY and its like are not looked at.
package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Policy is what the operator allows and denies beyond the defaults.
type Policy struct {
	// AllowHosts are names or addresses, with or without port ("db.internal",
	// "10.0.0.5:8080", "[::1]:80"), that may be connected to wherever they lead; only
	// DenyCIDRs is stronger. Without port: any port.
	AllowHosts []string `koanf:"allow_hosts"`
	// AllowCIDRs are ranges that are allowed although they are special. Metadata
	// services and the daemon's own listeners in them stay denied.
	AllowCIDRs []string `koanf:"allow_cidrs"`
	// DenyCIDRs are ranges never connected to on behalf of a trigger.
	DenyCIDRs []string `koanf:"deny_cidrs"`
}

// Blocked is the refusal of an address. Its text says what to add to which setting.
type Blocked struct {
	Host   string     // as it was given, without port; "" = no legal host
	IP     netip.Addr // invalid if the host's form was refused
	Reason string
	Mend   string // setting that would allow it; "" = none
}

func (b *Blocked) Error() string {
	var s strings.Builder
	s.WriteString("address not allowed: ")
	if b.Host != "" {
		fmt.Fprintf(&s, "%s ", b.Host)
	}
	if b.IP.IsValid() && b.IP.String() != b.Host {
		fmt.Fprintf(&s, "(%s) ", b.IP)
	}
	s.WriteString(b.Reason)
	if b.Mend != "" {
		fmt.Fprintf(&s, "; the operator can allow it by %s", b.Mend)
	}
	return s.String()
}

// Blocked tells packages that do not know this one what the error is.
func (b *Blocked) Blocked() bool { return true }

// Guard checks and dials. Safe for concurrent use.
type Guard struct {
	hosts    map[string][]uint16 // canonical host -> ports; none = any
	allow    []netip.Prefix
	deny     []netip.Prefix
	resolver *net.Resolver

	mu  sync.RWMutex
	own []netip.AddrPort
}

// New returns a Guard for p; all that is wrong with p is returned at once.
func New(p Policy) (*Guard, error) {
	// The resolver of the C library would take 0x7f.1 for an address.
	g := &Guard{hosts: map[string][]uint16{}, resolver: &net.Resolver{PreferGo: true}}
	var errs []error
	for _, h := range p.AllowHosts {
		if err := g.allowHost(h); err != nil {
			errs = append(errs, fmt.Errorf("egress.allow_hosts: %q: %w", h, err))
		}
	}
	g.allow = prefixes(p.AllowCIDRs, "egress.allow_cidrs", &errs)
	g.deny = prefixes(p.DenyCIDRs, "egress.deny_cidrs", &errs)
	return g, errors.Join(errs...)
}

func prefixes(cidrs []string, setting string, errs *[]error) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			a, aerr := netip.ParseAddr(c)
			if aerr != nil || a.Zone() != "" {
				*errs = append(*errs, fmt.Errorf("%s: %q is no range such as 10.0.0.0/8 or fd00::/8", setting, c))
				continue
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Masked() != p {
			*errs = append(*errs, fmt.Errorf("%s: %q has bits beside its mask; meant is perhaps %s", setting, c, p.Masked()))
			continue
		}
		if p.Addr().Is4In6() {
			*errs = append(*errs, fmt.Errorf("%s: %q: write the IPv4 range itself", setting, c))
			continue
		}
		out = append(out, p)
	}
	return out
}

func (g *Guard) allowHost(h string) error {
	host, port := h, ""
	if _, err := netip.ParseAddr(h); err != nil {
		if host, port, err = splitPort(h); err != nil {
			return err
		}
	}
	host = canonical(host)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() != "" {
		return errors.New("an IPv6 zone is not allowed")
	} else if err != nil {
		if why := nameTrouble(host); why != "" {
			return errors.New(why)
		}
	}
	ports, known := g.hosts[host]
	if port == "" || known && len(ports) == 0 {
		g.hosts[host] = nil
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no port", port)
	}
	g.hosts[host] = append(ports, uint16(n))
	return nil
}

// AddOwnListener denies a listener of the daemon itself, which would answer to a
// trigger with the daemon's own rights. An unspecified address stands for all local
// ones.
func (g *Guard) AddOwnListener(a netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own = append(g.own, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}

// listed reports whether allow_hosts holds host, which is canonical, with that port;
// port 0 = not known yet.
func (g *Guard) listed(host string, port uint16) bool {
	ports, ok := g.hosts[host]
	return ok && (len(ports) == 0 || port == 0 || slices.Contains(ports, port))
}

// verdict says why ip may not be dialled, nil = it may. peerOf are the ranges that are
// allowed besides because the operator's own address lies in such a one.
func (g *Guard) verdict(ip netip.Addr, port uint16, peerOf []netip.Prefix) *Blocked {
	if ip.Zone() != "" {
		return &Blocked{IP: ip, Reason: "has an IPv6 zone"}
	}
	ip = ip.Unmap()
	all := append([]netip.Addr{ip}, embedded(ip)...)
	for _, a := range all {
		if i := slices.IndexFunc(g.deny, func(p netip.Prefix) bool { return p.Contains(a) }); i >= 0 {
			return &Blocked{IP: ip, Reason: fmt.Sprintf("is in egress.deny_cidrs (%s)", g.deny[i])}
		}
	}
	if g.listed(ip.String(), port) {
		return nil
	}
	for _, a := range all {
		if slices.Contains(metadata, a) {
			return &Blocked{IP: ip, Reason: "is a cloud metadata service", Mend: allowHostMend(ip.String(), port)}
		}
		if g.isOwn(a, port) {
			return &Blocked{IP: ip, Reason: "is a listener of this daemon", Mend: allowHostMend(ip.String(), port)}
		}
	}
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(g.allow, in) || slices.ContainsFunc(peerOf, in) {
		return nil
	}
	if nat64.Contains(ip) { // an IPv6-only network's way to public IPv4 addresses
		if b := g.verdict(all[1], port, peerOf); b != nil {
			b.IP, b.Reason = ip, "leads by NAT64 to "+all[1].String()+", which "+b.Reason
			return b
		}
		return nil
	}
	if r, ok := specialRange(ip); ok {
		return &Blocked{IP: ip, Reason: "is " + r.name, Mend: fmt.Sprintf("egress.allow_cidrs: [%s]", r.prefix)}
	}
	return nil
}

func allowHostMend(host string, port uint16) string {
	if port != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return fmt.Sprintf("egress.allow_hosts: [%q]", host)
}

// isOwn reports whether the daemon itself listens there.
func (g *Guard) isOwn(ip netip.Addr, port uint16) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, o := range g.own {
		if o.Port() != port {
			continue
		}
		if o.Addr() == ip || o.Addr().IsUnspecified() && isLocal(ip) || ip.IsUnspecified() && (o.Addr().IsLoopback() || o.Addr().IsUnspecified()) {
			return true
		}
	}
	return false
}

// isLocal reports whether ip is an address of this machine. If the machine does not
// say, every address may be.
func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		local, ok := netip.AddrFromSlice(n.IP)
		return ok && local.Unmap() == ip
	})
}
