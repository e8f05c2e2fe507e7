package reconciler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func (g *rig) wants(what ...string) {
	g.t.Helper()
	got := g.events()
	slices.Sort(got)
	if diff := cmp.Diff(what, got); diff != "" {
		g.t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestAnEmptyCatalogueIsRebuiltInOneRound(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		for i := range 40 {
			g.a.Put(sandbox.Instance{Slug: fmt.Sprintf("a-%d", i), Marked: i%2 == 0, Created: time.Now()})
			g.b.Put(sandbox.Instance{Slug: fmt.Sprintf("b-%d", i), State: sandbox.Paused})
		}
		g.replica()
		for i := range 40 {
			a, b := g.get(fmt.Sprintf("a-%d", i)), g.get(fmt.Sprintf("b-%d", i))
			if a.Provider != "a" || a.State != sandbox.Running || a.PausedBy != catalog.PausedByNobody || a.Generation == 0 || a.LastActive.IsZero() {
				t.Errorf("the running one is recorded as %+v", a)
			}
			if b.Provider != "b" || b.State != sandbox.Paused || b.PausedBy != catalog.PausedByUnknown {
				t.Errorf("the sleeping one is recorded as %+v", b)
			}
		}
		if n := g.count("edge_reconciler_changes_total", "adopted"); n != 80 {
			t.Errorf("%v were adopted, want 80", n)
		}
		if n := g.count("edge_reconciler_rounds_total", "ok"); n != 1 {
			t.Errorf("%v rounds, want 1", n)
		}
		g.events()
		rounds(3)
		g.wants()
		if n := g.a.Calls(sandboxtest.OpGet); n != 0 {
			t.Errorf("%d Gets for what nothing is wrong with", n)
		}
	})
}

func TestAStoreThatComesBackEmptyIsRebuilt(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.a.Put(sandbox.Instance{Slug: "s", Marked: true, Created: time.Now()})
		g.replica()
		g.wants("adopted s a-1")
		g.store.lose()
		rounds(1)
		g.wants("adopted s a-1")
	})
}

func TestLooksAreCountedAnewAfterALostLease(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		rounds(1)
		g.store.forgets.Store(true)
		time.Sleep(lease / 2) // it is lost by now, and taken again
		g.store.forgets.Store(false)
		synctest.Wait()
		g.wants()
		if !strings.Contains(g.logged(), "lost its lease") {
			t.Fatalf("the lease was not lost:\n%s", g.logged())
		}
		rounds(1)
		g.wants("forgotten s a-1")
	})
}

func TestWhatTheEdgeJustMadeIsAdoptedAtTheSecondLook(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.record(g.b.Put(sandbox.Instance{Slug: "other"}), catalog.PausedByNobody)
		g.a.Put(sandbox.Instance{Slug: "young", Marked: true, Created: time.Now()})
		g.a.Put(sandbox.Instance{Slug: "foreign", Created: time.Now()})
		g.a.Put(sandbox.Instance{Slug: "starting", Marked: true, State: sandbox.Starting})
		g.a.Put(sandbox.Instance{Slug: "old", Marked: true, Created: time.Now().Add(-time.Hour)})
		g.replica()
		g.wants("adopted foreign a-2", "adopted old a-4")
		rounds(1)
		g.wants("adopted starting a-3", "adopted young a-1")
	})
}

func TestWhatHasNoSlugIsSkipped(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.a.Put(sandbox.Instance{Slug: "No Slug"})
		g.replica()
		g.wants()
	})
}

func TestAnInstanceThatIsRecordedUnderAnotherNameIsNotAdoptedTwice(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "name"})
		in.Slug = "alias"
		g.record(in, catalog.PausedByNobody)
		g.replica()
		rounds(2)
		g.wants()
	})
}

func TestOfSeveralWithOneSlugTheOldestIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.a.Put(sandbox.Instance{Slug: "s", Created: time.Now().Add(-time.Hour)})
		g.b.Put(sandbox.Instance{Slug: "s", Created: time.Now().Add(-2 * time.Hour)})
		g.replica()
		g.wants("adopted s b-1")
		rounds(3)
		g.wants()
		if n := strings.Count(g.logged(), "several instances"); n != 1 {
			t.Errorf("it was logged %d times, want once:\n%s", n, g.logged())
		}
	})
}

func TestOfSeveralWithOneSlugTheRecordedOneStays(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.a.Put(sandbox.Instance{Slug: "s", Created: time.Now().Add(-time.Hour)})
		g.record(g.b.Put(sandbox.Instance{Slug: "s"}), catalog.PausedByNobody)
		g.replica()
		rounds(2)
		g.wants()
		if got := g.get("s").Provider; got != "b" {
			t.Errorf("it is at %s now", got)
		}
	})
}

func TestAnUnknownStateSaysNothing(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.record(g.a.Put(sandbox.Instance{Slug: "recorded", Address: "10.0.0.1"}), catalog.PausedByNobody)
		g.a.Put(sandbox.Instance{Slug: "new"})
		g.replicaOf(&blurred{g.a}, g.b)
		rounds(2)
		g.wants()
		if n := g.a.Calls(sandboxtest.OpGet); n != 0 {
			t.Errorf("%d Gets", n)
		}
	})
}

// blurred is a provider whose node does not answer.
type blurred struct{ *sandboxtest.Fake }

func (b *blurred) List(ctx context.Context) ([]sandbox.Instance, error) {
	list, err := b.Fake.List(ctx)
	for i := range list {
		list[i].State = sandbox.Unknown
	}
	return list, err
}

// As Proxmox lists guests whose agent must be asked for the address.
func TestAnAddressThatIsNotListedIsAskedForWhenItIsNeeded(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		known := g.a.Put(sandbox.Instance{Slug: "known", Address: "10.0.0.1"})
		g.record(known, catalog.PausedByNobody)
		p := &placeless{Fake: g.a}
		g.replicaOf(p, g.b)
		g.a.Put(sandbox.Instance{Slug: "new", Address: "10.0.0.2"})
		p.lost.Store(true)
		rounds(1)
		g.wants()
		p.lost.Store(false)
		rounds(1)
		g.wants("adopted new a-2")
		if n := g.a.Calls(sandboxtest.OpGet); n != 2 {
			t.Errorf("%d Gets, want 2", n)
		}
		if got := g.get("new").Address; got != "10.0.0.2" {
			t.Errorf("the new one is at %q", got)
		}
		p.mute.Store(true)
		known.State = sandbox.Paused
		g.a.Put(known)
		rounds(1)
		g.wants("repaired known a-1")
		if rec := g.get("known"); rec.Address != "10.0.0.1" || rec.State != sandbox.Paused {
			t.Errorf("asleep it is %+v", rec)
		}
		known.State = sandbox.Running
		g.a.Put(known)
		rounds(1)
		g.wants("repaired known a-1")
		if rec := g.get("known"); rec.Address != "" {
			t.Errorf("awake it is believed to be at %q", rec.Address)
		}
	})
}

// placeless is a provider whose list has no addresses, nor Get while it is mute;
// while it is lost Get knows no state.
type placeless struct {
	*sandboxtest.Fake
	mute, lost atomic.Bool
}

func (p *placeless) List(ctx context.Context) ([]sandbox.Instance, error) {
	list, err := p.Fake.List(ctx)
	for i := range list {
		list[i].Address = ""
	}
	return list, err
}

func (p *placeless) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	in, err := p.Fake.Get(ctx, id)
	if p.mute.Load() {
		in.Address = ""
	}
	if p.lost.Load() {
		in.State = sandbox.Unknown
	}
	return in, err
}

func TestASlugWithARecordThatCantBeReadIsInUse(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.store.unreadable = []string{"s"}
		g.a.Put(sandbox.Instance{Slug: "s"})
		g.replica()
		rounds(1)
		g.wants()
	})
}

func TestAMissingInstanceIsForgottenAfterASecondLook(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		rounds(1)
		g.wants()
		if rec := g.get("s"); rec.Tombstone() || g.a.Calls(sandboxtest.OpGet) > 0 {
			t.Errorf("after one look it is %+v", rec)
		}
		rounds(1)
		g.wants("forgotten s a-1")
		if rec := g.get("s"); !rec.Tombstone() {
			t.Errorf("after two looks it is %+v", rec)
		}
		g.mu.Lock()
		dropped := slices.Contains(g.dropped, "s")
		g.mu.Unlock()
		if !dropped || !strings.Contains(g.logged(), "sandbox forgotten") {
			t.Error("nobody was told")
		}
		g.a.Put(in)
		rounds(2)
		g.wants() // what was deleted stays deleted
		g.b.Put(sandbox.Instance{Slug: "s"})
		rounds(1)
		g.wants("adopted s b-1")
	})
}

func TestARecordThatChangedBetweenTheLooksIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		rec := g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		rounds(1)
		rec.Reason = "somebody wrote it"
		if _, err := g.store.Put(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		rounds(1)
		g.wants()
		rounds(1)
		g.wants("forgotten s a-1")
	})
}

func TestARecordThatChangedAfterTheListingIsLeftToTheNextRound(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		rec := g.record(in, catalog.PausedByNobody)
		var once sync.Once
		g.store.onLease = func(l catalog.Lease) { // at the second look, before it reads
			if l.Key() == "s" {
				once.Do(func() {
					rec.Fence = l.Fence()
					if _, err := g.store.Put(t.Context(), rec); err != nil {
						t.Error(err)
					}
				})
			}
		}
		g.replica()
		g.a.Vanish(in.ID)
		rounds(3)
		g.wants()
		rounds(1)
		g.wants("forgotten s a-1")
	})
}

// A list that has what Get does not find any more.
func TestOneThatWasOnlyNowListedIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		g.record(in, catalog.PausedByNobody)
		g.a.Vanish(in.ID)
		in.State = sandbox.Paused
		g.replicaOf(&frozen{g.a, []sandbox.Instance{in}}, g.b)
		rounds(3)
		g.wants()
	})
}

// frozen is a provider whose list is out of date.
type frozen struct {
	*sandboxtest.Fake
	list []sandbox.Instance
}

func (f *frozen) List(context.Context) ([]sandbox.Instance, error) { return f.list, nil }

// A list that lacks what Get finds.
func TestWhatItsProviderKnowsIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.record(g.a.Put(sandbox.Instance{Slug: "s"}), catalog.PausedByNobody)
		g.replicaOf(&shortened{g.a}, g.b)
		rounds(4)
		g.wants()
		if g.a.Calls(sandboxtest.OpGet) == 0 {
			t.Error("it was not asked for")
		}
	})
}

// shortened is a provider whose list lacks everything.
type shortened struct{ *sandboxtest.Fake }

func (*shortened) List(context.Context) ([]sandbox.Instance, error) { return nil, nil }

func TestAProviderThatDoesNotAnswerLosesNothing(t *testing.T) {
	for name, trouble := range map[string]func(*sandboxtest.Fake){
		"List fails":  func(f *sandboxtest.Fake) { f.Fail(sandboxtest.OpList, sandbox.KindUnavailable, 0) },
		"List hangs":  func(f *sandboxtest.Fake) { f.Hold(sandboxtest.OpList) },
		"Get fails":   func(f *sandboxtest.Fake) { f.Fail(sandboxtest.OpGet, sandbox.KindUnavailable, 0) },
		"Get refuses": func(f *sandboxtest.Fake) { f.Fail(sandboxtest.OpGet, sandbox.KindPermission, 0) },
		"Get hangs":   func(f *sandboxtest.Fake) { f.Hold(sandboxtest.OpGet) },
		"garbage":     func(f *sandboxtest.Fake) { f.SetGarbage(true) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, g *rig) {
				for i := range 20 {
					in := g.a.Put(sandbox.Instance{Slug: fmt.Sprintf("s-%d", i)})
					g.record(in, catalog.PausedByNobody)
					g.a.Vanish(in.ID)
				}
				trouble(g.a)
				g.b.Put(sandbox.Instance{Slug: "b"})
				g.replica()
				rounds(6)
				g.wants("adopted b b-1") // the other one is looked after all the same
				if n := g.count("edge_reconciler_rounds_total", "partial"); n == 0 {
					t.Error("nothing says that something was left out")
				}
				if n := g.a.Calls(sandboxtest.OpGet); name == "Get hangs" && n > 3*8 {
					t.Errorf("it was asked %d times though it hangs", n)
				}
			})
		})
	}
}

func TestLooksAreCountedAnewAfterARoundWithoutAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		rounds(1)
		g.a.Fail(sandboxtest.OpList, sandbox.KindUnavailable, 1)
		rounds(2)
		g.wants()
		rounds(1)
		g.wants("forgotten s a-1")
	})
}

func TestLooksAreCountedAnewAfterARoundWithoutCatalogue(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		rounds(1)
		g.store.down.Store(true)
		rounds(1)
		g.store.down.Store(false)
		rounds(1)
		g.wants()
		rounds(1)
		g.wants("forgotten s a-1")
	})
}

func TestACatalogueThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.a.Put(sandbox.Instance{Slug: "s"})
		g.store.down.Store(true)
		g.replica()
		g.wants()
		if n := g.count("edge_reconciler_rounds_total", "error"); n != 1 {
			t.Errorf("%v rounds failed, want 1", n)
		}
		g.store.down.Store(false)
		rounds(1)
		g.wants("adopted s a-1")
	})
}

func TestARecordOfAProviderThatIsNotConfiguredStays(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		g.record(sandbox.Instance{Provider: "elsewhere", ID: "1", Slug: "s", State: sandbox.Running}, catalog.PausedByNobody)
		g.replica()
		rounds(3)
		g.wants()
	})
}

func TestDriftIsRepaired(t *testing.T) {
	running := sandbox.Instance{Slug: "s", State: sandbox.Running, Address: "10.0.0.1"}
	paused := running
	paused.State = sandbox.Paused
	for _, tt := range []struct {
		name   string
		before sandbox.Instance
		by     catalog.PausedBy
		after  func(*sandbox.Instance)
		wantBy catalog.PausedBy
		newGen bool
		ram    bool
	}{
		{"paused outside", running, 0, func(in *sandbox.Instance) { in.State = sandbox.Paused }, catalog.PausedByExternal, false, true},
		{"stopped outside", running, 0, func(in *sandbox.Instance) { in.State = sandbox.Stopped }, catalog.PausedByExternal, false, false},
		{"woken outside", paused, catalog.PausedByIdle, func(in *sandbox.Instance) { in.State = sandbox.Running }, catalog.PausedByNobody, true, true},
		{"another address", running, 0, func(in *sandbox.Instance) { in.Address = "10.0.0.2" }, catalog.PausedByNobody, true, true},
		{"another port", running, 0, func(in *sandbox.Instance) { in.Ports = map[uint16]string{80: "http://x"} }, catalog.PausedByNobody, true, true},
		{"failed", running, 0, func(in *sandbox.Instance) { in.State = sandbox.Failed }, catalog.PausedByNobody, false, true},
		{"lost its RAM asleep", paused, catalog.PausedByIdle, func(in *sandbox.Instance) { in.State = sandbox.Stopped }, catalog.PausedByIdle, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, g *rig) {
				in := g.a.Put(tt.before)
				was := g.record(in, tt.by)
				g.replica()
				g.wants()
				tt.after(&in)
				g.a.Put(in)
				rounds(1)
				g.wants("repaired s a-1")
				rec := g.get("s")
				if rec.State != in.State || rec.Address != in.Address || !cmp.Equal(rec.Ports, in.Ports) {
					t.Errorf("the record is %+v, the truth %+v", rec, in)
				}
				if rec.PausedBy != tt.wantBy || rec.RAMPreserved != tt.ram || rec.Generation > was.Generation != tt.newGen {
					t.Errorf("paused by %q, RAM %v, generation %d after %d", rec.PausedBy, rec.RAMPreserved, rec.Generation, was.Generation)
				}
				if woke := in.State == sandbox.Running && tt.before.State != sandbox.Running; woke != (time.Since(rec.LastActive) < every) {
					t.Errorf("it was last used at %v", rec.LastActive)
				}
				rounds(2)
				g.wants()
			})
		})
	}
}

func TestARecordFollowsItsSlugToAnotherInstance(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		in := g.a.Put(sandbox.Instance{Slug: "s"})
		was := g.record(in, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(in.ID)
		g.b.Put(sandbox.Instance{Slug: "s"})
		rounds(1)
		g.wants("repaired s b-1")
		if rec := g.get("s"); rec.Provider != "b" || rec.Generation <= was.Generation {
			t.Errorf("the record is %+v", rec)
		}
	})
}

func TestASlugThatSomebodyHoldsIsLeftToTheNextRound(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		gone := g.a.Put(sandbox.Instance{Slug: "gone"})
		moved := g.a.Put(sandbox.Instance{Slug: "moved"})
		g.record(gone, catalog.PausedByNobody)
		g.record(moved, catalog.PausedByNobody)
		g.replica()
		g.a.Vanish(gone.ID)
		moved.Address = "10.9.9.9"
		g.a.Put(moved)
		g.b.Put(sandbox.Instance{Slug: "new"})
		for _, slug := range []string{"gone", "moved", "new"} {
			l, err := g.store.Lease(t.Context(), slug, 4*every+time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Release(t.Context())
		}
		rounds(4)
		g.wants()
		rounds(1)
		g.wants("adopted new b-1", "forgotten gone a-1", "repaired moved a-2")
	})
}

func TestOneReplicaActsAndAnotherTakesOver(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		stop := g.replica()
		g.replica()
		g.a.Put(sandbox.Instance{Slug: "s"})
		rounds(2)
		g.wants("adopted s a-1")
		if n := g.count("edge_reconciler_rounds_total", "ok"); n != 3 {
			t.Errorf("%v rounds of both, want 3", n)
		}
		g.a.Put(sandbox.Instance{Slug: "t"})
		stop()
		time.Sleep(lease)
		synctest.Wait()
		g.wants("adopted t a-2")
	})
}

func TestRunEndsWithinACall(t *testing.T) {
	bubble(t, func(t *testing.T, g *rig) {
		release := g.a.Hold(sandboxtest.OpList)
		defer release()
		stop := g.replica()
		began := time.Now()
		stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}
