package resolver_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

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
