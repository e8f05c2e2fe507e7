package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

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
