package proxy

import (
	"crypto/tls"
	"net/netip"
	"time"

	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

// Config is what a [Handler] needs to know. The zero value of each field but
// Grammar works.
type Config struct {
	// Grammar reads host names.
	Grammar *resolve.Grammar
	// TrustedProxies are the networks whose word about a client is believed.
	TrustedProxies []netip.Prefix
	// HostHeader says which Host sandboxes on addresses of their own get.
	HostHeader HostHeader
	// Addresses says what may be dialled.
	Addresses sandbox.AddressRule
	// DialTimeout bounds connecting to a sandbox, TLS included; 0 is 2 s.
	DialTimeout time.Duration
	// ResponseHeaderTimeout bounds the wait for an answer once the request is
	// sent; 0 is no bound.
	ResponseHeaderTimeout time.Duration
	// MaxIdlePerInstance is how many idle connections are kept to each port of
	// an instance; 0 keeps none.
	MaxIdlePerInstance int
	// UpstreamTLS verifies upstreams that speak TLS; nil trusts the system's
	// authorities.
	UpstreamTLS *tls.Config
	// DashboardOrigins may frame and call every sandbox, as their siblings may;
	// none if empty. Each is an origin as browsers write it.
	DashboardOrigins []string
	// HeadScript puts a script into the documents of apps that leads what they
	// say to loopback back to their sandbox, and serves it. False does neither.
	HeadScript bool
	// RetireServiceWorker makes that script unregister the service workers that
	// the router before this one installed. False leaves them alone.
	RetireServiceWorker bool
	// StaticRoutes are hosts that lead to fixed upstreams and to no sandbox,
	// whatever the grammar says of them; none if empty.
	StaticRoutes []StaticRoute
}

func (c Config) withDefaults() Config {
	if c.DialTimeout == 0 {
		c.DialTimeout = 2 * time.Second
	}
	if c.UpstreamTLS == nil {
		c.UpstreamTLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return c
}
