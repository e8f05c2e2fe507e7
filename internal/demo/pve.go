package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// The templates of the simulated cluster.
const (
	vmTemplate  = 9000
	lxcTemplate = 9001
)

// pool holds the sandboxes, so that they may have any name.
const pool = "demo"

// openPVE makes a Proxmox VE cluster of one node with two templates.
func openPVE(log io.Writer) (*source, error) {
	guests := &machines{log: log}
	token := "edge@pve!demo=" + rand.Text()
	sim, err := pvesim.New(pvesim.Config{
		Token: token,
		// Shorter than the real ones, long enough to be seen.
		Latency: pvesim.Latency{
			Clone: 200 * time.Millisecond, Start: 300 * time.Millisecond,
			Suspend: 400 * time.Millisecond, Resume: 300 * time.Millisecond,
		},
		NewMachine: func(g pvesim.Guest) pvesim.Machine { return &pveMachine{machine: guests.add(g.Name)} },
	})
	if err != nil {
		return nil, err
	}
	s := &source{
		slugs: []string{"pvevm-demo", "pvelxc-demo"},
		start: []adminapi.StartRequest{
			{Slug: "pvevm-demo", PreferredProvider: "pve-vm"},
			{Slug: "pvelxc-demo", PreferredProvider: "pve-lxc"},
		},
		try: [][2]string{
			{"sandbox list", "what there is"},
			{"sandbox pause pvevm-demo", "its RAM is saved"},
			{"sandbox resume pvevm-demo", "the counter is still there"},
			{"sandbox pause pvelxc-demo --force", "a container can't keep its RAM"},
			{"sandbox start pvelxc-demo", "the counter is back at 0"},
			{"sandbox start --provider pve-lxc", "a new one, with a name of the edge's choice"},
			{"sandbox delete pvelxc-demo", "with its disk"},
			{"providers", "their health"},
			{"events", "what happens, as it happens"},
		},
	}
	ca, removeCA, err := writeCA(sim.CAPEM())
	s.close = func() {
		_ = sim.Close() // nobody uses it any more
		guests.stop()
		removeCA()
	}
	for vmid, kind := range map[int]pvesim.Kind{vmTemplate: pvesim.QEMU, lxcTemplate: pvesim.LXC} {
		err = errors.Join(err, sim.Add(pvesim.Guest{VMID: vmid, Kind: kind, Name: "template", Template: true}))
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.configure = func(c *config.Config) {
		// In place of the private networks in which real guests have addresses.
		c.Upstream.AllowCIDRs = []netip.Prefix{network}
		c.Providers.PVE = &config.PVE{
			URL: sim.URL(), Token: config.NewSecret(token), CAFile: ca,
			VM:  config.PVEVM{Enabled: true, Templates: map[string]int{"default": vmTemplate}, Pool: pool, StartLimitPerNode: 2},
			LXC: config.PVELXC{Enabled: true, Templates: map[string]int{"default": lxcTemplate}, Pool: pool, StartLimitPerNode: 8},
		}
		c.Routing.Primary, c.Routing.Fallback = "pve-vm", []string{"pve-lxc"}
	}
	return s, nil
}

// pveMachine is a guest with an address of its own, which it has for as long as
// its process lives.
type pveMachine struct {
	*machine
	address string // of the simulator's calls alone, which come one at a time
}

// Start implements [pvesim.Machine].
func (m *pveMachine) Start(ctx context.Context, fresh bool) (string, error) {
	if !fresh {
		return m.address, m.load()
	}
	address, listeners, err := listenAlone(ctx)
	if err != nil {
		return "", err
	}
	m.address = address
	return address, m.boot(listeners)
}

// writeCA puts certificates into a file, where a configuration wants them, and
// returns what removes it.
func writeCA(pem []byte) (file string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "edge-demo-")
	if err != nil {
		return "", func() {}, fmt.Errorf("keep the simulator's certificate: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // what can't be removed is small
	file = filepath.Join(dir, "ca.pem")
	return file, remove, os.WriteFile(file, pem, 0o600)
}
