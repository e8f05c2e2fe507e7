package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/catalogtest"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheContractIsKept(t *testing.T) {
	t.Parallel()
	catalogtest.Test(t, catalogtest.Harness{New: func(_ *testing.T, retention time.Duration) catalogtest.Backend {
		s := memory.New(memory.Config{Retention: retention})
		return catalogtest.Backend{A: s, B: s}
	}})
}

// By the clock, everything that nobody asks for any more goes.
func TestWhatIsOverIsForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := memory.New(memory.Config{Retention: time.Hour, Now: func() time.Time { return now }})
	ctx := t.Context()
	for round := range 20 {
		for i := range 1000 {
			slug := fmt.Sprintf("demo-%d-%d", round, i)
			l, err := s.Lease(ctx, slug, time.Minute) // never released
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				continue
			}
			r := catalog.Record{Instance: sandbox.Instance{Slug: slug}, Fence: l.Fence()}
			if _, err := s.Delete(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(2 * time.Hour)
	}
	if got := s.Size(); got > 5000 {
		t.Errorf("%d keys are held after 20,000 were, want a few thousand at most", got)
	}
}

func TestALeaseEndsByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{})
		l, err := s.Lease(t.Context(), "demo", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second - 1)
		if err := l.Renew(t.Context()); err != nil {
			t.Errorf("just before its end: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := l.Renew(t.Context()); !errors.Is(err, catalog.ErrLeaseExpired) {
			t.Errorf("at its end: got %v, want %v", err, catalog.ErrLeaseExpired)
		}
	})
}

// A watcher that falls behind gets one gap in place of what it missed.
func TestASlowWatcherGetsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var told []catalog.Change
		go func() { // ends with ctx, which the bubble waits for
			_ = s.Watch(ctx, func(c catalog.Change) {
				told = append(told, c)
				if len(told) == 1 {
					time.Sleep(time.Second)
				}
			})
		}()
		synctest.Wait()
		for i := range 3000 {
			l, err := s.Lease(t.Context(), fmt.Sprintf("demo-%d", i), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		cancel()
		synctest.Wait()
		if len(told) != 2 || told[1].Kind != catalog.Gap {
			t.Errorf("%d changes were told, want two gaps", len(told))
		}
	})
}
