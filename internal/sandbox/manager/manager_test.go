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
