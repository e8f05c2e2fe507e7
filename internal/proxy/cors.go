package proxy

import (
	"net/http"
	"slices"
	"strings"

	"cmux.sh/edge/internal/resolve"
)

// preflightAge is how many seconds a browser may keep the answer to a
// preflight.
const preflightAge = "600"

// allowedOrigin is the origin that r comes from if it may read the answers of
// x's sandbox, with credentials; else "".
func (p *pages) allowedOrigin(r *http.Request, x *Exchange) string {
	origin := r.Header["Origin"]
	if len(origin) != 1 || !x.isSibling(p.grammar, origin[0]) && !slices.Contains(p.dashboards, origin[0]) {
		return ""
	}
	return origin[0]
}

// isSibling tells whether origin is that of a port of x's sandbox, in any form,
// on the same domain and port suffix. Only the spelling that browsers use
// counts (RFC 6454 section 6.2). A page in the clear is a sibling only where
// the request came in the clear: otherwise whoever sits on the client's network
// could make one.
func (x *Exchange) isSibling(g *resolve.Grammar, origin string) bool {
	host, ok := strings.CutPrefix(origin, "https://")
	standard := ":443"
	if !ok && x.Scheme == "http" {
		host, ok = strings.CutPrefix(origin, "http://")
		standard = ":80"
	}
	if !ok {
		return false
	}
	route, err := g.Parse(host)
	if err != nil || route.Form == resolve.Apex || route.Host+route.Suffix != host {
		return false
	}
	suffix := x.Route.Suffix
	if suffix == ":" || suffix == standard {
		suffix = "" // browsers leave a scheme's own port out
	}
	return route.Slug == x.Route.Slug && route.Domain == x.Route.Domain && route.Suffix == suffix
}

// isToken tells whether s is a token (RFC 9110 section 5.6.2), as methods are.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// answerOptions answers an OPTIONS that is the edge's to answer, without asking
// or waking a sandbox, and tells whether it was one.
func (p *pages) answerOptions(w http.ResponseWriter, r *http.Request, x *Exchange) bool {
	if r.Method != http.MethodOptions || !x.profile.cors {
		return false
	}
	origin := p.allowedOrigin(r, x)
	method := r.Header["Access-Control-Request-Method"]
	preflight := origin != "" && len(method) == 1 && isToken(method[0])
	if !preflight && !x.profile.options {
		return false
	}
	header := w.Header()
	if preflight {
		header["Access-Control-Allow-Methods"] = method
		if headers := r.Header["Access-Control-Request-Headers"]; len(headers) > 0 {
			header["Access-Control-Allow-Headers"] = headers
		}
		header["Access-Control-Max-Age"] = []string{preflightAge}
		header["Vary"] = []string{"Access-Control-Request-Method, Access-Control-Request-Headers"}
	}
	allow(header, origin)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// allow lets origin read an answer with credentials, unless its server has
// decided about that itself. "" is nobody; the answer depends on the origin all
// the same, and a cache must know.
func allow(h http.Header, origin string) {
	if decided := h["Access-Control-Allow-Origin"]; len(decided) > 1 || len(decided) == 1 && decided[0] != "*" {
		return
	}
	if origin != "" {
		h["Access-Control-Allow-Origin"] = []string{origin}
		h["Access-Control-Allow-Credentials"] = []string{"true"}
	}
	addVary(h, "Origin")
}

// addVary appends name to Vary, on the line that is there.
func addVary(h http.Header, name string) {
	lines := h["Vary"]
	if hasToken(lines, "*") || hasToken(lines, name) {
		return
	}
	if len(lines) == 0 || strings.TrimSpace(lines[len(lines)-1]) == "" {
		h["Vary"] = append(slices.Clone(lines), name)
		return
	}
	lines = slices.Clone(lines)
	lines[len(lines)-1] += ", " + name
	h["Vary"] = lines
}
