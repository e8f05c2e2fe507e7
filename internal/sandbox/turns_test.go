package sandbox_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"cmux.sh/edge/internal/sandbox"
)

func TestTurnsLetOneCallerActUnderAName(t *testing.T) {
	t.Parallel()
	var turns sandbox.Turns
	var acting, most atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			done, err := turns.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			most.Store(max(most.Load(), acting.Add(1)))
			acting.Add(-1)
			done()
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d acted at once", most.Load())
	}
}

func TestTurnsOfOtherNamesDoNotWait(t *testing.T) {
	t.Parallel()
	var turns sandbox.Turns
	a, err := turns.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := turns.Take(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	b()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	a()
	if a, err = turns.Take(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	a()
}
