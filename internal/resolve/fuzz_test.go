package resolve_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/resolve"
)

// FuzzParse holds every Host header to the promises of the grammar: a name is
// either refused with one of its sentences, or it is a route whose parts are
// well formed and which, written as a host again, means the same.
func FuzzParse(f *testing.F) {
	for _, host := range []string{
		"", "cmux.test", "CMUX.test.:80", "cmux.test..", "[::1]:80", "port-80-x.cmux.test", "port-080-x.cmux.test",
		"port-80-a.b.cmux.test", "cmux-abc-base-8080.dev.cmux.test", "cmux-pvelxc-ab12-ws-80.cmux.test", "cmux-a--80.cmux.test",
		"manaflow-abc-ws-80.cmux.test:8443", "foo-80-bar.cmux.test", "a--b-80-x.cmux.test", "port-80-\u212A.cmux.test",
		"evilcmux.test", "port-1-x.cmux.test.evil.com", "example.com:65536", "x.localhost", "cmux-pvelxc-base-80.cmux.test",
	} {
		f.Add(host, false)
		f.Add(host, true)
	}
	f.Fuzz(func(t *testing.T, host string, freestyle bool) {
		g := resolve.NewGrammar(domains, freestyle)
		r, err := g.Parse(host)
		if err != nil {
			if _, ok := err.(*resolve.HostError); !ok { //nolint:errorlint // the promise is that it is not wrapped
				t.Fatalf("%q: error is a %T", host, err)
			}
			if diff := cmp.Diff(resolve.Route{}, r); diff != "" {
				t.Errorf("%q is refused, but has a route (-want +got):\n%s", host, diff)
			}
			return
		}
		checkRoute(t, r, freestyle)

		again, err := g.Parse(format(r))
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", host, format(r), err)
		}
		want := r
		want.Host = again.Host // "base" need not be written
		if diff := cmp.Diff(want, again); diff != "" {
			t.Errorf("%q became %q, which means something else (-want +got):\n%s", host, format(r), diff)
		}
		// The normalised name with the suffix is the same name.
		if same, err := g.Parse(r.Host + r.Suffix); err != nil || same != r {
			t.Errorf("%q is %+v, its normalised form %q is %+v, %v", host, r, r.Host+r.Suffix, same, err)
		}
	})
}

func checkRoute(t *testing.T, r resolve.Route, freestyle bool) {
	t.Helper()
	if len(r.Host) > 253 || strings.ContainsFunc(r.Host, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", c)
	}) {
		t.Errorf("the normalised host %q is no lower-case host name", r.Host)
	}
	known := false
	for _, d := range domains {
		if r.Host == d || strings.HasSuffix(r.Host, "."+d) {
			known = true
			if len(d) > len(r.Domain) {
				t.Errorf("%q lies in %q, the route says %q", r.Host, d, r.Domain)
			}
		}
	}
	if !known || r.Host != r.Domain && !strings.HasSuffix(r.Host, "."+r.Domain) {
		t.Errorf("%q lies outside the domain %q of its route", r.Host, r.Domain)
	}
	if r.Form == resolve.Apex {
		bare := resolve.Route{Form: resolve.Apex, Host: r.Domain, Domain: r.Domain, Suffix: r.Suffix}
		if diff := cmp.Diff(bare, r); diff != "" {
			t.Errorf("an apex with parts of a sandbox (-want +got):\n%s", diff)
		}
		return
	}
	if !resolve.ValidSlug(r.Slug) || r.Port == 0 {
		t.Errorf("%q has the slug %q and port %d", r.Host, r.Slug, r.Port)
	}
	if r.Scope != "" && (r.Form != resolve.Proxy || !resolve.ValidSlug(r.Scope) || r.Scope == "base") {
		t.Errorf("%q has the scope %q", r.Host, r.Scope)
	}
	if (r.Form == resolve.Freestyle) != (r.Workspace != "") || r.Form == resolve.Freestyle && !freestyle {
		t.Errorf("%q has form %v and workspace %q with freestyle %v", r.Host, r.Form, r.Workspace, freestyle)
	}
	if r.Workspace != "" && !resolve.ValidSlug(r.Workspace) {
		t.Errorf("%q has the workspace %q", r.Host, r.Workspace)
	}
}

// format writes a route as the host that asks for it.
func format(r resolve.Route) string {
	port := strconv.Itoa(int(r.Port))
	var label string
	switch r.Form {
	case resolve.Apex:
		return r.Domain + r.Suffix
	case resolve.Port:
		label = r.Prefix + port + "-" + r.Slug
	case resolve.Proxy:
		label = r.Prefix + r.Slug + "-"
		if r.Scope != "" {
			label += r.Scope + "-"
		}
		label += port
	case resolve.Freestyle:
		label = r.Workspace + "-" + port + "-" + r.Slug
	}
	return label + "." + r.Domain + r.Suffix
}
