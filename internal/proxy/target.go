package proxy

import (
	"net/url"
	"strings"
)

// rawTarget is the origin-form of a request target, byte for byte as the
// client sent it (RFC 9112 section 3.2). An absolute-form target loses its
// scheme and authority, which were read as the host.
func rawTarget(requestURI string) string {
	if requestURI == "*" || strings.HasPrefix(requestURI, "/") {
		return requestURI
	}
	_, rest, _ := strings.Cut(requestURI, "://")
	switch i := strings.IndexAny(rest, "/?"); {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	default:
		return rest[i:]
	}
}

// setTarget makes u write target unchanged. url.URL would escape a raw path
// that holds bytes such as | or ^ anew, and decode its %2F on the way; Opaque
// is written as it is, except that one beginning with // is taken for an
// authority. Such a path goes through Path and RawPath, and when that does not
// give the same bytes back, into the absolute form, which every server must
// accept (RFC 9112 section 3.2.2).
func setTarget(u *url.URL, target, authority string) {
	path, query, found := strings.Cut(target, "?")
	u.RawQuery, u.ForceQuery = query, found && query == ""
	u.Opaque, u.Path, u.RawPath = path, "", ""
	if !strings.HasPrefix(path, "//") {
		return
	}
	u.Opaque, u.RawPath = "", path
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path = decoded
	}
	if u.EscapedPath() != path {
		u.Opaque, u.Path, u.RawPath = "//"+authority+path, "", ""
	}
}
