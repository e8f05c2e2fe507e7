package sandboxtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness runs the suite on a fake.
func harness(cfg sandboxtest.FakeConfig, caps sandbox.Capabilities) sandboxtest.Harness {
	cfg.Capabilities = &caps
	return sandboxtest.Harness{
		Name: "fake", Capabilities: caps,
		New: func(*testing.T) sandboxtest.Backend {
			f := sandboxtest.NewFake(cfg)
			f.SetLatency(2 * time.Millisecond)
			return sandboxtest.Backend{
				Provider: f,
				Slow:     f.SetLatency,
				Garbage:  f.SetGarbage,
				Vanish:   f.Vanish,
				Break:    func() { f.SetHealth(sandbox.Health{Reason: "on strike"}) },
				Count:    func() int { return len(f.Instances()) },
			}
		},
	}
}

func TestFakeKeepsThePromises(t *testing.T) {
	t.Parallel()
	t.Run("with RAM snapshot", func(t *testing.T) {
		t.Parallel()
		sandboxtest.Test(t, harness(sandboxtest.FakeConfig{}, sandbox.Capabilities{RAMSnapshot: true, Create: true, Suspend: true}))
	})
	t.Run("without RAM snapshot", func(t *testing.T) {
		t.Parallel()
		sandboxtest.Test(t, harness(sandboxtest.FakeConfig{}, sandbox.Capabilities{Create: true, Suspend: true, Price: sandbox.Metered}))
	})
}

func TestFakeFailsAsScripted(t *testing.T) {
	t.Parallel()
	f := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "morph"})
	in := f.Put(sandbox.Instance{Slug: "a"})
	f.Fail(sandboxtest.OpGet, sandbox.KindQuota, 2)
	for range 2 {
		if _, err := f.Get(t.Context(), in.ID); sandbox.KindOf(err) != sandbox.KindQuota {
			t.Errorf("got %v, want a scripted quota error", err)
		}
	}
	if got, err := f.Get(t.Context(), in.ID); err != nil || got.Provider != "morph" {
		t.Errorf("after the failures: %+v, %v", got, err)
	}
	f.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 0)
	for range 3 {
		if _, err := f.Start(t.Context(), sandbox.StartRequest{Slug: "b"}); sandbox.KindOf(err) != sandbox.KindUnavailable {
			t.Errorf("got %v, want a scripted error for ever", err)
		}
	}
	f.Heal(sandboxtest.OpStart)
	if _, err := f.Start(t.Context(), sandbox.StartRequest{Slug: "b"}); err != nil {
		t.Error(err)
	}
	if got := f.Calls(sandboxtest.OpStart); got != 4 {
		t.Errorf("counted %d starts, want 4", got)
	}
}

func TestFakeHoldsCallsUntilReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sandboxtest.NewFake(sandboxtest.FakeConfig{})
		in := f.Put(sandbox.Instance{Slug: "a", State: sandbox.Paused})
		release := f.Hold(sandboxtest.OpResume)
		done := make(chan error, 1)
		go func() {
			_, err := f.Resume(t.Context(), in.ID)
			done <- err
		}()
		synctest.Wait()
		if got := f.Calls(sandboxtest.OpResume); got != 1 || len(done) != 0 {
			t.Fatalf("%d calls, %d done; want one that waits", got, len(done))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := f.Resume(ctx, in.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of its context", err)
		}
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
