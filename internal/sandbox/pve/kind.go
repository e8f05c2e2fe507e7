package pve

import (
	"context"

	"cmux.sh/edge/internal/sandbox"
)

// kind is what differs between virtual machines and containers.
type kind interface {
	name() string
	capabilities() sandbox.Capabilities
	// api is the kind as the API's paths spell it, nameKey the parameter of a
	// clone that names it, cloneTask the type of the task that clones it.
	api() string
	nameKey() string
	cloneTask() string
	// prefix begins the names that are ours by convention.
	prefix() string
	// startLimit is how many starts a node takes at a time unless configured.
	startLimit() int
	// state is the contract's word for what a guest does, and why.
	state(*guest) (state sandbox.State, reason string)
	// next is what brings a guest nearer to a goal.
	next(*guest, goal) step
	// interfaces asks for the addresses of a running guest.
	interfaces(ctx context.Context, c *Client, at string) ([]iface, error)
}

// goal is what a guest is to be brought to.
type goal uint8

const (
	awake  goal = iota
	asleep      // what Pause promises
	halted
	removed
)

// step is one action on the way to a goal. The zero step is a wait.
type step struct {
	done   bool
	path   string // below the guest's own
	params map[string]any
	delete bool
	// refused says why the goal can't be reached, and kind what sort of
	// failure that is.
	refused string
	kind    sandbox.Kind
}

// verb is what the step does, "" for a wait.
func (s step) verb() string {
	if s.delete {
		return "delete"
	}
	return s.path
}

// remove is the step that deletes a guest whose process is gone.
var remove = step{delete: true}

func refuse(kind sandbox.Kind, why string) step { return step{refused: why, kind: kind} }

// settled is what both kinds have in common: waiting for what is under way,
// and guests that are not to be touched.
func settled(g *guest, state sandbox.State, reason string, to goal) (s step, decided bool) {
	switch {
	case g.template:
		return refuse(sandbox.KindRefused, "it is a template"), true
	case to == removed && g.protected:
		return refuse(sandbox.KindRefused, "its protection is on"), true
	case state == sandbox.Starting, state == sandbox.Pausing, state == sandbox.Resuming, state == sandbox.Stopping:
		return step{}, true
	case state == sandbox.Failed && to == removed && !g.alive && g.lock == "":
		return remove, true
	case state == sandbox.Failed && g.lock != "":
		return refuse(sandbox.KindBusy, reason), true
	}
	return step{}, false
}
