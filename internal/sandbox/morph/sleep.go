package morph

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// maxActs is how often one operation is asked for: again when its answer was
// lost or it showed no effect.
const maxActs = 3

// goal is a state to bring an instance to.
type goal struct {
	// done tells the states in which there is nothing left to do.
	done func(sandbox.State) bool
	// from tells the states in which the action is asked for; in any other one
	// the instance is on its way and is waited for.
	from func(sandbox.State) bool
	call call
	// before comes just before the action; nil is nothing.
	before func(context.Context, model)
	// yields: when the instance turns back on its way somebody else wants it
	// otherwise, and the action is not repeated.
	yields bool
}

func awake(s sandbox.State) bool  { return s == sandbox.Running }
func asleep(s sandbox.State) bool { return s == sandbox.Paused || s == sandbox.Stopped }

func resuming(id sandbox.ID) goal {
	return goal{done: awake, from: asleep, call: call{method: http.MethodPost, path: instancePath(id) + "/resume"}}
}

func (p *Provider) pausing(id sandbox.ID) goal {
	return goal{done: asleep, from: awake, before: p.keepAsleep, yields: true, call: call{
		method: http.MethodPost, path: instancePath(id) + "/pause",
		// The snapshot that a pause makes stays out of the account's list.
		query: url.Values{"snapshot": {"false"}},
	}}
}

// Pause saves the RAM and ends the billing. An instance that is being created
// is paused once it runs.
func (p *Provider) Pause(ctx context.Context, id sandbox.ID) error {
	if _, err := p.drive(ctx, id, p.pausing(id)); err != nil {
		return fail("pause", string(id), err)
	}
	return nil
}

// Resume wakes the instance. While it is being saved it is waited for. Its time
// to live is renewed when the API left less than Config.MinTTL of it.
func (p *Provider) Resume(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	m, err := p.drive(ctx, id, resuming(id))
	if err != nil {
		return sandbox.Instance{}, fail("resume", string(id), err)
	}
	p.keepAsleep(ctx, m)
	p.renewTTL(ctx, m)
	return p.instance(p.withServices(ctx, m, 1)), nil
}

// Stop fails with KindInvalid: Morph's stop deletes the disk too, and pausing
// in its place would keep processes that the caller wants ended. Only an
// instance that the API itself calls stopped is as asked for.
func (p *Provider) Stop(ctx context.Context, id sandbox.ID) error {
	m, err := p.get(ctx, id)
	if err != nil {
		return fail("stop", string(id), err)
	}
	if state, _, _ := m.state(); state == sandbox.Stopped {
		return nil
	}
	return sandbox.Errorf(sandbox.KindInvalid, "stop", string(id), "Morph cannot stop an instance and keep its disk; pause or delete it")
}

// Delete ends the instance and removes its disk. While it is being saved it is
// waited for.
func (p *Provider) Delete(ctx context.Context, id sandbox.ID) error {
	pace := newPace(p.cfg.Timing.Poll, p.cfg.Timing.PollMax)
	for {
		_, err := p.get(ctx, id)
		if gone(err) {
			return nil
		}
		if err == nil {
			err = p.remove(ctx, id)
		}
		if err == nil {
			return nil
		}
		if f, ok := asFailure(err); !ok || f.kind != sandbox.KindBusy {
			return fail("delete", string(id), err)
		}
		pace.heed(err)
		if err = because(pace.wait(ctx), err); err != nil {
			return fail("delete", string(id), err)
		}
	}
}

// drive brings an instance to a goal: look, act where that is due, look again.
// A conflict or a lost answer is never final by itself; what the next look
// says counts.
func (p *Provider) drive(ctx context.Context, id sandbox.ID, g goal) (model, error) {
	pace := newPace(p.cfg.Timing.Poll, p.cfg.Timing.PollMax)
	var last error // of the acts
	var acts int   // without the refused ones
	var underWay bool
	for {
		m, err := p.get(ctx, id)
		if err != nil {
			return model{}, because(err, last)
		}
		state, reason, _ := m.state()
		switch {
		case g.done(state):
			return m, nil
		case state == sandbox.Failed:
			return model{}, &failure{kind: sandbox.KindInvalid, text: reason}
		case !g.from(state):
			underWay = acts > 0
		case g.yields && underWay:
			return model{}, &failure{kind: sandbox.KindBusy, text: "somebody turned it back to " + state.String()}
		case acts == maxActs:
			return model{}, because(&failure{kind: sandbox.KindUnavailable, text: fmt.Sprintf("asked for %d times, still %s", acts, state)}, last)
		default:
			if m, last = p.act(ctx, m, g); last == nil {
				state, _, _ = m.state()
				if g.done(state) {
					return m, nil
				}
				underWay = !g.from(state)
			} else if f, ok := asFailure(last); !ok || !f.transient() && f.kind != sandbox.KindBusy {
				return model{}, last
			}
			if f, ok := asFailure(last); !ok || f.kind != sandbox.KindBusy {
				acts++
			}
			pace.heed(last)
		}
		if err := because(pace.wait(ctx), last); err != nil {
			return model{}, err
		}
	}
}

// act asks for a goal's action once and returns the instance as it was then
// answered.
func (p *Provider) act(ctx context.Context, m model, g goal) (model, error) {
	if g.before != nil {
		g.before(ctx, m)
	}
	var after model
	if err := p.api.act(ctx, g.call, &after); err != nil {
		return model{}, err
	}
	return p.checked(after, sandbox.ID(m.ID))
}

// because adds to err what went wrong before it.
func because(err, earlier error) error {
	if err == nil || earlier == nil {
		return err
	}
	return fmt.Errorf("%w (before that: %w)", err, earlier)
}

// keepAsleep turns off waking by requests where the edge is to decide alone,
// on its own instances only. What can't be turned off costs money but breaks
// nothing, so it is only reported.
func (p *Provider) keepAsleep(ctx context.Context, m model) {
	wakes := m.WakeOn.HTTP != nil && *m.WakeOn.HTTP
	if !p.cfg.DisableWakeOnHTTP || !wakes || m.Metadata[metaMark] != p.cfg.Mark {
		return
	}
	if err := p.disableWake(ctx, sandbox.ID(m.ID)); err != nil {
		p.warn("an instance still wakes on any request to its service URLs", m, err)
	}
}

// renewTTL makes sure that an instance which was just woken does not go back to
// sleep at once: whether a resume restarts the time to live is undocumented.
func (p *Provider) renewTTL(ctx context.Context, m model) {
	if m.TTL.Seconds == nil || *m.TTL.Seconds <= 0 {
		return
	}
	if at := m.TTL.ExpireAt; at != nil && time.Until(time.Unix(int64(*at), 0)) >= p.cfg.MinTTL {
		return
	}
	ttl := max(time.Duration(*m.TTL.Seconds)*time.Second, p.cfg.MinTTL)
	if err := p.setTTL(ctx, sandbox.ID(m.ID), ttl); err != nil {
		p.warn("the time to live of a resumed instance was not renewed", m, err)
	}
}

// withServices reads the instance again, at most looks times, while its list of
// services is empty, and reports services that are not routable.
func (p *Provider) withServices(ctx context.Context, m model, looks int) model {
	pace := newPace(p.cfg.Timing.Poll, p.cfg.Timing.PollMax)
	for range looks {
		if len(m.Networking.HTTPServices) > 0 || pace.wait(ctx) != nil {
			break
		}
		again, err := p.get(ctx, sandbox.ID(m.ID))
		if err != nil {
			break
		}
		m = again
	}
	_, refused := m.Networking.HTTPServices.ports(p.suffix)
	for _, err := range refused {
		p.warn("a service is not routable", m, err)
	}
	return m
}

func (p *Provider) warn(what string, m model, err error) {
	p.log.Warn(what, slog.String("provider", Name), slog.String("instance", m.ID), slog.Any("error", err))
}
