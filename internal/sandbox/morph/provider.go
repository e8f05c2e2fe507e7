package morph

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Name is the provider's canonical name.
const Name = "morph"

// Provider serves the instances of one Morph account. See the package's doc
// for what it does and does not do to them. Close ends what Start may have
// left running in the background.
type Provider struct {
	cfg    Config
	log    *slog.Logger
	api    *client
	suffix suffix
	seen   *seen
	turns  sandbox.Turns

	// Clean-up after starts that nobody waits for any more. It ends with the
	// last of them, and at the latest with Close.
	ctx  context.Context
	end  context.CancelFunc
	mu   sync.Mutex // orders work.Add before work.Wait
	done bool
	work sync.WaitGroup
}

var (
	_ sandbox.Provider = (*Provider)(nil)
	_ sandbox.Extender = (*Provider)(nil)
)

// New makes a provider. It does not call the API.
func New(log *slog.Logger, cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	if cfg.APIKey == nil || cfg.APIKey() == "" {
		return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", Name, "no key: set providers.morph.api_key_file or MORPH_API_KEY")
	}
	below, err := cfg.suffix()
	if err != nil {
		return nil, err
	}
	api, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, log: log, api: api, suffix: below, seen: newSeen()}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Close abandons clean-up that is under way, waits for it to end, and closes
// idle connections. No method may be called afterwards.
func (p *Provider) Close() error {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.end()
	p.work.Wait()
	p.api.close()
	return nil
}

// detached is a context that outlives ctx and ends with Close.
func (p *Provider) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// background runs f beside its caller, unless the provider is closed.
func (p *Provider) background(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.work.Go(f)
	}
	return !p.done
}

// Name is "morph".
func (p *Provider) Name() string { return Name }

// Capabilities says that RAM is kept, a start takes 10 to 20 s, and hours are
// billed. Without snapshots nothing can be made.
func (p *Provider) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{
		RAMSnapshot: true,
		Create:      len(p.cfg.Snapshots) > 0,
		Suspend:     true,
		StartTime:   sandbox.Slow,
		ResumeTime:  sandbox.Quick,
		Price:       sandbox.Metered,
	}
}

// Get reads the instance from the API.
func (p *Provider) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	m, err := p.get(ctx, id)
	if err != nil {
		return sandbox.Instance{}, fail("get", string(id), err)
	}
	return p.instance(m), nil
}

// Find returns the oldest instance whose metadata carries the slug, else the
// one whose id it spells: "x" and "morphvm-x" are morphvm_x.
func (p *Provider) Find(ctx context.Context, slug string) (sandbox.Instance, error) {
	if !isLabel(slug) {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, "find", plain(slug), "it is no slug")
	}
	named, err := p.list(ctx, map[string]string{metaSlug: slug})
	if err != nil {
		return sandbox.Instance{}, fail("find", slug, err)
	}
	if len(named) > 0 {
		return p.instance(named[0]), nil
	}
	m, err := p.get(ctx, idOf(slug))
	if err != nil {
		return sandbox.Instance{}, fail("find", slug, err)
	}
	return p.instance(m), nil
}

// List returns the instances whose metadata "app" begins with "cmux" or
// "manaflow".
func (p *Provider) List(ctx context.Context) ([]sandbox.Instance, error) {
	all, err := p.list(ctx, nil)
	if err != nil {
		return nil, fail("list", "", err)
	}
	p.seen.keep(all)
	list := make([]sandbox.Instance, len(all))
	for i, m := range all {
		list[i] = p.instance(m)
	}
	return list, nil
}

// Health asks for a list of one instance. It never touches a service URL, which
// would wake and bill.
func (p *Provider) Health(ctx context.Context) sandbox.Health {
	if err := p.probe(ctx); err != nil {
		return sandbox.Health{Reason: err.Error()}
	}
	return sandbox.Health{OK: true}
}

// Extend sets the time to live to ttl from now, with the action pause. A
// repetition within a quarter of ttl is answered without a call.
func (p *Provider) Extend(ctx context.Context, id sandbox.ID, ttl time.Duration) error {
	const op = "extend"
	if ttl <= 0 {
		return sandbox.Errorf(sandbox.KindInvalid, op, string(id), "a time to live of %s", ttl)
	}
	if p.seen.fresh(id, ttl) {
		return nil
	}
	if !p.seen.known(id) {
		if _, err := p.get(ctx, id); err != nil {
			return fail(op, string(id), err)
		}
	}
	if err := p.setTTL(ctx, id, ttl); err != nil {
		return fail(op, string(id), err)
	}
	return nil
}
