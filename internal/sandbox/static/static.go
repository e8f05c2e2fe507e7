// Package static is the provider of sandboxes that are simply there: hosts
// that an operator keeps running and writes into the configuration. It creates
// nothing, never sleeps and never changes while the edge runs.
package static

import (
	"context"
	"maps"
	"slices"

	"cmux.sh/edge/internal/sandbox"
)

// Name is the provider's canonical name.
const Name = "static"

// Instance is one configured sandbox.
type Instance struct {
	Slug string
	// Address is a host name or IP on which every port not in Ports lies.
	Address string
	// Ports are the places of single ports, as host:port. They win over
	// Address, and the allow-list does not apply to them.
	Ports map[uint16]string
}

// Provider serves a fixed list of instances. It is immutable and safe for
// concurrent use; no method blocks.
type Provider struct {
	bySlug map[string]sandbox.Instance
}

var _ sandbox.Provider = (*Provider)(nil)

// New makes a provider of list, whose slugs must be valid and unique.
func New(list []Instance) (*Provider, error) {
	p := &Provider{bySlug: make(map[string]sandbox.Instance, len(list))}
	for _, in := range list {
		if _, twice := p.bySlug[in.Slug]; twice {
			return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", in.Slug, "the slug is there twice")
		}
		p.bySlug[in.Slug] = sandbox.Instance{
			Provider:   Name,
			ID:         sandbox.ID(in.Slug),
			Slug:       in.Slug,
			State:      sandbox.Running,
			Address:    in.Address,
			Ports:      maps.Clone(in.Ports),
			Generation: 1,
		}
	}
	return p, nil
}

// Name is "static".
func (p *Provider) Name() string { return Name }

// Capabilities says that static sandboxes only run.
func (p *Provider) Capabilities() sandbox.Capabilities { return sandbox.Capabilities{} }

// Start refuses: a static sandbox is configured, not made.
func (p *Provider) Start(_ context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	return sandbox.Instance{}, sandbox.Errorf(sandbox.KindInvalid, "start", req.Slug, "static sandboxes are written into providers.static.instances")
}

// Pause refuses: a static sandbox never sleeps.
func (p *Provider) Pause(_ context.Context, id sandbox.ID) error { return p.fixed("pause", id) }

// Resume finds the instance running, as it always is.
func (p *Provider) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	return p.Get(ctx, id)
}

// Stop refuses: a static sandbox never stops.
func (p *Provider) Stop(_ context.Context, id sandbox.ID) error { return p.fixed("stop", id) }

// Delete refuses: a static sandbox goes when its entry does. One that is not
// configured is gone already.
func (p *Provider) Delete(_ context.Context, id sandbox.ID) error {
	if _, ok := p.bySlug[string(id)]; !ok {
		return nil
	}
	return p.fixed("delete", id)
}

// Get returns the configured instance.
func (p *Provider) Get(_ context.Context, id sandbox.ID) (sandbox.Instance, error) {
	in, ok := p.bySlug[string(id)]
	if !ok {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, "get", string(id), "no static sandbox has that slug")
	}
	return in, nil
}

// Find is Get: a static instance's id is its slug.
func (p *Provider) Find(ctx context.Context, slug string) (sandbox.Instance, error) {
	return p.Get(ctx, sandbox.ID(slug))
}

// List returns every configured instance.
func (p *Provider) List(context.Context) ([]sandbox.Instance, error) {
	return slices.Collect(maps.Values(p.bySlug)), nil
}

// Health is always well: whether a host answers is each request's own finding.
func (p *Provider) Health(context.Context) sandbox.Health { return sandbox.Health{OK: true} }

func (p *Provider) fixed(op string, id sandbox.ID) error {
	if _, ok := p.bySlug[string(id)]; !ok {
		return sandbox.Errorf(sandbox.KindNotFound, op, string(id), "no static sandbox has that slug")
	}
	return sandbox.Errorf(sandbox.KindRefused, op, string(id), "a static sandbox always runs")
}
