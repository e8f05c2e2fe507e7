package pve

import (
	"context"
	"strings"

	"cmux.sh/edge/internal/sandbox"
)

// vm is the kind of virtual machines.
type vm struct{ create bool }

func (vm) name() string      { return "pve-vm" }
func (vm) api() string       { return "qemu" }
func (vm) nameKey() string   { return "name" }
func (vm) cloneTask() string { return "qmclone" }
func (vm) prefix() string    { return "pvevm-" }
func (vm) startLimit() int   { return 2 }

func (k vm) capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{RAMSnapshot: true, Create: k.create, Suspend: true, StartTime: sandbox.Slow, ResumeTime: sandbox.Quick, Price: sandbox.Flat}
}

// state reads the table of QEMU's states and Proxmox's locks. Whether the
// process lives says little: it lives while its RAM is saved or loaded, and
// while its CPUs stand still.
func (vm) state(g *guest) (sandbox.State, string) {
	if !g.alive {
		switch g.lock {
		case "":
			return sandbox.Stopped, ""
		case lockSuspended:
			return sandbox.Paused, ""
		case lockSuspending:
			if g.busy {
				return sandbox.Pausing, ""
			}
			return sandbox.Failed, "it stopped while its RAM was being saved; an administrator must unlock it"
		case lockClone, lockCreate:
			return making(g)
		}
		return sandbox.Stopped, "locked (" + g.lock + ")"
	}
	if g.lock == lockSuspended {
		return sandbox.Resuming, ""
	}
	if g.lock == lockSuspending && g.busy {
		return sandbox.Pausing, ""
	}
	reason := ""
	if g.lock == lockSuspending {
		reason = "a pause failed and left its lock: it runs, but can't be paused or stopped until an administrator unlocks it"
	} else if g.lock != "" {
		reason = "locked (" + g.lock + ")"
	}
	switch g.qmp {
	case "running", "save-vm", "finish-migrate", "":
		return sandbox.Running, reason
	case "inmigrate", "prelaunch":
		return sandbox.Starting, reason
	case "paused", "suspended", "postmigrate":
		return sandbox.Paused, "its CPUs stand still; its RAM is not saved"
	case "shutdown":
		return sandbox.Stopping, reason
	case "io-error", "internal-error", "guest-panicked", "watchdog":
		return sandbox.Failed, "QEMU reports " + g.qmp
	}
	return sandbox.Unknown, "QEMU reports " + g.qmp
}

// making is the state of a guest that carries a clone's lock.
func making(g *guest) (sandbox.State, string) {
	if g.busy {
		return sandbox.Starting, "it is being cloned"
	}
	return sandbox.Failed, "its clone ended half-way and left the lock (" + g.lock + ")"
}

// next: a hibernated VM wakes by a start, which removes its lock; a resume is
// only for CPUs that stand still. A stop does nothing to a hibernated one, so
// that it must be loaded to be stopped, but not to be deleted.
func (k vm) next(g *guest, to goal) step {
	state, reason := k.state(g)
	if s, decided := settled(g, state, reason, to); decided {
		return s
	}
	if g.alive && to != awake && g.lock != "" {
		return refuse(sandbox.KindBusy, reason)
	}
	if !g.alive && g.lock != "" && g.lock != lockSuspended && to != halted {
		return refuse(sandbox.KindBusy, reason)
	}
	switch to {
	case awake:
		switch {
		case state == sandbox.Running:
			return step{done: true}
		case !g.alive:
			return step{path: "/status/start"}
		case state == sandbox.Paused:
			return step{path: "/status/resume"}
		}
		return refuse(sandbox.KindBusy, reason)
	case asleep:
		switch {
		case g.hibernated():
			return step{done: true}
		case state == sandbox.Running || state == sandbox.Paused:
			return step{path: "/status/suspend", params: map[string]any{"todisk": 1}}
		}
		return refuse(sandbox.KindBusy, strings.TrimSpace("there is no RAM to keep: it is "+state.String()+". "+reason))
	}
	switch {
	case g.alive:
		return step{path: "/status/stop"}
	case to == removed:
		return remove
	case g.hibernated():
		return step{path: "/status/start"}
	}
	return step{done: true}
}

// interfaces asks the guest agent.
func (vm) interfaces(ctx context.Context, c *Client, at string) ([]iface, error) {
	var answer struct {
		Result []iface `json:"result"`
	}
	err := c.get(ctx, at+"/agent/network-get-interfaces", nil, &answer)
	return answer.Result, err
}
