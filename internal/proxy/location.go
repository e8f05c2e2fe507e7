package proxy

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// publish makes redirects lead where a browser can go.
func publish(h http.Header, x *Exchange) {
	for _, name := range [...]string{"Location", "Content-Location"} {
		for i, value := range h[name] {
			h[name][i] = x.publicURL(value)
		}
	}
}

// publicURL maps an absolute http URL of a loopback address, or of x's upstream
// itself, to the public host of that port. Whatever stands behind the authority
// keeps its bytes; user info is dropped. Any other value is returned as it is.
func (x *Exchange) publicURL(value string) string {
	scheme, rest, found := strings.Cut(value, "//")
	switch {
	case !found:
		return value
	case scheme == "" || strings.EqualFold(scheme, "http:"):
		scheme = "http"
	case strings.EqualFold(scheme, "https:"):
		scheme = "https"
	default:
		return value
	}
	end := strings.IndexAny(rest, `/?#\`)
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	host := x.publicHost(authority, scheme)
	if host == "" || end < len(rest) && rest[end] == '\\' {
		return value
	}
	return x.Scheme + "://" + host + rest[end:]
}

// publicHost is the public host for an authority that means something only
// inside the sandbox or the edge; "" for any other.
func (x *Exchange) publicHost(authority, scheme string) string {
	host, port, ok := splitAuthority(authority, scheme)
	if !ok {
		return ""
	}
	own := x.Upstream.Authority
	if own == "" {
		own = x.Upstream.Address
	}
	ownHost, ownPort, ok := splitAuthority(own, map[bool]string{false: "http", true: "https"}[x.Upstream.TLS])
	same := ok && strings.EqualFold(host, ownHost)
	switch {
	case same && port == ownPort:
		return x.Route.Host + x.Route.Suffix
	case isLoopback(host), same && x.Upstream.Authority == "" && !x.Upstream.Named:
		return x.sibling(port)
	}
	return ""
}

// splitAuthority splits host and port; a port that is not written is that of
// the scheme.
func splitAuthority(authority, scheme string) (host string, port uint16, ok bool) {
	port = map[string]uint16{"http": 80, "https": 443}[scheme]
	host = authority
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host = authority[:i]
		if digits := authority[i+1:]; digits != "" {
			n, err := strconv.ParseUint(digits, 10, 16)
			if err != nil || digits[0] == '0' {
				return "", 0, false
			}
			port = uint16(n)
		}
	}
	return host, port, host != ""
}

// isLoopback tells whether a host, as it stands in a URL, is this machine's own
// to whoever reads it. Servers print the unspecified address where they listen
// on all.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	bare, bracketed := strings.CutPrefix(host, "[")
	bare, closed := strings.CutSuffix(bare, "]")
	ip, err := netip.ParseAddr(bare)
	if err != nil || bracketed != closed || bracketed != ip.Is6() || ip.Zone() != "" {
		return false
	}
	return ip.IsLoopback() && !ip.Is4In6() || ip.IsUnspecified()
}
