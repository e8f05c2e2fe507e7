package pve

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cmux.sh/edge/internal/sandbox"
)

// number is an integer that Proxmox writes as a number, as digits in a
// string, or as a boolean, by release and endpoint.
type number int

// UnmarshalJSON reads any of the three forms.
func (n *number) UnmarshalJSON(raw []byte) error {
	switch text := strings.Trim(string(raw), `"`); text {
	case "true":
		*n = 1
	case "false", "null", "":
		*n = 0
	default:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%.40q is no number", text)
		}
		*n = number(f)
	}
	return nil
}

var _ json.Unmarshaler = (*number)(nil)

// entry is a guest or a node in /cluster/resources. A guest's place, pool and
// lock are live there; its name and status are what the node's daemon last
// said, up to 10 s ago, and absent where that is long ago.
type entry struct {
	Type     string `json:"type"`
	VMID     number `json:"vmid"`
	Node     string `json:"node"`
	Name     string `json:"name"`
	Pool     string `json:"pool"`
	Template number `json:"template"`
	Status   string `json:"status"`

	nameless bool // its node doesn't answer, and its name isn't remembered
}

// inventory is what the cluster consists of.
type inventory struct {
	guests []entry
	nodes  map[string]bool // whether each is online
}

// resources reads the cluster's guests of both kinds and its nodes, in one
// request that any node answers for all.
func (c *Client) resources(ctx context.Context) (inventory, error) {
	var all []entry
	if err := c.get(ctx, "/cluster/resources", nil, &all); err != nil {
		return inventory{}, err
	}
	inv := inventory{nodes: map[string]bool{}}
	for _, e := range all {
		switch e.Type {
		case "node":
			inv.nodes[e.Node] = e.Status == "online"
		case "qemu", "lxc":
			if e.VMID < 100 || e.Node == "" {
				return inventory{}, garbage("a guest without VMID or node")
			}
			inv.guests = append(inv.guests, e)
		}
	}
	if len(inv.nodes) == 0 {
		return inventory{}, garbage("a cluster without nodes")
	}
	return inv, nil
}

// used are the VMIDs of all guests that the token can see.
func (inv *inventory) used() map[int]bool {
	used := make(map[int]bool, len(inv.guests))
	for _, e := range inv.guests {
		used[int(e.VMID)] = true
	}
	return used
}

func (inv *inventory) guest(vmid int) (entry, bool) {
	i := slices.IndexFunc(inv.guests, func(e entry) bool { return int(e.VMID) == vmid })
	if i < 0 {
		return entry{}, false
	}
	return inv.guests[i], true
}

// named is the inventory with the guests' names as they are now: right after
// a VMID was reused, /cluster/resources still has the old name. Guests whose
// node doesn't answer keep the last name that this process saw.
func (p *Provider) named(ctx context.Context) (inventory, error) {
	inv, err := p.client.resources(ctx)
	if err != nil {
		return inv, err
	}
	kinds := map[string][]string{} // what to list on each node
	for _, e := range inv.guests {
		if inv.nodes[e.Node] && !slices.Contains(kinds[e.Node], e.Type) {
			kinds[e.Node] = append(kinds[e.Node], e.Type)
		}
	}
	var (
		reading sync.WaitGroup
		mu      sync.Mutex
		names   = map[int]string{}
		fatal   error
	)
	for node, types := range kinds {
		for _, kind := range types {
			reading.Go(func() { // ends with its request; waited for below
				list, err := p.client.names(ctx, node, kind)
				mu.Lock()
				defer mu.Unlock()
				if err != nil && !failure(err).unreachable() {
					fatal = err
				}
				maps.Copy(names, list)
			})
		}
	}
	reading.Wait()
	if fatal != nil {
		return inv, fatal
	}
	for i := range inv.guests {
		e := &inv.guests[i]
		if name, ok := names[int(e.VMID)]; ok {
			e.Name = name
			p.memory.named(int(e.VMID), name)
		} else if e.Name == "" {
			e.Name = p.memory.name(int(e.VMID))
			e.nameless = e.Name == ""
		}
	}
	return inv, nil
}

// unreachable tells whether a node could not be asked, while the cluster can:
// the others shall go on.
func (f *Failure) unreachable() bool {
	return f != nil && f.cause == nil && (f.slow || f.Status > 594)
}

func (c *Client) names(ctx context.Context, node, kind string) (map[int]string, error) {
	var list []struct {
		VMID number `json:"vmid"`
		Name string `json:"name"`
	}
	if err := c.get(ctx, "/nodes/"+node+"/"+kind, nil, &list); err != nil {
		return nil, err
	}
	names := make(map[int]string, len(list))
	for _, g := range list {
		names[int(g.VMID)] = g.Name
	}
	return names, nil
}

// ours tells whether a guest lies in the provider's scope.
func (p *Provider) ours(e entry) bool {
	if e.Type != p.kind.api() || e.Template != 0 || e.VMID < firstVMID {
		return false
	}
	return p.guests.Pool != "" && e.Pool == p.guests.Pool || p.conventional(e.Name, int(e.VMID))
}

func (p *Provider) conventional(name string, vmid int) bool {
	return strings.HasPrefix(name, p.kind.prefix()) || name == "cmux-"+strconv.Itoa(vmid)
}

// sighted fails when the token can't see guests at all. Proxmox leaves those
// out that the token may not audit, so that a lost privilege looks like an
// empty cluster, and every sandbox in it like a deleted one.
func (p *Provider) sighted(ctx context.Context) error {
	perms, err := p.client.permissions(ctx)
	if err != nil {
		return err
	}
	if !perms.guest(p.guests.Pool, "VM.Audit") {
		return &sandbox.Error{Kind: sandbox.KindPermission, Op: "list", Subject: p.Name(), Err: &Failure{Text: "the token lacks VM.Audit"}}
	}
	return nil
}

// permissions maps paths to the privileges that the token has there.
type permissions map[string]map[string]number

func (c *Client) permissions(ctx context.Context) (permissions, error) {
	perms := permissions{}
	if err := c.get(ctx, "/access/permissions", url.Values{}, &perms); err != nil {
		return nil, err
	}
	return perms, nil
}

// guest tells whether the token has one of some privileges on guests.
func (perms permissions) guest(pool string, privileges ...string) bool {
	return perms.any(privileges, func(path string) bool {
		return path == "/vms" || strings.HasPrefix(path, "/vms/") || pool != "" && (path == "/pool" || path == "/pool/"+pool)
	})
}

// below tells whether the token has one of some privileges on root, or on
// anything below it.
func (perms permissions) below(root string, privileges ...string) bool {
	return perms.any(privileges, func(path string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

func (perms permissions) any(privileges []string, where func(path string) bool) bool {
	for path, held := range perms {
		for _, priv := range privileges {
			if _, ok := held[priv]; ok && (path == "/" || where(path)) {
				return true
			}
		}
	}
	return false
}
