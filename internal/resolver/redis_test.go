package resolver_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// overRedis is one replica with a connection of its own.
func overRedis(t testing.TB, server *redistest.Server, fake *sandboxtest.Fake) (*resolver.Resolver, *redis.Store) {
	t.Helper()
	o, err := redis.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	store, err := redis.New(o, redis.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := resolver.New(resolver.Deps{
		Catalog: store, Providers: []resolver.Provider{fake}, Log: slog.New(slog.DiscardHandler),
	}, resolver.Config{Shared: true, Ping: time.Second}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		r.Close()
		_ = store.Close()
	})
	return r, store
}

func moved(ctx context.Context, store catalog.Catalog, slug, address string) (catalog.Record, error) {
	var written catalog.Record
	err := catalog.Hold(ctx, store, slug, time.Minute, func(ctx context.Context, lease catalog.Lease) error {
		rec, err := store.Get(ctx, slug)
		if err != nil {
			return err
		}
		rec.Address, rec.Generation, rec.Fence = address, 0, lease.Fence()
		written, err = store.Put(ctx, rec)
		return err
	})
	return written, err
}

func TestAChangeOverRedisIsUsedByAnotherReplicaSoon(t *testing.T) {
	t.Parallel()
	server, fake := redistest.Start(t), sandboxtest.NewFake(sandboxtest.FakeConfig{})
	_, writer := overRedis(t, server, fake)
	reader, _ := overRedis(t, server, fake)
	fake.Put(sandbox.Instance{Slug: "demo"})
	if _, err := reader.Resolve(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // past the gap that news begin with
	var slowest time.Duration
	for i := range 20 {
		written, err := moved(t.Context(), writer, "demo", fmt.Sprintf("10.0.0.%d", i))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for {
			rec, err := reader.Resolve(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if rec.Version == written.Version {
				slowest = max(slowest, took)
				break
			}
			if took > 500*time.Millisecond {
				t.Fatalf("not used after %v", took)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	t.Logf("the slowest of 20 changes was used after %v", slowest)
}

func TestARedisThatComesBackEmptyCostsNoSandboxARequest(t *testing.T) {
	t.Parallel()
	server, fake := redistest.Start(t), sandboxtest.NewFake(sandboxtest.FakeConfig{})
	var replicas []*resolver.Resolver
	var stores []*redis.Store
	for range 2 {
		r, store := overRedis(t, server, fake)
		replicas, stores = append(replicas, r), append(stores, store)
	}
	const sandboxes = 20
	address := map[string]string{}
	for i := range sandboxes {
		in := fake.Put(sandbox.Instance{Slug: fmt.Sprintf("s%d", i)})
		address[in.Slug] = in.Address
		for _, r := range replicas {
			if _, err := r.Resolve(t.Context(), in.Slug); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx := t.Context()
	under, relieve := context.WithCancel(ctx)
	var load sync.WaitGroup
	var slowest, answers atomic.Int64
	for _, r := range replicas {
		for i := range sandboxes {
			load.Go(func() {
				slug := fmt.Sprintf("s%d", i)
				for under.Err() == nil {
					began := time.Now()
					rec, err := r.Resolve(ctx, slug)
					if err != nil || rec.Address != address[slug] {
						t.Errorf("%s: %+v, %v", slug, rec, err)
						return
					}
					slowest.Store(max(slowest.Load(), int64(time.Since(began))))
					answers.Add(1)
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	}
	time.Sleep(500 * time.Millisecond)
	server.Kill()
	redistest.Eventually(t, "the outage is noticed", func() bool { return !replicas[0].CatalogUp() && !replicas[1].CatalogUp() })
	time.Sleep(time.Second)
	server.Restart()
	redistest.Eventually(t, "all are adopted again", func() bool {
		for slug := range address {
			if _, err := stores[0].Get(t.Context(), slug); err != nil {
				return false
			}
		}
		return true
	})
	relieve()
	load.Wait()
	t.Logf("%d answers, the slowest after %v", answers.Load(), time.Duration(slowest.Load()))
}
