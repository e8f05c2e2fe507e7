package pve_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The templates of the simulated cluster.
const (
	vmTemplate  = 9000
	lxcTemplate = 9001
)

// bench is a simulated cluster and a provider on it.
type bench struct {
	t    *testing.T
	sim  *pvesim.Server
	kind pvesim.Kind
	*pve.Provider
}

// setup changes the defaults of a bench.
type setup struct {
	sim    pvesim.Config
	client pve.Config
	guests pve.Guests
	// bare leaves the templates out of the cluster.
	bare bool
}

func quick() pvesim.Latency {
	const ms = time.Millisecond
	return pvesim.Latency{
		Start: 5 * ms, Resume: 5 * ms, Suspend: 20 * ms, Stop: 2 * ms, Shutdown: 5 * ms,
		Clone: 10 * ms, FullClone: 15 * ms, Delete: 2 * ms, Agent: 5 * ms,
	}
}

func newBench(t *testing.T, kind pvesim.Kind, s setup) *bench {
	t.Helper()
	if s.sim.Latency == (pvesim.Latency{}) {
		s.sim.Latency = quick()
	}
	if s.sim.LockTimeout == 0 {
		s.sim.LockTimeout = 200 * time.Millisecond
	}
	sim, err := pvesim.New(s.sim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	if !s.bare {
		for vmid, k := range map[int]pvesim.Kind{vmTemplate: pvesim.QEMU, lxcTemplate: pvesim.LXC} {
			add(t, sim, pvesim.Guest{VMID: vmid, Kind: k, Name: "template", Template: true})
		}
	}
	if s.guests.Templates == nil {
		s.guests.Templates = map[string]int{"default": map[pvesim.Kind]int{pvesim.QEMU: vmTemplate, pvesim.LXC: lxcTemplate}[kind]}
	}
	b := &bench{t: t, sim: sim, kind: kind}
	b.Provider = b.provider(s)
	return b
}

func add(t *testing.T, sim *pvesim.Server, g pvesim.Guest) {
	t.Helper()
	if err := sim.Add(g); err != nil {
		t.Fatal(err)
	}
}

// provider makes a further provider on the same cluster, as another process
// of the edge would.
func (b *bench) provider(s setup) *pve.Provider {
	b.t.Helper()
	cfg := s.client
	if cfg.URL == "" {
		cfg.URL = b.sim.URL()
	}
	if cfg.Token == "" {
		cfg.Token = pvesim.Token
	}
	if cfg.CA == nil && cfg.Fingerprint == "" {
		cfg.CA = b.sim.CAPEM()
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = 2 * time.Millisecond
	}
	if cfg.AddressTimeout == 0 {
		cfg.AddressTimeout = 300 * time.Millisecond
	}
	client, err := pve.Connect(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	make := pve.NewVM
	if b.kind == pvesim.LXC {
		make = pve.NewLXC
	}
	p, err := make(client, s.guests)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) slug(name string) string {
	return map[pvesim.Kind]string{pvesim.QEMU: "pvevm-", pvesim.LXC: "pvelxc-"}[b.kind] + name
}

func (b *bench) request(name string) sandbox.StartRequest {
	return sandbox.StartRequest{Slug: b.slug(name), Key: "key-of-" + name}
}

// start starts an instance that the test needs.
func (b *bench) start(name string) sandbox.Instance {
	b.t.Helper()
	in, err := b.Start(b.t.Context(), b.request(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return in
}

// vmid is the number in an instance's id.
func (b *bench) vmid(id sandbox.ID) int {
	b.t.Helper()
	for _, g := range b.sim.Guests() {
		if strings.HasPrefix(string(id), itoa(g.VMID)+".") {
			return g.VMID
		}
	}
	b.t.Fatalf("no guest %s", id)
	return 0
}

func (b *bench) change(id sandbox.ID, edit func(*pvesim.Guest)) {
	b.t.Helper()
	if err := b.sim.Change(b.vmid(id), edit); err != nil {
		b.t.Fatal(err)
	}
}

// made are the guests that are neither templates nor below VMID 200.
func (b *bench) made() []pvesim.Guest {
	return slices.DeleteFunc(b.sim.Guests(), func(g pvesim.Guest) bool { return g.Template || g.VMID < 200 })
}

func (b *bench) wantKind(err error, want sandbox.Kind) {
	b.t.Helper()
	if got := sandbox.KindOf(err); err == nil || got != want {
		b.t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

func (b *bench) wantState(id sandbox.ID, want sandbox.State) sandbox.Instance {
	b.t.Helper()
	in, err := b.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	if in.State != want {
		b.t.Errorf("%s: got %s (%s), want %s", id, in.State, in.Reason, want)
	}
	return in
}

func (b *bench) wantMade(want int) {
	b.t.Helper()
	if got := b.made(); len(got) != want {
		b.t.Errorf("the cluster has %d guests, want %d: %+v", len(got), want, got)
	}
}
