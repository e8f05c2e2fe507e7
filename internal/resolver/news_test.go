package resolver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

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

func TestAnAnswerThatNewsOvertookIsNotBelievedForLong(t *testing.T) {
	bubble(t, resolver.Config{TTL: time.Hour}, func(t *testing.T, g *rig) {
		g.change("demo", func(*catalog.Record) {})
		g.store.late.Store(int64(50 * time.Millisecond))
		answered := make(chan catalog.Record)
		go func() {
			rec, _ := g.Resolve(context.Background(), "demo")
			answered <- rec
		}()
		time.Sleep(10 * time.Millisecond) // it is read, and on its way
		written := g.change("demo", func(r *catalog.Record) { r.Address = "10.6.6.6" })
		if old := <-answered; old.Version == written.Version {
			t.Fatal("the look-up was too late for this test")
		}
		if got := g.must("demo"); got.Version != written.Version {
			t.Errorf("got %+v, want %+v", got, written)
		}
	})
}

func TestFlappingNewsDoNotPutALookOff(t *testing.T) {
	bubble(t, resolver.Config{TTL: time.Hour, Spread: time.Second}, func(t *testing.T, g *rig) {
		g.change("demo", func(*catalog.Record) {})
		g.must("demo")
		synctest.Wait()
		before := g.store.gets.Load()
		for range 40 {
			g.store.gaps <- struct{}{}
			synctest.Wait()
			g.must("demo")
			time.Sleep(50 * time.Millisecond)
		}
		if g.store.gets.Load() == before {
			t.Error("the record was not looked up again for two seconds of gaps")
		}
	})
}

func TestAnUnknownSlugIsLookedUpAgainAfterAGap(t *testing.T) {
	bubble(t, resolver.Config{NegativeTTL: time.Hour}, func(_ *testing.T, g *rig) {
		g.wantKind("new", sandbox.KindNotFound)
		g.store.down.Store(true) // swallows the news
		g.change("new", func(*catalog.Record) {})
		synctest.Wait()
		g.store.down.Store(false)
		g.store.gaps <- struct{}{}
		synctest.Wait()
		g.must("new")
	})
}

func TestAProviderThatPanicsFailsOneLookUp(t *testing.T) {
	t.Parallel()
	store := newFlaky()
	g := replica(t, store, resolver.Config{}, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
	g.fake.FailWith(sandboxtest.OpFind, panicking{}, 1)
	g.fake.Put(sandbox.Instance{Slug: "demo"})
	g.wantKind("demo", sandbox.KindUnavailable)
	g.must("demo")
}

// panicking is an error that can't be looked at.
type panicking struct{}

func (panicking) Error() string { return "panicking" }
func (panicking) Unwrap() error { panic("looked at") }

// TestReplicasAgreeInTheEnd changes sandboxes at random while three replicas
// use them, in a store that fails now and then.
func TestReplicasAgreeInTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, fake := newFlaky(), sandboxtest.NewFake(sandboxtest.FakeConfig{})
		store.late.Store(int64(time.Millisecond))
		var replicas []*rig
		for range 3 {
			replicas = append(replicas, replica(t, store, resolver.Config{}, fake))
		}
		const sandboxes = 10
		slug := func() string { return fmt.Sprintf("s%d", rand.N(sandboxes)) }
		for i := range sandboxes {
			fake.Put(sandbox.Instance{Slug: fmt.Sprintf("s%d", i)})
		}
		var all sync.WaitGroup
		for _, g := range replicas {
			for range 4 {
				all.Go(func() {
					for range 300 {
						if rec, err := g.Resolve(t.Context(), slug()); err == nil && rec.Generation == 0 {
							t.Error("a record without a generation")
						} else if err != nil && sandbox.KindOf(err) == sandbox.KindNotFound {
							t.Errorf("a live sandbox is unknown: %v", err)
						}
						if rand.N(20) == 0 {
							_, _ = g.Refresh(t.Context(), slug())
						}
						time.Sleep(rand.N(20 * time.Millisecond))
					}
				})
			}
		}
		for i := range 300 {
			in := fake.Instances()[rand.N(sandboxes)]
			in.Address = fmt.Sprintf("10.50.%d.%d", i/256, i%256)
			fake.Put(in)
			replicas[rand.N(3)].changeUnlessHeld(in.Slug, func(r *catalog.Record) { r.Instance, r.Generation = in, 0 })
			store.down.Store(rand.N(10) == 0)
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		all.Wait()
		store.down.Store(false)
		time.Sleep(time.Minute)
		for i := range sandboxes {
			for _, g := range replicas {
				stored, err := store.Get(t.Context(), fmt.Sprintf("s%d", i))
				if err != nil {
					stored = g.must(fmt.Sprintf("s%d", i)) // never used until now
				}
				if got := g.must(stored.Slug); got.Version != stored.Version || got.Address != stored.Address {
					t.Errorf("got %+v, want %+v", got, stored)
				}
			}
		}
	})
}

// changeUnlessHeld writes a record unless somebody acts on the sandbox.
func (g *rig) changeUnlessHeld(slug string, alter func(*catalog.Record)) {
	_ = catalog.Hold(g.t.Context(), g.store.Store, slug, time.Minute, func(ctx context.Context, lease catalog.Lease) error {
		rec, err := g.store.Store.Get(ctx, slug)
		if err != nil {
			return err
		}
		alter(&rec)
		rec.Fence = lease.Fence()
		_, err = g.store.Put(ctx, rec)
		return err
	})
}
