package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

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
	// Commands are printed as one can copy them.
	d.awaitOutput(t, regexp.QuoteMeta(edgeBinary(t)+" sandbox pause pvelxc-demo --force --admin "+m.admin)+` +# `)
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
