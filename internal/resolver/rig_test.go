package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// flaky is a catalogue that does not answer while it is down.
type flaky struct {
	*memory.Store
	down  atomic.Bool
	hangs atomic.Bool // answers only after a second that it does not
	gets  atomic.Int64
	gaps  chan struct{}
	// late is how long an answer of Get is on its way.
	late atomic.Int64
}

func newFlaky() *flaky { return &flaky{Store: memory.New(memory.Config{}), gaps: make(chan struct{})} }

func (f *flaky) fault(ctx context.Context) error {
	if !f.down.Load() {
		return nil
	}
	if f.hangs.Load() {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("fake: %w", catalog.ErrUnavailable)
}

func (f *flaky) Ping(ctx context.Context) error { return f.fault(ctx) }

func (f *flaky) Get(ctx context.Context, slug string) (catalog.Record, error) {
	f.gets.Add(1)
	if err := f.fault(ctx); err != nil {
		return catalog.Record{}, err
	}
	defer time.Sleep(time.Duration(f.late.Load()))
	return f.Store.Get(ctx, slug)
}

func (f *flaky) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.Store.Lease(ctx, key, ttl)
}

// Watch passes the store's news on while it is up, and a gap for each of gaps.
func (f *flaky) Watch(ctx context.Context, notify func(catalog.Change)) error {
	var mu sync.Mutex
	inner := make(chan error, 1)
	go func() {
		inner <- f.Store.Watch(ctx, func(c catalog.Change) {
			mu.Lock()
			defer mu.Unlock()
			if !f.down.Load() {
				notify(c)
			}
		})
	}()
	for {
		select {
		case err := <-inner:
			return err
		case <-f.gaps:
			mu.Lock()
			notify(catalog.Change{Kind: catalog.Gap})
			mu.Unlock()
		}
	}
}

// rig is one replica and what it asks.
type rig struct {
	*resolver.Resolver
	t     testing.TB
	store *flaky
	fake  *sandboxtest.Fake
	reg   *prometheus.Registry
}

// replica makes a resolver that runs until the test ends.
func replica(t testing.TB, store *flaky, c resolver.Config, fakes ...*sandboxtest.Fake) *rig {
	t.Helper()
	g := &rig{t: t, store: store, fake: fakes[0], reg: prometheus.NewRegistry()}
	deps := resolver.Deps{Catalog: store, Log: slog.New(slog.DiscardHandler)}
	for _, f := range fakes {
		deps.Providers = append(deps.Providers, f)
	}
	c.Shared = true
	r, err := resolver.New(deps, c, g.reg)
	if err != nil {
		t.Fatal(err)
	}
	g.Resolver = r
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.Close()
	})
	return g
}

// bubble runs a test with one replica in a synctest bubble.
func bubble(t *testing.T, c resolver.Config, test func(t *testing.T, g *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := replica(t, newFlaky(), c, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
		time.Sleep(time.Minute) // past the gap that news begin with
		test(t, g)
	})
}

func (g *rig) must(slug string) catalog.Record {
	g.t.Helper()
	rec, err := g.Resolve(g.t.Context(), slug)
	if err != nil {
		g.t.Fatalf("resolve %s: %v", slug, err)
	}
	return rec
}

func (g *rig) wantKind(slug string, want sandbox.Kind) error {
	g.t.Helper()
	_, err := g.Resolve(g.t.Context(), slug)
	if err == nil || sandbox.KindOf(err) != want {
		g.t.Fatalf("resolve %s: got %v, want kind %s", slug, err, want)
	}
	return err
}

func (g *rig) wantFinds(want int) {
	g.t.Helper()
	if got := g.fake.Calls(sandboxtest.OpFind); got != want {
		g.t.Errorf("the provider was asked %d times, want %d", got, want)
	}
}

// change writes a slug's record as another replica would.
func (g *rig) change(slug string, alter func(*catalog.Record)) catalog.Record {
	g.t.Helper()
	var written catalog.Record
	err := catalog.Hold(g.t.Context(), g.store.Store, slug, time.Minute, func(ctx context.Context, lease catalog.Lease) error {
		rec, err := g.store.Store.Get(ctx, slug)
		if errors.Is(err, catalog.ErrNotFound) {
			rec = catalog.Record{Instance: sandbox.Instance{Slug: slug, Provider: "fake", ID: sandbox.ID("of-" + slug), State: sandbox.Running, Address: "10.0.0.1"}}
		} else if err != nil {
			return err
		}
		rec.Fence = lease.Fence()
		alter(&rec)
		if rec.Tombstone() {
			written, err = g.store.Delete(ctx, rec)
		} else {
			written, err = g.store.Put(ctx, rec)
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return written
}

func (g *rig) count(source, result string) float64 {
	g.t.Helper()
	families, err := g.reg.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "edge_resolve_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["source"] == source && labels["result"] == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
