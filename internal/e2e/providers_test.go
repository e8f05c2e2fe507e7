package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cmux.sh/edge/internal/adminapi"
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
	return pveSection(t, dir, c.URL(), c.CAPEM(), token, more)
}

func pveSection(t *testing.T, dir, url string, ca []byte, token, more string) string {
	t.Helper()
	writeFile(t, filepath.Join(dir, "pve.pem"), string(ca))
	writeFile(t, filepath.Join(dir, "pve-token"), token+"\n")
	return fmt.Sprintf("  pve: {url: %q, token_file: %q, ca_file: %q%s}\n", url, filepath.Join(dir, "pve-token"), filepath.Join(dir, "pve.pem"), more)
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

// managing is a running edge with providers that make sandboxes.
type managing struct {
	edge
	admin string // URL of its admin port
	token string // that the admin port wants, "" for none
}

// startManaging runs `edge serve` until the test ends. Then it must end on
// SIGTERM, cleanly. providers and routing are sections of its configuration.
func startManaging(t *testing.T, token, providers, routing string) managing {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`domains: [%s, %s]
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstream: {allow_cidrs: [127.0.0.0/8]}
providers:
%srouting: %s
log: {format: json}
`, secureDomain, plainDomain, providers, cmp.Or(routing, "{}"))
	if token != "" {
		writeFile(t, filepath.Join(dir, "admin-token"), token+"\n")
		config += fmt.Sprintf("admin: {token_file: %q}\n", filepath.Join(dir, "admin-token"))
	}
	writeFile(t, filepath.Join(dir, "edge.yaml"), config)
	p := start(t, "edge", exec.Command(edgeBinary(t), "serve", "--config", filepath.Join(dir, "edge.yaml")))
	t.Cleanup(func() { p.stop(t) })
	listening := func(key string) string {
		return p.awaitOutput(t, `"key":"`+regexp.QuoteMeta(key)+`","address":"127\.0\.0\.1:(\d+)"`)[1]
	}
	port, err := strconv.Atoi(listening("listen.http"))
	if err != nil {
		t.Fatal(err)
	}
	m := managing{edge{p, port}, "http://127.0.0.1:" + listening("listen.admin"), token}
	p.await(t, "be ready", func() error { return getOK(m.admin + "/readyz") })
	return m
}

// answered is what a command printed, and how it exited.
type answered struct {
	stdout, stderr string
	code           int
}

// command makes a command of the binary that asks the edge.
func (m managing) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), edgeBinary(t), args...)
	cmd.Env = append(cmd.Environ(), "EDGE_ADMIN_URL="+m.admin, "EDGE_ADMIN_TOKEN="+m.token)
	return cmd
}

// run runs a command of the binary to its end.
func (m managing) run(t *testing.T, args ...string) answered {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := m.command(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("edge %s: %v", strings.Join(args, " "), err)
	}
	return answered{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// sandbox runs a command that must go well and show one sandbox.
func (m managing) sandbox(t *testing.T, args ...string) adminapi.Sandbox {
	t.Helper()
	args = append([]string{"sandbox"}, append(args, "-o", "json")...)
	got := m.run(t, args...)
	var box adminapi.Sandbox
	if err := json.Unmarshal([]byte(got.stdout), &box); got.code != 0 || err != nil {
		t.Fatalf("edge %s: exit status %d, %v\n%s%s", strings.Join(args, " "), got.code, err, got.stdout, got.stderr)
	}
	return box
}

// refused runs a command that must exit with 1 and say all of want.
func (m managing) refused(t *testing.T, args []string, want ...string) {
	t.Helper()
	got := m.run(t, args...)
	if got.code != 1 || got.stdout != "" {
		t.Errorf("edge %s: exit status %d, want 1\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	for _, w := range want {
		if !strings.Contains(got.stderr, w) {
			t.Errorf("edge %s says %q, not %q", strings.Join(args, " "), got.stderr, w)
		}
	}
}

// providers is what `edge providers` shows, by name.
func (m managing) providers(t *testing.T) map[string]adminapi.Provider {
	t.Helper()
	got := m.run(t, "providers", "-o", "json")
	var all adminapi.Providers
	if err := json.Unmarshal([]byte(got.stdout), &all); got.code != 0 || err != nil {
		t.Fatalf("edge providers: exit status %d, %v\n%s%s", got.code, err, got.stdout, got.stderr)
	}
	byName := make(map[string]adminapi.Provider)
	for _, p := range all.Providers {
		byName[p.Name] = p
	}
	return byName
}

// awaitDown waits until a provider is down, and returns why.
func (m managing) awaitDown(t *testing.T, name string) string {
	t.Helper()
	var reason string
	m.await(t, "tell that "+name+" is down", func() error {
		p := m.providers(t)[name]
		if reason = p.Reason; p.Healthy {
			return errors.New("it is up")
		}
		return nil
	})
	return reason
}

// ask asks a port of a sandbox through the edge.
func (m managing) ask(t *testing.T, slug string, port int) (status int, body string) {
	t.Helper()
	resp, err := m.client(t).Get(fmt.Sprintf("http://port-%d-%s.%s/", port, slug, plainDomain))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// counts fails the test unless the sandbox, asked through the edge, has counted
// to want.
func (m managing) counts(t *testing.T, slug string, port, want int) {
	t.Helper()
	if status, body := m.ask(t, slug, port); status != http.StatusOK || body != strconv.Itoa(want) {
		t.Errorf("%s answers %d %s, want %d", slug, status, body, want)
	}
}

// is fails the test unless the sandbox is as it should be.
func is(t *testing.T, box adminapi.Sandbox, state, pausedBy string, ramPreserved bool) {
	t.Helper()
	if box.State != state || box.PausedBy != pausedBy || box.RAMPreserved != ramPreserved {
		t.Errorf("%s is %s, paused by %q, RAM preserved %v; want %s, %q, %v", box.Slug, box.State, box.PausedBy, box.RAMPreserved, state, pausedBy, ramPreserved)
	}
}

func TestAVirtualMachineLivesThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	c := startCluster(t, pvesim.Config{}, false)
	m := startManaging(t, "", c.section(t, t.TempDir(), pvesim.Token, templates), "{primary: pve-vm}")

	is(t, m.sandbox(t, "start", "pvevm-one"), "running", "", true)
	port := c.guests.port(t, "pvevm-one")
	m.counts(t, "pvevm-one", port, 1)

	is(t, m.sandbox(t, "pause", "pvevm-one"), "paused", "api", true)
	if status, _ := m.ask(t, "pvevm-one", port); status != http.StatusServiceUnavailable {
		t.Errorf("a paused sandbox answers %d", status)
	}
	is(t, m.sandbox(t, "resume", "pvevm-one"), "running", "", true)
	m.counts(t, "pvevm-one", port, 2)

	is(t, m.sandbox(t, "stop", "pvevm-one"), "stopped", "api", false)
	is(t, m.sandbox(t, "start", "pvevm-one"), "running", "", false)
	m.counts(t, "pvevm-one", port, 1)

	m.sandbox(t, "pause", "pvevm-one")
	is(t, m.sandbox(t, "start", "pvevm-one", "--cold"), "running", "", false)
	m.counts(t, "pvevm-one", port, 1)

	if got := m.run(t, "sandbox", "delete", "pvevm-one"); got.code != 0 {
		t.Errorf("delete: exit status %d\n%s", got.code, got.stderr)
	}
	m.refused(t, []string{"sandbox", "get", "pvevm-one"}, "not_found")
	if status, _ := m.ask(t, "pvevm-one", port); status != http.StatusNotFound {
		t.Errorf("a deleted sandbox answers %d", status)
	}
	if left := c.names(); len(left) > 0 {
		t.Errorf("the cluster still has %v", left)
	}
}

func TestAContainerLosesItsRAMAndSaysSo(t *testing.T) {
	t.Parallel()
	c := startCluster(t, pvesim.Config{}, false)
	m := startManaging(t, "", c.section(t, t.TempDir(), pvesim.Token, templates), "{primary: pve-lxc}")

	m.sandbox(t, "start", "pvelxc-one")
	port := c.guests.port(t, "pvelxc-one")
	m.counts(t, "pvelxc-one", port, 1)

	m.refused(t, []string{"sandbox", "pause", "pvelxc-one"}, "pve-lxc can't keep the RAM of pvelxc-one: its processes would end", "conflict")
	m.counts(t, "pvelxc-one", port, 2)
	is(t, m.sandbox(t, "pause", "pvelxc-one", "--force"), "stopped", "api", false)
	is(t, m.sandbox(t, "resume", "pvelxc-one"), "running", "", false)
	m.counts(t, "pvelxc-one", port, 1)
	m.awaitOutput(t, `"sandbox paused","slug":"pvelxc-one".*RAM was not preserved`)
}

func TestAMorphInstanceLivesThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	sim := startAccount(t, morphsim.Config{})
	m := startManaging(t, "", morphSection(t, t.TempDir(), sim, morphsim.Key), "")

	is(t, m.sandbox(t, "start", "one", "--ttl", "1h"), "running", "", true)
	m.counts(t, "one", 39378, 1)
	is(t, m.sandbox(t, "pause", "one"), "paused", "api", true)
	if status, _ := m.ask(t, "one", 39378); status != http.StatusServiceUnavailable {
		t.Errorf("a paused sandbox answers %d", status)
	}
	is(t, m.sandbox(t, "resume", "one"), "running", "", true)
	m.counts(t, "one", 39378, 2)
	m.refused(t, []string{"sandbox", "stop", "one"}, "pause or delete it")

	drawn := m.sandbox(t, "start")
	if want := strings.TrimPrefix(drawn.ID, "morphvm_"); drawn.Slug != want {
		t.Errorf("a sandbox without a name is called %q, want its id's part %q", drawn.Slug, want)
	}
	m.counts(t, drawn.Slug, 39378, 1)

	for _, in := range sim.Instances() {
		if n := sim.Probes(in.ID); n > 0 {
			t.Errorf("%s was knocked at %d times while it slept", in.ID, n)
		}
		if got := m.run(t, "sandbox", "delete", cmp.Or(in.Metadata["edge_slug"], drawn.Slug)); got.code != 0 {
			t.Errorf("delete: exit status %d\n%s", got.code, got.stderr)
		}
	}
	if left := sim.Instances(); len(left) > 0 {
		t.Errorf("the account still has %v", left)
	}
}

func TestSandboxesAreListedByTheCommandLine(t *testing.T) {
	t.Parallel()
	c := startCluster(t, pvesim.Config{}, true)
	m := startManaging(t, "", c.section(t, t.TempDir(), pvesim.Token, templates), "{primary: pve-vm}")
	events := m.command(t, "events", "-o", "json")
	listening := start(t, "edge events", events)

	// Nobody hears of what happened before: so something happens until it is heard.
	n := 0
	listening.await(t, "tell of a start", func() error {
		n++
		m.sandbox(t, "start", fmt.Sprintf("pvevm-n%d", n), "--workload", "dev")
		if !strings.Contains(listening.output.String(), "\n") {
			return errors.New("it is silent")
		}
		return nil
	})
	var e adminapi.Event
	if err := json.NewDecoder(strings.NewReader(listening.output.String())).Decode(&e); err != nil || e.Kind != "started" || e.Provider != "pve-vm" || e.ID == "" {
		t.Errorf("the first event is %+v, %v", e, err)
	}
	listening.stop(t)

	table := m.run(t, "sandbox", "list")
	lines := strings.Split(strings.TrimSpace(table.stdout), "\n")
	if len(lines) != n+1 || !regexp.MustCompile(`^SLUG +PROVIDER +ID +STATE`).MatchString(lines[0]) || !regexp.MustCompile(`^pvevm-n1 +pve-vm +\d+\.pvevm-n1 +running +- +kept +dev `).MatchString(lines[1]) {
		t.Errorf("the list of %d sandboxes is\n%s%s", n, table.stdout, table.stderr)
	}
	var all adminapi.Sandboxes
	if err := json.Unmarshal([]byte(m.run(t, "sandbox", "list", "-o", "json").stdout), &all); err != nil || len(all.Sandboxes) != n {
		t.Errorf("as JSON: %d sandboxes, %v", len(all.Sandboxes), err)
	}
	one := m.sandbox(t, "get", "pvevm-n1")
	if i := slices.IndexFunc(all.Sandboxes, func(b adminapi.Sandbox) bool { return b.Slug == one.Slug }); i < 0 || all.Sandboxes[i].ID != one.ID {
		t.Errorf("%+v is not listed", one)
	}
	m.refused(t, []string{"sandbox", "get", "nobody"}, "there is no such sandbox")
}

func TestStartsFallBackWhileThePrimaryIsDown(t *testing.T) {
	t.Parallel()
	c := startCluster(t, pvesim.Config{}, true)
	account := startAccount(t, morphsim.Config{})
	dir := t.TempDir()
	c.Close()
	m := startManaging(t, "", c.section(t, dir, pvesim.Token, templates)+morphSection(t, dir, account, morphsim.Key), "{primary: pve-vm, fallback: [morph]}")

	if reason := m.awaitDown(t, "pve-vm"); !strings.Contains(reason, "connection refused") {
		t.Errorf("pve-vm is down: %q", reason)
	}
	if box := m.sandbox(t, "start", "pvevm-one", "--workload", "long-running"); box.Provider != "morph" || box.Slug != "pvevm-one" {
		t.Errorf("it was started as %s at %s", box.Slug, box.Provider)
	}
	m.awaitOutput(t, `"level":"WARN","msg":"a new sandbox falls back","slug":"pvevm-one","provider":"morph"`)
	if n := len(account.Instances()); n != 1 {
		t.Errorf("the account has %d instances", n)
	}
	got := m.run(t, "providers")
	if !regexp.MustCompile(`(?m)^pve-vm +down: .*connection refused.* primary `).MatchString(got.stdout) || !regexp.MustCompile(`(?m)^morph +up +fallback 1 .* 1 running$`).MatchString(got.stdout) {
		t.Errorf("edge providers shows\n%s", got.stdout)
	}
}

func TestCreatingWithoutATemplateNamesTheKey(t *testing.T) {
	t.Parallel()
	c := startCluster(t, pvesim.Config{}, true)
	m := startManaging(t, "", c.section(t, t.TempDir(), pvesim.Token, ""), "{primary: pve-vm}")
	m.refused(t, []string{"sandbox", "start", "pvevm-one"}, "No healthy sandbox provider available", "set providers.pve.vm.templates", "no_provider")
}

func TestAdminTokenIsRequiredWhenSet(t *testing.T) {
	t.Parallel()
	const token = "correct-horse-battery"
	c := startCluster(t, pvesim.Config{}, true)
	m := startManaging(t, token, c.section(t, t.TempDir(), pvesim.Token, templates), "{primary: pve-vm}")
	m.sandbox(t, "start", "pvevm-one")

	for _, wrong := range []string{"", "correct-horse"} {
		stranger := m
		stranger.token = wrong
		for _, args := range [][]string{
			{"sandbox", "list"},
			{"sandbox", "start", "pvevm-two"},
			{"sandbox", "delete", "pvevm-one"},
			{"providers"},
			{"events"},
		} {
			stranger.refused(t, args, "admin token")
		}
	}
	if got := c.names(); !slices.Equal(got, []string{"pvevm-one"}) {
		t.Errorf("the cluster has %v", got)
	}
}

// What an edge shows to those who may ask it, its log and its errors hold no
// secret, whether that is right or wrong.
func TestSecretsAreNowhereToBeSeen(t *testing.T) {
	t.Parallel()
	const admin, wrong, key = "admin-6f1c2a9d", "wrong-0b7e55c1", "morph_wrong_93d1"
	c := startCluster(t, pvesim.Config{AuthDelay: 500 * time.Millisecond}, true)
	account := startAccount(t, morphsim.Config{})
	dir := t.TempDir()
	m := startManaging(t, admin, c.section(t, dir, "edge@pve!test="+wrong, templates)+morphSection(t, dir, account, key), "{primary: pve-vm, fallback: [morph]}")

	var seen strings.Builder
	for _, name := range []string{"pve-vm", "pve-lxc", "morph"} {
		reason := m.awaitDown(t, name)
		if !strings.Contains(reason, "401") && !strings.Contains(strings.ToLower(reason), "authentication") {
			t.Errorf("%s is down: %q", name, reason)
		}
		seen.WriteString(reason)
	}
	for _, args := range [][]string{
		{"sandbox", "start"},
		{"sandbox", "start", "pvevm-one", "--provider", "morph"},
		{"sandbox", "get", "pvevm-one"},
		{"sandbox", "delete", "pvelxc-one"},
		{"sandbox", "list", "-o", "json"},
		{"providers"},
	} {
		got := m.run(t, args...)
		seen.WriteString(got.stdout + got.stderr)
	}
	m.ask(t, "pvevm-one", 39378)
	for _, path := range []string{
		"/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
		"/api/v1/sandboxes", "/api/v1/sandboxes/pvevm-one", "/api/v1/providers",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		resp, err := probe.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || len(body) == 0 || resp.StatusCode == http.StatusUnauthorized {
			t.Errorf("%s: %s, %v", path, resp.Status, err)
		}
		seen.Write(body)
	}
	m.stop(t)
	seen.WriteString(m.output.String())
	for _, secret := range []string{admin, wrong, key} {
		if at := strings.Index(seen.String(), secret); at >= 0 {
			t.Errorf("a secret is to be seen: …%s…", seen.String()[max(0, at-200):at+len(secret)])
		}
	}
}

func TestNoStartIsLostOrDoubledWhenThePrimaryDies(t *testing.T) {
	t.Parallel()
	const starts, parallel, before = 200, 16, 40
	c := startCluster(t, pvesim.Config{}, true)
	account := startAccount(t, morphsim.Config{})
	dir := t.TempDir()
	m := startManaging(t, "",
		c.section(t, dir, pvesim.Token, `, vm: {templates: {default: 9000}, start_limit_per_node: 16}, lxc: {enabled: false}`)+morphSection(t, dir, account, morphsim.Key),
		"{primary: pve-vm, fallback: [morph]}")

	var (
		mu     sync.Mutex
		made   = make(map[string][]string) // ids by provider
		revive func()
		group  sync.WaitGroup
		next   = make(chan int)
	)
	for range parallel {
		group.Go(func() {
			for n := range next {
				req := adminapi.StartRequest{}
				if n%2 == 0 { // the others are named by the edge
					req.Slug = fmt.Sprintf("pvevm-n%d", n)
				}
				box, err := m.start(t.Context(), req)
				mu.Lock()
				if err != nil {
					t.Errorf("start %d: %v", n, err)
				} else {
					made[box.Provider] = append(made[box.Provider], box.ID)
				}
				// From here on every request breaks off, those that are under way
				// after they were carried out.
				if len(made["pve-vm"]) == before && revive == nil {
					before, now := c.Inject(pvesim.Fault{Times: parallel / 2, CutAfter: true}), c.Inject(pvesim.Fault{CutBefore: true})
					revive = func() { before(); now() }
				}
				mu.Unlock()
			}
		})
	}
	for n := range starts {
		next <- n
	}
	close(next)
	group.Wait()
	t.Logf("made: %d by pve-vm, %d by morph", len(made["pve-vm"]), len(made["morph"]))
	if len(made["pve-vm"])+len(made["morph"]) != starts || len(made["morph"]) == 0 {
		t.Errorf("of %d sandboxes pve-vm made %d and morph %d", starts, len(made["pve-vm"]), len(made["morph"]))
	}
	var instances []string
	for _, in := range account.Instances() {
		instances = append(instances, in.ID)
	}
	if want := slices.Sorted(slices.Values(made["morph"])); !slices.Equal(slices.Sorted(slices.Values(instances)), want) {
		t.Errorf("the account has %d instances, want those %d that were told of", len(instances), len(want))
	}
	// What the broken starts left is removed once the primary is back.
	if revive == nil {
		t.Fatal("the primary never died")
	}
	revive()
	want := slices.Sorted(slices.Values(made["pve-vm"]))
	m.await(t, "remove what was left behind", func() error {
		var guests []string
		for _, g := range c.Guests() {
			if !g.Template {
				guests = append(guests, fmt.Sprintf("%d.%s", g.VMID, g.Name))
			}
		}
		if slices.Sort(guests); !slices.Equal(guests, want) {
			return fmt.Errorf("the cluster has %d guests, want those %d that were told of", len(guests), len(want))
		}
		return nil
	})
}

// start asks the API for a sandbox, as `edge sandbox start` does.
func (m managing) start(ctx context.Context, req adminapi.StartRequest) (adminapi.Sandbox, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return adminapi.Sandbox{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.admin+"/api/v1/sandboxes", bytes.NewReader(body))
	if err != nil {
		return adminapi.Sandbox{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return adminapi.Sandbox{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return adminapi.Sandbox{}, err
	}
	if resp.StatusCode != http.StatusCreated {
		return adminapi.Sandbox{}, fmt.Errorf("%s: %s", resp.Status, text)
	}
	var box adminapi.Sandbox
	return box, json.Unmarshal(text, &box)
}

// startProviderDemo runs the demo of a provider until the test ends; one of its
// sandboxes is called slug.
func startProviderDemo(t *testing.T, provider, slug string) (demo, managing) {
	t.Helper()
	p := start(t, "edge demo", exec.Command(edgeBinary(t), "demo", "--provider", provider, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"))
	port, err := strconv.Atoi(p.awaitOutput(t, `http://port-39378-`+slug+`\.`+regexp.QuoteMeta(secureDomain)+`:(\d+)/\n`)[1])
	if err != nil {
		t.Fatal(err)
	}
	admin := p.awaitOutput(t, `(http://127\.0\.0\.1:\d+)/metrics`)[1]
	return demo{p, port}, managing{edge{p, port}, admin, ""}
}

// count adds one to the counter of a sandbox and returns the sum.
func (d demo) count(t *testing.T, port int, slug string) string {
	t.Helper()
	sum, err := readAnswer(clientAt("127.0.0.1").Post(d.url(port, slug)+"/counter", "", nil))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// processOf is the process id of a sandbox, as its page tells it.
func (d demo) processOf(t *testing.T, slug string) string {
	t.Helper()
	page, err := readAnswer(clientAt("127.0.0.1").Get(d.url(3000, slug)))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`process (\d+)`).FindStringSubmatch(page)
	if found == nil || !alive(found[1]) {
		t.Fatalf("the page tells no process that runs:\n%s", page)
	}
	return found[1]
}

func (d demo) wantCount(t *testing.T, port int, slug, want string) {
	t.Helper()
	if got := d.count(t, port, slug); got != want {
		t.Errorf("port %d of %s counts %s, want %s", port, slug, got, want)
	}
}

func TestTheProxmoxDemoPausesAndResumes(t *testing.T) {
	t.Parallel()
	d, m := startProviderDemo(t, "pve", "pvevm-demo")
	for _, slug := range []string{"pvevm-demo", "pvelxc-demo"} {
		d.wantCount(t, 39378, slug, "1")
		d.wantCount(t, 3000, slug, "2")
	}
	m.sandbox(t, "pause", "pvevm-demo")
	m.sandbox(t, "resume", "pvevm-demo")
	d.wantCount(t, 39378, "pvevm-demo", "3")

	m.refused(t, []string{"sandbox", "pause", "pvelxc-demo"}, "can't keep the RAM")
	m.sandbox(t, "pause", "pvelxc-demo", "--force")
	m.sandbox(t, "resume", "pvelxc-demo")
	d.wantCount(t, 39378, "pvelxc-demo", "1")

	drawn := m.sandbox(t, "start", "--provider", "pve-lxc")
	d.wantCount(t, 3000, drawn.Slug, "1")
	gone := d.processOf(t, drawn.Slug)
	if got := m.run(t, "sandbox", "delete", drawn.Slug); got.code != 0 {
		t.Errorf("delete: %s", got.stderr)
	}
	if alive(gone) {
		t.Errorf("process %s outlives its sandbox", gone)
	}
	d.stop(t)
}

func TestTheProxmoxDemosSandboxesEndWithIt(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, demo){
		"asked": func(t *testing.T, d demo) { d.stop(t) },
		"killed": func(t *testing.T, d demo) {
			// It alone, not the group as the test's own clean-up does.
			if err := d.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-d.exited
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, m := startProviderDemo(t, "pve", "pvevm-demo")
			sandboxes := []string{d.processOf(t, "pvevm-demo"), d.processOf(t, "pvelxc-demo")}
			m.sandbox(t, "pause", "pvevm-demo") // its process stands still
			end(t, d)
			until(t, "the sandboxes are gone", func() error {
				for _, id := range sandboxes {
					if alive(id) {
						return fmt.Errorf("process %s runs", id)
					}
				}
				return nil
			})
			if left, err := filepath.Glob(filepath.Join(d.temporary(), "*")); name == "asked" && (err != nil || len(left) > 0) {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// temporary is the directory for its temporary files.
func (p *process) temporary() string {
	for _, v := range p.cmd.Env {
		if dir, ok := strings.CutPrefix(v, "TMPDIR="); ok {
			return dir
		}
	}
	return ""
}

func TestTheMorphDemoPausesAndResumes(t *testing.T) {
	t.Parallel()
	d, m := startProviderDemo(t, "morph", "demo")
	d.wantCount(t, 39378, "demo", "1")
	d.wantCount(t, 3000, "demo", "2")
	d.wantCount(t, 3000, "other", "1")
	m.sandbox(t, "pause", "demo")
	m.sandbox(t, "resume", "demo")
	d.wantCount(t, 39378, "demo", "3")
	d.stop(t)
}

func TestTheMorphDemoWorksInABrowser(t *testing.T) {
	t.Parallel()
	d, _ := startProviderDemo(t, "morph", "demo")
	runClient(t, "demo.mjs", d.url(39378, "demo"), d.url(3000, "other"))
	d.stop(t)
}
