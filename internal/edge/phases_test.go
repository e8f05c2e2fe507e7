package edge_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// nobody knows any sandbox.
type nobody struct{}

func (nobody) Resolve(context.Context, string) (catalog.Record, error) {
	return catalog.Record{}, sandbox.Errorf(sandbox.KindNotFound, "find", "", "nobody knows it")
}

func (nobody) Invalidate(string) {}

// Where new sandboxes are made in each phase of a migration from Morph to
// Proxmox, by the variables of a deployment alone, and where while Proxmox is
// down.
func TestPhasesOfAMigrationPlaceNewSandboxes(t *testing.T) {
	t.Parallel()
	const up, down = true, false
	type place struct {
		workload string
		proxmox  bool
		want     string
	}
	tests := []struct {
		name   string
		env    map[string]string
		places []place
	}{
		{
			"phase 1: Morph",
			map[string]string{"SANDBOX_PRIMARY_PROVIDER": "morph"},
			[]place{{"", up, "morph"}, {"dev", up, "morph"}, {"prod", up, "morph"}, {"", down, "morph"}},
		},
		{
			"phase 2: Proxmox first, production on Morph",
			map[string]string{"SANDBOX_PRIMARY_PROVIDER": "proxmox", "SANDBOX_FALLBACK_PROVIDERS": "morph", "SANDBOX_ROUTE_PROD": "morph"},
			[]place{{"", up, "pve-vm"}, {"dev", up, "pve-vm"}, {"prod", up, "morph"}, {"", down, "morph"}, {"prod", down, "morph"}},
		},
		{
			"phase 3: production on Proxmox too",
			map[string]string{"SANDBOX_PRIMARY_PROVIDER": "proxmox", "SANDBOX_FALLBACK_PROVIDERS": "morph", "SANDBOX_ROUTE_PROD": "proxmox"},
			[]place{{"", up, "pve-vm"}, {"prod", up, "pve-vm"}, {"prod", down, "morph"}},
		},
		{
			"phase 4: Proxmox, with Morph behind it",
			map[string]string{"SANDBOX_PRIMARY_PROVIDER": "proxmox", "SANDBOX_FALLBACK_PROVIDERS": "morph"},
			[]place{{"", up, "pve-vm"}, {"prod", up, "pve-vm"}, {"ephemeral", up, "pve-lxc"}, {"", down, "morph"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Parse("edge.yaml", nil, func(name string) string {
				return map[string]string{
					"EDGE_DOMAINS": "cmux.test", "MORPH_API_KEY": "key", "PVE_API_TOKEN": "root@pam!edge=secret",
					"PVE_API_URL": "https://pve.example.com:8006", "PVE_NODE": "pve1",
				}[name] + test.env[name]
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range test.places {
				synctest.Test(t, func(t *testing.T) {
					var providers []sandbox.Provider
					for _, name := range []string{"morph", "pve-vm", "pve-lxc"} {
						f := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: name})
						f.SetHealth(sandbox.Health{OK: name == "morph" || p.proxmox, Reason: "unplugged"})
						providers = append(providers, f)
					}
					m, err := manager.New(slog.New(slog.DiscardHandler), manager.Config{
						Primary: c.Routing.Primary, Fallback: c.Routing.Fallback, Workloads: c.Routing.Workloads, Rollout: c.Routing.Rollout,
					}, prometheus.NewRegistry(), memory.New(memory.Config{}), nobody{}, providers...)
					if err != nil {
						t.Fatal(err)
					}
					ctx, stop := context.WithCancel(t.Context())
					var running sync.WaitGroup
					running.Go(func() { m.Run(ctx) })
					defer running.Wait()
					defer stop()
					time.Sleep(time.Second) // of the bubble: the first look at each
					r, err := m.Start(t.Context(), manager.StartRequest{WorkloadType: p.workload})
					if err != nil || r.Instance.Provider != p.want {
						t.Errorf("workload %q with Proxmox up %v: made by %q, %v; want %s", p.workload, p.proxmox, r.Instance.Provider, err, p.want)
					}
				})
			}
		})
	}
}
