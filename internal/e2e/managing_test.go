package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/adminapi"
)

// managing is a running edge with providers that make sandboxes.
type managing struct {
	edge
	admin string // URL of its admin port
	token string // that the admin port wants, "" for none
}

// startManaging runs `edge serve` until the test ends. Then it must end on
// SIGTERM, cleanly. providers and routing are sections of its configuration, more
// are further ones.
func startManaging(t *testing.T, token, providers, routing string, more ...string) managing {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`domains: [%s, %s]
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstream: {allow_cidrs: [127.0.0.0/8]}
providers:
%srouting: %s
log: {format: json}
`, secureDomain, plainDomain, providers, cmp.Or(routing, "{}")) + strings.Join(more, "\n") + "\n"
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

// read reads a path of the admin port, with its token.
func (m managing) read(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.token)
	resp, err := probe.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) == 0 || resp.StatusCode == http.StatusUnauthorized {
		t.Errorf("%s: %s, %v", path, resp.Status, err)
	}
	return string(body)
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
	// One that waits for its guest's address when the primary dies goes on
	// waiting for a minute.
	resp, err := (&http.Client{Timeout: time.Minute + patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
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
