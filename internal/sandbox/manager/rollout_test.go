package manager

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// A share that grows keeps every sandbox that it had, and is about as large as
// it says.
func TestRolloutGrowsWithoutMovingAnybody(t *testing.T) {
	t.Parallel()
	r := newRollout(nil)
	const sandboxes = 20_000
	had := make(map[string]bool)
	for _, percent := range []int{0, 20, 50, 80, 100} {
		r.set(map[string]int{"pve-vm": percent})
		n := 0
		for i := range sandboxes {
			slug := fmt.Sprintf("%08x", i*2_654_435_761)
			in := len(r.chosen(slug)) == 1
			if in {
				n++
			}
			if had[slug] && !in {
				t.Fatalf("at %d %% the sandbox %s is moved out", percent, slug)
			}
			had[slug] = in
		}
		if got := float64(n) / sandboxes * 100; got < float64(percent)-1.5 || got > float64(percent)+1.5 {
			t.Errorf("at %d %% the share is %.1f %%", percent, got)
		}
	}
}

func TestRolloutSharesOfTwoProvidersAreIndependent(t *testing.T) {
	t.Parallel()
	r := newRollout(map[string]int{"pve-lxc": 50, "pve-vm": 50})
	before := map[string]bool{}
	for i := range 1000 {
		slug := fmt.Sprint(i)
		before[slug] = strings.Contains(strings.Join(r.chosen(slug), " "), "pve-vm")
	}
	r.set(map[string]int{"pve-lxc": 10, "pve-vm": 50})
	for slug, was := range before {
		if is := strings.Contains(strings.Join(r.chosen(slug), " "), "pve-vm"); is != was {
			t.Fatalf("%s was moved by the other provider's share", slug)
		}
	}
}

func TestRolloutStopsItselfWhenStartsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, morph := fake("pve-vm"), fake("morph")
		m, _ := newManager(t, Config{Primary: "morph", Rollout: map[string]int{"pve-vm": 20}}, vm, morph)
		m.rollout.set(map[string]int{"pve-vm": 100})
		events, stop := m.Events().Listen()
		defer stop()
		// Every second one fails, so that the breaker stays closed.
		for i := range window {
			if i%2 == 0 {
				vm.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 1)
			}
			if _, err := m.Start(t.Context(), StartRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		status := m.Providers(t.Context())[0]
		if status.Share != 20 || !strings.Contains(status.Stopped, "back from 100 % to 20 %") {
			t.Errorf("got %+v", status)
		}
		if got := testutil.ToFloat64(m.metrics.rolloutsStopped.WithLabelValues("pve-vm")); got != 1 {
			t.Errorf("%v rollouts are counted as stopped", got)
		}
		warned := false
		for len(events) > 0 {
			e := <-events
			warned = warned || e.Kind == Warning && strings.Contains(e.Detail, "rollout stopped")
		}
		if !warned {
			t.Error("no event tells")
		}
	})
}

func TestRolloutIsNotStoppedByACallersMistakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "morph", Rollout: map[string]int{"pve-vm": 100}}, vm, fake("morph"))
		for range 2 * enough {
			if _, err := m.Start(t.Context(), StartRequest{Preset: "nosuch"}); err == nil {
				t.Fatal("started")
			}
		}
		if status := m.Providers(t.Context())[0]; status.Share != 100 {
			t.Errorf("got %+v", status)
		}
	})
}

func TestRolloutSurvivesSomeFailures(t *testing.T) {
	t.Parallel()
	r := newRollout(map[string]int{"pve-vm": 50})
	for i := range 200 {
		if stopped := r.note("pve-vm", i%10 == 0); stopped != "" {
			t.Fatalf("after %d: %s", i, stopped)
		}
	}
}
