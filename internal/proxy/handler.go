package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/loopguard"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/tunnel"
)

// Resolver finds the instance that serves a sandbox.
type Resolver interface {
	// Resolve returns the instance as it is known now. An error of kind
	// not-found says that there is no such sandbox; any other says that it
	// can't be told. It honours ctx while it waits.
	Resolve(ctx context.Context, slug string) (sandbox.Instance, error)
	// Used says that bytes pass to or from a sandbox. It is called often, from
	// any goroutine, and does not wait.
	Used(slug string)
	// Unreachable says that an instance was not reached where Resolve said it
	// was. It does not wait: the truth is for the next request.
	Unreachable(in sandbox.Instance)
}

// ownPath is where the edge's own paths begin on every host it serves.
const ownPath = "/.edge/"

// Handler answers every request to a domain of the edge. It is safe for
// concurrent use.
type Handler struct {
	config    Config
	resolver  Resolver
	guard     *loopguard.Guard
	log       *slog.Logger
	metrics   *metrics
	forwarder Forwarder
	transport *transportForwarder
	tunnels   tunnel.Registry
	pages     *pages
	statics   *staticRoutes
}

// New makes a handler and registers its metrics with reg.
func New(c Config, resolver Resolver, guard *loopguard.Guard, log *slog.Logger, reg prometheus.Registerer) *Handler {
	c = c.withDefaults()
	h := &Handler{config: c, resolver: resolver, guard: guard, log: log, metrics: newMetrics(reg), pages: newPages(c), statics: newStaticRoutes(c.StaticRoutes)}
	h.transport = newTransportForwarder(newDialer(c), c, h.pages, &tunnels{&h.tunnels, h.metrics})
	h.forwarder = h.transport
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edge_tunnels",
		Help: "Open tunnels of any protocol, WebSockets included.",
	}, func() float64 { return float64(h.tunnels.Len()) }))
	return h
}

// Drain says goodbye on every tunnel and returns when all are gone; when ctx
// ends first it cuts the rest. See [tunnel.Registry.Drain].
func (h *Handler) Drain(ctx context.Context) error { return h.tunnels.Drain(ctx) }

// CloseGeneration closes the connections that were made to one generation of a
// sandbox, idle or in use, tunnels excepted. A new generation never uses them
// anyway; closing them frees what a dead or moved instance still holds.
func (h *Handler) CloseGeneration(slug string, number uint64) {
	h.transport.dialer.closeGeneration(generation{slug, number})
}

// Close closes idle connections to sandboxes. The handler must have no more
// requests.
func (h *Handler) Close() { h.transport.transport.CloseIdleConnections() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	x := begin(r, h.config.TrustedProxies)
	w := &writer{ResponseWriter: rw, metrics: h.metrics}
	w.Header()["X-Request-Id"] = []string{x.ID}
	h.metrics.inFlight.Inc()
	defer func() {
		h.finish(w, r, x, recover())
	}()

	if r.ProtoMajor == 1 {
		// Both directions of an exchange go on at once, as HTTP allows.
		_ = http.NewResponseController(rw).EnableFullDuplex()
		closeAfterChunks(w.Header(), r)
	}
	if err := h.serve(w, r, x); err != nil {
		h.fail(w, r, x, err)
	}
}

// serve is the way of a request, from its host name to its sandbox. What it
// returns was not answered yet, unless it is a [*BrokenOff].
func (h *Handler) serve(w *writer, r *http.Request, x *Exchange) error {
	route, static := h.statics.find(x.Authority)
	if !static {
		var err error
		if route, err = h.config.Grammar.Parse(x.Authority); err != nil {
			return err
		}
	}
	x.Route = route
	switch {
	case r.Method == http.MethodConnect:
		return errMethod
	case strings.HasPrefix(rawTarget(r.RequestURI), ownPath):
		return h.serveOwn(w, r, x)
	case !static && x.Route.Form == resolve.Apex:
		serveApex(w)
		return nil
	}
	if !static {
		x.profile = profileOf(x.Route.Port)
		if h.pages.answerOptions(w, r, x) {
			return nil
		}
	}
	var pass bool
	if x.Hops, pass = h.guard.Check(r.Header); !pass {
		return errLoop
	}
	if static {
		return h.serveStatic(w, r, x)
	}
	return h.serveSandbox(w, r, x)
}

// serveSandbox is the rest of that way for a sandbox's host.
func (h *Handler) serveSandbox(w *writer, r *http.Request, x *Exchange) error {
	var err error
	x.Instance, err = h.resolver.Resolve(r.Context(), x.Route.Slug)
	x.timings.resolve = time.Since(x.Started)
	if err != nil {
		return &lookupError{err}
	}
	if x.Instance.State != sandbox.Running {
		return &stateError{x.Instance.State, x.Instance.Reason}
	}
	if x.Upstream, err = x.Instance.Upstream(x.upstreamPort()); err != nil {
		return err
	}
	slug := x.Instance.Slug
	x.used = func() { h.resolver.Used(slug) }
	return h.forwarder.Forward(w, r, x)
}

// serveOwn answers below [ownPath].
func (h *Handler) serveOwn(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	path, _, _ := strings.Cut(rawTarget(r.RequestURI), "?")
	if path == headScriptPath && h.pages.headScript && x.Route.Form != resolve.Apex && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		h.pages.serveHeadScript(w, r, x)
		return nil
	}
	return errNothingHere
}

// serveApex says that the edge is there.
func serveApex(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "cmux!") // a client that left needs no answer
}

// closeAfterChunks ends the connection after a request in chunks. net/http
// drops a Content-Length that stands beside Transfer-Encoding without telling
// the handler; a proxy in front that believed the length would take what
// follows for another request. RFC 9112 section 6.3 allows to process such a
// message and demands that the connection be closed after it. In HTTP/1.0, which
// knows no chunks, net/http drops Transfer-Encoding instead, without a trace.
func closeAfterChunks(h http.Header, r *http.Request) {
	if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
		h["Connection"] = []string{"close"}
	}
}

// fail answers r with what err means, or breaks the connection off where an
// answer has begun.
func (h *Handler) fail(w *writer, r *http.Request, x *Exchange, err error) {
	c := causeOf(r.Context(), err)
	if broken, ok := errors.AsType[*BrokenOff](err); ok {
		h.logFailure(r, x, slog.LevelInfo, "answer broken off", broken.Err, slog.Int("status", w.status))
		if c == causeClientGone {
			w.status = statusClientGone
		}
		if w.hijacked {
			return
		}
		panic(http.ErrAbortHandler)
	}
	o := outcomes[c]
	if c == causeClientGone {
		w.status = statusClientGone
		panic(http.ErrAbortHandler)
	}
	if (c == causeUnreachable || c == causeTimeout) && x.Instance.Slug != "" {
		h.resolver.Unreachable(x.Instance)
	}
	h.logFailure(r, x, o.level, "request failed", err, slog.Int("status", o.status), slog.String("code", string(o.code)))
	w.Header()["Server-Timing"] = []string{x.timings.String()}
	if x.profile.cors {
		allow(w.Header(), h.pages.allowedOrigin(r, x)) // who watches a sandbox start must be able to read that it does
	}
	c.problem(x, err).Write(w, r)
}

// statusClientGone is what the metrics call a request whose client left before
// an answer. No client sees it.
const statusClientGone = 499

// finish counts and logs the request; recovered is what its handler panicked
// with, if it did.
func (h *Handler) finish(w *writer, r *http.Request, x *Exchange, recovered any) {
	if recovered != nil && recovered != http.ErrAbortHandler { //nolint:errorlint // the very value is panicked with
		h.metrics.panics.Inc()
		h.log.Error("handler panicked", keyRequest, x.ID, keyError, fmt.Sprint(recovered), "stack", string(debug.Stack()))
		if w.status == 0 {
			causeInternal.problem(x, nil).Write(w, r)
			recovered = nil
		} else {
			recovered = http.ErrAbortHandler
		}
	}
	if !w.hijacked {
		h.metrics.inFlight.Dec()
	}
	elapsed := time.Since(x.Started)
	h.metrics.observe(w, r, x, elapsed)
	if h.log.Enabled(r.Context(), slog.LevelDebug) {
		h.log.LogAttrs(r.Context(), slog.LevelDebug, "request", append(requestAttrs(r, x),
			slog.Int("status", w.status), slog.Duration("duration", elapsed))...)
	}
	if recovered != nil {
		panic(recovered)
	}
}

// Keys of log lines.
const (
	keyRequest = "request_id"
	keyError   = "error"
)

func (h *Handler) logFailure(r *http.Request, x *Exchange, level slog.Level, message string, err error, more ...slog.Attr) {
	if h.log.Enabled(r.Context(), level) {
		attrs := append(requestAttrs(r, x), slog.String(keyError, loggable(err)))
		h.log.LogAttrs(r.Context(), level, message, append(attrs, more...)...)
	}
}

// requestAttrs are what a log line says of a request: no header, no query,
// nothing that could be a secret.
func requestAttrs(r *http.Request, x *Exchange) []slog.Attr {
	path, _, _ := strings.Cut(rawTarget(r.RequestURI), "?")
	return []slog.Attr{
		slog.String(keyRequest, x.ID),
		slog.String("method", r.Method),
		slog.String("host", x.Authority),
		slog.String("path", path),
		slog.String("peer", x.Peer.String()),
	}
}
