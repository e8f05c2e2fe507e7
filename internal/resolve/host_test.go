package resolve_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/resolve"
)

// domains has one domain inside another, and one long enough to reach the
// length limits with one label before it.
var domains = []string{"cmux.test", "dev.cmux.test", "cmux.app", "localhost", longDomain}

var (
	label63 = strings.Repeat("a", 63)
	// longDomain has 251 bytes, so that "a." + longDomain has 253.
	longDomain = label63 + "." + label63 + "." + label63 + "." + strings.Repeat("b", 59)
	// name253 has 253 bytes and lies in none of the domains.
	name253 = label63 + "." + label63 + "." + label63 + "." + strings.Repeat("c", 61)
)

// The sentences of the host grammar, as clients read them.
const (
	invalidHost      = "Invalid host"
	notOurs          = "Not a cmux domain"
	invalidSubdomain = "Invalid cmux subdomain"
	invalidPort      = "Invalid port in subdomain"
	invalidProxy     = "Invalid cmux proxy subdomain"
	invalidProxyPort = "Invalid port in cmux proxy subdomain"
	missingID        = "Missing morph id in cmux proxy subdomain"
	missingWorkspace = "Missing workspace in subdomain"
)

func TestRefusedHosts(t *testing.T) {
	t.Parallel()
	const (
		off  = 1 << iota // with the freestyle form off
		on               // with it on
		both = off | on
	)
	for _, tt := range []struct {
		name, host, want string
		freestyle        int
	}{
		// From the request to a name.
		{"an empty host", "", invalidHost, both},
		{"a percent sign", "port-80-a%2eb.cmux.test", invalidHost, both},
		{"a percent sign in a foreign name", "ex%61mple.com", invalidHost, both},
		{"a port alone", ":80", invalidHost, both},
		{"a colon alone", ":", invalidHost, both},
		{"an IPv6 literal", "[::1]", notOurs, both},
		{"an IPv6 literal in capitals", "[FD00::A]", notOurs, both},
		{"an IPv6 literal with a port", "[::1]:8080", notOurs, both},
		{"an IPv6 literal with an empty port", "[::1]:", notOurs, both},
		{"an IPv6 literal with port 65535", "[2001:db8::1]:65535", notOurs, both},
		{"an IPv4-mapped IPv6 literal", "[::ffff:10.0.0.1]", notOurs, both},
		{"an IPv6 literal with port 65536", "[::1]:65536", invalidHost, both},
		{"an IPv6 literal with a named port", "[::1]:http", invalidHost, both},
		{"an IPv6 literal with two ports", "[::1]:80:80", invalidHost, both},
		{"an IPv6 literal with a zone", "[fe80::1%25eth0]", invalidHost, both},
		{"an IPv6 literal with a bare zone", "[fe80::1%eth0]", invalidHost, both},
		{"an IPv6 literal with a tail", "[::1]x", invalidHost, both},
		{"an IPv6 literal with a trailing dot", "[::1].", invalidHost, both},
		{"an IPv6 literal as a label", "[::1].cmux.test", invalidHost, both},
		{"an IPv6 literal behind a label", "a[::1]", invalidHost, both},
		{"two IPv6 literals", "[::1][::1]", invalidHost, both},
		{"an open bracket", "[::1", invalidHost, both},
		{"an open bracket alone", "[", invalidHost, both},
		{"empty brackets", "[]", invalidHost, both},
		{"empty brackets with a port", "[]:80", invalidHost, both},
		{"IPv4 in brackets", "[127.0.0.1]", invalidHost, both},
		{"a name in brackets", "[cmux.test]", invalidHost, both},
		{"an IPv6 address without brackets", "::1", invalidHost, both},
		{"a long IPv6 address without brackets", "2001:db8::1", invalidHost, both},
		{"a named port", "cmux.test:http", invalidHost, both},
		{"a port with letters", "cmux.test:abc", invalidHost, both},
		{"port 65536", "cmux.test:65536", invalidHost, both},
		{"port 99999", "cmux.test:99999", invalidHost, both},
		{"a port of six digits", "cmux.test:000080", invalidHost, both},
		{"a port that wraps to 80", "cmux.test:4294967376", invalidHost, both},
		{"a port with a sign", "cmux.test:+80", invalidHost, both},
		{"a negative port", "cmux.test:-80", invalidHost, both},
		{"two ports", "cmux.test:80:80", invalidHost, both},
		{"a dot behind the port", "cmux.test:80.", invalidHost, both},
		{"a bad port on a foreign name", "example.com:65536", invalidHost, both},
		{"a bad port on a sandbox host", "port-80-x.cmux.test:0x50", invalidHost, both},
		{"two dots at the end", "cmux.test..", invalidHost, both},
		{"two dots and a port", "cmux.test..:80", invalidHost, both},
		{"three dots at the end", "cmux.test...", invalidHost, both},
		{"a dot alone", ".", invalidHost, both},
		{"two dots alone", "..", invalidHost, both},
		{"a dot before the domain", ".cmux.test", invalidHost, both},
		{"a dot before a foreign name", ".example.com", invalidHost, both},
		{"an empty label in the middle", "port-80-x..cmux.test", invalidHost, both},
		{"an empty label inside the domain", "cmux..test", invalidHost, both},
		{"an empty label before everything", ".port-80-x.cmux.test", invalidHost, both},
		{"254 bytes", name253 + "c", invalidHost, both},
		{"254 bytes in a domain", "aa." + longDomain, invalidHost, both},
		{"254 bytes and a port", name253 + "c:80", invalidHost, both},
		{"a kilobyte", strings.Repeat("a.", 512) + "cmux.test", invalidHost, both},

		// Whose domain.
		{"253 bytes", name253, notOurs, both},
		{"253 bytes and a trailing dot", name253 + ".", notOurs, both},
		{"253 bytes, a trailing dot and a port", name253 + ".:65535", notOurs, both},
		{"a foreign name", "example.com", notOurs, both},
		{"a foreign name with a trailing dot", "example.com.", notOurs, both},
		{"a foreign name with a port", "example.com:443", notOurs, both},
		{"a foreign name with an underscore", "a_b.example.com", notOurs, both},
		{"a foreign single label", "test", notOurs, both},
		{"a foreign star", "*", notOurs, both},
		{"IPv4", "127.0.0.1", notOurs, both},
		{"IPv4 with a port", "10.0.0.1:8080", notOurs, both},
		{"the domain as a suffix without dot", "evilcmux.test", notOurs, both},
		{"the domain as a suffix behind a hyphen", "port-80-x-cmux.test", notOurs, both},
		{"the domain as a prefix", "cmux.test.evil.com", notOurs, both},
		{"a sandbox host as a prefix", "port-1-x.cmux.test.evil.com", notOurs, both},
		{"the domain with a longer end", "cmux.testx", notOurs, both},
		{"the domain with a shorter end", "cmux.tes", notOurs, both},
		{"the domain without its first byte", "mux.test", notOurs, both},
		{"the domain without its dot", "cmuxtest", notOurs, both},
		{"the parent of the domain", "app", notOurs, both},
		{"another end", "port-80-x.cmux.dev", notOurs, both},
		{"a domain with a Kelvin sign", "port-80-x.loc\u212Aalhost", notOurs, both},
		{"a form without domain", "port-80-x", notOurs, both},

		// One label.
		{"a label before the form", "a.port-1-x.cmux.test", invalidSubdomain, both},
		{"a dot inside the slug", "port-80-a.b.cmux.test", invalidSubdomain, both},
		{"a dot inside the proxy form", "cmux-a-80.b.cmux.test", invalidSubdomain, both},
		{"two labels", "a.b.cmux.test", invalidSubdomain, both},
		{"two labels before an inner domain", "port-80-x.y.dev.cmux.test", invalidSubdomain, both},
		{"an inner domain with something before it", "port-80-x.xdev.cmux.test", invalidSubdomain, both},
		{"an underscore", "port-80-a_b.cmux.test", invalidSubdomain, both},
		{"a tilde", "port-80-a~b.cmux.test", invalidSubdomain, both},
		{"a comma", "port-80-a,b.cmux.test", invalidSubdomain, both},
		{"a star", "*.cmux.test", invalidSubdomain, both},
		{"an exclamation mark", "port-80-x!.cmux.test", invalidSubdomain, both},
		{"a plus sign in the port", "port-+80-x.cmux.test", invalidSubdomain, both},
		{"a Kelvin sign in the slug", "port-80-\u212A.cmux.test", invalidSubdomain, both},
		{"a long s in the slug", "port-80-\u017F.cmux.test", invalidSubdomain, both},
		{"a letter with an umlaut", "port-80-\u00e4.cmux.test", invalidSubdomain, both},
		{"digits that are not ASCII", "port-\u0668\u0660-x.cmux.test", invalidSubdomain, both},
		{"a byte that is not UTF-8", "port-80-\xff.cmux.test", invalidSubdomain, both},
		{"an encoded international name", "xn--80ak6aa92e.cmux.test", invalidSubdomain, both},
		{"an encoded international name in capitals", "XN--A-80-B.cmux.test", invalidSubdomain, both},
		{"a label of 64 bytes", "port-80-" + strings.Repeat("a", 56) + ".cmux.test", invalidSubdomain, both},
		{"a proxy label of 64 bytes", "cmux-" + strings.Repeat("a", 56) + "-80.cmux.test", invalidSubdomain, both},

		// The port form.
		{"port without hyphen", "port.cmux.test", invalidSubdomain, both},
		{"port with nothing", "port-.cmux.test", invalidSubdomain, both},
		{"port with a number only", "port-8080.cmux.test", invalidSubdomain, both},
		{"port with a name only", "port-abc.cmux.test", invalidSubdomain, both},
		{"a port of letters", "port-abc-x.cmux.test", invalidPort, both},
		{"an empty port", "port--x.cmux.test", invalidPort, both},
		{"an empty port before a number", "port--80-x.cmux.test", invalidPort, both},
		{"an empty port and slug", "port--.cmux.test", invalidPort, both},
		{"port 0", "port-0-x.cmux.test", invalidPort, both},
		{"port 00", "port-00-x.cmux.test", invalidPort, both},
		{"a leading zero", "port-080-x.cmux.test", invalidPort, both},
		{"a leading zero of five digits", "port-08080-x.cmux.test", invalidPort, both},
		{"port 65536 in the label", "port-65536-x.cmux.test", invalidPort, both},
		{"port 65616, which wraps to 80", "port-65616-x.cmux.test", invalidPort, both},
		{"port 99999 in the label", "port-99999-x.cmux.test", invalidPort, both},
		{"a port of six digits in the label", "port-393789-x.cmux.test", invalidPort, both},
		{"a port that wraps in 32 bits", "port-4294967376-x.cmux.test", invalidPort, both},
		{"a port that wraps in 64 bits", "port-18446744073709551696-x.cmux.test", invalidPort, both},
		{"an exponent", "port-8e3-x.cmux.test", invalidPort, both},
		{"a hexadecimal port", "port-0x50-x.cmux.test", invalidPort, both},
		{"a bad port before an empty slug", "port-0-.cmux.test", invalidPort, both},
		{"an empty slug", "port-80-.cmux.test", invalidSubdomain, both},
		{"a slug that begins with a hyphen", "port-80--a.cmux.test", invalidSubdomain, both},
		{"a slug that ends with a hyphen", "port-80-a-.cmux.test", invalidSubdomain, both},
		{"a slug of hyphens", "port-80---.cmux.test", invalidSubdomain, both},
		{"a bad port on the inner domain", "port-0-x.dev.cmux.test", invalidPort, both},
		{"a bad port below localhost", "port-0-x.localhost:8080", invalidPort, both},

		// The proxy form: count, port, id, scope.
		{"cmux without hyphen", "cmux.cmux.test", invalidSubdomain, both},
		{"cmux with nothing", "cmux-.cmux.test", invalidProxy, both},
		{"cmux with a name only", "cmux-abc.cmux.test", invalidProxy, both},
		{"cmux with a number only", "cmux-8080.cmux.test", invalidProxy, both},
		{"manaflow without hyphen", "manaflow.cmux.test", invalidSubdomain, both},
		{"manaflow with nothing", "manaflow-.cmux.test", invalidProxy, both},
		{"manaflow with a name only", "manaflow-abc.cmux.test", invalidProxy, both},
		{"a proxy port of letters", "cmux-abc-x.cmux.test", invalidProxyPort, both},
		{"an empty proxy port", "cmux-abc-.cmux.test", invalidProxyPort, both},
		{"an empty id and proxy port", "cmux--.cmux.test", invalidProxyPort, both},
		{"an empty id before a bad proxy port", "cmux--x.cmux.test", invalidProxyPort, both},
		{"an empty scope before an empty port", "cmux-a--.cmux.test", invalidProxyPort, both},
		{"proxy port 0", "cmux-abc-0.cmux.test", invalidProxyPort, both},
		{"a proxy port with a leading zero", "cmux-abc-080.cmux.test", invalidProxyPort, both},
		{"proxy port 65536", "cmux-abc-65536.cmux.test", invalidProxyPort, both},
		{"a proxy port that wraps", "cmux-abc-4294967376.cmux.test", invalidProxyPort, both},
		{"a proxy port with an exponent", "cmux-abc-8e3.cmux.test", invalidProxyPort, both},
		{"the port before the scope", "cmux-abc-8080-scope.cmux.test", invalidProxyPort, both},
		{"a guest prefix with a bad port", "cmux-pvelxc-ab12-x.cmux.test", invalidProxyPort, both},
		{"an empty id", "cmux--8080.cmux.test", missingID, both},
		{"an empty id before a scope", "cmux--scope-8080.cmux.test", missingID, both},
		{"an empty id before an empty scope", "cmux---8080.cmux.test", missingID, both},
		{"pvelxc without id", "cmux-pvelxc--80.cmux.test", missingID, both},
		{"pvevm without id", "cmux-pvevm--80.cmux.test", missingID, both},
		{"morphvm without id", "cmux-morphvm--80.cmux.test", missingID, both},
		{"pvelxc without id but with a scope", "cmux-pvelxc--scope-80.cmux.test", missingID, both},
		{"an empty scope", "cmux-a--80.cmux.test", invalidProxy, both},
		{"a scope that begins with a hyphen", "cmux-a--s-80.cmux.test", invalidProxy, both},
		{"a scope that ends with a hyphen", "cmux-a-s--80.cmux.test", invalidProxy, both},
		{"a guest with an empty scope", "cmux-pvelxc-ab12--80.cmux.test", invalidProxy, both},
		{"manaflow with a bad port", "manaflow-abc-x.cmux.test", invalidProxyPort, both},
		{"manaflow with an empty id", "manaflow--80.cmux.test", missingID, both},
		{"manaflow with an empty scope", "manaflow-a--80.cmux.test", invalidProxy, both},

		// The freestyle form.
		{"www", "www.cmux.test", invalidSubdomain, both},
		{"api", "api.cmux.test", invalidSubdomain, both},
		{"a hyphen alone", "-.cmux.test", invalidSubdomain, both},
		{"two segments", "8080-bar.cmux.test", invalidSubdomain, both},
		{"a freestyle name while it is off", "foo-8080-bar.cmux.test", invalidSubdomain, off},
		{"nearly a port form while freestyle is off", "xport-80-x.cmux.test", invalidSubdomain, off},
		{"no workspace while freestyle is off", "-80-x.cmux.test", invalidSubdomain, off},
		{"a bad freestyle port while it is off", "foo-0-bar.cmux.test", invalidSubdomain, off},
		{"a freestyle port of letters", "foo-abc-bar.cmux.test", invalidPort, on},
		{"an empty freestyle port", "foo--bar.cmux.test", invalidPort, on},
		{"freestyle port 0", "foo-0-bar.cmux.test", invalidPort, on},
		{"a freestyle port with a leading zero", "foo-080-bar.cmux.test", invalidPort, on},
		{"freestyle port 65536", "foo-65536-bar.cmux.test", invalidPort, on},
		{"a bad freestyle port without workspace", "-0-bar.cmux.test", invalidPort, on},
		{"two hyphens alone", "--.cmux.test", invalidPort, on},
		{"no workspace", "-80-x.cmux.test", missingWorkspace, on},
		{"an empty freestyle slug", "foo-80-.cmux.test", invalidSubdomain, on},
		{"a workspace that ends with a hyphen", "a--80-x.cmux.test", invalidSubdomain, on},
		{"a workspace that begins with a hyphen", "-a-80-x.cmux.test", invalidSubdomain, on},
	} {
		for _, freestyle := range []bool{false, true} {
			name, flag := tt.name+", freestyle off", off
			if freestyle {
				name, flag = tt.name+", freestyle on", on
			}
			if tt.freestyle&flag == 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, err := resolve.NewGrammar(domains, freestyle).Parse(tt.host)
				if err == nil {
					t.Fatalf("%q is accepted as %+v, want %q", tt.host, r, tt.want)
				}
				if err.Error() != tt.want {
					t.Errorf("%q: %q, want %q", tt.host, err, tt.want)
				}
				var hostError *resolve.HostError
				if !errors.As(err, &hostError) || hostError.Foreign() != (tt.want == notOurs) {
					t.Errorf("%q: %#v, want a HostError that is foreign only with %q", tt.host, err, notOurs)
				}
				if diff := cmp.Diff(resolve.Route{}, r); diff != "" {
					t.Errorf("a refused host has a route (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAcceptedHosts(t *testing.T) {
	t.Parallel()
	type route = resolve.Route
	apex := func(domain string) route { return route{Form: resolve.Apex, Domain: domain} }
	port := func(p uint16, slug string) route {
		return route{Form: resolve.Port, Domain: "cmux.test", Prefix: "port-", Port: p, Slug: slug}
	}
	proxy := func(prefix, slug, scope string, p uint16) route {
		return route{Form: resolve.Proxy, Domain: "cmux.test", Prefix: prefix, Slug: slug, Scope: scope, Port: p}
	}
	in := func(domain string, r route) route { r.Domain = domain; return r }
	free := func(workspace string, p uint16, slug string) route {
		return route{Form: resolve.Freestyle, Domain: "cmux.test", Workspace: workspace, Port: p, Slug: slug}
	}
	for _, tt := range []struct {
		name, host string
		want       route // Host and Suffix are filled in from host below
	}{
		{"the apex", "cmux.test", apex("cmux.test")},
		{"another apex", "cmux.app", apex("cmux.app")},
		{"an apex inside a domain", "dev.cmux.test", apex("dev.cmux.test")},
		{"an apex of one label", "localhost", apex("localhost")},
		{"an apex of 251 bytes", longDomain, apex(longDomain)},
		{"the apex in capitals", "CMUX.Test", apex("cmux.test")},
		{"the apex with a trailing dot", "cmux.test.", apex("cmux.test")},
		{"the apex with a port", "cmux.test:8080", apex("cmux.test")},
		{"the apex with a trailing dot and a port", "cmux.test.:80", apex("cmux.test")},
		{"the apex with an empty port", "cmux.test:", apex("cmux.test")},
		{"the apex with port 0", "cmux.test:0", apex("cmux.test")},
		{"the apex with port 65535", "cmux.test:65535", apex("cmux.test")},
		{"the apex with a port of leading zeros", "cmux.test:00080", apex("cmux.test")},

		{"the port form", "port-8080-demo.cmux.test", port(8080, "demo")},
		{"port 1", "port-1-x.cmux.test", port(1, "x")},
		{"port 65535", "port-65535-x.cmux.test", port(65535, "x")},
		{"port 10000", "port-10000-x.cmux.test", port(10000, "x")},
		{"a slug with hyphens", "port-39378-my-own-box.cmux.test", port(39378, "my-own-box")},
		{"a slug with two hyphens inside", "port-80-a--b.cmux.test", port(80, "a--b")},
		{"a slug that is a number", "port-80-80.cmux.test", port(80, "80")},
		{"a slug of digits and letters", "port-80-0a1b2c.cmux.test", port(80, "0a1b2c")},
		{"a slug with the Morph prefix is kept", "port-80-morphvm-x.cmux.test", port(80, "morphvm-x")},
		{"a slug with the LXC prefix is kept", "port-80-pvelxc-ab12.cmux.test", port(80, "pvelxc-ab12")},
		{"a slug with the VM prefix is kept", "port-80-pvevm-ab12.cmux.test", port(80, "pvevm-ab12")},
		{"an old PVE host name", "port-80-cmux-104.cmux.test", port(80, "cmux-104")},
		{"a slug like an encoded name", "port-80-xn--a.cmux.test", port(80, "xn--a")},
		{"a label of 63 bytes", "port-80-" + label63[:55] + ".cmux.test", port(80, label63[:55])},
		{"the port form in capitals", "PORT-8080-DeMo.CMUX.TEST", port(8080, "demo")},
		{"the port form with a trailing dot", "port-8080-demo.cmux.test.", port(8080, "demo")},
		{"the port form with a port", "port-8080-demo.cmux.test:8443", port(8080, "demo")},
		{"the port form in everything", "Port-8080-Demo.cmux.test.:8443", port(8080, "demo")},
		{"the longest domain wins", "port-80-x.dev.cmux.test", in("dev.cmux.test", port(80, "x"))},
		{"another domain", "port-80-x.cmux.app", in("cmux.app", port(80, "x"))},
		{"a domain of one label", "port-80-x.localhost:8080", in("localhost", port(80, "x"))},
		{"a tool port", "port-39379-s.cmux.test", port(39379, "s")},

		{"the proxy form", "cmux-abc-8080.cmux.test", proxy("cmux-", "abc", "", 8080)},
		{"the old prefix of the proxy form", "manaflow-abc-8080.cmux.test", proxy("manaflow-", "abc", "", 8080)},
		{"a scope", "cmux-abc-feature-8080.cmux.test", proxy("cmux-", "abc", "feature", 8080)},
		{"a scope with hyphens", "cmux-abc-my-own-ws-8080.cmux.test", proxy("cmux-", "abc", "my-own-ws", 8080)},
		{"a scope with two hyphens inside", "cmux-a-b--c-80.cmux.test", proxy("cmux-", "a", "b--c", 80)},
		{"a scope that is a number", "cmux-abc-80-8080.cmux.test", proxy("cmux-", "abc", "80", 8080)},
		{"the old prefix with a scope", "manaflow-abc-ws-8080.cmux.test", proxy("manaflow-", "abc", "ws", 8080)},
		{"the base scope", "cmux-abc-base-8080.cmux.test", proxy("cmux-", "abc", "", 8080)},
		{"the base scope in capitals", "cmux-abc-BASE-8080.cmux.test", proxy("cmux-", "abc", "", 8080)},
		{"a scope that begins with base", "cmux-abc-base-x-8080.cmux.test", proxy("cmux-", "abc", "base-x", 8080)},
		{"a scope that ends with base", "cmux-abc-x-base-8080.cmux.test", proxy("cmux-", "abc", "x-base", 8080)},
		{"an id named base", "cmux-base-8080.cmux.test", proxy("cmux-", "base", "", 8080)},
		{"an id that is a number", "cmux-80-8080.cmux.test", proxy("cmux-", "80", "", 8080)},
		{"proxy port 1", "cmux-abc-1.cmux.test", proxy("cmux-", "abc", "", 1)},
		{"proxy port 65535", "cmux-abc-65535.cmux.test", proxy("cmux-", "abc", "", 65535)},
		{"VS Code through the proxy", "cmux-x-39378.cmux.test", proxy("cmux-", "x", "", 39378)},
		{"an LXC guest", "cmux-pvelxc-ab12-8080.cmux.test", proxy("cmux-", "pvelxc-ab12", "", 8080)},
		{"a VM guest", "cmux-pvevm-ab12-8080.cmux.test", proxy("cmux-", "pvevm-ab12", "", 8080)},
		{"a Morph guest", "cmux-morphvm-ab12-8080.cmux.test", proxy("cmux-", "morphvm-ab12", "", 8080)},
		{"a guest under the old prefix", "manaflow-pvelxc-ab12-8080.cmux.test", proxy("manaflow-", "pvelxc-ab12", "", 8080)},
		{"a guest with a scope", "cmux-pvelxc-ab12-ws-1-8080.cmux.test", proxy("cmux-", "pvelxc-ab12", "ws-1", 8080)},
		{"a guest with the base scope", "cmux-pvevm-ab12-base-8080.cmux.test", proxy("cmux-", "pvevm-ab12", "", 8080)},
		{"a guest prefix as an id", "cmux-pvelxc-8080.cmux.test", proxy("cmux-", "pvelxc", "", 8080)},
		{"nearly a guest prefix", "cmux-pvelxcx-ab12-8080.cmux.test", proxy("cmux-", "pvelxcx", "ab12", 8080)},
		{"a guest prefix as a scope", "cmux-abc-pvelxc-ab12-8080.cmux.test", proxy("cmux-", "abc", "pvelxc-ab12", 8080)},
		{"a proxy label of 63 bytes", "cmux-" + label63[:55] + "-80.cmux.test", proxy("cmux-", label63[:55], "", 80)},
		{"the proxy form in capitals", "CMUX-ABC-Ws-8080.Cmux.Test", proxy("cmux-", "abc", "ws", 8080)},
		{"the proxy form in everything", "Manaflow-ABC-8080.cmux.test.:443", proxy("manaflow-", "abc", "", 8080)},
		{"the proxy form on the inner domain", "cmux-abc-80.dev.cmux.test", in("dev.cmux.test", proxy("cmux-", "abc", "", 80))},

		{"the freestyle form", "foo-8080-bar.cmux.test", free("foo", 8080, "bar")},
		{"a workspace with hyphens", "my-own-ws-8080-vm1.cmux.test", free("my-own-ws", 8080, "vm1")},
		{"a workspace with two hyphens inside", "a--b-80-x.cmux.test", free("a--b", 80, "x")},
		{"a workspace that is a number", "80-80-80.cmux.test", free("80", 80, "80")},
		{"nearly a port form", "xport-80-x.cmux.test", free("xport", 80, "x")},
		{"nearly a port form, a letter more", "ports-80-x.cmux.test", free("ports", 80, "x")},
		{"nearly a proxy form", "cmuxx-80-x.cmux.test", free("cmuxx", 80, "x")},
		{"the freestyle form in everything", "FOO-8080-Bar.cmux.test.:1", free("foo", 8080, "bar")},
		{"a workspace that begins like an encoded name", "xn-80-x.cmux.test", free("xn", 80, "x")},
	} {
		for _, freestyle := range []bool{false, true} {
			if tt.want.Form == resolve.Freestyle && !freestyle {
				continue
			}
			name := tt.name + ", freestyle off"
			if freestyle {
				name = tt.name + ", freestyle on"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				want := tt.want
				before, after, hasPort := strings.Cut(tt.host, ":")
				want.Host = strings.ToLower(strings.TrimSuffix(before, "."))
				if hasPort {
					want.Suffix = ":" + after
				}
				got, err := resolve.NewGrammar(domains, freestyle).Parse(tt.host)
				if err != nil {
					t.Fatalf("%q: %v", tt.host, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", tt.host, diff)
				}
			})
		}
	}
}

// The domains' order in the configuration is nobody's business.
func TestTheLongestDomainWinsInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{
		{"test", "cmux.test", "dev.cmux.test"},
		{"dev.cmux.test", "cmux.test", "test"},
		{"cmux.test", "dev.cmux.test", "test"},
	} {
		g := resolve.NewGrammar(order, false)
		for host, want := range map[string]string{
			"port-80-x.dev.cmux.test": "dev.cmux.test",
			"dev.cmux.test":           "dev.cmux.test",
			"port-80-x.cmux.test":     "cmux.test",
			"port-80-x.test":          "test",
		} {
			if r, err := g.Parse(host); err != nil || r.Domain != want {
				t.Errorf("%v: %s lies in %q, %v, want %s", order, host, r.Domain, err, want)
			}
		}
	}
}

func TestAGrammarKeepsItsDomains(t *testing.T) {
	t.Parallel()
	list := []string{"cmux.test"}
	g := resolve.NewGrammar(list, false)
	list[0] = "evil.test"
	if _, err := g.Parse("evil.test"); !errors.Is(err, resolve.ErrForeign) {
		t.Errorf("a change of the caller's list changed the grammar: %v", err)
	}
}

func TestAGrammarWithoutDomainsRefusesAll(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"cmux.test", "port-80-x.cmux.test", "localhost"} {
		if _, err := resolve.NewGrammar(nil, true).Parse(host); !errors.Is(err, resolve.ErrForeign) {
			t.Errorf("%s: %v, want %v", host, err, resolve.ErrForeign)
		}
	}
}

func TestFormsHaveNames(t *testing.T) {
	t.Parallel()
	for form, want := range map[resolve.Form]string{
		resolve.Apex: "apex", resolve.Port: "port", resolve.Proxy: "proxy", resolve.Freestyle: "freestyle", 0: "invalid",
	} {
		if got := form.String(); got != want {
			t.Errorf("form %d is %q, want %q", form, got, want)
		}
	}
}

func TestValidSlug(t *testing.T) {
	t.Parallel()
	for slug, want := range map[string]bool{
		"a": true, "0": true, "a-b": true, "a--b": true, "pvelxc-ab12": true, label63: true,
		"": false, "-": false, "-a": false, "a-": false, "A": false, "a.b": false, "a_b": false, "a b": false,
		"\u212A": false, "\u00e4": false, "a\x00": false, label63 + "a": false,
	} {
		if got := resolve.ValidSlug(slug); got != want {
			t.Errorf("ValidSlug(%q) is %v, want %v", slug, got, want)
		}
	}
}

// Not parallel: AllocsPerRun counts the whole process.
func TestParseDoesNotAllocateForLowerCaseNames(t *testing.T) {
	g := resolve.NewGrammar(domains, true)
	for _, host := range []string{
		"cmux.test", "port-8080-demo.cmux.test:8443", "cmux-pvelxc-ab12-ws-8080.dev.cmux.test.",
		"foo-8080-bar.cmux.test", "example.com", "port-0-x.cmux.test", "[::1]:80",
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = g.Parse(host) }); n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	g := resolve.NewGrammar([]string{"cmux.sh", "cmux.app", "cmux.test"}, false)
	for _, bb := range []struct{ name, host string }{
		{"port form", "port-39378-demo.cmux.test"},
		{"proxy form", "cmux-pvelxc-ab12-feature-8080.cmux.test"},
		{"capitals", "Port-39378-Demo.cmux.test"},
		{"refused", "port-0-demo.cmux.test"},
		{"foreign", "www.example.com"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = g.Parse(bb.host)
			}
		})
	}
}
