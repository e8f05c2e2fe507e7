package sandboxtest

import (
	"context"
	"slices"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Name is the configured name.
func (f *Fake) Name() string { return f.name }

// Capabilities are the configured ones.
func (f *Fake) Capabilities() sandbox.Capabilities { return f.caps }

// Start makes an instance, which is Starting for one latency.
func (f *Fake) Start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	if err := f.enter(ctx, OpStart); err != nil {
		return sandbox.Instance{}, err
	}
	if !f.caps.Create || !slices.Contains(f.presets, req.Preset) {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindInvalid, "start", req.Slug, "no preset %q here", req.Preset)
	}
	f.mu.Lock()
	for id, in := range f.instances {
		switch {
		case req.Key != "" && in.key == req.Key:
			f.mu.Unlock()
			return f.settled(ctx, OpStart, id)
		case in.Slug == req.Slug:
			f.mu.Unlock()
			return sandbox.Instance{}, sandbox.Errorf(sandbox.KindBusy, "start", req.Slug, "the slug is in use by %s", id)
		}
	}
	id := f.put(sandbox.Instance{Slug: req.Slug, WorkloadType: req.WorkloadType, State: sandbox.Starting, Marked: true, Created: time.Now()}, req.Key).ID
	latency := f.latency
	f.mu.Unlock()
	if err := f.wait(ctx, OpStart, latency); err != nil {
		f.Vanish(id)
		return sandbox.Instance{}, err
	}
	return f.become(OpStart, id, sandbox.Running)
}

// Pause puts an instance to sleep, and stops it where the capabilities have no
// RAM snapshot.
func (f *Fake) Pause(ctx context.Context, id sandbox.ID) error {
	to, via := sandbox.Paused, sandbox.Pausing
	if !f.caps.RAMSnapshot {
		to, via = sandbox.Stopped, sandbox.Stopping
	}
	_, err := f.move(ctx, OpPause, id, via, to)
	return err
}

// Resume wakes an instance.
func (f *Fake) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	return f.move(ctx, OpResume, id, sandbox.Resuming, sandbox.Running)
}

// Stop ends an instance.
func (f *Fake) Stop(ctx context.Context, id sandbox.ID) error {
	_, err := f.move(ctx, OpStop, id, sandbox.Stopping, sandbox.Stopped)
	return err
}

// Delete removes an instance.
func (f *Fake) Delete(ctx context.Context, id sandbox.ID) error {
	if err := f.enter(ctx, OpDelete); err != nil {
		return err
	}
	f.Vanish(id)
	return nil
}

// Get returns an instance.
func (f *Fake) Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	if err := f.enter(ctx, OpGet); err != nil {
		return sandbox.Instance{}, err
	}
	return f.look(OpGet, id)
}

// Find returns the instance with a slug.
func (f *Fake) Find(ctx context.Context, slug string) (sandbox.Instance, error) {
	if err := f.enter(ctx, OpFind); err != nil {
		return sandbox.Instance{}, err
	}
	for _, in := range f.Instances() {
		if in.Slug == slug {
			return in, nil
		}
	}
	return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, "find", slug, "nobody has that slug")
}

// List returns all instances.
func (f *Fake) List(ctx context.Context) ([]sandbox.Instance, error) {
	if err := f.enter(ctx, OpList); err != nil {
		return nil, err
	}
	return f.Instances(), nil
}

// Health is what [Fake.SetHealth] said, unless the call itself fails.
func (f *Fake) Health(ctx context.Context) sandbox.Health {
	if err := f.enter(ctx, OpHealth); err != nil {
		return sandbox.Health{Reason: err.Error()}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health
}

// move takes a settled instance to a state by way of another, which lasts one
// latency.
func (f *Fake) move(ctx context.Context, op Op, id sandbox.ID, via, to sandbox.State) (sandbox.Instance, error) {
	if err := f.enter(ctx, op); err != nil {
		return sandbox.Instance{}, err
	}
	if _, err := f.settled(ctx, op, id); err != nil {
		return sandbox.Instance{}, err
	}
	f.mu.Lock()
	in, ok := f.instances[id]
	if !ok || in.State == to {
		f.mu.Unlock()
		return f.look(op, id)
	}
	if to == sandbox.Paused && in.State != sandbox.Running {
		defer f.mu.Unlock()
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindBusy, string(op), string(id), "it is %s", in.State)
	}
	from, latency := in.State, f.latency
	in.State = via
	f.announce()
	f.mu.Unlock()
	if err := f.wait(ctx, op, latency); err != nil {
		_, _ = f.become(op, id, from)
		return sandbox.Instance{}, err
	}
	return f.become(op, id, to)
}

// settled waits until an instance is on its way nowhere.
func (f *Fake) settled(ctx context.Context, op Op, id sandbox.ID) (sandbox.Instance, error) {
	for {
		f.mu.Lock()
		in, ok := f.instances[id]
		changed := f.changed
		if !ok {
			f.mu.Unlock()
			return f.look(op, id)
		}
		view := in.view()
		f.mu.Unlock()
		switch view.State {
		case sandbox.Starting, sandbox.Pausing, sandbox.Resuming, sandbox.Stopping:
		default:
			return view, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return sandbox.Instance{}, f.cut(ctx, op)
		}
	}
}

func (f *Fake) become(op Op, id sandbox.ID, state sandbox.State) (sandbox.Instance, error) {
	f.mu.Lock()
	if in, ok := f.instances[id]; ok {
		if state == sandbox.Running && in.State != sandbox.Starting {
			f.generation++
			in.Generation = f.generation
		}
		in.State = state
		f.announce()
	}
	f.mu.Unlock()
	return f.look(op, id)
}

func (f *Fake) look(op Op, id sandbox.ID) (sandbox.Instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in, ok := f.instances[id]
	if !ok {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, string(op), string(id), "no such instance")
	}
	return in.view(), nil
}
