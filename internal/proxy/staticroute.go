package proxy

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

// StaticRoute leads one exact host to a list of fixed upstreams.
type StaticRoute struct {
	// Host is a lower-case name without port or trailing dot. It may be a
	// domain of the grammar, or lie outside of all.
	Host string
	// Upstreams are tried in order until one answers: the next when a
	// connection can't be made, or when the answer is 502, 503 or 504. One that
	// failed so is asked last for a while.
	Upstreams []StaticUpstream
}

// StaticUpstream is one place that serves a [StaticRoute].
type StaticUpstream struct {
	// URL is http or https. Its path, if any, is put before that of every
	// request. Its address may lie anywhere but at the edge's own listeners.
	URL *url.URL
	// Host is the Host that it gets; "" is that of the request.
	Host string
	// Authorization returns what takes the place of the client's Authorization;
	// it is asked for every request. Nil, and "", leave the client's.
	Authorization func() string
}

// failurePause is how long an upstream that failed is asked last. Then one
// request finds out whether it is back.
const failurePause = 10 * time.Second

// staticRoutes finds the static routes. Its hosts are a grammar of their own,
// in which each is an apex: so they are normalised as any other.
type staticRoutes struct {
	grammar *resolve.Grammar
	targets map[string][]*staticTarget
}

// staticTarget is one upstream of a route.
type staticTarget struct {
	StaticUpstream
	pool     string // under which the transport pools its connections; no slug has a dot
	upstream sandbox.Upstream
	failed   atomic.Int64 // until when it is asked last, in Unix nanoseconds; 0 when it is well
}

func newStaticRoutes(routes []StaticRoute) *staticRoutes {
	s := &staticRoutes{targets: make(map[string][]*staticTarget, len(routes))}
	var hosts []string
	for i, route := range routes {
		hosts = append(hosts, route.Host)
		for j, up := range route.Upstreams {
			address := up.URL.Host
			if up.URL.Port() == "" {
				address = net.JoinHostPort(up.URL.Hostname(), map[bool]string{true: "443", false: "80"}[up.URL.Scheme == "https"])
			}
			s.targets[route.Host] = append(s.targets[route.Host], &staticTarget{
				StaticUpstream: up,
				pool:           "static." + strconv.Itoa(i) + "." + strconv.Itoa(j),
				upstream:       sandbox.Upstream{TLS: up.URL.Scheme == "https", Address: address, Authority: up.URL.Host, Named: true},
			})
		}
	}
	s.grammar = resolve.NewGrammar(hosts, false)
	return s
}

// find returns the route of a Host header, if it is a static one.
func (s *staticRoutes) find(host string) (resolve.Route, bool) {
	if len(s.targets) == 0 {
		return resolve.Route{}, false
	}
	route, err := s.grammar.Parse(host)
	return route, err == nil && route.Form == resolve.Apex
}

// order is in which the upstreams of a host are to be tried: as written, those
// that failed lately last.
func (s *staticRoutes) order(host string, now time.Time) []*staticTarget {
	targets := s.targets[host]
	order := make([]*staticTarget, 0, len(targets))
	var last []*staticTarget
	for _, t := range targets {
		if t.well(now) {
			order = append(order, t)
		} else {
			last = append(last, t)
		}
	}
	return append(order, last...)
}

// well tells whether t may be asked in its turn. Of all that ask after a pause,
// one hears that it may: it finds out for the others.
func (t *staticTarget) well(now time.Time) bool {
	failed := t.failed.Load()
	if failed == 0 {
		return true
	}
	return now.UnixNano() >= failed && t.failed.CompareAndSwap(failed, now.Add(failurePause).UnixNano())
}

// outgoing is the request as t gets it.
func (t *staticTarget) outgoing(r *http.Request, x *Exchange) outgoing {
	out := outgoing{host: t.Host, target: rawTarget(r.RequestURI), header: outgoingHeader(r, x)}
	if out.host == "" {
		out.host = x.Route.Host + x.Route.Suffix
	}
	if out.target != "*" {
		out.target = strings.TrimSuffix(t.URL.EscapedPath(), "/") + out.target
	}
	if t.Authorization != nil {
		if value := t.Authorization(); value != "" {
			out.header["Authorization"] = []string{value}
		}
	}
	return out
}

// serveStatic answers r from the upstreams of its static route.
func (h *Handler) serveStatic(w *writer, r *http.Request, x *Exchange) error {
	order := h.statics.order(x.Route.Host, time.Now())
	for _, t := range order {
		if t.leaves(rawTarget(r.RequestURI)) {
			return errLeavesPrefix
		}
	}
	kept := newKeptBody(r)
	defer kept.release(w)
	err := errNoUpstream
	for i, t := range order {
		last := i == len(order)-1
		// A connection that was begun for one attempt may come about during the
		// next; the dialer must find what it belongs to.
		leg := *x
		leg.static, leg.Upstream = t, t.upstream
		var next bool
		next, err = h.transport.forwardStatic(w, r, &leg, kept, last)
		x.timings = leg.timings
		if !next {
			break
		}
		h.log.Warn("static route fails over", keyRequest, x.ID, "host", x.Route.Host, "upstream", t.URL.Redacted(), "next", order[i+1].URL.Redacted())
	}
	if err != nil && !isBrokenOff(err) {
		return &serviceError{err}
	}
	return err
}

// forwardStatic forwards r to the upstream that x names. It returns true when
// the next is to be tried, which it never does with last.
func (f *transportForwarder) forwardStatic(w http.ResponseWriter, r *http.Request, x *Exchange, kept *keptBody, last bool) (next bool, err error) {
	out := x.static.outgoing(r, x)
	reader := kept.reader()
	defer reader.stop()
	out.body = reader
	resp, attempt, err := f.roundTrip(w, r, x, out)
	again := !last && kept.whole() && !attempt.informational.passed
	if err != nil {
		if !isConnectError(err) || r.Context().Err() != nil {
			return false, err
		}
		x.static.fail(time.Now())
		return again, err
	}
	defer resp.Body.Close()
	if failedOver(resp.StatusCode) {
		x.static.fail(time.Now())
		if again {
			return true, nil
		}
	} else {
		x.static.failed.Store(0)
	}
	kept.answering(w)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return false, f.tunnels.join(w, r, x, resp, attempt.conn)
	}
	return false, f.passOn(w, resp, x)
}

// errNoUpstream is about a route that has none.
var errNoUpstream = errors.New("the route has no upstream")

// leaves tells whether a request target would lead out of the path that the
// operator opened: the upstream's server may resolve dot segments (RFC 3986
// section 5.2.4), and gets the operator's key. So would a target that is no
// path.
func (t *staticTarget) leaves(target string) bool {
	if strings.Trim(t.URL.EscapedPath(), "/") == "" {
		return false
	}
	path, _, _ := strings.Cut(target, "?")
	if path == "*" {
		return true
	}
	decoded := strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "\\", "/", "%5c", "/", "%5C", "/").Replace(path)
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == ".." || segment == "." {
			return true
		}
	}
	return false
}

func (t *staticTarget) fail(now time.Time) { t.failed.Store(now.Add(failurePause).UnixNano()) }

// failedOver tells whether a status says that an upstream did not do what was
// asked, and another may.
func failedOver(status int) bool {
	return slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status)
}
