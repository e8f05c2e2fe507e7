package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"cmux.sh/edge/internal/sandbox"
)

// maxActs is how often one operation is asked for when it shows no effect.
const maxActs = 3

// Pause freezes the container's processes; their RAM stays where it is. A
// stopped one has nothing to freeze and is left.
func (p *Provider) Pause(ctx context.Context, id sandbox.ID) error {
	_, err := p.drive(ctx, id, trusting, func(state sandbox.State) (done bool, act action) {
		switch state {
		case sandbox.Paused, sandbox.Stopped:
			return true, nil
		case sandbox.Running:
			return false, func(ctx context.Context) error {
				_, err := p.engine.ContainerPause(ctx, string(id), client.ContainerPauseOptions{})
				return err
			}
		}
		return false, nil
	})
	if err != nil {
		return fail(ctx, "pause", string(id), err)
	}
	return nil
}

// Resume unfreezes the container, or starts it when it is stopped.
func (p *Provider) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	in, err := p.run(ctx, id)
	if err != nil {
		return sandbox.Instance{}, fail(ctx, "resume", string(id), err)
	}
	return in, nil
}

// run brings a container to Running from wherever it is.
func (p *Provider) run(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	return p.drive(ctx, id, looking, func(state sandbox.State) (done bool, act action) {
		switch state {
		case sandbox.Running:
			return true, nil
		case sandbox.Paused:
			return false, func(ctx context.Context) error {
				_, err := p.engine.ContainerUnpause(ctx, string(id), client.ContainerUnpauseOptions{})
				return err
			}
		case sandbox.Stopped, sandbox.Starting: // also one that was made and never started
			return false, func(ctx context.Context) error {
				_, err := p.engine.ContainerStart(ctx, string(id), client.ContainerStartOptions{})
				return err
			}
		}
		return false, nil
	})
}

// Stop ends the container's processes, frozen ones too, and keeps its disk.
func (p *Provider) Stop(ctx context.Context, id sandbox.ID) error {
	grace := int(p.cfg.StopGrace.Seconds())
	_, err := p.drive(ctx, id, trusting, func(state sandbox.State) (done bool, act action) {
		switch state {
		case sandbox.Stopped:
			return true, nil
		case sandbox.Running, sandbox.Paused, sandbox.Starting:
			return false, func(ctx context.Context) error {
				_, err := p.engine.ContainerStop(ctx, string(id), client.ContainerStopOptions{Timeout: &grace})
				return err
			}
		}
		return false, nil
	})
	if err != nil {
		return fail(ctx, "stop", string(id), err)
	}
	return nil
}

// Delete ends the container and removes it with its anonymous volumes.
func (p *Provider) Delete(ctx context.Context, id sandbox.ID) error {
	if err := p.remove(ctx, id); err != nil {
		return fail(ctx, "delete", string(id), err)
	}
	return nil
}

func (p *Provider) remove(ctx context.Context, id sandbox.ID) error {
	for {
		if _, err := p.get(ctx, id); gone(err) || errors.Is(err, errNoSuchID) {
			return nil
		} else if err != nil {
			return err
		}
		_, err := p.engine.ContainerRemove(ctx, string(id), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		// A conflict is somebody else's removal under way.
		if err != nil && !gone(err) && !errdefs.IsConflict(err) {
			return err
		}
		if err == nil {
			p.seen.forget(id)
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// action asks the Engine for something once.
type action func(ctx context.Context) error

// trust says what follows an action that the Engine reports as done.
type trust bool

const (
	// trusting ends there: a second look could meet what somebody else did
	// since, and undo it.
	trusting trust = true
	// looking reads the container again, for a caller that wants to know it.
	looking trust = false
)

// drive brings a container to a goal: look, act where that is due, look again.
// next tells for a state whether it is the goal, or else what to ask for; nil
// is to wait. A conflict says only that the container changed meanwhile.
func (p *Provider) drive(ctx context.Context, id sandbox.ID, after trust, next func(sandbox.State) (bool, action)) (sandbox.Instance, error) {
	for acts := 0; ; {
		in, err := p.get(ctx, id)
		if err != nil {
			return sandbox.Instance{}, err
		}
		done, act := next(in.State)
		switch {
		case done:
			return in, nil
		case in.State == sandbox.Failed:
			return sandbox.Instance{}, &failure{kind: sandbox.KindInvalid, text: "the Engine gave the container up: " + in.Reason}
		case act != nil && acts == maxActs:
			return sandbox.Instance{}, &failure{kind: sandbox.KindBusy, text: fmt.Sprintf("asked for %d times, still %s", acts, in.State)}
		case act != nil:
			acts++
			err := act(ctx)
			if err == nil && after == trusting {
				return in, nil
			}
			if err == nil {
				continue
			}
			if !errdefs.IsConflict(err) {
				return sandbox.Instance{}, err
			}
		}
		if err := pause(ctx); err != nil {
			return sandbox.Instance{}, err
		}
	}
}
