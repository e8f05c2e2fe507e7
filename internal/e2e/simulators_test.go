package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"cmux.sh/edge/internal/sandbox/morph/morphsim"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// The templates of a simulated cluster.
const (
	vmTemplate  = 9000
	lxcTemplate = 9001
)

// appliance is what stands behind a guest: a server in this process that counts
// its requests. The count is its memory.
type appliance struct {
	mu     sync.Mutex
	count  int
	server *http.Server // nil while it does not run
	done   chan struct{}
	port   int // on which it listens from its first boot on
}

// ServeHTTP counts.
func (a *appliance) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	fmt.Fprint(w, a.count)
}

// boot forgets the count.
func (a *appliance) boot() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count = 0
}

// listen serves on an address until halt.
func (a *appliance) listen(address string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(a.port)))
	if err != nil {
		return err
	}
	server, done := &http.Server{Handler: a}, make(chan struct{})
	a.port, a.server, a.done = portOf(l), server, done
	go func() { // ends with halt
		defer close(done)
		_ = server.Serve(l)
	}()
	return nil
}

func (a *appliance) halt() {
	a.mu.Lock()
	server, done := a.server, a.done
	a.server = nil
	a.mu.Unlock()
	if server != nil {
		server.Close()
		<-done
	}
}

// appliances are those behind one simulator, by the name of their guest.
type appliances struct {
	mu   sync.Mutex
	list map[string]*appliance
}

func (s *appliances) add(name string) *appliance {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = make(map[string]*appliance)
	}
	s.list[name] = new(appliance)
	return s.list[name]
}

// port is where the guest called name listens.
func (s *appliances) port(t *testing.T, name string) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.list[name]
	if a == nil {
		t.Fatalf("no guest is called %s", name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.port
}

// pveAppliance is an appliance behind a Proxmox guest, on an address that is
// made from its VMID.
type pveAppliance struct {
	*appliance
	address string
}

func (a *pveAppliance) Start(_ context.Context, fresh bool) (string, error) {
	if fresh {
		a.boot()
	}
	return a.address, a.listen(a.address)
}

func (a *pveAppliance) Suspend(context.Context) error { a.halt(); return nil }
func (a *pveAppliance) Stop(context.Context) error    { a.halt(); return nil }
func (a *pveAppliance) Remove(context.Context) error  { a.halt(); return nil }

// cluster is a simulated Proxmox VE cluster with a template of each kind.
type cluster struct {
	*pvesim.Server
	guests *appliances
}

// startCluster runs a cluster until the test ends. Its guests are appliances
// unless it only pretends.
func startCluster(t *testing.T, c pvesim.Config, pretends bool) cluster {
	t.Helper()
	guests := new(appliances)
	c.Subnet = netip.MustParsePrefix("127.78.0.0/16")
	if !pretends {
		c.NewMachine = func(g pvesim.Guest) pvesim.Machine {
			address := netip.AddrFrom4([4]byte{127, 78, byte(g.VMID >> 8), byte(g.VMID)}).String()
			return &pveAppliance{guests.add(g.Name), address}
		}
	}
	sim, err := pvesim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sim.Close()
		for _, a := range guests.list {
			a.halt()
		}
	})
	for vmid, kind := range map[int]pvesim.Kind{vmTemplate: pvesim.QEMU, lxcTemplate: pvesim.LXC} {
		if err := sim.Add(pvesim.Guest{VMID: vmid, Kind: kind, Name: "template", Template: true}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster{sim, guests}
}

// names are those of the guests that are no templates.
func (c cluster) names() []string {
	var names []string
	for _, g := range c.Guests() {
		if !g.Template {
			names = append(names, g.Name)
		}
	}
	return names
}

// section is the cluster's part of a configuration below providers, with more
// keys. Its files are put into dir.
func (c cluster) section(t *testing.T, dir, token, more string) string {
	t.Helper()
	writeFile(t, filepath.Join(dir, "pve.pem"), string(c.CAPEM()))
	writeFile(t, filepath.Join(dir, "pve-token"), token+"\n")
	return fmt.Sprintf("  pve: {url: %q, token_file: %q, ca_file: %q%s}\n", c.URL(), filepath.Join(dir, "pve-token"), filepath.Join(dir, "pve.pem"), more)
}

// templates are the keys that let an edge make guests.
const templates = `, vm: {templates: {default: 9000}}, lxc: {templates: {default: 9001}}`

// morphAppliance is an appliance behind Morph's front.
type morphAppliance struct{ *appliance }

func (a morphAppliance) Start(_ context.Context, fresh bool) error {
	if fresh {
		a.boot()
	}
	return nil
}

func (a morphAppliance) Suspend(context.Context) error { return nil }
func (a morphAppliance) Remove(context.Context) error  { return nil }
func (a morphAppliance) Handler(int) http.Handler      { return a.appliance }

// startAccount runs a simulated Morph Cloud account until the test ends.
func startAccount(t *testing.T, c morphsim.Config) *morphsim.Server {
	t.Helper()
	c.NewMachine = func(morphsim.Instance) morphsim.Machine { return morphAppliance{new(appliance)} }
	sim, err := morphsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// morphSection is an account's part of a configuration below providers.
func morphSection(t *testing.T, dir string, sim *morphsim.Server, key string) string {
	t.Helper()
	writeFile(t, filepath.Join(dir, "morph.pem"), string(sim.CAPEM()))
	writeFile(t, filepath.Join(dir, "morph-key"), key+"\n")
	return fmt.Sprintf("  morph: {url: %q, api_key_file: %q, ca_file: %q, http_suffix: %q, snapshots: {default: %s}}\n",
		sim.URL(), filepath.Join(dir, "morph-key"), filepath.Join(dir, "morph.pem"), sim.Suffix(), morphsim.Snapshot)
}
