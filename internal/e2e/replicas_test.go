package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cmux.sh/edge/internal/catalog/redis/redistest"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// What one replica does the other knows, through one Redis.
func TestTwoEdgesShareWhatTheyKnowThroughRedis(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a real Redis is not short")
	}
	c := startCluster(t, pvesim.Config{}, false)
	redis := redistest.Start(t)
	providers := c.section(t, t.TempDir(), pvesim.Token, templates)
	one := startManaging(t, "", providers, "{primary: pve-vm}", fmt.Sprintf("redis: {url: %q}", redis.URL()))
	two := startManaging(t, "", providers, "{primary: pve-vm}", fmt.Sprintf("redis: {url: %q}", redis.URL()))

	one.sandbox(t, "start", "pvevm-both")
	port := c.guests.port(t, "pvevm-both")
	two.counts(t, "pvevm-both", port, 1)
	one.counts(t, "pvevm-both", port, 2)

	is(t, two.sandbox(t, "pause", "pvevm-both"), "paused", "api", true)
	one.await(t, "know that the sandbox sleeps", func() error {
		if status, body := one.ask(t, "pvevm-both", port); status != http.StatusServiceUnavailable {
			return fmt.Errorf("it answers %d %s", status, body)
		}
		return nil
	})
	is(t, one.sandbox(t, "resume", "pvevm-both"), "running", "", true)
	two.await(t, "know that the sandbox runs", func() error {
		if status, body := two.ask(t, "pvevm-both", port); status != http.StatusOK {
			return fmt.Errorf("it answers %d %s", status, body)
		}
		return nil
	})
	if got := two.run(t, "sandbox", "delete", "pvevm-both"); got.code != 0 {
		t.Errorf("delete: exit status %d\n%s", got.code, got.stderr)
	}
	one.await(t, "know that the sandbox is gone", func() error {
		if status, body := one.ask(t, "pvevm-both", port); status != http.StatusGone {
			return fmt.Errorf("it answers %d %s", status, body)
		}
		return nil
	})
}

// A Redis that goes takes no sandbox with it: what is found by its name is
// answered, and nothing becomes a 404.
func TestAnEdgeServesWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a real Redis is not short")
	}
	c := startCluster(t, pvesim.Config{}, false)
	redis := redistest.Start(t)
	m := startManaging(t, "", c.section(t, t.TempDir(), pvesim.Token, templates), "{primary: pve-vm}", fmt.Sprintf("redis: {url: %q}", redis.URL()))
	for _, slug := range []string{"pvevm-warm", "pvevm-cold"} {
		m.sandbox(t, "start", slug)
	}
	warm, cold := c.guests.port(t, "pvevm-warm"), c.guests.port(t, "pvevm-cold")
	m.counts(t, "pvevm-warm", warm, 1)

	redis.Kill()
	m.counts(t, "pvevm-warm", warm, 2)
	m.counts(t, "pvevm-cold", cold, 1)
	if status, body := m.ask(t, "pvevm-nobody", 80); status != http.StatusServiceUnavailable {
		t.Errorf("a sandbox that Redis may know answers %d %s", status, body)
	}

	m.await(t, "say that it is degraded", func() error {
		if got := m.run(t, "healthcheck"); got.stdout != "ready, degraded: redis does not answer\n" {
			return errors.New(got.stdout + got.stderr)
		}
		return nil
	})

	redis.Restart() // empty
	m.await(t, "answer from the providers", func() error {
		if status, body := m.ask(t, "pvevm-nobody", 80); status != http.StatusNotFound {
			return fmt.Errorf("it answers %d %s", status, body)
		}
		return nil
	})
	m.await(t, "list what it finds again", func() error {
		m.ask(t, "pvevm-warm", warm)
		if got := m.run(t, "sandbox", "list"); !strings.Contains(got.stdout, "pvevm-warm") {
			return errors.New(got.stdout + got.stderr)
		}
		return nil
	})
}
