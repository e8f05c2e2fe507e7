package docker

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

var capabilities = sandbox.Capabilities{
	RAMSnapshot: true, Create: true, Suspend: true,
	StartTime: sandbox.Quick, ResumeTime: sandbox.Instant, Price: sandbox.Free,
}

func newProvider(t *testing.T, cfg Config) *Provider {
	t.Helper()
	p, err := New(slog.New(slog.DiscardHandler), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestConformance(t *testing.T) {
	t.Parallel()
	sandboxtest.Test(t, sandboxtest.Harness{Name: Name, Capabilities: capabilities, New: func(t *testing.T) sandboxtest.Backend {
		e := newEngine(t, nil)
		return sandboxtest.Backend{
			Provider: newProvider(t, Config{Host: e.host(), Images: map[string]string{"default": "sandbox:dev"}}),
			Slow:     func(d time.Duration) { e.on("", &fault{delay: d}) },
			Garbage: func(on bool) {
				if on {
					e.on("", &fault{contentType: "application/json", body: `{"status":"ok"}`})
				} else {
					e.on("", nil)
				}
			},
			Vanish: func(id sandbox.ID) { e.vanish(string(id)) },
			Break: func() {
				e.on("", &fault{status: http.StatusInternalServerError, contentType: "application/json", body: `{"message":"out of disk"}`})
			},
			Count: e.count,
		}
	}})
}

// TestConformanceOfARealEngine runs where DOCKER_HOST or the usual socket leads
// to an Engine, on the image that EDGE_TEST_DOCKER_IMAGE names.
func TestConformanceOfARealEngine(t *testing.T) {
	t.Parallel()
	engine, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	if _, err := engine.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Logf("no Docker Engine answers at %s: only the scripted one was tested (%v)", engine.DaemonHost(), err)
		return
	}
	image := os.Getenv("EDGE_TEST_DOCKER_IMAGE")
	if image == "" {
		t.Logf("a Docker Engine answers at %s, but EDGE_TEST_DOCKER_IMAGE names no image that keeps running: only the scripted one was tested", engine.DaemonHost())
		return
	}
	sandboxtest.Test(t, sandboxtest.Harness{
		Name: Name, Capabilities: capabilities, Patience: time.Minute, Promptness: 5 * time.Second,
		New: func(t *testing.T) sandboxtest.Backend {
			p := newProvider(t, Config{Images: map[string]string{"default": image}, Mark: "edge-test-" + draw(), StopGrace: time.Second})
			t.Cleanup(func() { removeAll(t, p) })
			return sandboxtest.Backend{Provider: p}
		},
	})
}

// removeAll deletes what a test left at a real Engine.
func removeAll(t *testing.T, p *Provider) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it ended before the clean-up
	all, err := p.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, in := range all {
		if err := p.Delete(ctx, in.ID); err != nil {
			t.Error(err)
		}
	}
}
