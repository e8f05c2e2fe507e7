package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// The canonical names of the providers that can make sandboxes.
const (
	PVEVMName  = "pve-vm"
	PVELXCName = "pve-lxc"
	MorphName  = "morph"
	DockerName = "docker"
)

var makers = []string{MorphName, PVEVMName, PVELXCName, DockerName}

const providerList = "morph, pve-vm, pve-lxc or docker"

// aliases are names that older deployments use. "proxmox" is not here: what it
// means depends on the environment.
var aliases = map[string]string{"proxmox-kvm": PVEVMName, "proxmox-lxc": PVELXCName}

const proxmox = "proxmox"

func checkProvider(s string) error {
	if s == "" || slices.Contains(makers, s) || aliases[s] != "" || s == proxmox {
		return nil
	}
	if near := nearest(s, append([]string{proxmox}, makers...)); near != "" {
		return fmt.Errorf("%q is not a provider; did you mean %q?", clip(s), near)
	}
	return fmt.Errorf("%q is not a provider; write %s", clip(s), providerList)
}

// routeVariables are the workload types that have a variable of their own.
var routeVariables = []struct{ variable, workload string }{
	{"SANDBOX_ROUTE_DEV", "dev"},
	{"SANDBOX_ROUTE_PROD", "prod"},
	{"SANDBOX_ROUTE_LONG_RUNNING", "long-running"},
	{"SANDBOX_ROUTE_EPHEMERAL", "ephemeral"},
}

// deployment applies the variables of deployments that have no file: they
// configure providers, and say which one makes a new sandbox.
func (d *document) deployment(c *Config) {
	d.override("EDGE_REDIS_URL", &c.Redis.URL, func(string) error { return nil })
	if c.Providers.PVE == nil && (d.variable("PVE_API_URL") != "" || d.variable("PVE_API_TOKEN") != "") {
		c.Providers.PVE = withDefaults[PVE]()
	}
	if c.Providers.Morph == nil && d.variable("MORPH_API_KEY") != "" {
		c.Providers.Morph = withDefaults[Morph]()
	}
	if pve := c.Providers.PVE; pve != nil {
		d.override("PVE_API_URL", &pve.URL, checkHTTPS)
		d.override("PVE_NODE", &pve.Node, checkNode)
		if d.variable("PVE_NODE") != "" {
			pve.Nodes = nil
		}
		d.overrideBool("PROXMOX_KVM_ENABLED", &pve.VM.Enabled)
		d.overrideBool("PROXMOX_LXC_ENABLED", &pve.LXC.Enabled)
	}
	d.routing(c)
}

// routing settles which provider makes which sandbox.
func (d *document) routing(c *Config) {
	n := names{document: d, warnings: &c.Warnings, proxmox: d.proxmoxDefault(), configured: c.Providers.makers()}

	// What the file says.
	r := &c.Routing
	r.Primary = n.fromFile("routing.primary", r.Primary)
	r.Fallback = slices.DeleteFunc(r.Fallback, func(name string) bool { return n.fromFile("routing.fallback", name) == "" })
	for i := range r.Fallback {
		r.Fallback[i] = n.canonical(r.Fallback[i])
	}
	for _, workload := range slices.Sorted(maps.Keys(r.Workloads)) {
		r.Workloads[workload] = n.fromFile(join("routing.workloads", workload), r.Workloads[workload])
	}
	rollout := make(map[string]int, len(r.Rollout))
	for _, name := range slices.Sorted(maps.Keys(r.Rollout)) {
		path := join("routing.rollout", name)
		if err := checkProvider(name); err != nil {
			d.fault(path, "%v", err)
		} else if canonical := n.fromFile(path, name); canonical != "" {
			rollout[canonical] = r.Rollout[name]
		}
	}
	if r.Rollout != nil {
		r.Rollout = rollout
	}

	// What the environment says, which wins.
	variable := "SANDBOX_PRIMARY_PROVIDER"
	if d.variable(variable) == "" {
		variable = "SANDBOX_PROVIDER"
	}
	if name := n.fromEnvironment(variable, d.variable(variable)); name != "" {
		r.Primary = name
	}
	if list := d.variable("SANDBOX_FALLBACK_PROVIDERS"); list != "" {
		r.Fallback = nil
		for name := range strings.SplitSeq(list, ",") {
			if name = n.fromEnvironment("SANDBOX_FALLBACK_PROVIDERS", strings.TrimSpace(name)); name != "" && !slices.Contains(r.Fallback, name) {
				r.Fallback = append(r.Fallback, name)
			}
		}
	}
	for _, route := range routeVariables {
		if name := n.fromEnvironment(route.variable, d.variable(route.variable)); name != "" {
			if r.Workloads == nil {
				r.Workloads = make(map[string]string)
			}
			r.Workloads[route.workload] = name
		}
	}
	if r.Primary == "" {
		r.Primary = n.defaultPrimary()
	}
}

// makers are the configured providers that can make sandboxes.
func (p Providers) makers() []string {
	var list []string
	if p.Morph != nil {
		list = append(list, MorphName)
	}
	if p.PVE != nil && p.PVE.VM.Enabled {
		list = append(list, PVEVMName)
	}
	if p.PVE != nil && p.PVE.LXC.Enabled {
		list = append(list, PVELXCName)
	}
	if p.Docker != nil {
		list = append(list, DockerName)
	}
	return list
}

// proxmoxDefault is what the name proxmox means.
func (d *document) proxmoxDefault() string {
	switch kind := d.variable("PROXMOX_DEFAULT"); kind {
	case "":
		if d.variable("PROXMOX_USE_KVM") == "false" {
			return PVELXCName
		}
	case "lxc", PVELXCName, "proxmox-lxc":
		return PVELXCName
	case "kvm", "vm", PVEVMName, "proxmox-kvm":
	default:
		d.variableFault("PROXMOX_DEFAULT", "%q is unknown; write kvm or lxc", clip(kind))
	}
	return PVEVMName
}

// names turns what people call providers into the providers themselves.
type names struct {
	*document
	warnings   *[]string
	proxmox    string
	configured []string
}

// canonical is the canonical name of a provider, which passed checkProvider.
func (n *names) canonical(name string) string {
	switch {
	case name == proxmox:
		return n.proxmox
	case aliases[name] != "":
		return aliases[name]
	}
	return name
}

// fromFile returns the canonical name, "" when there is none: a provider that
// is not configured is a fault.
func (n *names) fromFile(path, name string) string {
	if name == "" {
		return ""
	}
	canonical := n.renamed(name)
	if !slices.Contains(n.configured, canonical) {
		n.fault(path, "the provider %s is not configured; add it to providers, or delete the entry", canonical)
		return ""
	}
	return canonical
}

// fromEnvironment is fromFile for a variable, which may be older than the
// deployment: a provider that is not configured is passed over with a warning.
func (n *names) fromEnvironment(variable, name string) string {
	if name == "" {
		return ""
	}
	if err := checkProvider(name); err != nil {
		n.variableFault(variable, "%v", err)
		return ""
	}
	canonical := n.renamed(name)
	if !slices.Contains(n.configured, canonical) {
		n.warn("%s names the provider %s, which is not configured; it is passed over", variable, canonical)
		return ""
	}
	return canonical
}

// renamed is canonical with a warning, once for each name.
func (n *names) renamed(name string) string {
	canonical := n.canonical(name)
	if canonical != name {
		n.warn("the provider name %q is read as %q; write that", name, canonical)
	}
	return canonical
}

func (n *names) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(*n.warnings, text) {
		*n.warnings = append(*n.warnings, text)
	}
}

// defaultPrimary is the only provider, else Morph, else what proxmox means.
func (n *names) defaultPrimary() string {
	switch {
	case len(n.configured) == 0:
		return ""
	case len(n.configured) == 1 || slices.Contains(n.configured, MorphName):
		return n.configured[0]
	case slices.Contains(n.configured, n.proxmox):
		return n.proxmox
	}
	return n.configured[0]
}

// override replaces the text at v by the variable's.
func (d *document) override(name string, v *string, check func(string) error) {
	text := d.variable(name)
	if text == "" {
		return
	}
	if err := check(text); err != nil {
		d.variableFault(name, "%v", err)
		return
	}
	*v = text
}

func (d *document) overrideBool(name string, v *bool) {
	switch text := d.variable(name); text {
	case "":
	case "true", "1":
		*v = true
	case "false", "0":
		*v = false
	default:
		d.variableFault(name, "%q; write true or false", clip(text))
	}
}

func (d *document) variableFault(name, format string, args ...any) {
	d.faults = append(d.faults, Fault{File: name, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)})
}

// withDefaults makes a section that the file does not hold.
func withDefaults[T any]() *T {
	v := reflect.New(reflect.TypeFor[T]())
	setDefaults(v.Elem())
	return v.Interface().(*T)
}

// checkProviders applies the rules on the providers that have an API.
func (d *document) checkProviders(p Providers) {
	if pve := p.PVE; pve != nil {
		const path = "providers.pve"
		if pve.URL == "" && !d.written(path+".url") {
			d.fault(path, `there is no address; write url: "https://HOST:8006", or set PVE_API_URL`)
		}
		if pve.Token.Reveal() == "" && pve.TokenFile == "" {
			d.fault(path, "there is no token; set token_file or PVE_API_TOKEN")
		}
		if pve.Node != "" && len(pve.Nodes) > 0 {
			d.fault(path+".nodes", "both node and nodes are set; keep one")
		}
		if pve.CAFile != "" && pve.Fingerprint != "" {
			d.fault(path+".fingerprint", "both ca_file and fingerprint are set; keep one")
		}
		if !pve.VM.Enabled && !pve.LXC.Enabled {
			d.fault(path, "neither vm nor lxc is enabled; enable one, or delete the section")
		}
	}
	if m := p.Morph; m != nil && m.APIKey.Reveal() == "" && m.APIKeyFile == "" {
		d.fault("providers.morph", "there is no key; set api_key_file or MORPH_API_KEY")
	}
}

// checkControlPlane applies the rules on control_plane.
func (d *document) checkControlPlane(c ControlPlane) {
	switch {
	case c.Webhook != "" && c.None:
		d.fault("control_plane.none", "webhook is set too; keep one")
	case c.Webhook != "" && c.Secret.Reveal() == "" && c.SecretFile == "":
		d.fault("control_plane.webhook", "there is no secret to sign with; set secret_file")
	}
}

// checkStaticRoutes applies the rules on static_routes.
func (d *document) checkStaticRoutes(c *Config) {
	seen := make(map[string]string)
	for i, route := range c.StaticRoutes {
		path := fmt.Sprintf("static_routes[%d]", i)
		switch other := seen[route.Host]; {
		case route.Host == "":
			if n := d.nodes[path+".host"]; n == nil || n.Value == "" {
				d.fault(path, `the route has no host; write one such as host: "www.cmux.sh"`)
			}
			continue
		case other != "":
			d.fault(path+".host", "%q has a route already, %s; give it more upstreams there", route.Host, other)
		default:
			seen[route.Host] = path
		}
		if n := d.nodes[path+".upstreams"]; len(route.Upstreams) == 0 && (n == nil || len(n.Content) == 0) {
			d.fault(path, `the route has no upstreams; write upstreams: [{url: "http://127.0.0.1:3000"}]`)
		}
		for j, upstream := range route.Upstreams {
			if at := fmt.Sprintf("%s.upstreams[%d]", path, j); upstream.URL == "" && !d.written(at+".url") {
				d.fault(at, `the upstream has no address; write url: "http://127.0.0.1:3000"`)
			}
		}
		ours := false
		for _, domain := range c.Domains {
			sub, below := strings.CutSuffix(route.Host, "."+domain)
			ours = ours || below || route.Host == domain
			if below && sandboxLabel(sub, c.Forms.Freestyle) {
				d.fault(path+".host", "%q is the name of a sandbox; write another", route.Host)
			}
		}
		if !ours && len(c.Domains) > 0 {
			d.fault(path+".host", "%q lies in none of the domains, whose requests alone are answered; add its domain, or write another host", route.Host)
		}
	}
}

// sandboxLabel tells whether a label belongs to the forms of sandbox hosts,
// even a malformed one (package resolve has the whole grammar).
func sandboxLabel(label string, freestyle bool) bool {
	for _, prefix := range []string{"port-", "cmux-", "manaflow-"} {
		if strings.HasPrefix(label, prefix) {
			return true
		}
	}
	return freestyle && strings.Count(label, "-") >= 2
}
