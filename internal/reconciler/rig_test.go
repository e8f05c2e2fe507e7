package reconciler_test

import (
	"bytes"
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
	"cmux.sh/edge/internal/reconciler"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

const (
	every = 30 * time.Second
	lease = 15 * time.Second
)

// flaky is a catalogue that does not answer while it is down, takes back leases
// on singletons while it forgets, and keeps what was written of each slug.
type flaky struct {
	catalog.Catalog                              // only for what is not used
	store           atomic.Pointer[memory.Store] // may be replaced by an empty one
	unreadable      []string
	onLease         func(catalog.Lease) // may be nil
	down, forgets   atomic.Bool

	mu      sync.Mutex // guards history
	history map[string][]catalog.Record
}

func newFlaky() *flaky {
	f := &flaky{history: make(map[string][]catalog.Record)}
	f.lose()
	return f
}

// lose makes the catalogue an empty one.
func (f *flaky) lose() { f.store.Store(memory.New(memory.Config{})) }

func (f *flaky) Get(ctx context.Context, slug string) (catalog.Record, error) {
	return f.store.Load().Get(ctx, slug)
}

func (f *flaky) List(ctx context.Context, cursor string, limit int) (catalog.Page, error) {
	if f.down.Load() {
		return catalog.Page{}, fmt.Errorf("fake: %w", catalog.ErrUnavailable)
	}
	page, err := f.store.Load().List(ctx, cursor, limit)
	page.Unreadable = f.unreadable
	return page, err
}

func (f *flaky) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	l, err := f.store.Load().Lease(ctx, key, ttl)
	if err == nil && f.onLease != nil {
		f.onLease(l)
	}
	return &forgotten{l, f}, err
}

// forgotten is a lease that a flaky catalogue may take back.
type forgotten struct {
	catalog.Lease
	by *flaky
}

func (l *forgotten) Renew(ctx context.Context) error {
	if l.by.forgets.Load() && l.Key() == catalog.Singleton("reconciler") {
		return catalog.ErrLeaseExpired
	}
	return l.Lease.Renew(ctx)
}

func (f *flaky) Create(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	r, err := f.store.Load().Create(ctx, r)
	return f.note(r, err)
}

func (f *flaky) Put(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	r, err := f.store.Load().Put(ctx, r)
	return f.note(r, err)
}

func (f *flaky) Delete(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	r, err := f.store.Load().Delete(ctx, r)
	return f.note(r, err)
}

func (f *flaky) note(r catalog.Record, err error) (catalog.Record, error) {
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.history[r.Slug] = append(f.history[r.Slug], r)
	}
	return r, err
}

// rig is a catalogue, two providers, and what the reconcilers told.
type rig struct {
	t       testing.TB
	store   *flaky
	a, b    *sandboxtest.Fake
	regs    []*prometheus.Registry
	mu      sync.Mutex // guards all below
	told    []string
	dropped []string
	log     bytes.Buffer
}

// Write is the log.
func (g *rig) Write(line []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.Write(line)
}

// logged is everything that was logged.
func (g *rig) logged() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

// bubble runs a test in a synctest bubble, without any reconciler yet.
func bubble(t *testing.T, test func(t *testing.T, g *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		test(t, &rig{
			t: t, store: newFlaky(),
			a: sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "a"}), b: sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "b"}),
		})
	})
}

// replica runs a reconciler until the test ends, or stop is called.
func (g *rig) replica() (stop func()) {
	g.t.Helper()
	return g.replicaOf(g.a, g.b)
}

// replicaOf is replica with other providers.
func (g *rig) replicaOf(providers ...reconciler.Provider) (stop func()) {
	g.t.Helper()
	reg := prometheus.NewRegistry()
	r := reconciler.New(reconciler.Deps{
		Catalog: g.store, Providers: providers, Log: slog.New(slog.NewTextHandler(g, nil)),
		Invalidate: func(slug string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.dropped = append(g.dropped, slug)
		},
		Tell: func(e reconciler.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.told = append(g.told, e.Kind+" "+e.Slug+" "+string(e.ID))
		},
	}, reconciler.Config{Every: every, Lease: lease}, reg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			g.t.Errorf("Run: %v", err)
		}
	})
	g.t.Cleanup(stop)
	g.regs = append(g.regs, reg)
	synctest.Wait() // its first round, unless somebody waits in it
	return stop
}

// rounds lets n more rounds go by.
func rounds(n int) {
	time.Sleep(time.Duration(n) * every)
	synctest.Wait()
}

// record writes a record under a lease of its own and returns it.
func (g *rig) record(in sandbox.Instance, by catalog.PausedBy) catalog.Record {
	g.t.Helper()
	var rec catalog.Record
	err := catalog.Hold(g.t.Context(), g.store, in.Slug, lease, func(ctx context.Context, l catalog.Lease) (err error) {
		in.Generation = 0
		rec, err = g.store.Create(ctx, catalog.Record{Instance: in, PausedBy: by, RAMPreserved: true, Fence: l.Fence()})
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return rec
}

// get is the record of a slug; a zero one when there is none.
func (g *rig) get(slug string) catalog.Record {
	g.t.Helper()
	rec, err := g.store.Get(g.t.Context(), slug)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		g.t.Fatal(err)
	}
	return rec
}

// events are the changes since the last call.
func (g *rig) events() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	told := g.told
	g.told = nil
	return told
}

// count is a counter, added up over all replicas.
func (g *rig) count(name, value string) (n float64) {
	g.t.Helper()
	for _, reg := range g.regs {
		families, err := reg.Gather()
		if err != nil {
			g.t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name && m.GetLabel()[0].GetValue() == value {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
