package resolve

import "strings"

// guestPrefixes begin slugs of two segments: in cmux-pvelxc-ab12-8080 the slug
// is pvelxc-ab12, not pvelxc with the scope ab12.
var guestPrefixes = [...]string{"pvelxc", "pvevm", "morphvm"}

// parseLabel reads the one label before the domain. The tests run in the order
// prefix, count of segments, port, slug; the first that fails gives the error.
func (g *Grammar) parseLabel(r *Route, sub string) error {
	for _, prefix := range [...]string{"cmux-", "manaflow-"} {
		if rest, ok := strings.CutPrefix(sub, prefix); ok {
			r.Form, r.Prefix = Proxy, prefix
			return parseProxy(r, rest)
		}
	}
	rest, ok := strings.CutPrefix(sub, "port-")
	switch {
	case ok && strings.IndexByte(rest, '-') >= 0:
		r.Form, r.Prefix = Port, "port-"
		return parsePort(r, rest)
	case ok || !g.freestyle:
		return ErrInvalidSubdomain
	}
	r.Form = Freestyle
	return parseFreestyle(r, sub)
}

// parsePort reads <port>-<slug>.
func parsePort(r *Route, rest string) error {
	digits, slug, _ := strings.Cut(rest, "-")
	port, ok := portNumber(digits)
	if !ok {
		return ErrInvalidPort
	}
	if !ValidSlug(slug) {
		return ErrInvalidSubdomain
	}
	r.Port, r.Slug = port, slug
	return nil
}

// parseProxy reads <id>[-<scope>]-<port>. The first segment is the id, the
// last the port, everything between is the scope.
func parseProxy(r *Route, rest string) error {
	last := strings.LastIndexByte(rest, '-')
	if last < 0 {
		return ErrInvalidProxy
	}
	port, ok := portNumber(rest[last+1:])
	if !ok {
		return ErrInvalidProxyPort
	}
	slug, scope, scoped := strings.Cut(rest[:last], "-")
	for _, guest := range guestPrefixes {
		if slug == guest && scoped {
			var hex string
			hex, scope, scoped = strings.Cut(scope, "-")
			if hex == "" {
				return ErrMissingID
			}
			slug = rest[:len(guest)+1+len(hex)]
			break
		}
	}
	if slug == "" {
		return ErrMissingID
	}
	if scoped && !ValidSlug(scope) {
		return ErrInvalidProxy
	}
	if scope == "base" {
		scope = ""
	}
	r.Port, r.Slug, r.Scope = port, slug, scope
	return nil
}

// parseFreestyle reads <workspace>-<port>-<slug> from the right.
func parseFreestyle(r *Route, sub string) error {
	last := strings.LastIndexByte(sub, '-')
	if last < 0 {
		return ErrInvalidSubdomain
	}
	mid := strings.LastIndexByte(sub[:last], '-')
	if mid < 0 {
		return ErrInvalidSubdomain
	}
	port, ok := portNumber(sub[mid+1 : last])
	if !ok {
		return ErrInvalidPort
	}
	workspace, slug := sub[:mid], sub[last+1:]
	if workspace == "" {
		return ErrMissingWorkspace
	}
	if !ValidSlug(workspace) || !ValidSlug(slug) {
		return ErrInvalidSubdomain
	}
	r.Port, r.Slug, r.Workspace = port, slug, workspace
	return nil
}

// portNumber reads a port without leading zero, 1 to 65535.
func portNumber(s string) (uint16, bool) {
	if s == "" || len(s) > 5 || s[0] == '0' || !allDigits(s) {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		n = n*10 + int(s[i]-'0')
	}
	return uint16(n), n <= 65535 //nolint:gosec // the second result says whether it fits
}

// ValidSlug tells whether s can name a sandbox, a scope or a workspace:
// letters, digits and hyphens, beginning and ending with a letter or digit, at
// most 63 bytes.
func ValidSlug(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '-' && !alnum(c) {
			return false
		}
	}
	return true
}
