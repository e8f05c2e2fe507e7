package config

import (
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v4"
)

// validate applies the rules that tie several keys together. It sees defaults
// in place of what was at fault already.
func (d *document) validate(c *Config) {
	d.checkDomains(c.Domains)
	d.checkListeners(c)
	if c.Providers.Static != nil {
		d.checkStatic(c)
	}
	d.checkProviders(c.Providers)
	d.checkStaticRoutes(c)
	d.checkControlPlane(c.ControlPlane)
}

// fault reports a fault of the value at path, or of the file as a whole when
// it does not set that.
func (d *document) fault(path, format string, args ...any) {
	n := d.nodes[path]
	if n == nil {
		n = &yaml.Node{}
	}
	d.at(n, "%s: %s", path, fmt.Sprintf(format, args...))
}

// written tells whether the file sets path, rightly or wrongly.
func (d *document) written(path string) bool { return d.nodes[path] != nil }

// sound tells whether every item of the list at path was understood.
func (d *document) sound(path string, items int) bool {
	n := d.nodes[path]
	return n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == items
}

func (d *document) checkDomains(domains []string) {
	if len(domains) == 0 && d.sound("domains", 0) {
		d.fault("domains", "at least one domain is needed; write domains: [cmux.sh], or set EDGE_DOMAINS")
	}
}

func (d *document) checkListeners(c *Config) {
	if c.Listen.HTTP == "" {
		d.fault("listen.http", `nothing would serve requests; write an address such as ":80"`)
	}
	if c.Listen.Admin == "" {
		return
	}
	admin, err := parseEndpoint(c.Listen.Admin)
	if err != nil {
		return // reported where it was decoded
	}
	if c.Admin.TokenFile == "" && c.Admin.Token.Reveal() == "" && !admin.loopback() {
		d.fault("listen.admin", `%q can be reached from other machines and there is no admin token; set admin.token_file or EDGE_ADMIN_TOKEN, or write "127.0.0.1:%d"`, c.Listen.Admin, admin.port)
	}
	if http, err := parseEndpoint(c.Listen.HTTP); err == nil && http.collides(admin) {
		if d.written("listen.admin") {
			d.fault("listen.admin", "%q collides with listen.http, %q; write another port", c.Listen.Admin, c.Listen.HTTP)
		} else {
			d.fault("listen.http", "%q collides with listen.admin, %q; write another port", c.Listen.HTTP, c.Listen.Admin)
		}
	}
}

// privateRanges are where sandboxes lie when upstream.allow_cidrs is empty.
var privateRanges = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fc00::/7"),
}

// special names the kind of address that only a listed network opens, "" for
// an ordinary one. It says the same as the rule the dialer applies.
func special(ip netip.Addr) string {
	switch ip.String() {
	// AWS (IPv6) and Alibaba Cloud answer metadata inside private ranges.
	case "169.254.169.254", "fd00:ec2::254", "100.100.100.200":
		return "a cloud metadata address"
	case "255.255.255.255":
		return "the broadcast address"
	}
	switch {
	case ip.IsLoopback():
		return "a loopback address"
	case ip.IsLinkLocalUnicast():
		return "a link-local address"
	case ip.IsMulticast():
		return "a multicast address"
	case ip.IsUnspecified():
		return "the unspecified address"
	}
	return ""
}

func covered(ip netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}
