package resolver_test

import (
	"fmt"
	"testing"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// forever never looks again by itself.
var forever = resolver.Config{TTL: time.Hour, NegativeTTL: time.Hour, Lookups: 1e9, Burst: 1e9}

func TestAWarmResolveAllocatesNothing(t *testing.T) {
	g := replica(t, newFlaky(), forever, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
	g.change("demo", func(*catalog.Record) {})
	time.Sleep(2 * time.Second) // past the gap that news begin with
	g.must("demo")
	g.wantKind("nobody", sandbox.KindNotFound)
	ctx := t.Context()
	for _, slug := range []string{"demo", "nobody"} {
		if got := testing.AllocsPerRun(10_000, func() { _, _ = g.Resolve(ctx, slug) }); got != 0 {
			t.Errorf("%s: %v allocations", slug, got)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	b.Run("hit", func(b *testing.B) {
		warm(b, func(slug string, i int) string { return fmt.Sprintf("%s-%d", slug, i) }, true)
	})
	b.Run("negative", func(b *testing.B) {
		warm(b, func(slug string, i int) string { return fmt.Sprintf("no-%s-%d", slug, i) }, false)
	})
	b.Run("hit parallel", func(b *testing.B) {
		g := replica(b, newFlaky(), forever, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
		g.change("demo", func(*catalog.Record) {})
		ctx := b.Context()
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				_, _ = g.Resolve(ctx, "demo")
			}
		})
	})
	b.Run("catalogue", func(b *testing.B) { // the local cache misses
		g := replica(b, newFlaky(), forever, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
		g.change("demo", func(*catalog.Record) {})
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			g.Invalidate("demo")
			_, _ = g.Resolve(ctx, "demo")
		}
	})
	b.Run("unknown", func(b *testing.B) { // nobody has it, and nobody remembers that
		g := replica(b, newFlaky(), forever, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
		ctx := b.Context()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _ = g.Resolve(ctx, fmt.Sprintf("made-up-%d", i))
		}
	})
}

// warm measures answers from the local cache, of a thousand slugs.
func warm(b *testing.B, name func(string, int) string, exists bool) {
	b.Helper()
	g := replica(b, newFlaky(), forever, sandboxtest.NewFake(sandboxtest.FakeConfig{}))
	slugs := make([]string, 1000)
	ctx := b.Context()
	for i := range slugs {
		slugs[i] = name("demo", i)
		if exists {
			g.change(slugs[i], func(*catalog.Record) {})
		}
		_, _ = g.Resolve(ctx, slugs[i])
	}
	time.Sleep(2 * time.Second) // past the gap that news begin with
	for _, slug := range slugs {
		_, _ = g.Resolve(ctx, slug)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = g.Resolve(ctx, slugs[i%len(slugs)])
	}
}
