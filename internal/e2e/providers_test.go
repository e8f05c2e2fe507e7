package e2e_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

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
	m.refused(t, []string{"sandbox", "get", "pvevm-one"}, "(gone)")
	if status, _ := m.ask(t, "pvevm-one", port); status != http.StatusGone {
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
	if box := m.sandbox(t, "start", "--workload", "long-running"); box.Provider != "morph" {
		t.Errorf("it was started at %s", box.Provider)
	}
	if box, err := m.start(t.Context(), adminapi.StartRequest{Slug: "pvevm-one"}); err != nil || box.Provider != "morph" || box.Slug != "pvevm-one" {
		t.Errorf("it was started as %s at %s: %v", box.Slug, box.Provider, err)
	}
	m.awaitOutput(t, `"level":"WARN","msg":"a new sandbox falls back","slug":"pvevm-one","provider":"morph"`)
	if n := len(account.Instances()); n != 2 {
		t.Errorf("the account has %d instances", n)
	}
	got := m.run(t, "providers")
	if !regexp.MustCompile(`(?m)^pve-vm +down: .*connection refused.* primary `).MatchString(got.stdout) || !regexp.MustCompile(`(?m)^morph +up +fallback 1 .* 2 running$`).MatchString(got.stdout) {
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
	const admin = "admin-6f1c2a9d"
	for name, test := range map[string]struct {
		token, key string
		down       []string
	}{
		"right": {pvesim.Token, morphsim.Key, nil},
		"wrong": {"edge@pve!test=wrong-0b7e55c1", "morph_wrong_93d1", []string{"pve-vm", "pve-lxc", "morph"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, pvesim.Config{AuthDelay: 500 * time.Millisecond}, true)
			account := startAccount(t, morphsim.Config{})
			dir := t.TempDir()
			m := startManaging(t, admin, c.section(t, dir, test.token, templates)+morphSection(t, dir, account, test.key), "{primary: pve-vm, fallback: [morph]}")

			var seen strings.Builder
			for _, name := range test.down {
				reason := m.awaitDown(t, name)
				if !strings.Contains(reason, "401") && !strings.Contains(strings.ToLower(reason), "authentication") {
					t.Errorf("%s is down: %q", name, reason)
				}
			}
			for _, args := range [][]string{
				{"sandbox", "start"},
				{"sandbox", "start", "pvevm-one", "--provider", "morph"},
				{"sandbox", "pause", "pvevm-one"},
				{"sandbox", "get", "pvevm-one", "-o", "json"},
				{"sandbox", "delete", "pvelxc-one"},
				{"sandbox", "list"},
				{"providers"},
				{"providers", "-o", "json"},
			} {
				got := m.run(t, args...)
				seen.WriteString(got.stdout + got.stderr)
			}
			_, body := m.ask(t, "pvevm-one", 39378)
			seen.WriteString(body)
			for _, path := range []string{
				"/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
				"/api/v1/sandboxes", "/api/v1/sandboxes/pvevm-one", "/api/v1/providers",
			} {
				seen.WriteString(m.read(t, path))
			}
			m.stop(t)
			seen.WriteString(m.output.String())

			_, secret, _ := strings.Cut(test.token, "=")
			for _, secret := range []string{admin, secret, test.key} {
				if at := strings.Index(seen.String(), secret); at >= 0 {
					t.Errorf("a secret is to be seen: %q", seen.String()[max(0, at-200):at+len(secret)])
				}
			}
		})
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
