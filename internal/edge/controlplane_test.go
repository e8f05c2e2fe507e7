package edge

import (
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestTheControlPlaneIsToldWhatHappens(t *testing.T) {
	t.Parallel()
	got := make(chan string, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Webhook-Id") == "" || !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			t.Errorf("the header is %v", r.Header)
		}
		got <- string(body)
	}))
	defer receiver.Close()

	log, registry, store := slog.New(slog.DiscardHandler), prometheus.NewRegistry(), memory.New(memory.Config{})
	provider := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-vm"})
	find, err := resolver.New(resolver.Deps{Catalog: store, Providers: asked([]sandbox.Provider{provider}), Log: log}, resolver.Config{}, registry)
	if err != nil {
		t.Fatal(err)
	}
	defer find.Close()
	m, err := manager.New(log, manager.Config{Primary: "pve-vm"}, registry, store, find, provider)
	if err != nil {
		t.Fatal(err)
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	p, err := newControlPlane(config.ControlPlane{Webhook: receiver.URL, Secret: config.NewSecret(secret)}, m, log, registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	defer running.Wait()
	defer stop()

	seen := func(want string) {
		t.Helper()
		for {
			select {
			case body := <-got:
				if strings.Contains(body, want) && strings.Contains(body, "box") {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s is not told", want)
			}
		}
	}
	if _, err := m.Start(ctx, manager.StartRequest{Slug: "box"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stop(ctx, "box"); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete(ctx, "box"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sandbox.started", "sandbox.stopped", "sandbox.deleted"} {
		seen(want)
	}
}

func TestAMalformedWebhookSecretIsTold(t *testing.T) {
	t.Parallel()
	_, err := newControlPlane(config.ControlPlane{Webhook: "https://x.example", Secret: config.NewSecret("whsec_???")}, nil, nil, prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "control_plane.secret_file") || strings.Contains(err.Error(), "???") {
		t.Errorf("got %v", err)
	}
}
