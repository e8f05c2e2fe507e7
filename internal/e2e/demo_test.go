package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// demo is a running `edge demo`.
type demo struct {
	*process
	port int // of its public listener, on 127.0.0.1
}

// startDemo runs the demo until the test ends.
func startDemo(t *testing.T) demo {
	t.Helper()
	p := start(t, "edge demo", exec.Command(edgeBinary(t), "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"))
	port, err := strconv.Atoi(p.awaitOutput(t, `http://port-39378-demo\.`+regexp.QuoteMeta(secureDomain)+`:(\d+)/\n`)[1])
	if err != nil {
		t.Fatal(err)
	}
	admin := p.awaitOutput(t, `(http://127\.0\.0\.1:\d+)/metrics`)[1]
	p.await(t, "be ready", func() error { return getOK(admin + "/readyz") })
	return demo{p, port}
}

func (d demo) url(port int, name string) string {
	return fmt.Sprintf("http://port-%d-%s.%s:%d", port, name, secureDomain, d.port)
}

// sandboxes are the process ids of the demo's sandboxes, as their pages tell
// them.
func (d demo) sandboxes(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, name := range []string{"demo", "other"} {
		page, err := readAnswer(clientAt("127.0.0.1").Get(d.url(39378, name)))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`process (\d+)`).FindStringSubmatch(page)
		if found == nil {
			t.Fatalf("the page tells no process id:\n%s", page)
		}
		if !alive(found[1]) {
			t.Fatalf("the page tells %s, which is no process", found[0])
		}
		ids = append(ids, found[1])
	}
	if ids[0] == ids[1] {
		t.Fatalf("both sandboxes are process %s", ids[0])
	}
	return ids
}

// alive tells whether a process runs. One that ended, and that nobody has asked
// about yet, does not (proc_pid_stat(5)).
func alive(id string) bool {
	stat, err := os.ReadFile("/proc/" + id + "/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	// The name, in parentheses, may hold anything.
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return err != nil || !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func TestTheDemosSandboxesEndWithIt(t *testing.T) {
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
			d := startDemo(t)
			sandboxes := d.sandboxes(t)
			end(t, d)
			until(t, "the sandboxes are gone", func() error {
				for _, id := range sandboxes {
					if alive(id) {
						return fmt.Errorf("process %s runs", id)
					}
				}
				return nil
			})
		})
	}
}

func TestTheDemoWorksInABrowser(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	runClient(t, "demo.mjs", d.url(39378, "demo"), d.url(3000, "other"))
	d.stop(t)
}
