package sandboxtest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// breakage is a provider that breaks one promise: what is set replaces the
// fake's own method.
type breakage struct {
	*sandboxtest.Fake
	start  func(context.Context, sandbox.StartRequest) (sandbox.Instance, error)
	pause  func(context.Context, sandbox.ID) error
	resume func(context.Context, sandbox.ID) (sandbox.Instance, error)
	stop   func(context.Context, sandbox.ID) error
	delete func(context.Context, sandbox.ID) error
	get    func(context.Context, sandbox.ID) (sandbox.Instance, error)
	list   func(context.Context) ([]sandbox.Instance, error)
	health func(context.Context) sandbox.Health
}

func (b *breakage) Start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	if b.start != nil {
		return b.start(ctx, req)
	}
	return b.Fake.Start(ctx, req)
}

func (b *breakage) Pause(ctx context.Context, id sandbox.ID) error {
	if b.pause != nil {
		return b.pause(ctx, id)
	}
	return b.Fake.Pause(ctx, id)
}

func (b *breakage) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	if b.resume != nil {
		return b.resume(ctx, id)
	}
	return b.Fake.Resume(ctx, id)
}

func (b *breakage) Stop(ctx context.Context, id sandbox.ID) error {
	if b.stop != nil {
		return b.stop(ctx, id)
	}
	return b.Fake.Stop(ctx, id)
}

func (b *breakage) Delete(ctx context.Context, id sandbox.ID) error {
	if b.delete != nil {
		return b.delete(ctx, id)
	}
	return b.Fake.Delete(ctx, id)
}

func (b *breakage) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	if b.get != nil {
		return b.get(ctx, id)
	}
	return b.Fake.Get(ctx, id)
}

func (b *breakage) List(ctx context.Context) ([]sandbox.Instance, error) {
	if b.list != nil {
		return b.list(ctx)
	}
	return b.Fake.List(ctx)
}

func (b *breakage) Health(ctx context.Context) sandbox.Health {
	if b.health != nil {
		return b.health(ctx)
	}
	return b.Fake.Health(ctx)
}

// broken are providers that break one promise each, by the promise's name and
// a word on how.
var broken = map[string]func(b *breakage){
	"StartTwiceWithOneKeyMakesOne doubles": func(b *breakage) {
		var n atomic.Int32
		b.start = func(_ context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
			n.Add(1)
			return b.Put(sandbox.Instance{Slug: req.Slug, Marked: true}), nil
		}
	},
	"StartWithASlugInUseIsBusy takes it over": func(b *breakage) {
		b.start = func(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
			req.Key = "the same"
			return b.Fake.Start(ctx, req)
		}
	},
	"StartedInstancesRunAndAreMarked without mark": func(b *breakage) {
		b.start = func(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
			in, err := b.Fake.Start(ctx, req)
			in.Marked = false
			return in, err
		}
	},
	"ACancelledStartLeavesNothingOrSaysWhat leaves it": func(b *breakage) {
		b.start = func(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
			in, err := b.Fake.Start(context.WithoutCancel(ctx), req)
			if ctx.Err() != nil {
				return sandbox.Instance{}, sandbox.Errorf(sandbox.KindUnavailable, "start", req.Slug, "%w", ctx.Err())
			}
			return in, err
		}
	},
	"ASlowProviderReturnsSoonAfterTheDeadline forgets the context": func(b *breakage) {
		b.get = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			return b.Fake.Get(context.WithoutCancel(ctx), id)
		}
	},
	"AnEndedContextIsHonoured hides its end": func(b *breakage) {
		b.stop = func(ctx context.Context, id sandbox.ID) error {
			if b.Fake.Stop(ctx, id) != nil {
				return sandbox.Errorf(sandbox.KindUnavailable, "stop", string(id), "something went wrong")
			}
			return nil
		}
	},
	"GarbageIsUnavailable becomes a zero instance": func(b *breakage) {
		b.get = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			in, err := b.Fake.Get(ctx, id)
			if sandbox.KindOf(err) == sandbox.KindUnavailable {
				return sandbox.Instance{}, nil
			}
			return in, err
		}
	},
	"GarbageIsUnavailable becomes not found": func(b *breakage) {
		b.list = func(ctx context.Context) ([]sandbox.Instance, error) {
			list, err := b.Fake.List(ctx)
			if sandbox.KindOf(err) == sandbox.KindUnavailable {
				return nil, nil
			}
			return list, err
		}
	},
	"AVanishedInstanceIsNotFound says unavailable": func(b *breakage) {
		b.resume = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			in, err := b.Fake.Resume(ctx, id)
			if sandbox.KindOf(err) == sandbox.KindNotFound {
				return in, sandbox.Errorf(sandbox.KindUnavailable, "resume", string(id), "who?")
			}
			return in, err
		}
	},
	"ResumeOfARunningInstanceSucceeds refuses": func(b *breakage) {
		b.resume = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			if in, err := b.Fake.Get(ctx, id); err == nil && in.State == sandbox.Running {
				return in, sandbox.Errorf(sandbox.KindBusy, "resume", string(id), "already running")
			}
			return b.Fake.Resume(ctx, id)
		}
	},
	"ResumeWhilePausingWaitsThenResumes comes too early": func(b *breakage) {
		b.resume = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			for _, in := range b.Instances() {
				if in.ID == id && in.State == sandbox.Pausing {
					return in, nil
				}
			}
			return b.Fake.Resume(ctx, id)
		}
	},
	"PauseKeepsRAMOrStops only stops": func(b *breakage) {
		b.pause = b.Fake.Stop
	},
	"PauseOfASleepingInstanceSucceeds refuses": func(b *breakage) {
		b.pause = func(ctx context.Context, id sandbox.ID) error {
			if in, err := b.Fake.Get(ctx, id); err == nil && in.State != sandbox.Running {
				return sandbox.Errorf(sandbox.KindBusy, "pause", string(id), "not running")
			}
			return b.Fake.Pause(ctx, id)
		}
	},
	"StopOfASleepingInstanceGivesItsRAMUp leaves it": func(b *breakage) {
		b.stop = func(ctx context.Context, id sandbox.ID) error {
			if in, err := b.Fake.Get(ctx, id); err == nil && in.State == sandbox.Paused {
				return nil
			}
			return b.Fake.Stop(ctx, id)
		}
	},
	"GenerationNeverGoesBack stands still": func(b *breakage) {
		b.resume = func(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
			in, err := b.Fake.Resume(ctx, id)
			in.Generation = 1
			return in, err
		}
	},
	"DeleteOfAGoneInstanceSucceeds refuses": func(b *breakage) {
		b.delete = func(ctx context.Context, id sandbox.ID) error {
			if _, err := b.Fake.Get(ctx, id); err != nil {
				return err
			}
			return b.Fake.Delete(ctx, id)
		}
	},
	"DeleteRemovesARunningInstance keeps it": func(b *breakage) {
		b.delete = func(context.Context, sandbox.ID) error { return nil }
	},
	"HealthSaysWhyNot keeps the reason": func(b *breakage) {
		b.health = func(ctx context.Context) sandbox.Health { return sandbox.Health{OK: b.Fake.Health(ctx).OK} }
	},
}

// brokenEnv names the provider that a run of this binary tests.
const brokenEnv = "SANDBOXTEST_BROKEN"

// TestTheSuiteCatchesBrokenProviders runs the suite in a process of its own on
// each: it must fail where the promise is broken.
func TestTheSuiteCatchesBrokenProviders(t *testing.T) {
	t.Parallel()
	if os.Getenv(brokenEnv) != "" {
		t.Skip("this is one of the runs")
	}
	for name := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise, _, _ := strings.Cut(name, " ")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenProvider$/^"+promise+"$", "-test.v", "-test.timeout=30s")
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBrokenProvider/"+promise) {
				t.Errorf("the suite let it pass: %v\n%s", err, out)
			}
		})
	}
}

// TestBrokenProvider is a run of the test above.
func TestBrokenProvider(t *testing.T) { //nolint:paralleltest // the suite's subtests are
	spoil, ok := broken[os.Getenv(brokenEnv)]
	if !ok {
		t.Skip("only a part of TestTheSuiteCatchesBrokenProviders")
	}
	caps := sandbox.Capabilities{RAMSnapshot: true, Create: true, Suspend: true}
	h := harness(sandboxtest.FakeConfig{}, caps)
	sound := h.New
	h.Patience = 10 * time.Second
	h.New = func(t *testing.T) sandboxtest.Backend {
		b := sound(t)
		p := &breakage{Fake: b.Provider.(*sandboxtest.Fake)}
		p.SetLatency(20 * time.Millisecond) // long enough to be seen between states
		spoil(p)
		b.Provider = p
		return b
	}
	sandboxtest.Test(t, h)
}
