package pve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"cmux.sh/edge/internal/sandbox"
)

// Provider is one kind of guest on a cluster.
type Provider struct {
	client   *Client
	kind     kind
	guests   Guests
	memory   memory
	starts   sandbox.Turns // by slug
	slots    slots         // by node
	breakers breakers      // by node
}

var _ sandbox.Provider = (*Provider)(nil)

// NewVM makes the provider pve-vm. The client stays the caller's.
func NewVM(c *Client, g Guests) (*Provider, error) {
	return newProvider(c, g, vm{create: len(g.Templates) > 0})
}

// NewLXC makes the provider pve-lxc. The client stays the caller's.
func NewLXC(c *Client, g Guests) (*Provider, error) {
	return newProvider(c, g, lxc{create: len(g.Templates) > 0})
}

func newProvider(c *Client, g Guests, k kind) (*Provider, error) {
	for preset, vmid := range g.Templates {
		if vmid < 100 {
			return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", k.name(), "template %q: %d is no VMID", preset, vmid)
		}
	}
	if g.StartLimitPerNode < 0 {
		return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", k.name(), "the start limit per node is below 0")
	}
	if g.StartLimitPerNode == 0 {
		g.StartLimitPerNode = k.startLimit()
	}
	return &Provider{client: c, kind: k, guests: g, slots: slots{limit: g.StartLimitPerNode}}, nil
}

// Name is "pve-vm" or "pve-lxc".
func (p *Provider) Name() string { return p.kind.name() }

// Capabilities has Create only with a template configured.
func (p *Provider) Capabilities() sandbox.Capabilities { return p.kind.capabilities() }

// Pause saves a VM's RAM to its storage and ends its process; a container it
// stops.
func (p *Provider) Pause(ctx context.Context, id sandbox.ID) error {
	_, err := p.drive(ctx, "pause", id, asleep)
	return p.wrap("pause", string(id), err)
}

// Resume wakes a guest. When its address can't be told in time the instance is
// returned without one, and Reason says so.
func (p *Provider) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	in, err := p.wake(ctx, "resume", id)
	return in, p.wrap("resume", string(id), err)
}

func (p *Provider) wake(ctx context.Context, op string, id sandbox.ID) (sandbox.Instance, error) {
	before, err := p.find(ctx, op, id)
	if err != nil {
		return sandbox.Instance{}, err
	}
	p.instance(before) // whether it hibernates decides on its address
	if state, _ := p.kind.state(before); state == sandbox.Running {
		return p.locate(ctx, before, p.instance(before))
	}
	g, err := p.drive(ctx, op, id, awake)
	if err != nil {
		return sandbox.Instance{}, err
	}
	in := p.instance(g)
	if known := p.resting(g); known != "" {
		in.Address = known
		return in, nil
	}
	address, err := p.awaitAddress(ctx, g)
	return p.addressed(g, in, address, err)
}

// Stop ends a guest's processes. A hibernated VM is loaded first: nothing
// else makes it give its saved RAM up.
func (p *Provider) Stop(ctx context.Context, id sandbox.ID) error {
	_, err := p.drive(ctx, "stop", id, halted)
	return p.wrap("stop", string(id), err)
}

// Delete removes a guest, whoever made it; see [sandbox.Instance].Marked.
func (p *Provider) Delete(ctx context.Context, id sandbox.ID) error {
	_, err := p.drive(ctx, "delete", id, removed)
	if err = p.wrap("delete", string(id), err); err != nil && sandbox.KindOf(err) == sandbox.KindNotFound {
		return nil
	}
	return err
}

// Get reads a guest and asks it for its address. A guest agent that doesn't
// answer takes Proxmox 3 s to find out.
func (p *Provider) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	g, err := p.find(ctx, "get", id)
	if err != nil {
		return sandbox.Instance{}, p.wrap("get", string(id), err)
	}
	in, err := p.locate(ctx, g, p.instance(g))
	return in, p.wrap("get", string(id), err)
}

// Find returns the guest named slug. Of several the one with the lowest VMID
// is taken.
func (p *Provider) Find(ctx context.Context, slug string) (sandbox.Instance, error) {
	inv, err := p.named(ctx)
	if err != nil {
		return sandbox.Instance{}, p.wrap("find", slug, err)
	}
	slices.SortFunc(inv.guests, func(a, b entry) int { return int(a.VMID - b.VMID) })
	hidden := ""
	for _, e := range inv.guests {
		switch {
		case e.nameless && e.Type == p.kind.api() && e.Template == 0:
			hidden = e.Node
		case strings.EqualFold(e.Name, slug) && p.ours(e):
			return p.Get(ctx, ref{int(e.VMID), e.Name}.id())
		}
	}
	if hidden != "" {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindUnavailable, "find", p.Name()+" "+slug, "node %s doesn't answer, and may have it", hidden)
	}
	if err := p.sighted(ctx); err != nil {
		return sandbox.Instance{}, p.wrap("find", slug, err)
	}
	return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, "find", p.Name()+" "+slug, "no guest of ours has that name")
}

// maxReads is how many guests List reads at a time.
const maxReads = 8

// List returns all guests that are ours, with the addresses that are known
// without asking them. Those on a node that doesn't answer are Unknown.
func (p *Provider) List(ctx context.Context) ([]sandbox.Instance, error) {
	inv, err := p.named(ctx)
	if err != nil {
		return nil, p.wrap("list", "", err)
	}
	entries := slices.DeleteFunc(inv.guests, func(e entry) bool { return !p.ours(e) })
	if len(entries) == 0 {
		return nil, p.wrap("list", "", p.sighted(ctx))
	}
	var (
		reading sync.WaitGroup
		mu      sync.Mutex
		list    []sandbox.Instance
		fatal   error
		free    = make(chan struct{}, maxReads)
	)
	for _, e := range entries {
		free <- struct{}{}
		reading.Go(func() { // ends with its requests; waited for below
			defer func() { <-free }()
			in, err := p.listed(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			switch f := failure(err); {
			case err == nil && in.Slug == "": // nobody can ask for it
			case err == nil:
				list = append(list, in)
			case f != nil && f.kind() == sandbox.KindNotFound: // deleted meanwhile
			default:
				fatal = errors.Join(fatal, err)
			}
		})
	}
	reading.Wait()
	if fatal != nil {
		return nil, p.wrap("list", "", fatal)
	}
	return list, nil
}

func (p *Provider) listed(ctx context.Context, e entry) (sandbox.Instance, error) {
	g, err := p.read(ctx, e.Node, int(e.VMID))
	if failure(err).unreachable() {
		return sandbox.Instance{
			Provider: p.Name(), ID: ref{int(e.VMID), e.Name}.id(), Slug: strings.ToLower(e.Name),
			State: sandbox.Unknown, Reason: "node " + e.Node + " doesn't answer", Generation: p.memory.generation(int(e.VMID)),
		}, nil
	}
	if err != nil {
		return sandbox.Instance{}, err
	}
	in := p.instance(g)
	in.Address = p.resting(g)
	return in, nil
}
