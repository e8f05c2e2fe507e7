package proxy

import (
	"net/http"
	"strings"

	"cmux.sh/edge/internal/csp"
	"cmux.sh/edge/internal/resolve"
)

// reframe makes frame-ancestors the edge's list, where the profile says so.
// X-Frame-Options goes when, and only when, that list is set: browsers would
// hold to both, and it can't name anybody. Report-Only restricts nothing and
// stays.
func (p *pages) reframe(header http.Header, x *Exchange) {
	_, restricted := header["X-Frame-Options"]
	policies := header["Content-Security-Policy"]
	switch {
	case x.profile.framing == framingKept:
		return
	case x.profile.framing == framingAmended && !restricted && len(policies) == 0:
		return // most answers
	}
	amended, set := csp.SetFrameAncestors(policies, p.ancestors(x), restricted || x.profile.framing == framingListed)
	if set {
		header["Content-Security-Policy"] = amended
		delete(header, "X-Frame-Options")
	}
}

// ancestors are who may frame an answer of x's sandbox: the sandbox's own
// tools, one by one, and dashboards. A wildcard would let in other tenants.
func (p *pages) ancestors(x *Exchange) string {
	list := append(make([]string, 0, 1+2*len(framingPorts)+len(p.dashboards)), "'self'")
	// Tools are mostly opened in the port form, whatever form they frame.
	forms := []resolve.Form{resolve.Port, x.Route.Form}
	if forms[0] == forms[1] {
		forms = forms[:1]
	}
	for _, form := range forms {
		tool := *x
		if form != x.Route.Form {
			tool.Route.Form, tool.Route.Prefix = form, "port-"
		}
		for _, port := range framingPorts {
			if host := tool.sibling(port); host != "" {
				list = append(list, x.Scheme+"://"+host)
			}
		}
	}
	return strings.Join(append(list, p.dashboards...), " ")
}
