package sandboxtest

import (
	"context"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Harness is what the suite needs to know about a provider.
type Harness struct {
	// Name and Capabilities are what the provider must answer.
	Name         string
	Capabilities sandbox.Capabilities
	// New makes a provider with a backend of its own. It is called once for
	// each subtest; what it makes is closed by t.Cleanup.
	New func(t *testing.T) Backend
	// Patience is how long an operation may take in the subtests that don't
	// cut it short; 0 is 10 s.
	Patience time.Duration
	// Promptness is how soon after the end of its context a call must return;
	// 0 is 1 s.
	Promptness time.Duration
}

// Backend is a provider and the levers of what stands behind it. A lever that
// is nil leaves out the subtests that pull it.
type Backend struct {
	Provider sandbox.Provider
	// Slug turns "a" and "b" into slugs that fit the provider's naming
	// convention; nil leaves them as they are.
	Slug func(name string) string
	// Existing are slugs that are there from the beginning. A provider that
	// can't create needs at least one.
	Existing []string
	// Slow makes each answer of the backend late by d; 0 is at once again.
	Slow func(d time.Duration)
	// Garbage makes the backend answer what nobody understands.
	Garbage func(on bool)
	// Vanish removes an instance behind the provider's back.
	Vanish func(id sandbox.ID)
	// Break makes the backend refuse work, so that Health must say no.
	Break func()
	// Count is the number of instances in the backend, seen without the
	// provider and whatever their state is.
	Count func() int
}

// fixture is one subtest's provider and its deadline.
type fixture struct {
	Backend
	h   *Harness
	t   *testing.T
	ctx context.Context
}

func (h *Harness) fixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Patience)
	t.Cleanup(cancel)
	return &fixture{Backend: h.New(t), h: h, t: t, ctx: ctx}
}

func (f *fixture) slug(name string) string {
	if f.Slug == nil {
		return name
	}
	return f.Slug(name)
}

func (f *fixture) request(name string) sandbox.StartRequest {
	return sandbox.StartRequest{Slug: f.slug(name), WorkloadType: "dev", Key: "key-of-" + name}
}

// instance is a running one: started where that can be done, else the first
// that exists.
func (f *fixture) instance() sandbox.Instance {
	f.t.Helper()
	if !f.h.Capabilities.Create {
		if len(f.Existing) == 0 {
			f.t.Fatal("the harness of a provider that can't create names no existing instance")
		}
		in, err := f.Provider.Find(f.ctx, f.Existing[0])
		f.must(err)
		return in
	}
	in, err := f.Provider.Start(f.ctx, f.request("a"))
	f.must(err)
	return in
}

func (f *fixture) get(id sandbox.ID) sandbox.Instance {
	f.t.Helper()
	in, err := f.Provider.Get(f.ctx, id)
	f.must(err)
	return in
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// asleep is the state that Pause leads to.
func (f *fixture) asleep() sandbox.State {
	if f.h.Capabilities.RAMSnapshot {
		return sandbox.Paused
	}
	return sandbox.Stopped
}

func (f *fixture) wantState(id sandbox.ID, want sandbox.State) {
	f.t.Helper()
	if got := f.get(id); got.State != want {
		f.t.Errorf("state of %s: got %s (%s), want %s", id, got.State, got.Reason, want)
	}
}

// wantKind checks an error's kind, and that it has one.
func (f *fixture) wantKind(err error, want sandbox.Kind) {
	f.t.Helper()
	switch got := sandbox.KindOf(err); {
	case err == nil:
		f.t.Errorf("no error, want %s", want)
	case got != want:
		f.t.Errorf("got %s (%v), want %s", got, err, want)
	}
}
