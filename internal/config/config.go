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
	// Networks (CIDRs) of the proxies in front of the edge. What they say about a client is believed (X-Forwarded-For, -Host and -Proto, CF-Connecting-IP, X-Request-Id); from anybody else it is dropped.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// Where replicas keep what they know together.
	Redis Redis `yaml:"redis"`
	// How long what is known of sandboxes is used.
	Catalog Catalog `yaml:"catalog"`
	// How the edge reaches sandboxes.
	Upstream Upstream `yaml:"upstream"`
	// Where sandboxes come from.
	Providers Providers `yaml:"providers"`
	// Which provider makes a new sandbox. One that was made stays where it is.
	Routing Routing `yaml:"routing"`
	// Requests that come back to the edge.
	LoopGuard LoopGuard `yaml:"loopguard"`
	// Optional forms of host names.
	Forms Forms `yaml:"forms"`
	// Hosts that lead to fixed upstreams rather than to a sandbox.
	StaticRoutes []StaticRoute `yaml:"static_routes"`
	// Which pages may call sandboxes from a browser.
	CORS CORS `yaml:"cors"`
	// What is done to pages for the sake of older setups.
	Compat Compat `yaml:"compat"`
	// Who is told of every start, pause, resume, stop and failure.
	ControlPlane ControlPlane `yaml:"control_plane"`
	// The log on standard error.
	Log Log `yaml:"log"`
	// Warnings are what the edge understood and an operator should know, one sentence each; they are for the log.
	Warnings []string `yaml:"-"`
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

// Redis is where replicas keep what they know together.
type Redis struct {
	// Address of Redis: redis://, rediss://, or the redis+sentinel:// and redis+cluster:// forms. Empty keeps everything in memory, which serves one replica only. $EDGE_REDIS_URL wins, and is the place for an address with a password.
	URL string `yaml:"url"`
	// Every key begins with it; nothing else is touched.
	Prefix string `yaml:"prefix" default:"edge:" form:"word"`
}

// Catalog says how long what is known of sandboxes is used.
type Catalog struct {
	// How long what is known is used while Redis does not answer.
	ServeStale time.Duration `yaml:"serve_stale" default:"10m" above:"0s"`
	// How long it is remembered that nobody knows a sandbox.
	NegativeTTL time.Duration `yaml:"negative_ttl" default:"5s" above:"0s" max:"10m"`
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
	// Idle connections kept open to each port of a sandbox. 0 keeps none.
	MaxIdlePerInstance int `yaml:"max_idle_per_instance" default:"32" min:"0" max:"1024"`
}

// Providers are the places sandboxes come from. A nil one is not configured.
type Providers struct {
	// Sandboxes that are simply there.
	Static *Static `yaml:"static"`
	// Proxmox VE: virtual machines (pve-vm) and containers (pve-lxc).
	PVE *PVE `yaml:"pve"`
	// Morph Cloud (morph).
	Morph *Morph `yaml:"morph"`
	// Docker (docker), for development.
	Docker *Docker `yaml:"docker"`
}

// PVE is a Proxmox VE cluster.
type PVE struct {
	// Address of the API, https only. $PVE_API_URL wins.
	URL string `yaml:"url" form:"https"`
	// File with the API token, USER@REALM!NAME=SECRET. $PVE_API_TOKEN holds the token itself, and wins.
	TokenFile string `yaml:"token_file"`
	// Token is the API token.
	Token Secret `yaml:"-" env:"PVE_API_TOKEN" file:"token_file"`
	// The node whose templates sandboxes are cloned from; a clone stays on its template's node. $PVE_NODE wins. Empty, with an empty nodes, is every node that is online.
	Node string `yaml:"node" form:"node"`
	// The nodes whose templates are used, when there are several.
	Nodes []string `yaml:"nodes" form:"node"`
	// File with the certificates (PEM) that the API's certificate is verified by, in place of the system's.
	CAFile string `yaml:"ca_file"`
	// SHA-256 fingerprint of the API's certificate, AA:BB:…, in place of ca_file.
	Fingerprint string `yaml:"fingerprint" form:"fingerprint"`
	// Virtual machines, the provider pve-vm.
	VM PVEVM `yaml:"vm"`
	// Containers, the provider pve-lxc.
	LXC PVELXC `yaml:"lxc"`
}

// PVEVM is the provider pve-vm.
type PVEVM struct {
	// Whether the provider is used.
	Enabled bool `yaml:"enabled" default:"true"`
	// The template (VMID) of each preset; "default" is that of a sandbox made without one.
	Templates map[string]int `yaml:"templates" min:"100" max:"999999999"`
	// The pool that sandboxes are put into, and whose guests are the edge's.
	Pool string `yaml:"pool"`
	// How many sandboxes may start on one node at once.
	StartLimitPerNode int `yaml:"start_limit_per_node" default:"2" min:"1" max:"64"`
}

// PVELXC is the provider pve-lxc.
type PVELXC struct {
	// Whether the provider is used.
	Enabled bool `yaml:"enabled" default:"true"`
	// The template (VMID) of each preset; "default" is that of a sandbox made without one.
	Templates map[string]int `yaml:"templates" min:"100" max:"999999999"`
	// The pool that sandboxes are put into, and whose guests are the edge's.
	Pool string `yaml:"pool"`
	// How many sandboxes may start on one node at once.
	StartLimitPerNode int `yaml:"start_limit_per_node" default:"8" min:"1" max:"64"`
}

// Morph is Morph Cloud, or anything compatible.
type Morph struct {
	// Address of the API; /api is added.
	URL string `yaml:"url" default:"https://cloud.morph.so" form:"api"`
	// File with the API key. $MORPH_API_KEY holds the key itself, and wins.
	APIKeyFile string `yaml:"api_key_file"`
	// APIKey is the account's key.
	APIKey Secret `yaml:"-" env:"MORPH_API_KEY" file:"api_key_file"`
	// File with the certificates (PEM) that the API's and the services' certificates are verified by, in place of the system's.
	CAFile string `yaml:"ca_file"`
	// The domain below which service addresses are accepted.
	HTTPSuffix string `yaml:"http_suffix" default:"http.cloud.morph.so" form:"suffix"`
	// Whether instances are kept from waking at any request to their service address, so that the edge alone decides.
	DisableWakeOnHTTP bool `yaml:"disable_wake_on_http" default:"true"`
	// The snapshot of each preset; "default" is that of a sandbox made without one.
	Snapshots map[string]string `yaml:"snapshots" form:"word"`
}

// Docker is a Docker Engine.
type Docker struct {
	// Address of the Engine, unix:// or tcp://. Empty is $DOCKER_HOST, else the usual socket.
	Host string `yaml:"host"`
	// The image of each preset; "default" is that of a sandbox made without one.
	Images map[string]string `yaml:"images" form:"word"`
}

// Routing chooses the provider of a new sandbox.
type Routing struct {
	// The provider of a sandbox for which nothing else speaks. $SANDBOX_PRIMARY_PROVIDER wins, else $SANDBOX_PROVIDER. Empty is the only provider that can make sandboxes, else morph.
	Primary string `yaml:"primary" form:"provider"`
	// The providers to try after it, in order. $SANDBOX_FALLBACK_PROVIDERS (comma separated) wins.
	Fallback []string `yaml:"fallback" form:"provider"`
	// The provider of each workload type. $SANDBOX_ROUTE_DEV, _PROD, _LONG_RUNNING and _EPHEMERAL win.
	Workloads map[string]string `yaml:"workloads" form:"provider"`
	// The share of new sandboxes that each provider gets before primary is asked, in percent.
	Rollout map[string]int `yaml:"rollout" min:"0" max:"100"`
}

// StaticRoute is one host that leads to fixed upstreams.
type StaticRoute struct {
	// The host name. It must not be one that asks for a sandbox.
	Host string `yaml:"host" form:"hostname"`
	// Where its requests go: the first that works.
	Upstreams []StaticUpstream `yaml:"upstreams"`
}

// StaticUpstream is one server behind a static route.
type StaticUpstream struct {
	// Its address, with a path that is put before that of the request.
	URL string `yaml:"url" form:"url"`
	// The Host that it is asked for. Empty keeps the one of the request.
	Host string `yaml:"host" form:"hostname"`
	// File with the value of the Authorization header, which replaces the client's.
	AuthorizationFile string `yaml:"authorization_file"`
	// Authorization is that value.
	Authorization Secret `yaml:"-" file:"authorization_file"`
}

// CORS says which pages may call sandboxes.
type CORS struct {
	// Origins of dashboards that may frame and call every sandbox.
	DashboardOrigins []string `yaml:"dashboard_origins" form:"origin"`
}

// Compat is what is done to pages for the sake of older setups.
type Compat struct {
	// Whether a script is put into the pages of apps that leads their calls of localhost to the sandbox.
	HeadScript bool `yaml:"head_script" default:"true"`
	// What that script does to service workers of the former router: retire removes them, off leaves them.
	ServiceWorker string `yaml:"service_worker" default:"retire" oneof:"retire|off"`
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

// ControlPlane is told what happens, so that its clean-up spares what is in use.
type ControlPlane struct {
	// Address that events are posted to, signed as Standard Webhooks. Empty tells nobody.
	Webhook string `yaml:"webhook" form:"hook"`
	// File with the secret that they are signed with, whsec_….
	SecretFile string `yaml:"secret_file"`
	// Secret is what events are signed with.
	Secret Secret `yaml:"-" file:"secret_file"`
	// Whether there is no control plane, and nobody needs to be told.
	None bool `yaml:"none" default:"false"`
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
