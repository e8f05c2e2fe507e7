package memory_test

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/sandbox"
)

// fill makes n records, each with an address and one port that lies elsewhere.
func fill(t testing.TB, n int) *memory.Store {
	t.Helper()
	s := memory.New(memory.Config{})
	for i := range n {
		slug := fmt.Sprintf("pvevm-%08x", i)
		l, err := s.Lease(t.Context(), slug, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Create(t.Context(), catalog.Record{
			Instance: sandbox.Instance{
				Provider: "pve-vm", ID: sandbox.ID("pve1/" + strconv.Itoa(i)), Slug: slug, State: sandbox.Running,
				Address: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), WorkloadType: "dev", Marked: true, Created: time.Now(),
				Ports: map[uint16]string{39378: "https://port-39378-" + slug + ".http.example.test"},
			},
			LastActive: time.Now(), Fence: l.Fence(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestGetTakesNoMemory(t *testing.T) {
	s := fill(t, 10)
	ctx := t.Context()
	for slug, want := range map[string]error{"pvevm-00000003": nil, "nobody": catalog.ErrNotFound} {
		allocs := testing.AllocsPerRun(1000, func() {
			if _, err := s.Get(ctx, slug); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", slug, err, want)
			}
		})
		if allocs != 0 {
			t.Errorf("Get of %s takes %v allocations, want none", slug, allocs)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := fill(b, 10_000)
	ctx := b.Context()
	for _, slug := range []string{"pvevm-00000007", "nobody"} {
		b.Run(slug, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Get(ctx, slug)
			}
		})
	}
}

func BenchmarkGetParallel(b *testing.B) {
	s := fill(b, 10_000)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = s.Get(ctx, "pvevm-00000007")
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := fill(b, 10_000)
	l, err := s.Lease(b.Context(), "pvevm-00000007", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	r, _ := s.Get(b.Context(), l.Key())
	r.Fence = l.Fence()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMillionRecords(b *testing.B) {
	const count = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := fill(b, count)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "B/record")
		runtime.KeepAlive(s)
	}
}
