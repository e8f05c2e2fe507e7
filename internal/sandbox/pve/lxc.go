package pve

import (
	"context"

	"cmux.sh/edge/internal/sandbox"
)

// lxc is the kind of containers. Checkpoints of containers are experimental in
// Proxmox and fail on most; a pause loses the RAM.
type lxc struct{ create bool }

// shutdownSeconds is how long a container's processes get to end by
// themselves when it is paused.
const shutdownSeconds = 3

func (lxc) name() string      { return "pve-lxc" }
func (lxc) api() string       { return "lxc" }
func (lxc) nameKey() string   { return "hostname" }
func (lxc) cloneTask() string { return "vzclone" }
func (lxc) prefix() string    { return "pvelxc-" }
func (lxc) startLimit() int   { return 8 }

func (k lxc) capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{Create: k.create, Suspend: true, StartTime: sandbox.Quick, ResumeTime: sandbox.Instant, Price: sandbox.Flat}
}

func (lxc) state(g *guest) (sandbox.State, string) {
	reason := ""
	if g.lock != "" {
		reason = "locked (" + g.lock + ")"
	}
	switch {
	case g.alive:
		return sandbox.Running, reason
	case g.lock == lockCreate:
		return making(g)
	}
	return sandbox.Stopped, reason
}

func (k lxc) next(g *guest, to goal) step {
	state, reason := k.state(g)
	if s, decided := settled(g, state, reason, to); decided {
		return s
	}
	switch {
	case g.alive == (to == awake) && to != removed:
		return step{done: true}
	case g.lock != "":
		return refuse(sandbox.KindBusy, reason)
	case to == awake:
		return step{path: "/status/start"}
	case to == asleep:
		return step{path: "/status/shutdown", params: map[string]any{"timeout": shutdownSeconds, "forceStop": 1}}
	case g.alive:
		return step{path: "/status/stop"}
	}
	return remove
}

// interfaces asks the host, which looks into the container's network
// namespace. The answer is null until the container runs.
func (lxc) interfaces(ctx context.Context, c *Client, at string) ([]iface, error) {
	var list []iface
	_, err := c.getOrNull(ctx, at+"/interfaces", nil, &list)
	return list, err
}
