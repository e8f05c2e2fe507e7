package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lossy is a provider that makes sandboxes and keeps no RAM.
var lossy = &sandbox.Capabilities{Create: true, Suspend: true}

func fake(name string) *sandboxtest.Fake {
	cfg := sandboxtest.FakeConfig{Name: name}
	if name == "pve-lxc" {
		cfg.Capabilities = lossy
	}
	return sandboxtest.NewFake(cfg)
}

// newManager makes a manager of fakes and runs it until the test ends.
func newManager(t *testing.T, c Config, fakes ...*sandboxtest.Fake) (*Manager, *prometheus.Registry) {
	t.Helper()
	providers := make([]sandbox.Provider, len(fakes))
	for i, f := range fakes {
		providers[i] = f
	}
	registry := prometheus.NewRegistry()
	m, err := newUnstarted(c, registry, providers...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return m, registry
}

// newUnstarted makes a manager with a catalogue of its own.
func newUnstarted(c Config, registry *prometheus.Registry, providers ...sandbox.Provider) (*Manager, error) {
	store := memory.New(memory.Config{})
	providers = Counted(registry, providers...)
	return New(slog.New(slog.DiscardHandler), c, registry, store, &finder{store, providers}, providers...)
}

// finder looks into the catalogue, then asks the providers.
type finder struct {
	store     catalog.Catalog
	providers []sandbox.Provider
}

func (*finder) Invalidate(string) {}

func (f *finder) Resolve(ctx context.Context, slug string) (Record, error) {
	r, err := f.store.Get(ctx, slug)
	if err == nil && r.Tombstone() {
		err = catalog.ErrDeleted
	}
	if err == nil || !errors.Is(err, catalog.ErrNotFound) {
		return r, storeError("find", slug, err)
	}
	for _, p := range f.providers {
		in, err := p.Find(ctx, slug)
		if err != nil {
			continue
		}
		err = catalog.Hold(ctx, f.store, slug, time.Minute, func(ctx context.Context, lease catalog.Lease) error {
			in.Generation = 0
			r, err = f.store.Create(ctx, Record{Instance: in, Fence: lease.Fence()})
			return err
		})
		return r, err
	}
	return Record{}, storeError("find", slug, catalog.ErrNotFound)
}

func TestChoiceFollowsTheOrder(t *testing.T) {
	t.Parallel()
	routing := Config{
		Primary: "morph", Fallback: []string{"pve-vm", "gone", "docker"},
		Workloads: map[string]string{"dev": "docker", "prod": "morph"},
	}
	tests := []struct {
		name   string
		config Config
		down   []string
		req    StartRequest
		want   []string // names with reasons; none is an error
	}{
		{"PrimaryThenFallbacks", routing, nil, StartRequest{}, []string{"morph primary", "pve-vm fallback", "docker fallback"}},
		{"PreferredFirst", routing, nil, StartRequest{Preferred: "docker"}, []string{"docker preferred", "morph primary", "pve-vm fallback"}},
		{"PreferredButDown", routing, []string{"docker"}, StartRequest{Preferred: "docker"}, []string{"morph primary", "pve-vm fallback"}},
		{"PreferredButUnknown", routing, nil, StartRequest{Preferred: "aws"}, []string{"morph primary", "pve-vm fallback", "docker fallback"}},
		{"Workload", routing, nil, StartRequest{WorkloadType: "dev"}, []string{"docker workload dev", "morph primary", "pve-vm fallback"}},
		{"WorkloadThatIsBuiltIn", routing, nil, StartRequest{WorkloadType: "long-running"}, []string{"pve-vm workload long-running", "morph primary", "docker fallback"}},
		{"EphemeralOnContainers", routing, nil, StartRequest{WorkloadType: "ephemeral"}, []string{"pve-lxc workload ephemeral", "morph primary", "pve-vm fallback", "docker fallback"}},
		{
			"ConfiguredWorkloadWinsOverTheBuiltIn",
			Config{Primary: "morph", Workloads: map[string]string{"quick-task": "docker"}},
			nil,
			StartRequest{WorkloadType: "quick-task"},
			[]string{"docker workload quick-task", "morph primary"},
		},
		{"RAMLeavesContainersOut", routing, nil, StartRequest{WorkloadType: "ephemeral", RequiresRAMSnapshot: true}, []string{"morph primary", "pve-vm fallback", "docker fallback"}},
		{"RAMLeavesAPreferredContainerOut", routing, nil, StartRequest{Preferred: "pve-lxc", RequiresRAMSnapshot: true}, []string{"morph primary", "pve-vm fallback", "docker fallback"}},
		{"RolloutBeforePrimary", Config{Primary: "morph", Rollout: map[string]int{"pve-vm": 100}}, nil, StartRequest{}, []string{"pve-vm rollout", "morph primary"}},
		{"RolloutOfNothing", Config{Primary: "morph", Rollout: map[string]int{"pve-vm": 0}}, nil, StartRequest{}, []string{"morph primary"}},
		{"AllDown", routing, []string{"morph", "pve-vm", "docker", "pve-lxc"}, StartRequest{}, nil},
		{"NobodyKeepsRAM", Config{Primary: "pve-lxc"}, nil, StartRequest{RequiresRAMSnapshot: true}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var fakes []*sandboxtest.Fake
				for _, name := range []string{"morph", "pve-vm", "pve-lxc", "docker"} {
					f := fake(name)
					if slices.Contains(test.down, name) {
						f.SetHealth(sandbox.Health{Reason: "unplugged"})
					}
					fakes = append(fakes, f)
				}
				m, _ := newManager(t, test.config, fakes...)
				synctest.Wait() // until the first look at each
				list, err := m.candidates(test.req, "some-slug")
				var got []string
				for _, c := range list {
					got = append(got, c.Name()+" "+c.why)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("candidates (-want +got):\n%s", diff)
				}
				if test.want != nil {
					return
				}
				if _, ok := errors.AsType[*NoProviderError](err); !ok || !strings.HasPrefix(err.Error(), "No healthy sandbox provider available") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// all are the sandboxes that the manager knows.
func all(t *testing.T, m *Manager) []Record {
	t.Helper()
	list, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestHealthChangesOnlyAfterSeveralLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake("morph")
		m, registry := newManager(t, Config{Primary: "morph", Timing: Timing{Probe: time.Second}}, f)
		healthy := func() bool { return m.Providers(t.Context())[0].Healthy }
		step := func() { time.Sleep(time.Second); synctest.Wait() }
		synctest.Wait()
		f.SetHealth(sandbox.Health{Reason: "402 billing"})
		for look := 1; look <= badProbes; look++ {
			if !healthy() {
				t.Fatalf("down after %d bad looks", look-1)
			}
			step()
		}
		if healthy() || m.Providers(t.Context())[0].Reason != "402 billing" {
			t.Errorf("after %d bad looks: %+v", badProbes, m.Providers(t.Context())[0])
		}
		if got := testutil.ToFloat64(m.metrics.healthy.WithLabelValues("morph")); got != 0 {
			t.Errorf("edge_provider_healthy is %v", got)
		}
		f.SetHealth(sandbox.Health{OK: true})
		step()
		if healthy() {
			t.Error("up after one good look")
		}
		step()
		if !healthy() {
			t.Errorf("still down after two good looks: %+v", m.Providers(t.Context())[0])
		}
		if n, err := testutil.GatherAndCount(registry, "edge_provider_healthy"); n != 1 || err != nil {
			t.Errorf("%d series of edge_provider_healthy, %v", n, err)
		}
	})
}

// A request for a sandbox must not wait for a provider that hangs.
func TestAChoiceNeverWaitsForALookAtHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake("morph")
		release := f.Hold(sandboxtest.OpHealth)
		defer release()
		m, _ := newManager(t, Config{Primary: "morph"}, f)
		began := time.Now()
		if _, err := m.Start(t.Context(), StartRequest{}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestStartTellsWhoMadeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		events, stop := m.Events().Listen()
		defer stop()
		r, err := m.Start(t.Context(), StartRequest{WorkloadType: "ephemeral"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Provider != "pve-lxc" || r.State != sandbox.Running || !strings.HasPrefix(r.Slug, "pvelxc-") || len(r.Slug) != len("pvelxc-")+8 {
			t.Errorf("got %+v", r)
		}
		if e := <-events; e.Kind != Started || !strings.Contains(e.Detail, "RAM is lost") {
			t.Errorf("got the event %+v", e)
		}
		if _, err := m.Start(t.Context(), StartRequest{Slug: r.Slug}); err == nil || !strings.Contains(err.Error(), "is in use") {
			t.Errorf("the slug again: %v", err)
		}
		if _, ok := errors.AsType[*ConflictError](conflict("")); !ok {
			t.Error("not a conflict")
		}
	})
}

// A slug that a provider has, although no record does, is in use too.
func TestStartFindsASlugThatAProviderHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("morph"), fake("docker")
		b.Put(sandbox.Instance{Slug: "taken"})
		m, _ := newManager(t, Config{Primary: "morph"}, a, b)
		_, err := m.Start(t.Context(), StartRequest{Slug: "taken"})
		if _, ok := errors.AsType[*ConflictError](err); !ok || a.Calls(sandboxtest.OpStart) != 0 {
			t.Errorf("got %v after %d starts", err, a.Calls(sandboxtest.OpStart))
		}
	})
}

func TestStartFailsOver(t *testing.T) {
	t.Parallel()
	for _, kind := range []sandbox.Kind{sandbox.KindUnavailable, sandbox.KindQuota, sandbox.KindPermission, sandbox.KindInvalid} {
		t.Run(kind.Label(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := fake("pve-vm"), fake("morph")
				a.Fail(sandboxtest.OpStart, kind, 0)
				m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
				r, err := m.Start(t.Context(), StartRequest{Slug: "box"})
				if err != nil || r.Provider != "morph" || r.Slug != "box" {
					t.Errorf("got %+v, %v", r, err)
				}
			})
		})
	}
}

// What the catalogue refuses could be neither used nor deleted.
func TestASandboxThatCannotBeRecordedIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("morph")
		m, _ := newManager(t, Config{Primary: "morph"}, a)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box", WorkloadType: strings.Repeat("x", 8<<10)}); err == nil {
			t.Error("the start succeeded")
		}
		time.Sleep(time.Minute)
		if left := a.Instances(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestASlugMayBeUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, a)
		for range 3 {
			r, err := m.Start(t.Context(), StartRequest{Slug: "box"})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := m.Look(t.Context(), "box"); err != nil || got.ID != r.ID || got.Generation == 0 {
				t.Errorf("got %+v, %v", got, err)
			}
			if err := m.Delete(t.Context(), "box"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestASlugOfAnotherProviderIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, a)
		for _, slug := range []string{"pvelxc-a", "morphvm-a", "cmux-150"} {
			if _, err := m.Start(t.Context(), StartRequest{Slug: slug}); sandbox.KindOf(err) != sandbox.KindInvalid || a.Calls(sandboxtest.OpStart) != 0 {
				t.Errorf("%s: %v", slug, err)
			}
		}
	})
}

// Asking for what is so already changes nothing and tells nobody.
func TestARepeatedOperationTellsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _ := newManager(t, Config{Primary: "pve-vm"}, fake("pve-vm"))
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		events, stop := m.Events().Listen()
		defer stop()
		before, err := m.Resume(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := m.Resume(t.Context(), "box"); err != nil || again.Generation != before.Generation {
			t.Errorf("got %+v, %v", again, err)
		}
		if _, err := m.Boot(t.Context(), "box", true); err == nil {
			t.Error("a running sandbox is booted")
		}
		if n := len(events); n != 0 {
			t.Errorf("%d events of a running sandbox", n)
		}
		for _, operation := range []func(context.Context, string) (Record, error){
			func(ctx context.Context, slug string) (Record, error) {
				return m.Pause(ctx, slug, catalog.PausedByAPI, false)
			},
			m.Stop,
		} {
			for range 2 {
				if _, err := operation(t.Context(), "box"); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(events); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			<-events
		}
	})
}

func TestStartSaysWhyEachProviderFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.FailWith(sandboxtest.OpStart, sandbox.Errorf(sandbox.KindUnavailable, "start", "pve-vm", "no route"), 0)
		b.FailWith(sandboxtest.OpStart, sandbox.Errorf(sandbox.KindQuota, "start", "morph", "unpaid"), 0)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		_, err := m.Start(t.Context(), StartRequest{})
		if err == nil || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "unpaid") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
		if n := len(all(t, m)); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestBreakerPassesAProviderOverAndTriesItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, badStarts)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		start := func() string {
			r, err := m.Start(t.Context(), StartRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return r.Provider
		}
		for range badStarts + 3 {
			if got := start(); got != "morph" {
				t.Fatalf("made by %s", got)
			}
		}
		if got := a.Calls(sandboxtest.OpStart); got != badStarts {
			t.Errorf("%d starts were tried, want %d", got, badStarts)
		}
		time.Sleep(breakerPause + time.Second)
		if got := start(); got != "pve-vm" {
			t.Errorf("after the pause: made by %s", got)
		}
	})
}

// The primary dies during 200 starts: each ends at one provider, and what the
// primary had half made is removed.
func TestFailoverUnderLoadDoublesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.SetLatency(50 * time.Millisecond)
		b.SetLatency(80 * time.Millisecond)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		var starts sync.WaitGroup
		var mu sync.Mutex
		made := map[string]string{}
		for i := range 200 {
			starts.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if i == 100 {
					a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 0)
				}
				r, err := m.Start(t.Context(), StartRequest{Slug: fmt.Sprintf("box-%d", i)})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("start %d: %v", i, err)
					return
				}
				made[r.Slug] = r.Provider
			})
		}
		starts.Wait()
		time.Sleep(time.Hour) // whatever was unclear has been looked for
		count := map[string]int{}
		for _, f := range []*sandboxtest.Fake{a, b} {
			for _, in := range f.Instances() {
				count[in.Slug]++
				if made[in.Slug] != in.Provider {
					t.Errorf("%s is at %s too", in.Slug, in.Provider)
				}
			}
		}
		if len(made) != 200 || len(count) != 200 {
			t.Errorf("%d starts succeeded, %d sandboxes exist", len(made), len(count))
		}
	})
}

func TestWhatAFailedStartLeftIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		named := a.Put(sandbox.Instance{Slug: "named", Marked: true})
		a.FailWith(sandboxtest.OpStart, &sandbox.Error{Kind: sandbox.KindUnavailable, Op: "start", Err: &sandbox.Leftover{ID: named.ID}}, 1)
		a.Fail(sandboxtest.OpDelete, sandbox.KindUnavailable, 3) // it is tried again
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		if _, err := m.Start(t.Context(), StartRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(m.metrics.leftovers); got != 1 {
			t.Errorf("%v leftovers are known", got)
		}
		time.Sleep(10 * time.Minute)
		if left := a.Instances(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if got := testutil.ToFloat64(m.metrics.leftovers); got != 0 {
			t.Errorf("%v leftovers are still known", got)
		}
	})
}

// The answer of a create is lost and the instance appears later.
func TestAStartOfUnknownOutcomeIsLookedFor(t *testing.T) {
	t.Parallel()
	for _, marked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := fake("pve-vm"), fake("morph")
			a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 1)
			m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
			if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			a.Put(sandbox.Instance{Slug: "box", Marked: marked})
			time.Sleep(10 * time.Minute)
			if left := a.Instances(); len(left) == 0 != marked {
				t.Errorf("marked %v: left %+v", marked, left)
			}
		})
	}
}

func TestPauseKeepsRAMOrAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		kept, err := m.Start(t.Context(), StartRequest{Slug: "kept"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Pause(t.Context(), "kept", catalog.PausedByAPI, false)
		if err != nil || r.State != sandbox.Paused || r.PausedBy != catalog.PausedByAPI || !r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
		if r, err = m.Resume(t.Context(), "kept"); err != nil || r.State != sandbox.Running || !r.RAMPreserved || r.PausedBy != catalog.PausedByNobody || r.Generation <= kept.Generation {
			t.Errorf("got %+v, %v", r, err)
		}

		if _, err := m.Start(t.Context(), StartRequest{Slug: "lost", Preferred: "pve-lxc"}); err != nil {
			t.Fatal(err)
		}
		if _, err = m.Pause(t.Context(), "lost", catalog.PausedByAPI, false); err == nil || lxc.Calls(sandboxtest.OpPause) != 0 {
			t.Errorf("got %v after %d pauses", err, lxc.Calls(sandboxtest.OpPause))
		}
		events, stop := m.Events().Listen()
		defer stop()
		if r, err = m.Pause(t.Context(), "lost", catalog.PausedByAPI, true); err != nil || r.State != sandbox.Stopped || r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
		if e := <-events; !strings.Contains(e.Detail, "RAM was not preserved") {
			t.Errorf("got the event %+v", e)
		}
		if r, err = m.Resume(t.Context(), "lost"); err != nil || r.State != sandbox.Running || r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

func TestBootColdGivesSavedRAMUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Pause(t.Context(), "box", catalog.PausedByAPI, false); err != nil {
			t.Fatal(err)
		}
		r, err := m.Boot(t.Context(), "box", true)
		if err != nil || r.RAMPreserved || r.State != sandbox.Running || vm.Calls(sandboxtest.OpStop) != 1 {
			t.Errorf("got %+v, %v after %d stops", r, err, vm.Calls(sandboxtest.OpStop))
		}
	})
}

func TestTimeToLivePausesOrStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		for slug, provider := range map[string]string{"vm": "pve-vm", "lxc": "pve-lxc", "for-ever": "pve-vm"} {
			req := StartRequest{Slug: slug, Preferred: provider, TTL: time.Minute}
			if slug == "for-ever" {
				req.TTL = 0
			}
			if _, err := m.Start(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		for _, r := range all(t, m) {
			if r.State != sandbox.Running {
				t.Errorf("%s is %s before its time", r.Slug, r.State)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := map[string]string{}
		for _, r := range all(t, m) {
			got[r.Slug] = r.State.String() + " " + r.PausedBy.String()
		}
		want := map[string]string{"vm": "paused ttl", "lxc": "stopped ttl", "for-ever": "running "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// extending is a provider that sleeps by itself.
type extending struct {
	*sandboxtest.Fake
	mu       sync.Mutex
	extended []time.Duration // since the first start
	began    time.Time
}

func (e *extending) Extend(context.Context, sandbox.ID, time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.extended = append(e.extended, time.Since(e.began).Round(time.Second))
	return nil
}

// use looks a sandbox up as a request does.
func use(t *testing.T, m *Manager, slug string) (Record, error) {
	t.Helper()
	m.Use(slug)
	return m.Look(t.Context(), slug)
}

func TestUseKeepsASandboxAwake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &extending{Fake: fake("morph"), began: time.Now()}
		m, err := newUnstarted(Config{Primary: "morph"}, prometheus.NewRegistry(), e)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		defer running.Wait()
		defer stop()
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box", TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		for range 10 { // every 10 s for 100 s
			time.Sleep(10 * time.Second)
			if in, err := use(t, m, "box"); err != nil || in.State != sandbox.Running {
				t.Fatalf("got %s, %v", in.State, err)
			}
		}
		e.mu.Lock()
		if n := len(e.extended); n < 5 || n > 8 {
			t.Errorf("the provider was told %d times, at %v", n, e.extended)
		}
		e.mu.Unlock()
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if r, err := m.Look(t.Context(), "box"); err != nil || r.State != sandbox.Paused || r.PausedBy != catalog.PausedByTTL {
			t.Errorf("unused for its time to live it is %s, %v", r.State, err)
		}
	})
}

func TestANoProviderErrorNamesTheMissingKey(t *testing.T) {
	t.Parallel()
	vm := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-vm", Capabilities: &sandbox.Capabilities{RAMSnapshot: true}})
	m, _ := newManager(t, Config{Primary: "pve-vm", CreateKeys: map[string]string{"pve-vm": "providers.pve.vm.templates"}}, vm)
	if _, err := m.Start(t.Context(), StartRequest{}); err == nil || !strings.Contains(err.Error(), "set providers.pve.vm.templates") {
		t.Errorf("got %v", err)
	}
}

func TestDeleteForgetsAndAVanishedSandboxIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		for _, slug := range []string{"a", "b"} {
			if _, err := m.Start(t.Context(), StartRequest{Slug: slug}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		r, err := m.Look(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		vm.Vanish(r.ID)
		if _, err := m.Resume(t.Context(), "b"); sandbox.KindOf(err) != sandbox.KindNotFound {
			t.Errorf("got %v", err)
		}
		for _, slug := range []string{"a", "b"} {
			if _, err := m.Look(t.Context(), slug); sandbox.KindOf(err) != sandbox.KindNotFound {
				t.Errorf("%s: %v", slug, err)
			}
		}
	})
}

func TestOperationsOnOneSandboxTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		vm.SetLatency(time.Second)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, err := m.Pause(t.Context(), "box", catalog.PausedByAPI, false); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if _, err := m.Resume(t.Context(), "box"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r, err := m.Look(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		if in, err := vm.Get(t.Context(), r.ID); err != nil || in.State != r.State {
			t.Errorf("the record says %s, the provider %s, %v", r.State, in.State, err)
		}
	})
}

func TestASlowListenerLosesTheOldestEvents(t *testing.T) {
	t.Parallel()
	e := newEvents()
	events, stop := e.Listen()
	for i := range backlog + 5 {
		e.publish(Event{Detail: fmt.Sprint(i)})
	}
	if first := <-events; first.Detail != "5" {
		t.Errorf("the first is %s", first.Detail)
	}
	stop()
	e.publish(Event{}) // to nobody
}

func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("morph")
		a.Fail(sandboxtest.OpStart, sandbox.KindPermission, 1)
		m, registry := newManager(t, Config{Primary: "morph"}, a)
		_, _ = m.Start(t.Context(), StartRequest{})
		if _, err := m.Start(t.Context(), StartRequest{}); err != nil {
			t.Fatal(err)
		}
		for result, want := range map[string]float64{"ok": 1, "permission_denied": 1} {
			if got := testutil.ToFloat64(m.providers["morph"].Provider.(*counted).metrics.calls.WithLabelValues("morph", "start", result)); got != want {
				t.Errorf("%v starts ended in %s, want %v", got, result, want)
			}
		}
		err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP edge_sandboxes Sandboxes known, by provider and state.
# TYPE edge_sandboxes gauge
edge_sandboxes{provider="morph",state="running"} 1
`), "edge_sandboxes")
		if err != nil {
			t.Error(err)
		}
	})
}
