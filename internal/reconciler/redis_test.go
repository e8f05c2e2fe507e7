package reconciler_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
	"cmux.sh/edge/internal/reconciler"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestARedisThatRestartsEmptyIsRebuilt(t *testing.T) {
	t.Parallel()
	const sandboxes = 100
	server, fake := redistest.Start(t), sandboxtest.NewFake(sandboxtest.FakeConfig{})
	for i := range sandboxes {
		fake.Put(sandbox.Instance{Slug: fmt.Sprintf("s-%d", i)})
	}
	o, err := redis.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	store, err := redis.New(o, redis.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	const replicas = 2
	for range replicas {
		r := reconciler.New(reconciler.Deps{
			Catalog: store, Providers: []reconciler.Provider{fake}, Log: slog.New(slog.DiscardHandler),
		}, reconciler.Config{Every: 200 * time.Millisecond, Lease: time.Second}, prometheus.NewRegistry())
		go func() { ran <- r.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range replicas {
			if err := <-ran; err != nil {
				t.Error(err)
			}
		}
		_ = store.Close()
	})
	generations := make([]uint64, sandboxes)
	for range 2 {
		for i := range generations {
			slug := fmt.Sprintf("s-%d", i)
			deadline := time.Now().Add(redistest.Patience)
			for {
				rec, err := store.Get(t.Context(), slug)
				if err == nil && rec.ID != "" && rec.Generation > generations[i] {
					generations[i] = rec.Generation
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is not recorded: %+v, %v", slug, rec, err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		server.Kill()
		server.Restart()
	}
}
