package proxy

import (
	"crypto/rand"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

// Exchange is one request on its way through: what the steps have found out so
// far. It belongs to the request's goroutine.
type Exchange struct {
	// ID is the request's id, from a trusted proxy or drawn here.
	ID string
	// Started is when the handler got the request.
	Started time.Time
	// Peer is the address at the other end of the connection; Trusted says
	// that it is one of the trusted proxies.
	Peer    netip.Addr
	Trusted bool
	// Authority is the host that the client asked for, as it wrote it: the
	// Host, or what a trusted proxy says it was.
	Authority string
	// Scheme is the one the client used: "http" or "https".
	Scheme string
	// Route is what the host name asks for.
	Route resolve.Route
	// Hops counts the edges that the request has been through.
	Hops int
	// Instance serves the route's sandbox.
	Instance sandbox.Instance
	// Upstream is where the port asked for lies.
	Upstream sandbox.Upstream

	profile profile
	static  *staticTarget // where a static route leads; nil for a sandbox
	// used is called as bytes pass; nil where no sandbox is concerned.
	used func()

	timings timings
}

// upstreamPort is the port to dial in the sandbox: for the forms that go
// through the proxy inside it, that proxy's.
func (x *Exchange) upstreamPort() uint16 {
	if x.Route.Form == resolve.Port {
		return x.Route.Port
	}
	return proxyPort
}

// timings are the parts of Server-Timing.
type timings struct{ resolve, upstream time.Duration }

// String is the value of the header (W3C Server Timing), in milliseconds. A
// request that never reached its sandbox has no upstream.
func (t timings) String() string {
	var b []byte
	for _, part := range [...]struct {
		name string
		took time.Duration
	}{{"resolve", t.resolve}, {"upstream", t.upstream}} {
		if part.took == 0 && part.name != "resolve" {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, part.name+";dur="...)
		b = strconv.AppendFloat(b, float64(part.took)/float64(time.Millisecond), 'f', 1, 64)
	}
	return string(b)
}

// maxRequestID bounds an id taken over from a trusted proxy.
const maxRequestID = 128

// begin reads from r what does not depend on its route.
func begin(r *http.Request, trusted []netip.Prefix) *Exchange {
	x := &Exchange{Started: time.Now(), Authority: r.Host, Scheme: "http"}
	if r.TLS != nil {
		x.Scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.Peer = peer.Addr().Unmap()
		for _, p := range trusted {
			x.Trusted = x.Trusted || p.Contains(x.Peer)
		}
	}
	if x.Trusted {
		if proto := strings.ToLower(firstOf(r.Header["X-Forwarded-Proto"])); proto == "http" || proto == "https" {
			x.Scheme = proto
		}
		if host := firstOf(r.Header["X-Forwarded-Host"]); host != "" {
			x.Authority = host
		}
		x.ID = validRequestID(r.Header.Get("X-Request-Id"))
	}
	if x.ID == "" {
		x.ID = rand.Text()
	}
	return x
}

// firstOf is the first entry of a comma-separated header: what the proxy nearest
// to the client said.
func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(values[0], ",")
	return strings.TrimSpace(first)
}

// validRequestID returns id where it may stand in a header, a log and a page,
// else "".
func validRequestID(id string) string {
	if len(id) > maxRequestID {
		return ""
	}
	for i := 0; i < len(id); i++ {
		if id[i] <= ' ' || id[i] > '~' {
			return ""
		}
	}
	return id
}
