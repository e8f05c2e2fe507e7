package config

import (
	"log/slog"
	"net/netip"
	"reflect"
	"time"
)

// Config is one validated configuration.
//
// The field tags are the schema:
//
//	yaml     the key; "-" for what no file holds
//	default  the value without the key, in the notation of the file
//	min, max the limits of a number or duration; above is an exclusive min
//	oneof    the words allowed, separated by |
//	form     the grammar of a text; see [grammars]
//	env      the variable that overrides the key
//	file     of a Secret: the key that names its file
//
// The comments of the fields are written for the operator: they are the text
// of the reference page.
type Config struct {
	// The domains this edge serves, each with every name one level below it. At least one is needed, here or in the environment.
	Domains []string `yaml:"domains" form:"domain" env:"EDGE_DOMAINS"`
	// Where the edge listens. A port of 0 lets the system choose one.
	Listen Listen `yaml:"listen"`
	// The second port: health, metrics, API, dashboard.
	Admin Admin `yaml:"admin"`
	// Networks (CIDRs) of the proxies in front of the edge. What they say about a client is believed; from anybody else it is dropped.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// How the edge reaches sandboxes.
	Upstream Upstream `yaml:"upstream"`
	// Where sandboxes come from.
	Providers Providers `yaml:"providers"`
	// Requests that come back to the edge.
	LoopGuard LoopGuard `yaml:"loopguard"`
	// Optional forms of host names.
	Forms Forms `yaml:"forms"`
	// The log on standard error.
	Log Log `yaml:"log"`
}

// Listen is where the edge listens.
type Listen struct {
	// Address for plain HTTP, as host:port or :port.
	HTTP string `yaml:"http" default:":80" form:"listen"`
	// Whether HTTP/2 without TLS is spoken on the plain HTTP address.
	H2C bool `yaml:"h2c" default:"false"`
	// Address of the admin port; "" turns it off. One that other machines can reach demands an admin token.
	Admin string `yaml:"admin" default:"127.0.0.1:9090" form:"listen"`
}

// Admin protects the admin port.
type Admin struct {
	// File with the admin token. A name without a slash is looked up in $CREDENTIALS_DIRECTORY, a path is relative to the working directory. $EDGE_ADMIN_TOKEN holds the token itself, and wins.
	TokenFile string `yaml:"token_file"`
	// Token is empty when the admin port needs none.
	Token Secret `yaml:"-" env:"EDGE_ADMIN_TOKEN" file:"token_file"`
}

// HostHeader says which Host a sandbox gets.
type HostHeader string

// The values of upstream.host_header.
const (
	HostAuto      HostHeader = "auto"
	HostPreserve  HostHeader = "preserve"
	HostLocalhost HostHeader = "localhost"
)

// Upstream is how the edge reaches sandboxes.
type Upstream struct {
	// Networks (CIDRs) in which sandbox addresses may lie. A list replaces the default, which is RFC 1918, 100.64.0.0/10 and fc00::/7. Loopback, link-local, metadata, multicast and unspecified addresses are refused unless a network listed here covers them.
	AllowCIDRs []netip.Prefix `yaml:"allow_cidrs"`
	// The Host header a sandbox gets: the public one (preserve), localhost with the port (localhost), or preserve on ports 39375 to 39383 and localhost elsewhere (auto).
	HostHeader HostHeader `yaml:"host_header" default:"auto" oneof:"auto|preserve|localhost"`
	// How long connecting to a sandbox may take.
	DialTimeout time.Duration `yaml:"dial_timeout" default:"2s" above:"0s" max:"60s"`
	// How long a sandbox may take to begin its response. 0s sets no limit, so that long polls live.
	ResponseHeaderTimeout time.Duration `yaml:"response_header_timeout" default:"0s" min:"0s"`
	// Idle connections kept open to each sandbox. 0 keeps none.
	MaxIdlePerInstance int `yaml:"max_idle_per_instance" default:"32" min:"0" max:"1024"`
}

// Providers are the places sandboxes come from. A nil one is not configured.
type Providers struct {
	// Sandboxes that are simply there.
	Static *Static `yaml:"static"`
}

// Static is a fixed list of sandboxes.
type Static struct {
	// The sandboxes, each with a slug and an address, ports, or both.
	Instances []StaticInstance `yaml:"instances"`
}

// StaticInstance is one sandbox that an operator keeps running.
type StaticInstance struct {
	// The name in the sandbox's host names: lower-case letters, digits and hyphens, at most 63, unique.
	Slug string `yaml:"slug" form:"slug"`
	// IP address or host name, without a port, on which every port that is not below ports lies. An IP address must lie inside upstream.allow_cidrs.
	Address string `yaml:"address" form:"host"`
	// Places of single ports, PORT: "HOST:PORT". They may lie anywhere except on the edge's own listeners.
	Ports map[uint16]string `yaml:"ports" form:"target"`
}

// LoopGuard refuses requests that come back to the edge.
type LoopGuard struct {
	// How often one request may pass this edge before it is refused as a loop.
	MaxHops int `yaml:"max_hops" default:"1" min:"1" max:"10"`
}

// Forms turns optional forms of host names on.
type Forms struct {
	// Whether the host names of Freestyle sandboxes are understood.
	Freestyle bool `yaml:"freestyle" default:"false"`
}

// Log is how the edge logs.
type Log struct {
	// Form of the lines. auto is text on a terminal and JSON elsewhere.
	Format string `yaml:"format" default:"auto" oneof:"auto|text|json"`
	// The least severe lines that are written.
	Level slog.Level `yaml:"level" default:"info" oneof:"debug|info|warn|error"`
}

// Default is the configuration of an empty file. It is not valid as it
// stands: it names no domain.
func Default() Config {
	var c Config
	setDefaults(reflect.ValueOf(&c).Elem())
	return c
}
