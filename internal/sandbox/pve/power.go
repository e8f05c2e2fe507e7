package pve

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// maxSteps is how many actions a call may need: a paused VM that is stopped
// takes two, and somebody else may interfere.
const maxSteps = 5

// haLag is how long a highly available guest may take to follow a task that
// ended: it ended when the request was filed.
const haLag = time.Minute

// lagPolls is how often other guests are looked at again before what they do
// counts as somebody else's doing: a status may lag a little behind its task.
const lagPolls = 3

// drive brings a guest to a goal: look, act, wait for the task, look again. A
// look decides, never an action's answer: whoever else acts on the guest is
// met half-way, and an answer that was lost is made up for.
func (p *Provider) drive(ctx context.Context, op string, id sandbox.ID, to goal) (*guest, error) {
	begun := time.Now()
	var done attempt
	for {
		g, err := p.find(ctx, op, id)
		if err != nil {
			return nil, err
		}
		s := p.kind.next(g, to)
		switch {
		case s.done:
			return g, nil
		case s.refused != "" && done.failed != nil:
			return nil, done.failed // it led to what is refused now
		case s.refused != "":
			return nil, sandbox.Errorf(s.kind, op, p.subject(id), "%s", s.refused)
		case time.Since(begun) > p.client.cfg.TaskTimeout:
			state, _ := p.kind.state(g)
			return nil, sandbox.Errorf(sandbox.KindUnavailable, op, p.subject(id), "still %s after %s", state, p.client.cfg.TaskTimeout)
		case s.verb() == "":
			err = p.await(ctx, g)
		case s.verb() == done.verb:
			err = p.again(ctx, op, g, &done)
		case done.count == maxSteps:
			return nil, sandbox.Errorf(sandbox.KindBusy, op, p.subject(id), "somebody else keeps changing it")
		default:
			err = p.try(ctx, g, s, &done)
		}
		if err != nil {
			return nil, err
		}
	}
}

// attempt is the last action of a drive, and how it went.
type attempt struct {
	count   int // of all actions so far
	verb    string
	failed  error
	looks   int       // how often the guest was looked at since, in vain
	settles time.Time // until when the status may lag behind the action
}

// try takes a step. It fails only where looking again is of no use.
func (p *Provider) try(ctx context.Context, g *guest, s step, a *attempt) error {
	task, err := p.act(ctx, g, s)
	if gaveUp(err) {
		return err
	}
	*a = attempt{count: a.count + 1, verb: s.verb(), failed: err, settles: time.Now().Add(lagPolls * p.client.cfg.PollInterval)}
	if strings.HasPrefix(task.kind, "ha") {
		a.settles = time.Now().Add(haLag)
	}
	if f := failure(err); f != nil && f.overtaken() {
		a.verb, a.failed = "", nil
	}
	return nil
}

// again decides what to do when a look at the guest says that the action just
// taken is still to be taken: wait, or give up with the reason.
func (p *Provider) again(ctx context.Context, op string, g *guest, a *attempt) error {
	if a.failed == nil {
		if time.Now().Before(a.settles) {
			return p.await(ctx, g)
		}
		return sandbox.Errorf(sandbox.KindBusy, op, p.subject(g.id()), "it was done, and undone by somebody else")
	}
	if f := failure(a.failed); f == nil || !f.Lost {
		return a.failed
	}
	tasks, err := p.client.active(ctx, g.node, g.vmid)
	if err != nil {
		return errors.Join(a.failed, err)
	}
	if len(tasks) > 0 {
		if err := p.client.wait(ctx, tasks[0]); gaveUp(err) {
			return err
		}
		return nil
	}
	// A task may have ended between the look at the guest and that at its tasks.
	if a.looks++; a.looks > 1 {
		return a.failed
	}
	return nil
}

// act carries out one step and waits for its task.
func (p *Provider) act(ctx context.Context, g *guest, s step) (task upid, err error) {
	if at := p.path(g.node, g.vmid); s.delete {
		task, err = p.client.remove(ctx, at, url.Values{"purge": {"1"}})
	} else {
		task, err = p.client.post(ctx, at+s.path, s.params)
	}
	if err != nil {
		return upid{}, err
	}
	return task, p.client.wait(ctx, task)
}

// await waits until a guest that is on its way somewhere may have got there.
func (p *Provider) await(ctx context.Context, g *guest) error {
	if g.lock == lockSuspending {
		tasks, err := p.client.active(ctx, g.node, g.vmid, "qmsuspend")
		if err != nil {
			return err
		}
		if len(tasks) > 0 {
			// How it ends shows in the guest's state.
			if err := p.client.wait(ctx, tasks[0]); gaveUp(err) {
				return err
			}
			return nil
		}
	}
	return p.client.pause(ctx)
}

func (p *Provider) subject(id sandbox.ID) string { return fmt.Sprintf("%s %s", p.Name(), id) }
