package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"cmux.sh/edge/internal/admin"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/loopguard"
	"cmux.sh/edge/internal/proxy"
	"cmux.sh/edge/internal/reconciler"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
)

const (
	// headerTimeout is how long a client may take to send a request's header.
	headerTimeout = 15 * time.Second
	// clientIdleTimeout keeps client connections longer than the proxies in
	// front keep theirs (cloudflared: 90 s), so that they close them, not we.
	clientIdleTimeout = 150 * time.Second
	// maxHeader is what a client may send before the body: a browser's cookies
	// for a whole domain fit several times.
	maxHeader = 128 << 10

	// The whole shutdown ends within the 10 s after which container runtimes
	// kill: requests first, then tunnels.
	requestDrain = 5 * time.Second
	cutGrace     = 500 * time.Millisecond
	tunnelDrain  = 4 * time.Second
)

// Edge is an edge with its listeners open. It is made by [New] and run once.
type Edge struct {
	log          *slog.Logger
	store        *store
	providers    *providers
	resolver     *resolver.Resolver
	manager      *manager.Manager
	lookup       *lookup
	explainer    *explainer
	reconciler   *reconciler.Reconciler
	controlPlane *controlPlane // nil when there is nobody to tell
	handler      *proxy.Handler
	public       server
	admin        *server // nil when it is off
	draining     atomic.Bool
	running      atomic.Bool
}

// server is a listener with what answers on it.
type server struct {
	key      string // of the configuration
	listener net.Listener
	http     *http.Server
}

// New opens the listeners and assembles the rest. c is a validated
// configuration; it must not change any more. Whoever gets an Edge must Run
// it, which also closes it.
func New(ctx context.Context, c *config.Config, log *slog.Logger) (_ *Edge, err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())

	e := &Edge{log: log}
	defer func() {
		if err != nil {
			e.closeListeners()
			_ = e.closeRest() // the error that led here is the one to tell
		}
	}()
	e.public = server{key: "listen.http"}
	if e.public.listener, err = listen(ctx, e.public.key, c.Listen.HTTP); err != nil {
		return nil, err
	}
	if c.Listen.Admin != "" {
		e.admin = &server{key: "listen.admin"}
		if e.admin.listener, err = listen(ctx, e.admin.key, c.Listen.Admin); err != nil {
			return nil, err
		}
	}

	// The configuration was checked by the name that was written; this is where
	// the port really is.
	if e.admin != nil && !isLoopback(e.admin.listener) && c.Admin.Token.Reveal() == "" {
		return nil, fmt.Errorf("listen.admin: %s can be reached from other machines and there is no admin token; set admin.token_file or EDGE_ADMIN_TOKEN, or listen on 127.0.0.1", e.admin.listener.Addr())
	}
	for _, warning := range c.Warnings {
		log.Warn(warning)
	}
	if e.store, err = openStore(ctx, c.Redis, log); err != nil {
		return nil, err
	}
	rule := e.addressRule(c.Upstream.AllowCIDRs)
	rule.Never = append(rule.Never, e.store.addrs...)
	if e.providers, err = newProviders(ctx, c.Providers, rule, log); err != nil {
		return nil, err
	}
	rule.Never = append(rule.Never, e.providers.apis...)
	counted := manager.Counted(registry, e.providers.list...)
	e.resolver, err = resolver.New(resolver.Deps{Catalog: e.store, Providers: asked(counted), Log: log}, resolver.Config{
		Shared: e.store.shared, NegativeTTL: c.Catalog.NegativeTTL, ServeStale: c.Catalog.ServeStale,
	}, registry)
	if err != nil {
		return nil, err
	}
	e.manager, err = manager.New(log, manager.Config{
		Primary: c.Routing.Primary, Fallback: c.Routing.Fallback, Workloads: c.Routing.Workloads, Rollout: c.Routing.Rollout,
		CreateKeys: e.providers.lacking,
	}, registry, e.store, e.resolver, counted...)
	if err != nil {
		return nil, err
	}
	routes, err := staticRoutes(c.StaticRoutes)
	if err != nil {
		return nil, err
	}
	if e.controlPlane, err = newControlPlane(c.ControlPlane, e.manager, log, registry); err != nil {
		return nil, err
	}
	e.lookup = newLookup(e.resolver, e.manager)
	e.reconciler = reconciler.New(reconciler.Deps{
		Catalog: e.store, Providers: listed(counted), Log: log, Invalidate: e.resolver.Invalidate,
	}, reconciler.Config{}, registry)
	grammar := resolve.NewGrammar(c.Domains, c.Forms.Freestyle)
	e.explainer = &explainer{grammar: grammar, statics: make(map[string]bool), resolver: e.resolver, rule: rule}
	for _, route := range routes {
		e.explainer.statics[route.Host] = true
	}
	e.handler = proxy.New(proxy.Config{
		Grammar:               grammar,
		TrustedProxies:        c.TrustedProxies,
		HostHeader:            hostHeaders[c.Upstream.HostHeader],
		Addresses:             rule,
		UpstreamTLS:           &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: e.providers.roots},
		DialTimeout:           c.Upstream.DialTimeout,
		ResponseHeaderTimeout: c.Upstream.ResponseHeaderTimeout,
		MaxIdlePerInstance:    c.Upstream.MaxIdlePerInstance,
		DashboardOrigins:      c.CORS.DashboardOrigins,
		HeadScript:            c.Compat.HeadScript,
		RetireServiceWorker:   c.Compat.ServiceWorker == "retire",
		StaticRoutes:          routes,
	}, e.lookup, loopguard.New(c.LoopGuard.MaxHops, registry), log, registry)
	e.public.http = e.publicServer(c.Listen.H2C)
	if e.admin != nil {
		e.admin.http = e.adminServer(c.Admin, registry)
	}
	return e, nil
}

// staticRoutes are the configured routes, whose addresses were checked when they
// were read.
func staticRoutes(routes []config.StaticRoute) ([]proxy.StaticRoute, error) {
	list := make([]proxy.StaticRoute, len(routes))
	for i, r := range routes {
		list[i].Host = r.Host
		for _, u := range r.Upstreams {
			address, err := url.Parse(u.URL)
			if err != nil {
				return nil, fmt.Errorf("static_routes: %w", err)
			}
			upstream := proxy.StaticUpstream{URL: address, Host: u.Host}
			if u.Authorization.Reveal() != "" {
				upstream.Authorization = u.Authorization.Reveal
			}
			list[i].Upstreams = append(list[i].Upstreams, upstream)
		}
	}
	return list, nil
}

var hostHeaders = map[config.HostHeader]proxy.HostHeader{
	config.HostAuto:      proxy.HostAuto,
	config.HostPreserve:  proxy.HostPreserve,
	config.HostLocalhost: proxy.HostLocalhost,
}

// addressRule allows what the operator allows, and never the edge's own
// listeners as they were really opened.
func (e *Edge) addressRule(allow []netip.Prefix) sandbox.AddressRule {
	rule := sandbox.AddressRule{Allow: allow, Local: localAddress}
	for _, s := range e.servers() {
		rule.Never = append(rule.Never, s.listener.Addr().(*net.TCPAddr).AddrPort())
	}
	return rule
}

// localAddress tells whether ip is one of this machine's. It looks each time:
// interfaces come and go.
func localAddress(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // better one sandbox refused than the edge as its own upstream
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == ip {
			return true
		}
	}
	return false
}

func (e *Edge) publicServer(h2c bool) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(h2c)
	return &http.Server{
		Handler:                      e.handler,
		Protocols:                    protocols,
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  clientIdleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the sandbox's
		ErrorLog:                     slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
}

func (e *Edge) adminServer(c config.Admin, gatherer prometheus.Gatherer) *http.Server {
	return &http.Server{
		Handler:           admin.New(admin.Config{Token: c.Token.Reveal(), OpenMetrics: isLoopback(e.admin.listener)}, e, gatherer, e.manager, e.explainer),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       clientIdleTimeout,
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
}

// isLoopback tells whether only this machine can connect to l.
func isLoopback(l net.Listener) bool { return l.Addr().(*net.TCPAddr).IP.IsLoopback() }

func (e *Edge) servers() []*server {
	all := []*server{&e.public}
	if e.admin != nil {
		all = append(all, e.admin)
	}
	return all
}

func (e *Edge) closeListeners() {
	for _, s := range e.servers() {
		if s.listener != nil {
			_ = s.listener.Close() // nothing was accepted from it
		}
	}
}

// closeRest closes what requests no longer use.
func (e *Edge) closeRest() error {
	var errs []error
	if e.resolver != nil {
		e.resolver.Close()
	}
	if e.providers != nil {
		errs = append(errs, e.providers.close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	return errors.Join(errs...)
}

// Addr is the public listener's address, as the system chose it.
func (e *Edge) Addr() net.Addr { return e.public.listener.Addr() }

// AdminAddr is the admin port's address, nil when it is off.
func (e *Edge) AdminAddr() net.Addr {
	if e.admin == nil {
		return nil
	}
	return e.admin.listener.Addr()
}

// NotReady implements admin.Readiness.
func (e *Edge) NotReady() []string {
	switch {
	case e.draining.Load():
		return []string{"draining"}
	case !e.running.Load():
		return []string{"starting"}
	}
	return nil
}

// Degraded implements admin.Readiness.
func (e *Edge) Degraded() []string {
	if !e.resolver.CatalogUp() {
		return []string{"redis does not answer"}
	}
	return nil
}

// Run serves until ctx ends and then shuts down. It returns nil after an
// orderly end, at the latest 10 s after ctx's, and the error when a listener
// broke.
func (e *Edge) Run(ctx context.Context) error {
	// Requests outlive ctx by their drain; hard is what ends them.
	hard, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	serving, broken := errgroup.WithContext(ctx)
	for _, s := range e.servers() {
		s.http.BaseContext = func(net.Listener) context.Context { return hard }
		serving.Go(func() error { // ends with its server's Shutdown or Close below
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: %w", s.key, err)
			}
			return nil
		})
		e.log.Info("listening", "key", s.key, "address", s.listener.Addr().String())
	}
	// The manager goes on while tunnels drain, and ends before its providers
	// are closed.
	managing, stopManaging := context.WithCancel(hard)
	var managed sync.WaitGroup
	managed.Go(func() { e.manager.Run(managing) })
	managed.Go(func() { _ = e.resolver.Run(managing) })   // always nil
	managed.Go(func() { _ = e.reconciler.Run(managing) }) // always nil
	if e.controlPlane != nil {
		managed.Go(func() { e.controlPlane.run(managing) })
	}
	e.running.Store(true)

	<-broken.Done() // ctx ended, or a server did
	e.shutdown(context.WithoutCancel(ctx), func() { cut(proxy.ErrDraining) })
	err := serving.Wait()
	stopManaging()
	managed.Wait()
	e.lookup.close()
	err = errors.Join(err, e.closeRest())
	e.log.Info("stopped")
	return err
}

// shutdown stops everything:
//
//  1. /readyz says no, so that nobody sends more;
//  2. the public listener closes;
//  3. requests in flight finish, or are cut after requestDrain;
//  4. tunnels are told goodbye and close, or are cut after tunnelDrain;
//  5. idle connections to sandboxes close;
//  6. the admin port, which could be asked all the while, closes.
//
// Run then ends the manager and closes the providers.
func (e *Edge) shutdown(ctx context.Context, cutRequests func()) {
	e.draining.Store(true)
	e.log.Info("draining")

	requests, cancel := context.WithTimeout(ctx, requestDrain)
	defer cancel()
	if err := e.public.http.Shutdown(requests); err != nil {
		e.log.Warn("requests are cut", "after", requestDrain)
		cutRequests()
		answers, cancel := context.WithTimeout(ctx, cutGrace)
		defer cancel()
		_ = e.public.http.Shutdown(answers) // those that had none yet are told 503
		defer e.public.http.Close()
	}
	tunnels, cancel := context.WithTimeout(ctx, tunnelDrain)
	defer cancel()
	if err := e.handler.Drain(tunnels); err != nil {
		e.log.Warn("tunnels were cut", "after", tunnelDrain)
	}
	cutRequests()
	e.handler.Close()
	if e.admin != nil {
		_ = e.admin.http.Close()
	}
}
