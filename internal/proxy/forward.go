package proxy

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Forwarder carries one request to its upstream and the answer back.
//
// Forward returns nil when the whole answer was passed on, and an error when
// nothing of it was: then w is untouched and the caller answers. A [*BrokenOff]
// says that the answer ended in the middle; the caller must then abort the
// client's connection, so that it sees a truncated answer and not an end.
// Forward never sends a request twice unless nothing of it was sent before.
type Forwarder interface {
	Forward(w http.ResponseWriter, r *http.Request, x *Exchange) error
}

const (
	// idleTimeout keeps pooled connections for less than the 5 s after which
	// Node, and so most development servers, closes idle ones.
	idleTimeout = 3500 * time.Millisecond
	// continueTimeout is how long a request body waits for the sandbox's 100
	// Continue when the client asked for one (RFC 9110 section 10.1.1).
	continueTimeout = time.Second
	// maxAnswerHeader bounds what a sandbox may send before the body.
	maxAnswerHeader = 1 << 20
)

// transportForwarder forwards through an http.Transport: HTTP/1.1 upstream,
// one pool for all instances.
type transportForwarder struct {
	transport  *http.Transport
	dialer     *dialer
	hostHeader HostHeader
	pages      *pages
	tunnels    *tunnels
}

func newTransportForwarder(d *dialer, c Config, p *pages, t *tunnels) *transportForwarder {
	return &transportForwarder{
		dialer:     d,
		hostHeader: c.HostHeader,
		pages:      p,
		tunnels:    t,
		transport: &http.Transport{
			DialContext:            d.dial,
			DialTLSContext:         d.dial, // the dialer speaks TLS itself
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
			DisableCompression:     true,
			MaxIdleConnsPerHost:    maxIdle(c.MaxIdlePerInstance),
			IdleConnTimeout:        idleTimeout,
			ResponseHeaderTimeout:  c.ResponseHeaderTimeout,
			ExpectContinueTimeout:  continueTimeout,
			MaxResponseHeaderBytes: maxAnswerHeader,
		},
	}
}

// maxIdle is n for http.Transport, for which 0 is its own default.
func maxIdle(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// outgoing is a request as its upstream gets it.
type outgoing struct {
	host   string
	target string // raw, as rawTarget returns it
	header http.Header
	body   io.Reader
}

// Forward implements [Forwarder].
func (f *transportForwarder) Forward(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	host, local := f.hostHeader.upstreamHost(x)
	out := outgoing{host: host, target: rawTarget(r.RequestURI), header: outgoingHeader(r, x), body: r.Body}
	localized := local && localizeOrigin(out.header, x, host)
	resp, attempt, err := f.roundTrip(w, r, x, out)
	attempt.body.answering(w)
	if err != nil {
		attempt.body.abandon(w)
		return err
	}
	defer func() { resp.Body.Close() }() // treat may put another in its place
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return f.tunnels.join(w, r, x, resp, attempt.conn)
	}
	defer attempt.body.abandon(w)
	if localized {
		publishOrigin(resp.Header, x, host)
	}
	f.pages.treat(resp, r, x)
	return f.passOn(w, resp, x)
}

// passOn sends an answer to the client.
func (f *transportForwarder) passOn(w http.ResponseWriter, resp *http.Response, x *Exchange) error {
	if err := copyAnswer(w, resp, x, x.activity(f.tunnels.metrics.of(x).down)); err != nil {
		return &BrokenOff{err}
	}
	return nil
}

// roundTrip sends the request, again if a pooled connection turned out closed
// before anything was written to it. (http.Transport's own retry also repeats
// requests that the sandbox may have read; [attempt.request] prevents it.)
func (f *transportForwarder) roundTrip(w http.ResponseWriter, r *http.Request, x *Exchange, out outgoing) (*http.Response, *attempt, error) {
	if upgrade := upgradeOf(r); upgrade != "" {
		out.header["Connection"] = []string{"Upgrade"}
		out.header["Upgrade"] = []string{upgrade}
		webSocketSpelling(out.header)
	}
	sent := time.Now()
	defer func() { x.timings.upstream = time.Since(sent) }()
	for {
		a := &attempt{
			informational: informational{w: w, enabled: r.ProtoAtLeast(1, 1)},
			body:          &body{from: r, source: out.body, count: x.activity(f.tunnels.metrics.of(x).up)},
		}
		resp, err := f.transport.RoundTrip(a.request(r, x, out))
		a.informational.stop()
		if err == nil {
			return resp, a, nil
		}
		if a.sent() || r.Context().Err() != nil {
			return nil, a, err
		}
	}
}

// attempt is one try to send a request on one connection.
type attempt struct {
	informational informational
	body          *body

	conn   *upstreamConn // the connection the transport chose
	reused bool
	writes uint64 // conn.writes when it was chosen
}

// sent tells whether the sandbox may have seen anything of the request; if it
// can't be told, it may. A connection that was new has not gone stale, so a
// failure on it is not tried again either.
func (a *attempt) sent() bool {
	return a.conn == nil || !a.reused || a.conn.writes.Load() != a.writes || a.body.touched.Load()
}

// request makes the outgoing request.
func (a *attempt) request(r *http.Request, x *Exchange, to outgoing) *http.Request {
	u := &url.URL{Scheme: "http", Host: poolHost(x)}
	if x.Upstream.TLS {
		u.Scheme = "https"
	}
	setTarget(u, to.target, to.host)
	out := &http.Request{
		Method:     r.Method,
		URL:        u,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     to.header,
		Host:       to.host,
		Body:       a.body,
		// The transport sends a body that was refused, so that it can use the
		// connection again; the client would be told to go on for that.
		Close: len(r.Header["Expect"]) > 0,
	}
	a.frame(out, r)
	ctx := httptrace.WithClientTrace(withExchange(r.Context(), x), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			a.conn, a.reused = info.Conn.(*upstreamConn), info.Reused
			a.writes = a.conn.writes.Load()
		},
		Got1xxResponse: a.informational.pass,
	})
	return out.WithContext(ctx)
}

// frame gives out the framing of r: by chunks with trailers, by a length, or
// none.
func (a *attempt) frame(out, r *http.Request) {
	if r.ContentLength < 0 {
		out.TransferEncoding = []string{"chunked"}
		out.Trailer = maps.Clone(r.Trailer)
		if out.Trailer == nil {
			out.Trailer = make(http.Header)
		}
		a.body.trailer = out.Trailer
		return
	}
	// The transport would repeat a request without body, probe one of unknown
	// length, and hold back one of known length until its buffer is full. A
	// body that is not nil, of a length that only the header tells, in the
	// encoding "identity", is copied as it comes. The header stands under a
	// spelling that the transport does not take for its own.
	out.TransferEncoding = []string{"identity"}
	if r.ContentLength > 0 || len(r.Header["Content-Length"]) > 0 || usuallyHasBody(r.Method) {
		out.Header["Content-length"] = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
}

// usuallyHasBody names the methods of which servers expect a Content-Length
// also when it is 0 (RFC 9110 section 8.6).
func usuallyHasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// informational passes 1xx answers on while a request waits for its final one.
type informational struct {
	w       http.ResponseWriter
	enabled bool // an HTTP/1.0 client knows none

	mu     sync.Mutex
	done   bool
	passed bool // something was passed on
}

// pass writes one answer; the transport calls it from a goroutine of its own.
// 100 Continue is left to the server, which says it when the body is read.
func (i *informational) pass(code int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done || !i.enabled || code == http.StatusContinue {
		return nil
	}
	h := i.w.Header()
	kept := maps.Clone(h)
	clear(h)
	maps.Copy(h, http.Header(header))
	removeHopByHop(h)
	i.w.WriteHeader(code)
	i.passed = true
	clear(h)
	maps.Copy(h, kept)
	return nil
}

// stop ends the time in which pass may touch the response.
func (i *informational) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done = true
}
