package manager

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Config says who makes sandboxes. Names are canonical names of providers; one
// that no provider has is passed over.
type Config struct {
	// Primary makes a sandbox for which nothing else speaks, Fallback are tried
	// after it in order.
	Primary  string
	Fallback []string
	// Workloads names the provider of each workload type.
	Workloads map[string]string
	// Rollout is the share of new sandboxes, in percent, that a provider gets
	// before Primary is asked.
	Rollout map[string]int
	// CreateKeys names the configuration key that a provider lacks which can
	// make no sandboxes, for the reader of an error.
	CreateKeys map[string]string
	// Timing bounds what the manager waits for; zero fields have defaults.
	Timing Timing
}

// Timing bounds calls and paces loops. Zero fields take the values named here.
type Timing struct {
	// Probe is the time between two looks at a provider's health: 10 s; one
	// look may take half of it.
	Probe time.Duration
	// Start, Resume and Sleep bound the operations: 3 min, 2 min and 5 min.
	Start, Resume, Sleep time.Duration
	// Tick is how often deadlines and leftovers are looked at: 1 s.
	Tick time.Duration
	// Retry is the wait before a leftover's second removal: 5 s; it doubles up
	// to 10 min.
	Retry time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		d    *time.Duration
		zero time.Duration
	}{
		{&t.Probe, 10 * time.Second},
		{&t.Start, 3 * time.Minute},
		{&t.Resume, 2 * time.Minute},
		{&t.Sleep, 5 * time.Minute},
		{&t.Tick, time.Second},
		{&t.Retry, 5 * time.Second},
	} {
		if *f.d <= 0 {
			*f.d = f.zero
		}
	}
	return t
}

// Record is what is known of one sandbox.
type Record = catalog.Record

// Finder finds the record of a sandbox: in the catalogue, else at a provider,
// which is recorded then. Its errors wrap a [sandbox.Error]; one of kind
// not-found says that nobody knows the slug.
type Finder interface {
	Resolve(ctx context.Context, slug string) (Record, error)
	// Invalidate says that the record of a slug was written: what is remembered
	// of it is out of date.
	Invalidate(slug string)
}

// Manager looks after sandboxes. It is safe for concurrent use; Run must be
// called once for health, deadlines and clean-up to happen.
type Manager struct {
	log       *slog.Logger
	config    Config
	metrics   *metrics
	providers map[string]*provider
	order     []string // of the providers, as they were given
	rollout   *rollout
	events    *Events
	catalog   catalog.Catalog
	finder    Finder
	turns     sandbox.Turns
	cleanup   cleanup
	uses      uses

	// background is what Run waits for; it is cancelled when Run's context
	// ends.
	background sync.WaitGroup
}

// New makes a manager of providers and registers its metrics. It calls none of
// them. What it makes is recorded in store; finder sees the same store and the
// same providers.
func New(log *slog.Logger, c Config, reg prometheus.Registerer, store catalog.Catalog, finder Finder, providers ...sandbox.Provider) (*Manager, error) {
	c.Timing = c.Timing.withDefaults()
	m := &Manager{
		log:       log,
		config:    c,
		metrics:   newMetrics(reg),
		providers: make(map[string]*provider, len(providers)),
		events:    newEvents(),
		catalog:   store,
		finder:    finder,
		uses:      uses{queue: make(chan string, usesQueue)},
	}
	for _, p := range providers {
		name := p.Name()
		if m.providers[name] != nil {
			return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", name, "the provider is there twice")
		}
		m.providers[name] = newProvider(p, m.metrics)
		m.order = append(m.order, name)
	}
	m.rollout = newRollout(c.Rollout)
	reg.MustRegister(&sandboxCollector{m})
	return m, nil
}

// Run looks after the providers' health, the sandboxes' deadlines and what is
// to be removed, until ctx ends. It returns when nothing of that runs any more.
func (m *Manager) Run(ctx context.Context) {
	for _, name := range m.order {
		p := m.providers[name]
		m.background.Go(func() { m.watch(ctx, p) })
	}
	m.background.Go(func() { m.noteUses(ctx) })
	m.background.Go(func() { m.keepDeadlines(ctx) })
	m.background.Go(func() {
		tick := time.NewTicker(m.config.Timing.Tick)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				m.removeLeftovers(ctx, now)
			}
		}
	})
	m.background.Wait()
}

// Events is where everything that happens is told.
func (m *Manager) Events() *Events { return m.events }

// List returns the records of all sandboxes that are known, by slug.
func (m *Manager) List(ctx context.Context) ([]Record, error) {
	bySlug := make(map[string]Record)
	for r, err := range catalog.All(ctx, m.catalog) {
		if err != nil {
			return nil, storeError("list", "", err)
		}
		if !r.Tombstone() {
			bySlug[r.Slug] = r
		}
	}
	list := slices.Collect(maps.Values(bySlug))
	slices.SortFunc(list, func(a, b Record) int { return cmp.Compare(a.Slug, b.Slug) })
	return list, nil
}

// Look returns the record of a sandbox.
func (m *Manager) Look(ctx context.Context, slug string) (Record, error) {
	return m.finder.Resolve(ctx, slug)
}

// ProviderStatus is what an operator sees of a provider.
type ProviderStatus struct {
	Name         string
	Capabilities sandbox.Capabilities
	// Healthy says that new work goes to it; Reason says why not.
	Healthy bool
	Reason  string
	Nodes   map[string]sandbox.Health
	// Primary and Fallback are its place in the routing; Fallback counts from
	// 1, 0 is none.
	Primary  bool
	Fallback int
	// Share is what it gets of new sandboxes by rollout, in percent; Stopped
	// says that a rollout ended itself, and why.
	Share   int
	Stopped string
	// Sandboxes is how many it serves, by state.
	Sandboxes map[sandbox.State]int
}

// Providers returns the status of each provider, in the order they were given.
// Where the catalogue can't be read nothing is said of sandboxes.
func (m *Manager) Providers(ctx context.Context) []ProviderStatus {
	counts := m.count(ctx)
	list := make([]ProviderStatus, 0, len(m.order))
	for _, name := range m.order {
		p := m.providers[name]
		health := p.status()
		share, stopped := m.rollout.share(name)
		list = append(list, ProviderStatus{
			Name:         name,
			Capabilities: p.Capabilities(),
			Healthy:      health.OK,
			Reason:       health.Reason,
			Nodes:        maps.Clone(health.Nodes),
			Primary:      m.config.Primary == name,
			Fallback:     slices.Index(m.config.Fallback, name) + 1,
			Share:        share,
			Stopped:      stopped,
			Sandboxes:    counts[name],
		})
	}
	return list
}

// count is the number of sandboxes by provider and state.
func (m *Manager) count(ctx context.Context) map[string]map[sandbox.State]int {
	list, err := m.List(ctx)
	if err != nil {
		return nil
	}
	counts := make(map[string]map[sandbox.State]int)
	for _, r := range list {
		by := counts[r.Provider]
		if by == nil {
			by = make(map[sandbox.State]int)
			counts[r.Provider] = by
		}
		by[r.State]++
	}
	return counts
}

// provider finds the provider of a record.
func (m *Manager) provider(r Record) (*provider, error) {
	if p := m.providers[r.Provider]; p != nil {
		return p, nil
	}
	return nil, sandbox.Errorf(sandbox.KindUnavailable, "find", r.Slug, "its provider %s is not configured", r.Provider)
}

// tell publishes an event and logs it. One that failed is logged as a warning.
func (m *Manager) tell(e Event) {
	e.Time = time.Now()
	m.events.publish(e)
	log := m.log.Info
	if e.Error != "" {
		log = m.log.Warn
	}
	attrs := []any{"slug", e.Slug, "provider", e.Provider}
	for _, a := range [][2]string{{"id", string(e.ID)}, {"detail", e.Detail}, {"error", e.Error}} {
		if a[1] != "" {
			attrs = append(attrs, a[0], a[1])
		}
	}
	log("sandbox "+e.Kind, attrs...)
}
