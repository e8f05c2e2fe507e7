package sandbox

import (
	"net/netip"
	"slices"
)

// defaultAllowed is where addresses that a provider returns may lie when the
// operator says nothing: RFC 1918, RFC 6598 (carrier-grade NAT, which overlay
// networks use) and RFC 4193.
var defaultAllowed = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fc00::/7"),
}

// metadataHosts answer cloud metadata, credentials included, outside the
// link-local range: AWS (IPv6) and Alibaba Cloud lie inside otherwise allowed
// prefixes.
var metadataHosts = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("100.100.100.200"),
}

// AddressRule says which IP addresses the edge may dial for a sandbox. What a
// guest or a provider says about addresses is foreign input: without a rule a
// guest could send the edge to the metadata service or to its own admin port.
//
// The zero value allows the private ranges. A rule is immutable and safe for
// concurrent use.
type AddressRule struct {
	// Allow replaces the default ranges when it is not empty. Only a prefix
	// listed here opens loopback, link-local, multicast or unspecified
	// addresses.
	Allow []netip.Prefix
	// Public allows any address that is not in the always-refused set; for
	// upstreams whose authority is a host name below a trusted suffix.
	Public bool
	// Never is refused whatever else is said: the edge's own listeners, its
	// Redis, the hypervisor's API. An unspecified address with a port stands
	// for that port on every address of this machine.
	Never []netip.AddrPort
	// Local tells whether an address is one of this machine's; needed for
	// unspecified entries of Never. Nil means that only loopback is.
	Local func(netip.Addr) bool
}

// Check returns nil when addr may be dialled, else a [KindRefused] error that
// says which rule refused it. named addresses, those an operator wrote down
// for this very port, are held to Never only.
func (r *AddressRule) Check(addr netip.AddrPort, named bool) error {
	ip := bare(addr.Addr())
	if !ip.IsValid() {
		return Errorf(KindRefused, "dial", addr.String(), "not an IP address")
	}
	for _, never := range r.Never {
		if never.Port() == addr.Port() && r.same(bare(never.Addr()), ip) {
			return Errorf(KindRefused, "dial", addr.String(), "it is one of the edge's own services, not a sandbox")
		}
	}
	if named {
		return nil
	}
	for _, p := range r.Allow {
		if p.Contains(ip) {
			return nil
		}
	}
	if special(ip) {
		return Errorf(KindRefused, "dial", addr.String(), "a loopback, link-local, metadata, multicast or unspecified address")
	}
	if r.Public {
		return nil
	}
	if len(r.Allow) == 0 {
		for _, p := range defaultAllowed {
			if p.Contains(ip) {
				return nil
			}
		}
	}
	return Errorf(KindRefused, "dial", addr.String(), "outside upstream.allow_cidrs")
}

// bare is an address without what its other spellings add: the kernel takes
// ::ffff:10.0.0.1 for 10.0.0.1 and ignores a zone outside the link-local range.
func bare(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// same tells whether a connection to ip can reach what listens on own. Linux
// takes an unspecified destination for this machine.
func (r *AddressRule) same(own, ip netip.Addr) bool {
	return own == ip || own.IsUnspecified() && r.local(ip) || ip.IsUnspecified() && r.local(own)
}

func (r *AddressRule) local(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	return r.Local != nil && r.Local(ip)
}

func special(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	return slices.Contains(metadataHosts, ip)
}
