package sandboxtest

import (
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox"
)

func nameAndCapabilitiesAreConstant(f *fixture) {
	for range 2 {
		if got := f.Provider.Name(); got != f.h.Name {
			f.t.Errorf("Name: got %q, want %q", got, f.h.Name)
		}
		if diff := cmp.Diff(f.h.Capabilities, f.Provider.Capabilities()); diff != "" {
			f.t.Errorf("Capabilities (-want +got):\n%s", diff)
		}
		f.Provider.Health(f.ctx)
	}
}

func getFindAndListAgree(f *fixture) {
	in := f.instance()
	if in.Provider != f.h.Name || in.ID == "" || in.Slug == "" || in.State != sandbox.Running {
		f.t.Errorf("got %+v, want a running instance of %s with its id and slug", in, f.h.Name)
	}
	if diff := cmp.Diff(in, f.get(in.ID)); diff != "" {
		f.t.Errorf("Get (-first +got):\n%s", diff)
	}
	found, err := f.Provider.Find(f.ctx, in.Slug)
	f.must(err)
	if diff := cmp.Diff(in, found); diff != "" {
		f.t.Errorf("Find (-first +got):\n%s", diff)
	}
	listed, ok := f.listed(in.ID)
	if !ok {
		f.t.Fatalf("List has no %s", in.ID)
	}
	if listed.Slug != in.Slug || listed.State != in.State || listed.Marked != in.Marked || listed.Generation != in.Generation {
		f.t.Errorf("List: got %+v, want %+v", listed, in)
	}
}

// listed looks an instance up in List, and fails when it is there twice.
func (f *fixture) listed(id sandbox.ID) (sandbox.Instance, bool) {
	f.t.Helper()
	list, err := f.Provider.List(f.ctx)
	f.must(err)
	list = slices.DeleteFunc(list, func(in sandbox.Instance) bool { return in.ID != id })
	if len(list) > 1 {
		f.t.Errorf("List has %s %d times", id, len(list))
	}
	if len(list) == 0 {
		return sandbox.Instance{}, false
	}
	return list[0], true
}

func aRunningInstanceHasAnAddress(f *fixture) {
	in := f.instance()
	if in.Address != "" {
		if _, err := in.Upstream(39378); err != nil {
			f.t.Error(err)
		}
		return
	}
	if len(in.Ports) == 0 {
		f.t.Errorf("neither address nor ports in %+v", in)
	}
}

func anUnknownInstanceIsNotFound(f *fixture) {
	const id = "no-such-instance"
	_, err := f.Provider.Get(f.ctx, id)
	f.wantKind(err, sandbox.KindNotFound)
	_, err = f.Provider.Find(f.ctx, f.slug("nobody"))
	f.wantKind(err, sandbox.KindNotFound)
	_, err = f.Provider.Resume(f.ctx, id)
	f.wantKind(err, sandbox.KindNotFound)
	f.wantKind(f.Provider.Pause(f.ctx, id), sandbox.KindNotFound)
	f.wantKind(f.Provider.Stop(f.ctx, id), sandbox.KindNotFound)
	f.must(f.Provider.Delete(f.ctx, id))
}

func aVanishedInstanceIsNotFound(f *fixture) {
	if f.Vanish == nil {
		f.t.Skip("the backend can't lose an instance")
	}
	in := f.instance()
	f.Vanish(in.ID)
	_, err := f.Provider.Get(f.ctx, in.ID)
	f.wantKind(err, sandbox.KindNotFound)
	_, err = f.Provider.Find(f.ctx, in.Slug)
	f.wantKind(err, sandbox.KindNotFound)
	_, err = f.Provider.Resume(f.ctx, in.ID)
	f.wantKind(err, sandbox.KindNotFound)
	f.wantKind(f.Provider.Pause(f.ctx, in.ID), sandbox.KindNotFound)
	f.wantKind(f.Provider.Stop(f.ctx, in.ID), sandbox.KindNotFound)
	f.must(f.Provider.Delete(f.ctx, in.ID))
	if _, ok := f.listed(in.ID); ok {
		f.t.Error("List still has it")
	}
}

func deleteOfAGoneInstanceSucceeds(f *fixture) {
	if !f.h.Capabilities.Create {
		f.must(f.Provider.Delete(f.ctx, "gone"))
		return
	}
	in := f.instance()
	f.must(f.Provider.Delete(f.ctx, in.ID))
	f.must(f.Provider.Delete(f.ctx, in.ID))
	_, err := f.Provider.Get(f.ctx, in.ID)
	f.wantKind(err, sandbox.KindNotFound)
}

func concurrentReadsAreSafe(f *fixture) {
	in := f.instance()
	var all sync.WaitGroup
	for range 4 {
		for _, read := range []func() error{
			func() error { _, err := f.Provider.Get(f.ctx, in.ID); return err },
			func() error { _, err := f.Provider.Find(f.ctx, in.Slug); return err },
			func() error { _, err := f.Provider.List(f.ctx); return err },
			func() error { _, err := f.Provider.Resume(f.ctx, in.ID); return err },
			func() error { f.Provider.Health(f.ctx); return nil },
		} {
			all.Go(func() {
				if err := read(); err != nil {
					f.t.Error(err)
				}
			})
		}
	}
	all.Wait()
}

func healthIsWell(f *fixture) {
	if got := f.Provider.Health(f.ctx); !got.OK || got.Reason != "" {
		f.t.Errorf("got %+v, want OK without a reason", got)
	}
}

func healthSaysWhyNot(f *fixture) {
	if f.Break == nil {
		f.t.Skip("the backend can't break")
	}
	f.Break()
	if got := f.Provider.Health(f.ctx); got.OK || got.Reason == "" {
		f.t.Errorf("got %+v, want not OK and a reason", got)
	}
}
