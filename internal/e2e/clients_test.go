package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// clientsDir is where tools/setup has put the npm packages: the services, and
// what drives the browser.
func clientsDir(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("a real client is not short")
	}
	dir, err := findClients()
	if err != nil {
		t.Fatalf("%v\ninstall what is missing: tools/setup", err)
	}
	return dir
}

var findClients = sync.OnceValues(func() (string, error) {
	setup := filepath.Join(top, "tools", "setup")
	if out, err := exec.Command(setup, "--check").CombinedOutput(); err != nil {
		return "", errors.New(strings.TrimSpace(string(out)))
	}
	out, err := exec.Command(setup, "--dir").Output()
	return string(bytes.TrimSpace(out)), err
})

// npmTool is the script of a package that tools/setup has installed.
func npmTool(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command("node", append([]string{filepath.Join(clientsDir(t), "node_modules", name)}, args...)...)
}

// systemTool is the path of a program that tools/setup has installed.
func systemTool(t *testing.T, name string) string {
	t.Helper()
	clientsDir(t) // tells about all that is missing at once
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v\ninstall what is missing: tools/setup", err)
	}
	return path
}

// runClient runs a script of test/clients to its end, which must be a good one.
// The browser's screenshots go where EDGE_E2E_SCREENSHOTS says, or to the test's
// artifacts.
func runClient(t *testing.T, script string, args ...string) {
	t.Helper()
	screenshots := os.Getenv("EDGE_E2E_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.ArtifactDir()
	}
	cmd := exec.Command("node", append([]string{filepath.Join(top, "test", "clients", script)}, args...)...)
	cmd.Env = append(os.Environ(),
		"EDGE_E2E_CLIENTS="+clientsDir(t),
		"EDGE_E2E_CHROMIUM="+systemTool(t, "chromium"),
		"EDGE_E2E_SCREENSHOTS="+screenshots,
		"HOME="+t.TempDir(),
	)
	p := start(t, script, cmd)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	select {
	case <-p.exited:
		if p.err != nil {
			t.Fatalf("%s: %v", script, p.err)
		}
	case <-ctx.Done():
		t.Fatalf("%s has not ended: %v", script, ctx.Err())
	}
}
