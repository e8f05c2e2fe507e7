package resolver_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func (g *rig) refresh(slug string) catalog.Record {
	g.t.Helper()
	time.Sleep(2 * time.Second) // past RefreshEvery
	rec, err := g.Refresh(g.t.Context(), slug)
	if err != nil {
		g.t.Fatalf("refresh %s: %v", slug, err)
	}
	return rec
}

func TestRefreshPublishesWhatTheProviderSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before sandbox.State
		now    func(*sandbox.Instance)
		want   func(before, after *catalog.Record) string // what is wrong; "" is nothing
	}{
		{"the same", sandbox.Running, func(*sandbox.Instance) {}, func(before, after *catalog.Record) string {
			if after.Version != before.Version {
				return "it was written although nothing changed"
			}
			return ""
		}},
		{"moved", sandbox.Running, func(in *sandbox.Instance) { in.Address = "10.7.7.7" }, func(before, after *catalog.Record) string {
			if after.Address != "10.7.7.7" || after.Generation <= before.Generation {
				return "want the new address and a new generation"
			}
			return ""
		}},
		{"paused from outside", sandbox.Running, func(in *sandbox.Instance) { in.State = sandbox.Paused }, func(before, after *catalog.Record) string {
			if after.State != sandbox.Paused || after.PausedBy != catalog.PausedByExternal || !after.RAMPreserved || after.Generation != before.Generation {
				return "want paused by somebody else, with its RAM, in the same generation"
			}
			return ""
		}},
		{"stopped from outside", sandbox.Running, func(in *sandbox.Instance) { in.State = sandbox.Stopped }, func(_, after *catalog.Record) string {
			if after.State != sandbox.Stopped || after.PausedBy != catalog.PausedByExternal || after.RAMPreserved {
				return "want stopped by somebody else, without its RAM"
			}
			return ""
		}},
		{"woken from outside", sandbox.Paused, func(in *sandbox.Instance) { in.State = sandbox.Running }, func(before, after *catalog.Record) string {
			if after.State != sandbox.Running || after.PausedBy != catalog.PausedByNobody || after.Generation <= before.Generation {
				return "want running, in a new generation"
			}
			return ""
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
				in := g.fake.Put(sandbox.Instance{Slug: "demo", State: tt.before})
				before := g.must("demo")
				tt.now(&in)
				g.fake.Put(in)
				after := g.refresh("demo")
				if wrong := tt.want(&before, &after); wrong != "" {
					t.Errorf("%s: got %+v after %+v", wrong, after, before)
				}
				stored, err := g.store.Get(t.Context(), "demo")
				if err != nil || stored.Version != after.Version {
					t.Errorf("the catalogue has %+v, %v", stored, err)
				}
				if got := g.must("demo"); got.Version != after.Version {
					t.Errorf("the next use got %+v", got)
				}
			})
		})
	}
}

func TestRefreshOfAnInstanceThatMovedToAnotherProviderFollowsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, other := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "one"}), sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "other"})
		g := replica(t, newFlaky(), resolver.Config{}, one, other)
		in := one.Put(sandbox.Instance{Slug: "demo"})
		before := g.must("demo")
		one.Vanish(in.ID)
		other.Put(sandbox.Instance{Slug: "demo"})
		if got := g.refresh("demo"); got.Provider != "other" || got.Generation <= before.Generation {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRefreshOfAnInstanceThatVanishedIsFailedNotBuried(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		g.fake.Vanish(in.ID)
		got := g.refresh("demo")
		if got.State != sandbox.Failed || got.Tombstone() || got.Reason == "" {
			t.Errorf("got %+v", got)
		}
		g.fake.Put(in)
		if got := g.refresh("demo"); got.State != sandbox.Running || got.Reason != "" {
			t.Errorf("when it is back: %+v", got)
		}
	})
}

func TestRefreshWritesNothingWhenTheProviderDoesNotAnswer(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		before := g.must("demo")
		g.fake.Fail(sandboxtest.OpGet, sandbox.KindUnavailable, 0)
		time.Sleep(2 * time.Second)
		if _, err := g.Refresh(t.Context(), "demo"); sandbox.KindOf(err) != sandbox.KindUnavailable {
			t.Errorf("got %v", err)
		}
		if got, _ := g.store.Get(t.Context(), "demo"); got.Version != before.Version {
			t.Errorf("written: %+v", got)
		}
	})
}

func TestRefreshAsksTheProviderOncePerMoment(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		time.Sleep(2 * time.Second)
		g.fake.SetLatency(100 * time.Millisecond)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := g.Refresh(t.Context(), "demo"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if _, err := g.Refresh(t.Context(), "demo"); err != nil {
			t.Error(err)
		}
		if got := g.fake.Calls(sandboxtest.OpGet); got != 1 {
			t.Errorf("the provider was asked %d times", got)
		}
	})
}

func TestRefreshTakesWhatAnotherReplicaWrote(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		written := g.change("demo", func(r *catalog.Record) { r.Address = "10.8.8.8" })
		if got := g.refresh("demo"); got.Version != written.Version {
			t.Errorf("got %+v, want %+v", got, written)
		}
		if got := g.fake.Calls(sandboxtest.OpGet); got != 0 {
			t.Errorf("the provider was asked %d times", got)
		}
	})
}

func TestRefreshLeavesASandboxToWhoActsOnIt(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		before := g.must("demo")
		if _, err := g.store.Store.Lease(t.Context(), "demo", time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := g.refresh("demo"); got.Version != before.Version {
			t.Errorf("got %+v", got)
		}
		if got := g.fake.Calls(sandboxtest.OpGet); got != 0 {
			t.Errorf("the provider was asked %d times", got)
		}
	})
}

func TestRefreshInAnOutageIsKeptLocally(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		before := g.must("demo")
		in.Address = "10.7.7.7"
		g.fake.Put(in)
		g.store.down.Store(true)
		after := g.refresh("demo")
		if after.Address != "10.7.7.7" || after.Generation <= before.Generation {
			t.Errorf("got %+v", after)
		}
		if got := g.must("demo"); got.Address != "10.7.7.7" {
			t.Errorf("then got %+v", got)
		}
	})
}

func TestMadeUpSlugsDoNotKeepARefreshFromTheProvider(t *testing.T) {
	bubble(t, resolver.Config{Lookups: 1, Burst: 1}, func(t *testing.T, g *rig) {
		in := g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		time.Sleep(2 * time.Second)
		g.wantKind("made-up", sandbox.KindNotFound)
		g.wantKind("made-up-too", sandbox.KindUnavailable)
		in.Address = "10.7.7.7"
		g.fake.Put(in)
		if got, err := g.Refresh(t.Context(), "demo"); err != nil || got.Address != "10.7.7.7" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestRefreshHonoursItsContext(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		g.must("demo")
		time.Sleep(2 * time.Second)
		g.fake.SetLatency(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := g.Refresh(ctx, "demo"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestExplainTellsEachStep(t *testing.T) {
	bubble(t, resolver.Config{}, func(t *testing.T, g *rig) {
		want := func(slug string, want ...string) {
			t.Helper()
			steps := g.Explain(t.Context(), slug)
			got := make([]string, 0, len(steps))
			for _, s := range steps {
				line := s.Source + ": " + s.Decision
				if s.Decides {
					line += " *"
				}
				got = append(got, line)
			}
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) || strings.HasSuffix(got[i], " *") != strings.HasSuffix(want[i], " *") {
					t.Errorf("step %d: got %q, want %q", i, got[i], want[i])
				}
			}
		}
		want("nobody", "local: not cached", "redis: not in the catalogue", "fake: does not know it")
		g.wantFinds(1)
		g.wantKind("nobody", sandbox.KindNotFound) // Explain remembered nothing
		g.wantFinds(2)
		want("nobody", "local: remembered as unknown *", "redis: not in the catalogue", "fake: does not know it")
		g.fake.Put(sandbox.Instance{Slug: "demo"})
		if steps := g.Explain(t.Context(), "demo"); len(steps) != 3 || !steps[2].Decides || steps[2].Record.State != sandbox.Running {
			t.Errorf("got %+v", steps)
		}
		if _, err := g.store.Get(t.Context(), "demo"); !errors.Is(err, catalog.ErrNotFound) {
			t.Error("Explain adopted it")
		}
		g.must("demo")
		time.Sleep(10 * time.Second)
		steps := g.Explain(t.Context(), "demo")
		if len(steps) != 2 || !steps[0].Decides || steps[0].Age != 10*time.Second || steps[1].Decides || steps[1].Record == nil {
			t.Errorf("got %+v", steps)
		}
		g.store.down.Store(true)
		time.Sleep(time.Minute)
		steps = g.Explain(t.Context(), "demo")
		if len(steps) != 3 || !steps[0].Decides || !strings.HasPrefix(steps[0].Decision, "stale") || !errors.Is(steps[1].Err, catalog.ErrUnavailable) {
			t.Errorf("got %+v", steps)
		}
	})
}
