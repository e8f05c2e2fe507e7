package sandbox_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Why an address is refused.
const (
	allowed  = ""
	outside  = "outside upstream.allow_cidrs"
	special  = "a loopback, link-local, metadata, multicast or unspecified address"
	ownPlace = "it is one of the edge's own services, not a sandbox"
	noIP     = "not an IP address"
)

func TestAddressRule(t *testing.T) {
	t.Parallel()
	var (
		byDefault = sandbox.AddressRule{}
		public    = sandbox.AddressRule{Public: true}
		own       = sandbox.AddressRule{Never: addrs("127.0.0.1:9090", "10.0.0.9:6379", "[fd00::9]:8006")}
		everyOwn  = sandbox.AddressRule{
			Allow: prefixes("0.0.0.0/0", "::/0"), Never: addrs("0.0.0.0:80", "[::]:443"),
			Local: func(ip netip.Addr) bool {
				return ip == netip.MustParseAddr("10.0.0.1") || ip == netip.MustParseAddr("fd00::1")
			},
		}
	)
	allow := func(list ...string) sandbox.AddressRule { return sandbox.AddressRule{Allow: prefixes(list...)} }
	const operator = true // who wrote this very address down
	for _, tt := range []struct {
		name    string
		rule    sandbox.AddressRule
		address string
		named   bool
		want    string
	}{
		{"the first of 10/8", byDefault, "10.0.0.0:80", false, allowed},
		{"the last of 10/8", byDefault, "10.255.255.255:80", false, allowed},
		{"before 10/8", byDefault, "9.255.255.255:80", false, outside},
		{"behind 10/8", byDefault, "11.0.0.0:80", false, outside},
		{"the first of 172.16/12", byDefault, "172.16.0.0:80", false, allowed},
		{"the last of 172.16/12", byDefault, "172.31.255.255:80", false, allowed},
		{"before 172.16/12", byDefault, "172.15.255.255:80", false, outside},
		{"behind 172.16/12", byDefault, "172.32.0.0:80", false, outside},
		{"the first of 192.168/16", byDefault, "192.168.0.0:80", false, allowed},
		{"the last of 192.168/16", byDefault, "192.168.255.255:80", false, allowed},
		{"before 192.168/16", byDefault, "192.167.255.255:80", false, outside},
		{"behind 192.168/16", byDefault, "192.169.0.0:80", false, outside},
		{"the first of 100.64/10", byDefault, "100.64.0.0:80", false, allowed},
		{"the last of 100.64/10", byDefault, "100.127.255.255:80", false, allowed},
		{"before 100.64/10", byDefault, "100.63.255.255:80", false, outside},
		{"behind 100.64/10", byDefault, "100.128.0.0:80", false, outside},
		{"the first of fc00::/7", byDefault, "[fc00::]:80", false, allowed},
		{"the middle of fc00::/7", byDefault, "[fd12:3456:789a::1]:39379", false, allowed},
		{"the last of fc00::/7", byDefault, "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80", false, allowed},
		{"before fc00::/7", byDefault, "[fbff::1]:80", false, outside},
		{"behind fc00::/7", byDefault, "[fe00::1]:80", false, outside},
		{"a public address", byDefault, "1.1.1.1:443", false, outside},
		{"a public IPv6 address", byDefault, "[2606:4700::1111]:443", false, outside},

		{"loopback", byDefault, "127.0.0.1:80", false, special},
		{"all of loopback", byDefault, "127.255.255.254:80", false, special},
		{"IPv6 loopback", byDefault, "[::1]:80", false, special},
		{"link-local", byDefault, "169.254.0.1:80", false, special},
		{"the metadata service", byDefault, "169.254.169.254:80", false, special},
		{"the metadata service on IPv6", byDefault, "[fd00:ec2::254]:80", false, special},
		{"the neighbour of the metadata service", byDefault, "[fd00:ec2::253]:80", false, allowed},
		{"the metadata service in 100.64/10", byDefault, "100.100.100.200:80", false, special},
		{"IPv6 link-local", byDefault, "[fe80::1]:80", false, special},
		{"IPv6 link-local with a zone", byDefault, "[fe80::1%eth0]:80", false, special},
		{"multicast", byDefault, "224.0.0.1:80", false, special},
		{"the last of multicast", byDefault, "239.255.255.255:80", false, special},
		{"IPv6 multicast", byDefault, "[ff02::1]:80", false, special},
		{"IPv6 multicast of wide scope", byDefault, "[ff0e::1]:80", false, special},
		{"broadcast", byDefault, "255.255.255.255:80", false, special},
		{"unspecified", byDefault, "0.0.0.0:80", false, special},
		{"IPv6 unspecified", byDefault, "[::]:80", false, special},

		{"a mapped private address", byDefault, "[::ffff:10.0.0.1]:80", false, allowed},
		{"a mapped public address", byDefault, "[::ffff:1.1.1.1]:80", false, outside},
		{"mapped loopback", byDefault, "[::ffff:127.0.0.1]:80", false, special},
		{"the mapped metadata service", byDefault, "[::ffff:169.254.169.254]:80", false, special},
		{"mapped unspecified", byDefault, "[::ffff:0.0.0.0]:80", false, special},
		{"mapped multicast", byDefault, "[::ffff:224.0.0.1]:80", false, special},
		{"the metadata service with a zone", byDefault, "[fd00:ec2::254%eth0]:80", false, special},
		{"loopback with a zone", byDefault, "[::1%lo]:80", false, special},

		{"a list replaces the private ranges", allow("192.0.2.0/24"), "10.0.0.1:80", false, outside},
		{"a list opens what it names", allow("192.0.2.0/24"), "192.0.2.7:80", false, allowed},
		{"a list opens no more", allow("192.0.2.0/24"), "192.0.3.0:80", false, outside},
		{"a list of several", allow("192.0.2.0/24", "10.0.0.0/8"), "10.0.0.1:80", false, allowed},
		{"a listed single address", allow("192.0.2.7/32"), "192.0.2.7:80", false, allowed},
		{"a listed address when mapped", allow("192.0.2.0/24"), "[::ffff:192.0.2.7]:80", false, allowed},
		{"listed IPv6", allow("2001:db8::/32"), "[2001:db8::7]:80", false, allowed},
		{"listed loopback", allow("127.0.0.0/8"), "127.0.77.1:39378", false, allowed},
		{"listed IPv6 loopback", allow("::1/128"), "[::1]:80", false, allowed},
		{"listed link-local", allow("fe80::/10"), "[fe80::1]:80", false, allowed},
		{"listed link-local with a zone", allow("fe80::/10"), "[fe80::1%eth0]:80", false, allowed},
		{"listed metadata", allow("169.254.0.0/16"), "169.254.169.254:80", false, allowed},
		{"loopback beside a list", allow("10.0.0.0/8"), "127.0.0.1:80", false, special},
		{"metadata beside a list", allow("192.0.2.0/24"), "[fd00:ec2::254]:80", false, special},
		{"all of IPv4 opens no IPv6", allow("0.0.0.0/0"), "[2001:db8::1]:80", false, outside},

		{"a public address where public is allowed", public, "1.1.1.1:443", false, allowed},
		{"a public IPv6 address where public is allowed", public, "[2606:4700::1111]:443", false, allowed},
		{"a private address where public is allowed", public, "10.0.0.1:443", false, allowed},
		{"loopback where public is allowed", public, "127.0.0.1:443", false, special},
		{"metadata where public is allowed", public, "169.254.169.254:80", false, special},
		{"IPv6 metadata where public is allowed", public, "[fd00:ec2::254]:80", false, special},
		{"IPv6 metadata with a zone where public is allowed", public, "[fd00:ec2::254%eth0]:80", false, special},
		{"mapped metadata where public is allowed", public, "[::ffff:169.254.169.254]:80", false, special},
		{"unspecified where public is allowed", public, "0.0.0.0:80", false, special},

		{"named loopback", byDefault, "127.0.0.1:40001", operator, allowed},
		{"named IPv6 loopback", byDefault, "[::1]:40001", operator, allowed},
		{"a named public address", byDefault, "1.1.1.1:80", operator, allowed},
		{"a named address beside a list", allow("192.0.2.0/24"), "10.0.0.1:80", operator, allowed},

		{"an own listener", own, "127.0.0.1:9090", false, ownPlace},
		{"an own listener, named", own, "127.0.0.1:9090", operator, ownPlace},
		{"an own listener, mapped", own, "[::ffff:127.0.0.1]:9090", operator, ownPlace},
		{"an own listener by the unspecified address", own, "0.0.0.0:9090", operator, ownPlace},
		{"an own listener by the unspecified IPv6 address", own, "[::]:9090", operator, ownPlace},
		{"another port of an own listener", own, "127.0.0.1:9091", operator, allowed},
		{"Redis in a private range", own, "10.0.0.9:6379", false, ownPlace},
		{"Redis, named", own, "10.0.0.9:6379", operator, ownPlace},
		{"Redis's neighbour", own, "10.0.0.8:6379", false, allowed},
		{"the hypervisor's API", own, "[fd00::9]:8006", false, ownPlace},
		{"the hypervisor's API with a zone", own, "[fd00::9%eth0]:8006", operator, ownPlace},
		{"the hypervisor's other ports", own, "[fd00::9]:8007", false, allowed},

		{"a listener on all addresses, by loopback", everyOwn, "127.0.0.1:80", false, ownPlace},
		{"a listener on all addresses, by another loopback", everyOwn, "127.9.9.9:80", operator, ownPlace},
		{"a listener on all addresses, by itself", everyOwn, "0.0.0.0:80", operator, ownPlace},
		{"a listener on all addresses, by IPv6", everyOwn, "[::1]:80", operator, ownPlace},
		{"a listener on all addresses, by an own address", everyOwn, "10.0.0.1:80", false, ownPlace},
		{"a listener on all addresses, by an own address, named", everyOwn, "10.0.0.1:80", operator, ownPlace},
		{"a listener on all addresses, by a mapped own address", everyOwn, "[::ffff:10.0.0.1]:80", operator, ownPlace},
		{"a listener on all IPv6 addresses, by IPv4", everyOwn, "10.0.0.1:443", operator, ownPlace},
		{"a listener on all IPv6 addresses, by an own address", everyOwn, "[fd00::1]:443", operator, ownPlace},
		{"a listener on all addresses, by an own address with a zone", everyOwn, "[fd00::1%eth0]:443", operator, ownPlace},
		{"a sandbox on the same port", everyOwn, "10.0.0.2:80", false, allowed},
		{"another port of an own address", everyOwn, "10.0.0.1:81", false, allowed},
		{
			"all addresses, written as a mapped one",
			sandbox.AddressRule{Never: addrs("[::ffff:0.0.0.0]:80")},
			"127.0.0.1:80", operator, ownPlace,
		},
		{
			"a listener on all addresses without a list of own ones",
			sandbox.AddressRule{Never: addrs("0.0.0.0:80")},
			"10.0.0.1:80", false, allowed,
		},
		{
			"an own listener inside the list",
			sandbox.AddressRule{Allow: prefixes("127.0.0.0/8"), Never: addrs("127.0.0.1:9090")},
			"127.0.0.1:9090", false, ownPlace,
		},
		{
			"an own listener where public is allowed",
			sandbox.AddressRule{Public: true, Never: addrs("192.0.2.1:443")},
			"192.0.2.1:443", false, ownPlace,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.rule.Check(netip.MustParseAddrPort(tt.address), tt.named)
			checkRefusal(t, err, tt.address, tt.want)
		})
	}
}

func TestAnInvalidAddressIsRefused(t *testing.T) {
	t.Parallel()
	rule := sandbox.AddressRule{Public: true}
	for _, named := range []bool{false, true} {
		checkRefusal(t, rule.Check(netip.AddrPort{}, named), netip.AddrPort{}.String(), noIP)
	}
}

func checkRefusal(t *testing.T, err error, address, reason string) {
	t.Helper()
	if reason == allowed {
		if err != nil {
			t.Errorf("%s is refused: %v", address, err)
		}
		return
	}
	if err == nil {
		t.Fatalf("%s may be dialled, want %q", address, reason)
	}
	if want := "dial " + address + ": refused: " + reason; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if kind := sandbox.KindOf(err); kind != sandbox.KindRefused {
		t.Errorf("kind is %v, want %v", kind, sandbox.KindRefused)
	}
}

// FuzzAddressRule asks package net, which shares no code with the rule's
// tables, whether an address that may be dialled lies where it must.
func FuzzAddressRule(f *testing.F) {
	for _, seed := range []struct {
		address, allow, never string
		public, named         bool
	}{
		{"10.0.0.1:80", "", "127.0.0.1:9090", false, false},
		{"[::ffff:127.0.0.1]:9090", "127.0.0.0/8", "127.0.0.1:9090", false, false},
		{"[fd00:ec2::254%eth0]:80", "", "[::]:80", true, false},
		{"0.0.0.0:9090", "192.0.2.0/24 ::/0", "127.0.0.1:9090 [::]:443", false, true},
		{"[fe80::1%1]:80", "fe80::/10", "", false, false},
	} {
		f.Add(seed.address, seed.allow, seed.never, seed.public, seed.named)
	}
	f.Fuzz(func(t *testing.T, address, allow, never string, public, named bool) {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			t.Skip()
		}
		rule := sandbox.AddressRule{Public: public}
		var nets []*net.IPNet
		for s := range strings.FieldsSeq(allow) {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				t.Skip()
			}
			_, n, err := net.ParseCIDR(s)
			if err != nil {
				t.Skip()
			}
			rule.Allow, nets = append(rule.Allow, p), append(nets, n)
		}
		for s := range strings.FieldsSeq(never) {
			a, err := netip.ParseAddrPort(s)
			if err != nil {
				t.Skip()
			}
			rule.Never = append(rule.Never, a)
		}
		if rule.Check(addr, named) != nil {
			return
		}

		ip := net.IP(addr.Addr().AsSlice())
		for _, n := range rule.Never {
			own := net.IP(n.Addr().AsSlice())
			same := own.Equal(ip) ||
				own.IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified()) ||
				ip.IsUnspecified() && (own.IsLoopback() || own.IsUnspecified())
			if same && n.Port() == addr.Port() {
				t.Errorf("%s may be dialled, it reaches the edge's own %s", addr, n)
			}
		}
		if named || contains(nets, ip) {
			return
		}
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip.Equal(net.IPv4bcast) ||
			ip.Equal(net.ParseIP("fd00:ec2::254")) || ip.Equal(net.ParseIP("100.100.100.200")) {
			t.Errorf("%s may be dialled with %q", addr, allow)
		}
		_, nat, _ := net.ParseCIDR("100.64.0.0/10")
		if !public && (len(nets) > 0 || !ip.IsPrivate() && !nat.Contains(ip)) {
			t.Errorf("%s may be dialled, it lies outside %q", addr, allow)
		}
	})
}

func contains(nets []*net.IPNet, ip net.IP) bool {
	for _, n := range nets {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func addrs(list ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range list {
		all = append(all, netip.MustParseAddrPort(s))
	}
	return all
}
