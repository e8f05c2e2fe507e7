package sandboxtest

import (
	"context"
	"errors"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// call is one method of the contract, made with some context.
type call struct {
	name string
	make func(context.Context) (sandbox.Instance, error)
}

// calls are those that every provider passes on to its backend.
func (f *fixture) calls(in sandbox.Instance) []call {
	p := f.Provider
	list := []call{
		{"Get", func(ctx context.Context) (sandbox.Instance, error) { return p.Get(ctx, in.ID) }},
		{"Find", func(ctx context.Context) (sandbox.Instance, error) { return p.Find(ctx, in.Slug) }},
		{"List", func(ctx context.Context) (sandbox.Instance, error) {
			list, err := p.List(ctx)
			return sandbox.Instance{Slug: firstSlug(list)}, err
		}},
		{"Resume", func(ctx context.Context) (sandbox.Instance, error) { return p.Resume(ctx, in.ID) }},
	}
	without := func(f func(context.Context, sandbox.ID) error) func(context.Context) (sandbox.Instance, error) {
		return func(ctx context.Context) (sandbox.Instance, error) { return in, f(ctx, in.ID) }
	}
	if f.h.Capabilities.Suspend {
		list = append(list, call{"Pause", without(p.Pause)})
	}
	if f.h.Capabilities.Create {
		list = append(list, call{"Stop", without(p.Stop)}, call{"Delete", without(p.Delete)},
			call{"Start", func(ctx context.Context) (sandbox.Instance, error) { return p.Start(ctx, f.request("late")) }})
	}
	return list
}

func firstSlug(list []sandbox.Instance) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].Slug
}

func aSlowProviderReturnsSoonAfterTheDeadline(f *fixture) {
	if f.Slow == nil {
		f.t.Skip("the backend can't be slow")
	}
	in := f.instance()
	f.Slow(time.Minute)
	defer f.Slow(0)
	for _, c := range f.calls(in) {
		f.wantCut(c.name, f.cutShort(c, 50*time.Millisecond), context.DeadlineExceeded)
	}
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	if got := f.Provider.Health(ctx); got.OK || got.Reason == "" {
		f.t.Errorf("Health: got %+v, want not OK and a reason", got)
	}
}

// cutShort makes a call with a deadline, and doesn't wait for one that
// overlooks it.
func (f *fixture) cutShort(c call, deadline time.Duration) error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, deadline)
	defer cancel()
	returned := make(chan error, 1)
	go func() {
		_, err := c.make(ctx)
		returned <- err
	}()
	late := time.NewTimer(deadline + f.h.Promptness)
	defer late.Stop()
	select {
	case err := <-returned:
		return err
	case <-late.C:
		f.t.Fatalf("%s has not returned %s after its deadline", c.name, f.h.Promptness)
		return nil
	}
}

func anEndedContextIsHonoured(f *fixture) {
	if f.Slow == nil {
		f.t.Skip("the provider doesn't block")
	}
	in := f.instance()
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for _, c := range f.calls(in) {
		_, err := c.make(ctx)
		f.wantCut(c.name, err, context.Canceled)
	}
	f.wantState(in.ID, sandbox.Running)
}

func (f *fixture) wantCut(name string, err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Errorf("%s: %v does not wrap %v", name, err, want)
		return
	}
	if got := sandbox.KindOf(err); got != sandbox.KindUnavailable {
		f.t.Errorf("%s: got %s (%v), want %s", name, got, err, sandbox.KindUnavailable)
	}
}

func garbageIsUnavailable(f *fixture) {
	if f.Garbage == nil {
		f.t.Skip("the backend can't answer garbage")
	}
	in := f.instance()
	f.Garbage(true)
	for _, c := range f.calls(in) {
		_, err := c.make(f.ctx)
		if got := sandbox.KindOf(err); err == nil || got != sandbox.KindUnavailable {
			f.t.Errorf("%s: got %s (%v), want %s", c.name, got, err, sandbox.KindUnavailable)
		}
	}
	if got := f.Provider.Health(f.ctx); got.OK || got.Reason == "" {
		f.t.Errorf("Health: got %+v, want not OK and a reason", got)
	}
	f.Garbage(false)
	f.wantState(in.ID, sandbox.Running)
}
