package manager

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// Asking for what is so already changes nothing and tells nobody.
func TestARepeatedOperationTellsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _ := newManager(t, Config{Primary: "pve-vm"}, fake("pve-vm"))
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		events, stop := m.Events().Listen()
		defer stop()
		before, err := m.Resume(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := m.Resume(t.Context(), "box"); err != nil || again.Generation != before.Generation {
			t.Errorf("got %+v, %v", again, err)
		}
		if _, err := m.Boot(t.Context(), "box", true); err == nil {
			t.Error("a running sandbox is booted")
		}
		if n := len(events); n != 0 {
			t.Errorf("%d events of a running sandbox", n)
		}
		for _, operation := range []func(context.Context, string) (Record, error){
			func(ctx context.Context, slug string) (Record, error) {
				return m.Pause(ctx, slug, catalog.PausedByAPI, false)
			},
			m.Stop,
		} {
			for range 2 {
				if _, err := operation(t.Context(), "box"); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(events); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			<-events
		}
	})
}

func TestPauseKeepsRAMOrAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		kept, err := m.Start(t.Context(), StartRequest{Slug: "kept"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Pause(t.Context(), "kept", catalog.PausedByAPI, false)
		if err != nil || r.State != sandbox.Paused || r.PausedBy != catalog.PausedByAPI || !r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
		if r, err = m.Resume(t.Context(), "kept"); err != nil || r.State != sandbox.Running || !r.RAMPreserved || r.PausedBy != catalog.PausedByNobody || r.Generation <= kept.Generation {
			t.Errorf("got %+v, %v", r, err)
		}

		if _, err := m.Start(t.Context(), StartRequest{Slug: "lost", Preferred: "pve-lxc"}); err != nil {
			t.Fatal(err)
		}
		if _, err = m.Pause(t.Context(), "lost", catalog.PausedByAPI, false); err == nil || lxc.Calls(sandboxtest.OpPause) != 0 {
			t.Errorf("got %v after %d pauses", err, lxc.Calls(sandboxtest.OpPause))
		}
		events, stop := m.Events().Listen()
		defer stop()
		if r, err = m.Pause(t.Context(), "lost", catalog.PausedByAPI, true); err != nil || r.State != sandbox.Stopped || r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
		if e := <-events; !strings.Contains(e.Detail, "RAM was not preserved") {
			t.Errorf("got the event %+v", e)
		}
		if r, err = m.Resume(t.Context(), "lost"); err != nil || r.State != sandbox.Running || r.RAMPreserved {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

func TestBootColdGivesSavedRAMUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Pause(t.Context(), "box", catalog.PausedByAPI, false); err != nil {
			t.Fatal(err)
		}
		r, err := m.Boot(t.Context(), "box", true)
		if err != nil || r.RAMPreserved || r.State != sandbox.Running || vm.Calls(sandboxtest.OpStop) != 1 {
			t.Errorf("got %+v, %v after %d stops", r, err, vm.Calls(sandboxtest.OpStop))
		}
	})
}

func TestDeleteForgetsAndAVanishedSandboxIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		for _, slug := range []string{"a", "b"} {
			if _, err := m.Start(t.Context(), StartRequest{Slug: slug}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		r, err := m.Look(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		vm.Vanish(r.ID)
		if _, err := m.Resume(t.Context(), "b"); sandbox.KindOf(err) != sandbox.KindNotFound {
			t.Errorf("got %v", err)
		}
		for _, slug := range []string{"a", "b"} {
			if _, err := m.Look(t.Context(), slug); sandbox.KindOf(err) != sandbox.KindNotFound {
				t.Errorf("%s: %v", slug, err)
			}
		}
	})
}

func TestOperationsOnOneSandboxTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm := fake("pve-vm")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm)
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box"}); err != nil {
			t.Fatal(err)
		}
		vm.SetLatency(time.Second)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, err := m.Pause(t.Context(), "box", catalog.PausedByAPI, false); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if _, err := m.Resume(t.Context(), "box"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r, err := m.Look(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		if in, err := vm.Get(t.Context(), r.ID); err != nil || in.State != r.State {
			t.Errorf("the record says %s, the provider %s, %v", r.State, in.State, err)
		}
	})
}
