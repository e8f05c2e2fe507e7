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
	"github.com/prometheus/client_golang/prometheus/testutil"
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

func TestAnInstanceThatAProviderFindsIsAdopted(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		rec := g.must("demo")
		if rec.ID != in.ID || rec.Version == 0 || rec.Generation == 0 || rec.Generation == in.Generation {
			t.Errorf("got %+v, want %s with a generation of the catalogue's", rec, in.ID)
		}
		stored, err := g.store.Get(t.Context(), "demo")
		if err != nil || stored.Version != rec.Version {
			t.Errorf("the catalogue has %+v, %v", stored, err)
		}
		synctest.Wait()
		g.must("demo")
		g.must("demo")
		g.wantFinds(1)
		if got := g.count("provider", "hit"); got != 1 {
			t.Errorf("provider hits: %v", got)
		}
	})
}

func TestASleepingInstanceIsAdoptedAsFoundAsleep(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo", State: sandbox.Stopped})
		if rec := g.must("demo"); rec.PausedBy != catalog.PausedByUnknown || rec.RAMPreserved {
			t.Errorf("got %+v", rec)
		}
	})
}

func TestProvidersAreAskedInOrder(t *testing.T) {
	t.Parallel()
	first, second := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "first"}), sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "second"})
	g := replica(t, newFlaky(), resolver.Config{}, first, second)
	second.Put(sandbox.Instance{Slug: "both"})
	second.Put(sandbox.Instance{Slug: "one"})
	first.Put(sandbox.Instance{Slug: "both"})
	if got := g.must("both").Provider; got != "first" {
		t.Errorf("got %s", got)
	}
	if got := g.must("one").Provider; got != "second" {
		t.Errorf("got %s", got)
	}
}

func TestAWriteOfAnotherReplicaIsUsedByTheNextRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, fake := newFlaky(), sandboxtest.NewFake(sandboxtest.FakeConfig{})
		one, other := replica(t, store, resolver.Config{}, fake), replica(t, store, resolver.Config{}, fake)
		time.Sleep(time.Minute) // past the gap that news begin with
		fake.Put(sandbox.Instance{Slug: "demo"})
		one.must("demo")
		before := other.must("demo")
		written := one.change("demo", func(r *catalog.Record) { r.Address, r.Generation = "10.1.1.1", 0 })
		synctest.Wait()
		for _, g := range []*rig{one, other} {
			rec := g.must("demo")
			if rec.Version != written.Version || rec.Address != "10.1.1.1" || rec.Generation <= before.Generation {
				t.Errorf("got %+v, want %+v", rec, written)
			}
		}
		one.wantFinds(1)
	})
}

func TestTwoResolversAdoptOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, fake := newFlaky(), sandboxtest.NewFake(sandboxtest.FakeConfig{})
		fake.SetLatency(10 * time.Millisecond)
		fake.Put(sandbox.Instance{Slug: "demo"})
		replicas := []*rig{replica(t, store, resolver.Config{}, fake), replica(t, store, resolver.Config{}, fake)}
		written := make(chan catalog.Change, 10)
		go func() {
			_ = store.Store.Watch(t.Context(), func(c catalog.Change) {
				if c.Kind == catalog.Written {
					written <- c
				}
			})
		}()
		var all sync.WaitGroup
		var generations [20]uint64
		for i := range generations {
			all.Go(func() { generations[i] = replicas[i%2].must("demo").Generation })
		}
		all.Wait()
		synctest.Wait()
		if len(written) != 1 {
			t.Errorf("%d writes, want one", len(written))
		}
		for _, got := range generations {
			if got != generations[0] || got == 0 {
				t.Fatalf("generations %v", generations)
			}
		}
		if calls := fake.Calls(sandboxtest.OpFind); calls > 2 {
			t.Errorf("the provider was asked %d times", calls)
		}
	})
}

func TestAHeldLeaseDelaysAnAdoptionOnlyABit(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		if _, err := g.store.Lease(t.Context(), "demo", time.Hour); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if rec := g.must("demo"); rec.ID != in.ID || rec.Generation == 0 {
			t.Errorf("got %+v", rec)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestAnUnknownSlugIsRememberedForAShortTime(t *testing.T) {
	bubble(t, resolver.Config{NegativeTTL: 5 * time.Second}, func(t *testing.T, g *rig) {
		for range 3 {
			g.wantKind("nobody", sandbox.KindNotFound)
		}
		g.wantFinds(1)
		time.Sleep(5*time.Second + time.Millisecond)
		g.fake.Put(sandbox.Instance{Slug: "nobody"})
		g.must("nobody")
		g.wantFinds(2)
		if got := g.count("local", "negative"); got != 2 {
			t.Errorf("local negatives: %v", got)
		}
	})
}

func TestASlugThatIsWrittenIsUnknownNoLonger(t *testing.T) {
	bubble(t, resolver.Config{}, func(_ *testing.T, g *rig) {
		g.wantKind("new", sandbox.KindNotFound)
		g.change("new", func(*catalog.Record) {})
		synctest.Wait()
		g.must("new")
	})
}

func TestASlugThatIsWrittenWhileItIsSearchedForIsUnknownNoLonger(t *testing.T) {
	bubble(t, resolver.Config{}, func(_ *testing.T, g *rig) {
		g.fake.SetLatency(time.Second)
		searched := make(chan struct{})
		go func() {
			defer close(searched)
			_, _ = g.Resolve(context.Background(), "new")
		}()
		synctest.Wait()
		g.change("new", func(*catalog.Record) {})
		<-searched
		g.must("new")
	})
}

func TestErrorsAreNotRemembered(t *testing.T) {
	bubble(t, resolver.Config{}, func(_ *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.fake.Fail(sandboxtest.OpFind, sandbox.KindPermission, 1)
		g.wantKind("demo", sandbox.KindUnavailable)
		g.must("demo")
	})
}

func TestADeletedSandboxIsGone(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		g.change("demo", func(r *catalog.Record) { r.Deleted = time.Now() })
		synctest.Wait()
		for range 2 { // from the catalogue, from the cache
			err := g.wantKind("demo", sandbox.KindNotFound)
			if gone, ok := errors.AsType[*resolver.Gone](err); !ok || gone.Slug != "demo" || !errors.Is(err, catalog.ErrDeleted) {
				t.Errorf("got %#v", err)
			}
		}
		g.wantFinds(1)
		if _, err := g.Refresh(t.Context(), "demo"); !errors.Is(err, catalog.ErrDeleted) {
			t.Errorf("Refresh: %v", err)
		}
		g.store.down.Store(true)
		time.Sleep(time.Minute)
		if err := g.wantKind("demo", sandbox.KindNotFound); !errors.Is(err, catalog.ErrDeleted) {
			t.Errorf("in an outage: %v", err)
		}
	})
}

func TestManyWaitersShareALookUpAndEachLeavesOnItsOwn(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.fake.SetLatency(time.Second)
		impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { g.must("demo") })
		}
		if _, err := g.Resolve(impatient, "demo"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		all.Wait()
		g.wantFinds(1)
	})
}

func TestALookUpEndsByItself(t *testing.T) {
	bubble(t, resolver.Config{Lookup: 3 * time.Second}, func(_ *testing.T, g *rig) {
		g.fake.SetLatency(time.Hour)
		g.wantKind("demo", sandbox.KindUnavailable)
	})
}

func TestMadeUpSlugsCostTheProvidersNoMoreThanTheLimit(t *testing.T) {
	bubble(t, resolver.Config{Lookups: 20, Burst: 40, Absent: 1000}, func(t *testing.T, g *rig) {
		limited := 0
		for i := range 20_000 {
			_, err := g.Resolve(t.Context(), fmt.Sprintf("made-up-%d", i))
			switch {
			case errors.Is(err, resolver.ErrLimit) && sandbox.KindOf(err) == sandbox.KindUnavailable:
				limited++
			case sandbox.KindOf(err) != sandbox.KindNotFound:
				t.Fatalf("got %v", err)
			}
		}
		g.wantFinds(40)
		if limited != 20_000-40 {
			t.Errorf("%d were refused", limited)
		}
		time.Sleep(time.Second)
		for i := range 1000 {
			_, _ = g.Resolve(t.Context(), fmt.Sprintf("more-%d", i))
		}
		g.wantFinds(60)
	})
}

func TestMemoryIsBoundedByNumber(t *testing.T) {
	t.Parallel()
	g := replica(t, newFlaky(), resolver.Config{Lookups: 1e9, Burst: 1e9, Absent: 500, Entries: 500}, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
	for i := range 20_000 {
		g.wantKind(fmt.Sprintf("made-up-%d", i), sandbox.KindNotFound)
	}
	for i := range 2000 {
		slug := fmt.Sprintf("real-%d", i)
		g.change(slug, func(*catalog.Record) {})
		g.must(slug)
	}
	records, absent := resolver.Sizes(g.Resolver)
	if records > 600 || absent > 600 {
		t.Errorf("%d records and %d absent slugs are kept", records, absent)
	}
}

func TestInAnOutageTheCacheAnswersAtOnceUntilItIsTooOld(t *testing.T) {
	bubble(t, resolver.Config{ServeStale: 10 * time.Minute}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		rec := g.must("demo")
		g.store.hangs.Store(true)
		g.store.down.Store(true)
		time.Sleep(time.Minute)
		if g.CatalogUp() {
			t.Fatal("the outage was not noticed")
		}
		began := time.Now()
		if got := g.must("demo"); got.Version != rec.Version {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
		if got := g.count("local", "stale"); got != 1 {
			t.Errorf("stale answers: %v", got)
		}
		finds := g.fake.Calls(sandboxtest.OpFind) + g.fake.Calls(sandboxtest.OpGet)
		time.Sleep(10 * time.Minute)
		if got := g.must("demo"); got.ID != rec.ID {
			t.Errorf("got %+v", got)
		}
		if g.fake.Calls(sandboxtest.OpFind)+g.fake.Calls(sandboxtest.OpGet) == finds {
			t.Error("the provider was not asked")
		}
	})
}

func TestAHangingCatalogueDelaysACachedSandboxByPatienceOnce(t *testing.T) {
	bubble(t, resolver.Config{TTL: 30 * time.Second, Ping: time.Hour, Patience: 100 * time.Millisecond}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		g.store.hangs.Store(true)
		g.store.down.Store(true)
		time.Sleep(31 * time.Second)
		for _, want := range []time.Duration{100 * time.Millisecond, 100 * time.Millisecond} {
			began := time.Now()
			g.must("demo")
			if took := time.Since(began); took > want {
				t.Errorf("took %v", took)
			}
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		g.must("demo")
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v once the outage is known", took)
		}
	})
}

func TestInAnOutageProvidersAnswerForWhatIsNotCached(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.store.down.Store(true)
		first := g.must("demo")
		if first.ID != in.ID || first.Generation == 0 {
			t.Errorf("got %+v", first)
		}
		if _, err := g.store.Store.Get(t.Context(), "demo"); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("it was written: %v", err)
		}
		time.Sleep(time.Minute)
		if again := g.must("demo"); again.Generation != first.Generation {
			t.Errorf("the generation went from %d to %d", first.Generation, again.Generation)
		}
		err := g.wantKind("nobody", sandbox.KindUnavailable)
		if !errors.Is(err, catalog.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		g.store.down.Store(false)
		time.Sleep(time.Minute)
		if !g.CatalogUp() {
			t.Fatal("the end of the outage was not noticed")
		}
		g.must("demo")
		if _, err := g.store.Store.Get(t.Context(), "demo"); err != nil {
			t.Errorf("it was not adopted: %v", err)
		}
		g.wantKind("nobody", sandbox.KindNotFound)
	})
}

func TestInAnOutageTheLimitHoldsAndIsNoNotFound(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.store.down.Store(true)
		for i := range 2000 {
			g.wantKind(fmt.Sprintf("made-up-%d", i), sandbox.KindUnavailable)
		}
		if got := g.fake.Calls(sandboxtest.OpFind); got > 41 {
			t.Errorf("the provider was asked %d times", got)
		}
	})
}

func TestRedisUpTellsWhatCallsSaw(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		up := func(want string) {
			t.Helper()
			if got, err := testutil.GatherAndCount(g.reg, "edge_redis_up"); err != nil || got != 1 {
				t.Fatalf("gauge: %d, %v", got, err)
			}
			families, _ := g.reg.Gather()
			for _, f := range families {
				if f.GetName() == "edge_redis_up" && fmt.Sprint(f.GetMetric()[0].GetGauge().GetValue()) != want {
					t.Errorf("got %v, want %s", f.GetMetric()[0].GetGauge().GetValue(), want)
				}
			}
		}
		up("1")
		g.store.down.Store(true)
		time.Sleep(6 * time.Second)
		up("0")
		g.store.down.Store(false)
		time.Sleep(2 * time.Second)
		up("1")
	})
}

func TestAnEmptyCatalogueIsFilledFromWhatIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := replica(t, newFlaky(), resolver.Config{}, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
		in := g.fake.Put(sandbox.Instance{Slug: "demo", State: sandbox.Paused})
		time.Sleep(time.Minute)
		g.must("demo")
		before := g.change("demo", func(r *catalog.Record) { r.PausedBy = catalog.PausedByAPI })
		synctest.Wait()
		g.must("demo")
		g.store.Store = memory.New(memory.Config{}) // it comes back without its data
		g.store.gaps <- struct{}{}
		time.Sleep(2 * time.Second)
		got := g.must("demo")
		if got.ID != in.ID || got.PausedBy != catalog.PausedByAPI || got.Generation != before.Generation || got.Version <= before.Version {
			t.Errorf("got %+v, want what was: %+v", got, before)
		}
		if _, err := g.store.Get(t.Context(), "demo"); err != nil {
			t.Error(err)
		}
	})
}

func TestAGapMakesEveryRecordBeConfirmedAtItsOwnTime(t *testing.T) {
	const sandboxes = 200
	bubble(t, resolver.Config{Spread: time.Second, TTL: time.Hour}, func(t *testing.T, g *rig) {
		slug := func(i int) string { return fmt.Sprintf("s%d", i) }
		for i := range sandboxes {
			g.change(slug(i), func(*catalog.Record) {})
			g.must(slug(i))
		}
		synctest.Wait()
		use := func() int64 {
			before := g.store.gets.Load()
			for i := range sandboxes {
				g.must(slug(i))
			}
			return g.store.gets.Load() - before
		}
		if got := use(); got != 0 {
			t.Fatalf("%d look-ups of fresh records", got)
		}
		g.store.gaps <- struct{}{}
		synctest.Wait()
		var most, all int64
		for range 21 {
			n := use()
			most, all = max(most, n), all+n
			time.Sleep(50 * time.Millisecond)
		}
		if all != sandboxes || most > sandboxes/4 {
			t.Errorf("%d look-ups, at most %d at once", all, most)
		}
	})
}

func TestInvalidateMakesTheNextUseLookAgain(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.change("demo", func(*catalog.Record) {})
		g.must("demo")
		synctest.Wait()
		before := g.store.gets.Load()
		g.must("demo")
		g.Invalidate("demo")
		g.must("demo")
		if got := g.store.gets.Load() - before; got != 1 {
			t.Errorf("%d look-ups", got)
		}
	})
}

func TestWhatIsNotConfirmedInTimeIsUsedMeanwhile(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		rec := g.must("demo")
		g.store.Store = memory.New(memory.Config{})
		g.fake.Fail(sandboxtest.OpGet, sandbox.KindUnavailable, 0)
		time.Sleep(time.Minute)
		if got := g.must("demo"); got.Version != rec.Version {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAClosedResolverIsUnavailable(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.Close()
		g.wantKind("demo", sandbox.KindUnavailable)
		if _, err := g.Refresh(t.Context(), "demo"); sandbox.KindOf(err) != sandbox.KindUnavailable {
			t.Errorf("Refresh: %v", err)
		}
	})
}
