package docker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"cmux.sh/edge/internal/sandbox"
)

// Name is the provider's canonical name.
const Name = "docker"

// apiVersion is that of Docker 25, and the oldest that Docker 29 speaks. It is
// fixed because the client negotiates under a lock that heeds no context.
// DOCKER_API_VERSION wins over it.
const apiVersion = "1.44"

// Provider serves the containers of one Engine that carry the edge's mark.
// Close ends what Start may have left running in the background.
type Provider struct {
	cfg    Config
	log    *slog.Logger
	engine *client.Client
	seen   *seen

	// Creates that nobody waits for any more. They end by themselves, and at
	// the latest with Close.
	ctx  context.Context
	end  context.CancelFunc
	mu   sync.Mutex // orders work.Add before work.Wait
	done bool
	work sync.WaitGroup
}

var _ sandbox.Provider = (*Provider)(nil)

// New makes a provider. It does not call the Engine.
func New(log *slog.Logger, cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	options := []client.Opt{client.WithAPIVersion(apiVersion), client.FromEnv}
	if cfg.Host != "" {
		options = append(options, client.WithHost(cfg.Host))
	}
	engine, err := client.New(options...)
	if err != nil {
		return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", Name, "providers.docker.host: %w", err)
	}
	p := &Provider{cfg: cfg, log: log, engine: engine, seen: &seen{byID: map[sandbox.ID]*sighting{}}}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Close abandons creates that are under way, waits for them to end, and closes
// idle connections. No method may be called afterwards.
func (p *Provider) Close() error {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.end()
	p.work.Wait()
	return p.engine.Close()
}

// detached is a context that outlives ctx, by limit at most, and ends with
// Close.
func (p *Provider) detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Name is "docker".
func (p *Provider) Name() string { return Name }

// Capabilities says that RAM is kept by freezing, and everything is quick and
// free. Without images nothing can be made.
func (p *Provider) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{RAMSnapshot: true, Create: len(p.cfg.Images) > 0, Suspend: true, StartTime: sandbox.Quick, ResumeTime: sandbox.Instant, Price: sandbox.Free}
}

// Get inspects the container.
func (p *Provider) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	in, err := p.get(ctx, id)
	if err != nil {
		return sandbox.Instance{}, fail(ctx, "get", string(id), err)
	}
	return in, nil
}

func (p *Provider) get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	if !isID(id) {
		return sandbox.Instance{}, errNoSuchID
	}
	answer, err := p.engine.ContainerInspect(ctx, string(id), client.ContainerInspectOptions{})
	if gone(err) {
		p.seen.forget(id)
	}
	if err != nil {
		return sandbox.Instance{}, err
	}
	if answer.Container.ID != string(id) {
		return sandbox.Instance{}, garbage("it is about another container")
	}
	return p.inspected(answer.Container)
}

// errNoSuchID is about an id that no container can have.
var errNoSuchID error = &failure{kind: sandbox.KindNotFound, text: "no container has such an id"}

// Find returns the container that carries the slug.
func (p *Provider) Find(ctx context.Context, slug string) (sandbox.Instance, error) {
	in, err := p.find(ctx, labelSlug, slug)
	if err != nil {
		return sandbox.Instance{}, fail(ctx, "find", slug, err)
	}
	return in, nil
}

// find returns the container with the given label.
func (p *Provider) find(ctx context.Context, label, value string) (sandbox.Instance, error) {
	all, err := p.list(ctx, label+"="+value)
	if err != nil {
		return sandbox.Instance{}, err
	}
	if len(all) == 0 {
		return sandbox.Instance{}, &failure{kind: sandbox.KindNotFound, text: "no container has that label"}
	}
	return p.get(ctx, all[0].ID)
}

// List returns the containers with the edge's mark, whatever their state.
func (p *Provider) List(ctx context.Context) ([]sandbox.Instance, error) {
	all, err := p.list(ctx)
	if err != nil {
		return nil, fail(ctx, "list", "", err)
	}
	p.seen.keep(all)
	return all, nil
}

func (p *Provider) list(ctx context.Context, labels ...string) ([]sandbox.Instance, error) {
	filters := client.Filters{}.Add("label", append(labels, labelMark+"="+p.cfg.Mark)...)
	answer, err := p.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, err
	}
	all := make([]sandbox.Instance, len(answer.Items))
	for i, c := range answer.Items {
		if all[i], err = p.summarised(c); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Health pings the Engine.
func (p *Provider) Health(ctx context.Context) sandbox.Health {
	answer, err := p.engine.Ping(ctx, client.PingOptions{})
	switch {
	case err != nil:
		return sandbox.Health{Reason: shorten(err).Error()}
	case answer.APIVersion == "":
		return sandbox.Health{Reason: "it answers, but not as a Docker Engine"}
	}
	return sandbox.Health{OK: true}
}

// pause lets a moment pass between two looks at a container that changes.
func pause(ctx context.Context) error {
	timer := time.NewTimer(between)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// between is the time between two looks. Containers change within tens of
// milliseconds, and the Engine is on this machine.
const between = 25 * time.Millisecond
