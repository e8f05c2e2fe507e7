package pve

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cmux.sh/edge/internal/sandbox"
)

// Health asks for the token's privileges and for an answer of each node. It is
// well when everything that a sandbox's life needs is permitted, every template
// is there, and the node of at least one answers.
func (p *Provider) Health(ctx context.Context) sandbox.Health {
	unwell := func(why string) sandbox.Health { return sandbox.Health{Reason: why} }
	var version struct {
		Version string `json:"version"`
	}
	if err := p.client.get(ctx, "/version", nil, &version); err != nil {
		return unwell(err.Error())
	}
	digits, _, _ := strings.Cut(version.Version, ".")
	major, err := strconv.Atoi(digits)
	if err != nil {
		return unwell(garbage("version " + strconv.Quote(version.Version)).Error())
	}
	perms, err := p.client.permissions(ctx)
	if err != nil {
		return unwell(err.Error())
	}
	if missing := p.missing(perms, major); len(missing) > 0 {
		return unwell("the token lacks " + strings.Join(missing, ", "))
	}
	inv, err := p.client.resources(ctx)
	if err != nil {
		return unwell(err.Error())
	}
	h := sandbox.Health{Nodes: p.reach(ctx, inv)}
	h.Reason = p.workable(inv, h.Nodes)
	h.OK = h.Reason == ""
	return h
}

// missing names the privileges that the provider needs and the token has
// nowhere that matters.
func (p *Provider) missing(perms permissions, major int) []string {
	var missing []string
	need := func(held bool, name string) {
		if !held {
			missing = append(missing, name)
		}
	}
	guest := func(names ...string) {
		need(perms.guest(p.guests.Pool, names...), strings.Join(names, " or "))
	}
	guest("VM.Audit")
	guest("VM.PowerMgmt")
	isVM := p.kind.api() == "qemu"
	if isVM {
		guest("VM.Config.Disk")
		if major < 9 {
			guest("VM.Monitor")
		} else {
			guest("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")
		}
	}
	create := p.Capabilities().Create
	if create {
		guest("VM.Clone")
		guest("VM.Allocate")
		need(perms.below("/sdn", "SDN.Use"), "SDN.Use")
	}
	if create || isVM { // the RAM of a paused VM is saved on a storage
		need(perms.below("/storage", "Datastore.AllocateSpace"), "Datastore.AllocateSpace")
	}
	return missing
}

// reach asks each node for its version, which every token may read.
func (p *Provider) reach(ctx context.Context, inv inventory) map[string]sandbox.Health {
	nodes := p.client.cfg.Nodes
	if len(nodes) == 0 {
		nodes = slices.Collect(maps.Keys(inv.nodes))
	}
	found := make(map[string]sandbox.Health, len(nodes))
	var asking sync.WaitGroup
	var mu sync.Mutex
	for _, node := range nodes {
		asking.Go(func() { // ends with its request; waited for below
			h := sandbox.Health{OK: true}
			if online, known := inv.nodes[node]; !known {
				h = sandbox.Health{Reason: "the cluster has no such node"}
			} else if !online {
				h = sandbox.Health{Reason: "offline"}
			} else {
				var any struct{}
				if err := p.client.get(ctx, "/nodes/"+node+"/version", nil, &any); err != nil {
					h = sandbox.Health{Reason: err.Error()}
				} else if p.breakers.open(node) {
					h = sandbox.Health{Reason: brokenOff(node)}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			found[node] = h
		})
	}
	asking.Wait()
	return found
}

// workable says why no work can go to any node, "" when it can.
func (p *Provider) workable(inv inventory, nodes map[string]sandbox.Health) string {
	for _, preset := range slices.Sorted(maps.Keys(p.guests.Templates)) {
		vmid := p.guests.Templates[preset]
		e, ok := inv.guest(vmid)
		if !ok || e.Type != p.kind.api() || e.Template == 0 {
			return "template " + strconv.Itoa(vmid) + " (" + preset + ") isn't there, or the token lacks VM.Audit on it"
		}
	}
	var unwell []string
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		switch h := nodes[node]; {
		case len(p.guests.Templates) > 0 && !p.template(inv, node):
		case h.OK:
			return ""
		default:
			unwell = append(unwell, "node "+node+": "+h.Reason)
		}
	}
	if len(unwell) == 0 {
		return "no configured node has a template"
	}
	return strings.Join(unwell, "; ")
}

// template tells whether one of the templates lies on a node.
func (p *Provider) template(inv inventory, node string) bool {
	for _, vmid := range p.guests.Templates {
		if e, ok := inv.guest(vmid); ok && e.Node == node {
			return true
		}
	}
	return false
}
