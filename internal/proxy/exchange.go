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

// String is the value of the header (W3C Server Timing), in milliseconds. What
// did not happen is left out.
func (t timings) String() string {
	var b []byte
	for _, part := range [...]struct {
		name string
		took time.Duration
	}{{"resolve", t.resolve}, {"upstream", t.upstream}} {
		if part.took == 0 {
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
	x := &Exchange{Started: time.Now(), Scheme: "http"}
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
		if proto := strings.ToLower(r.Header.Get("X-Forwarded-Proto")); proto == "http" || proto == "https" {
			x.Scheme = proto
		}
		x.ID = validRequestID(r.Header.Get("X-Request-Id"))
	}
	if x.ID == "" {
		x.ID = rand.Text()
	}
	return x
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

// origin is the public origin of the request (RFC 6454).
func (x *Exchange) origin() string {
	return x.Scheme + "://" + x.Route.Host + x.Route.Suffix
}
