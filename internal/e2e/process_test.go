package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for a condition before it gives up. Nothing
// takes a tenth of it on an idle machine.
const patience = 45 * time.Second

// process is a program that a test has started. It leads a process group of its
// own, by which it and its children are ended with the test.
type process struct {
	name   string
	cmd    *exec.Cmd
	output *output
	exited chan struct{} // closed once the program has ended
	err    error         // how it ended; set before exited is closed
}

// start runs cmd until the test ends, and shows what it printed if the test has
// failed by then.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	// What is killed does not clean up after itself.
	temporary, err := os.MkdirTemp("", "e2e") //nolint:usetesting // sockets want a path shorter than t.TempDir's: 108 bytes in all (unix(7))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Environ(), "TMPDIR="+temporary)
	p := &process{name: name, cmd: cmd, output: new(output), exited: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.output
	}
	cmd.Stderr = p.output
	// The kernel ends the child when the thread that started it goes, which the
	// runtime keeps for as long as the process lives: so a test that is killed
	// leaves nothing behind either.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that outlives the child may keep the output open.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		_ = os.RemoveAll(temporary)
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { // ends with the child, which the cleanup ends
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		_ = os.RemoveAll(temporary)
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.output)
		}
	})
	return p
}

// terminate asks the program to end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("end %s: %v", p.name, err)
	}
}

// awaitEnd fails the test unless the program ends, and well.
func (p *process) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
		if p.err != nil {
			t.Errorf("%s did not end well: %v", p.name, p.err)
		}
	case <-time.After(patience):
		t.Errorf("%s still runs after %v", p.name, patience)
	}
	if strings.Contains(p.output.String(), "WARNING: DATA RACE") {
		t.Errorf("%s has a data race", p.name)
	}
}

// stop ends the program, unless it has ended, and fails the test unless it ends
// well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.awaitEnd(t)
}

// kill ends the whole group and returns when none of it is left, so that what
// it wrote can be removed.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if errors.Is(syscall.Kill(-p.cmd.Process.Pid, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// await polls ready until it returns nil. It fails the test when the program
// ends before that, or after patience.
func (p *process) await(t *testing.T, what string, ready func() error) {
	t.Helper()
	until(t, p.name+" is seen to "+what, func() error {
		err := ready()
		select {
		case <-p.exited:
			if err != nil {
				t.Fatalf("%s ended before it was seen to %s: %v", p.name, what, p.err)
			}
		default:
		}
		return err
	})
}

// until polls done until it returns nil, and fails the test when it has not
// within patience.
func until(t *testing.T, what string, done func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

// awaitOutput waits until the program has printed something that matches
// pattern, and returns the match and its groups.
func (p *process) awaitOutput(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	re := regexp.MustCompile(pattern)
	p.await(t, fmt.Sprintf("print %q", pattern), func() error {
		if found = re.FindStringSubmatch(p.output.String()); found == nil {
			return errors.New("not printed")
		}
		return nil
	})
	return found
}

// output is what a program has printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
