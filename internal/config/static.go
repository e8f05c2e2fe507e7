package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// checkStatic applies the rules on providers.static.
func (d *document) checkStatic(c *Config) {
	slugs := make(map[string]string)
	for i, in := range c.Providers.Static.Instances {
		path := fmt.Sprintf("providers.static.instances[%d]", i)
		if n := d.nodes[path]; n.Kind != yaml.MappingNode {
			if null(n) {
				d.fault(path, "the entry is empty; write a slug and an address, or delete it")
			}
			continue
		}
		switch other := slugs[in.Slug]; {
		case in.Slug == "":
			if !d.written(path + ".slug") {
				d.fault(path, `the instance has no slug; write one such as slug: "demo"`)
			}
		case other != "":
			d.fault(path+".slug", "%q is the slug of %s too; give each its own", in.Slug, other)
		default:
			slugs[in.Slug] = path
		}
		if !d.written(path+".address") && !d.written(path+".ports") {
			d.fault(path, "the instance has no place; write address, ports or both")
		}
		d.checkAddress(path+".address", in.Address, c.Upstream.AllowCIDRs)
		for _, port := range slices.Sorted(maps.Keys(in.Ports)) {
			d.checkOwn(portPath(path+".ports", port), in.Ports[port], c.Listen)
		}
	}
}

// checkAddress holds the address of an instance to upstream.allow_cidrs.
func (d *document) checkAddress(path, address string, allow []netip.Prefix) {
	ip, err := netip.ParseAddr(address)
	if strings.EqualFold(address, "localhost") {
		ip, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	// Only the dialer can judge a name. And a list with faults may be missing
	// the very network.
	if err != nil || !d.sound("upstream.allow_cidrs", len(allow)) {
		return
	}
	ip = ip.Unmap()
	if covered(ip, allow) {
		return
	}
	host := netip.PrefixFrom(ip, ip.BitLen())
	// The first network of the list replaces the private ranges, which the
	// other sandboxes may need.
	add := fmt.Sprintf("add %q to upstream.allow_cidrs", host)
	if len(allow) == 0 {
		add = fmt.Sprintf("add %q to upstream.allow_cidrs, and every private network in use: a list there replaces them", host)
	}
	switch kind := special(ip); {
	case kind != "":
		d.fault(path, "%q is %s, refused unless listed; %s", address, kind, add)
	case len(allow) > 0:
		d.fault(path, "%q lies outside upstream.allow_cidrs; %s", address, add)
	case !covered(ip, privateRanges):
		d.fault(path, "%q is not a private address; %s", address, add)
	}
}

// checkOwn refuses a target that is the edge itself: requests would loop, or
// reach the admin port from outside.
func (d *document) checkOwn(path, target string, listen Listen) {
	e, err := parseEndpoint(target)
	if err != nil {
		return
	}
	for _, own := range []struct{ key, address string }{
		{"listen.http", listen.HTTP},
		{"listen.admin", listen.Admin},
	} {
		if l, err := parseEndpoint(own.address); err == nil && e.reaches(l) {
			d.fault(path, "%q is the edge's own listener (%s); write the address of the sandbox", target, own.key)
			return
		}
	}
}
