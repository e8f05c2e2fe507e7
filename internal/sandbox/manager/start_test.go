package manager

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestStartTellsWhoMadeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		events, stop := m.Events().Listen()
		defer stop()
		r, err := m.Start(t.Context(), StartRequest{WorkloadType: "ephemeral"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Provider != "pve-lxc" || r.State != sandbox.Running || !strings.HasPrefix(r.Slug, "pvelxc-") || len(r.Slug) != len("pvelxc-")+8 {
			t.Errorf("got %+v", r)
		}
		if e := <-events; e.Kind != Started || !strings.Contains(e.Detail, "RAM is lost") {
			t.Errorf("got the event %+v", e)
		}
		if _, err := m.Start(t.Context(), StartRequest{Slug: r.Slug}); err == nil || !strings.Contains(err.Error(), "is in use") {
			t.Errorf("the slug again: %v", err)
		}
		if _, ok := errors.AsType[*ConflictError](conflict("")); !ok {
			t.Error("not a conflict")
		}
	})
}

// A slug that a provider has, although no record does, is in use too.
func TestStartFindsASlugThatAProviderHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("morph"), fake("docker")
		b.Put(sandbox.Instance{Slug: "taken"})
		m, _ := newManager(t, Config{Primary: "morph"}, a, b)
		_, err := m.Start(t.Context(), StartRequest{Slug: "taken"})
		if _, ok := errors.AsType[*ConflictError](err); !ok || a.Calls(sandboxtest.OpStart) != 0 {
			t.Errorf("got %v after %d starts", err, a.Calls(sandboxtest.OpStart))
		}
	})
}

func TestStartFailsOver(t *testing.T) {
	t.Parallel()
	for _, kind := range []sandbox.Kind{sandbox.KindUnavailable, sandbox.KindQuota, sandbox.KindPermission, sandbox.KindInvalid} {
		t.Run(kind.Label(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := fake("pve-vm"), fake("morph")
				a.Fail(sandboxtest.OpStart, kind, 0)
				m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
				r, err := m.Start(t.Context(), StartRequest{Slug: "box"})
				if err != nil || r.Provider != "morph" || r.Slug != "box" {
					t.Errorf("got %+v, %v", r, err)
				}
			})
		})
	}
}

// What the catalogue refuses could be neither used nor deleted.
func TestASandboxThatCannotBeRecordedIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("morph")
		m, _ := newManager(t, Config{Primary: "morph"}, a)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box", WorkloadType: strings.Repeat("x", 8<<10)}); err == nil {
			t.Error("the start succeeded")
		}
		time.Sleep(time.Minute)
		if left := a.Instances(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

func TestASlugMayBeUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, a)
		for range 3 {
			r, err := m.Start(t.Context(), StartRequest{Slug: "box"})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := m.Look(t.Context(), "box"); err != nil || got.ID != r.ID || got.Generation == 0 {
				t.Errorf("got %+v, %v", got, err)
			}
			if err := m.Delete(t.Context(), "box"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestASlugOfAnotherProviderIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, a)
		for _, slug := range []string{"pvelxc-a", "morphvm-a", "cmux-150"} {
			if _, err := m.Start(t.Context(), StartRequest{Slug: slug}); sandbox.KindOf(err) != sandbox.KindInvalid || a.Calls(sandboxtest.OpStart) != 0 {
				t.Errorf("%s: %v", slug, err)
			}
		}
	})
}

func TestStartSaysWhyEachProviderFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.FailWith(sandboxtest.OpStart, sandbox.Errorf(sandbox.KindUnavailable, "start", "pve-vm", "no route"), 0)
		b.FailWith(sandboxtest.OpStart, sandbox.Errorf(sandbox.KindQuota, "start", "morph", "unpaid"), 0)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		_, err := m.Start(t.Context(), StartRequest{})
		if err == nil || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "unpaid") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
		if n := len(all(t, m)); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestBreakerPassesAProviderOverAndTriesItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, badStarts)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		start := func() string {
			r, err := m.Start(t.Context(), StartRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return r.Provider
		}
		for range badStarts + 3 {
			if got := start(); got != "morph" {
				t.Fatalf("made by %s", got)
			}
		}
		if got := a.Calls(sandboxtest.OpStart); got != badStarts {
			t.Errorf("%d starts were tried, want %d", got, badStarts)
		}
		time.Sleep(breakerPause + time.Second)
		if got := start(); got != "pve-vm" {
			t.Errorf("after the pause: made by %s", got)
		}
	})
}

// The primary dies during 200 starts: each ends at one provider, and what the
// primary had half made is removed.
func TestFailoverUnderLoadDoublesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		a.SetLatency(50 * time.Millisecond)
		b.SetLatency(80 * time.Millisecond)
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		var starts sync.WaitGroup
		var mu sync.Mutex
		made := map[string]string{}
		for i := range 200 {
			starts.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if i == 100 {
					a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 0)
				}
				r, err := m.Start(t.Context(), StartRequest{Slug: fmt.Sprintf("box-%d", i)})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("start %d: %v", i, err)
					return
				}
				made[r.Slug] = r.Provider
			})
		}
		starts.Wait()
		time.Sleep(time.Hour) // whatever was unclear has been looked for
		count := map[string]int{}
		for _, f := range []*sandboxtest.Fake{a, b} {
			for _, in := range f.Instances() {
				count[in.Slug]++
				if made[in.Slug] != in.Provider {
					t.Errorf("%s is at %s too", in.Slug, in.Provider)
				}
			}
		}
		if len(made) != 200 || len(count) != 200 {
			t.Errorf("%d starts succeeded, %d sandboxes exist", len(made), len(count))
		}
	})
}

func TestWhatAFailedStartLeftIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := fake("pve-vm"), fake("morph")
		named := a.Put(sandbox.Instance{Slug: "named", Marked: true})
		a.FailWith(sandboxtest.OpStart, &sandbox.Error{Kind: sandbox.KindUnavailable, Op: "start", Err: &sandbox.Leftover{ID: named.ID}}, 1)
		a.Fail(sandboxtest.OpDelete, sandbox.KindUnavailable, 3) // it is tried again
		m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
		if _, err := m.Start(t.Context(), StartRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(m.metrics.leftovers); got != 1 {
			t.Errorf("%v leftovers are known", got)
		}
		time.Sleep(10 * time.Minute)
		if left := a.Instances(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if got := testutil.ToFloat64(m.metrics.leftovers); got != 0 {
			t.Errorf("%v leftovers are still known", got)
		}
	})
}

// The answer of a create is lost and the instance appears later.
func TestAStartOfUnknownOutcomeIsLookedFor(t *testing.T) {
	t.Parallel()
	for _, marked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := fake("pve-vm"), fake("morph")
			a.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 1)
			m, _ := newManager(t, Config{Primary: "pve-vm", Fallback: []string{"morph"}}, a, b)
			if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			a.Put(sandbox.Instance{Slug: "box", Marked: marked})
			time.Sleep(10 * time.Minute)
			if left := a.Instances(); len(left) == 0 != marked {
				t.Errorf("marked %v: left %+v", marked, left)
			}
		})
	}
}

func TestANoProviderErrorNamesTheMissingKey(t *testing.T) {
	t.Parallel()
	vm := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-vm", Capabilities: &sandbox.Capabilities{RAMSnapshot: true}})
	m, _ := newManager(t, Config{Primary: "pve-vm", CreateKeys: map[string]string{"pve-vm": "providers.pve.vm.templates"}}, vm)
	if _, err := m.Start(t.Context(), StartRequest{}); err == nil || !strings.Contains(err.Error(), "set providers.pve.vm.templates") {
		t.Errorf("got %v", err)
	}
}
