package pve

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// The locks that say more than "not now".
const (
	lockSuspending = "suspending"
	lockSuspended  = "suspended"
	lockClone      = "clone"
	lockCreate     = "create"
)

// guest is one reading of a guest. It is never read into twice: an absent lock
// must not leave a former one.
type guest struct {
	ref
	node  string
	alive bool   // its process lives
	qmp   string // what QEMU says it does
	lock  string
	// busy says that a task which explains the lock runs.
	busy        bool
	pid, uptime int
	protected   bool
	template    bool
	net0        string
	ipconfig0   string
	mark        mark
	marked      bool
}

// hibernated tells whether the guest's RAM lies on its storage.
func (g *guest) hibernated() bool { return !g.alive && g.lock == lockSuspended }

// path is the guest's place in the API.
func (p *Provider) path(node string, vmid int) string {
	return fmt.Sprintf("/nodes/%s/%s/%d", node, p.kind.api(), vmid)
}

// read reads a guest where it is said to be.
func (p *Provider) read(ctx context.Context, node string, vmid int) (*guest, error) {
	at := p.path(node, vmid)
	var config struct {
		Name        string `json:"name"`
		Hostname    string `json:"hostname"`
		Description string `json:"description"`
		Net0        string `json:"net0"`
		IPConfig0   string `json:"ipconfig0"`
		Protection  number `json:"protection"`
		Template    number `json:"template"`
		Digest      string `json:"digest"`
	}
	if err := p.client.get(ctx, at+"/config", nil, &config); err != nil {
		return nil, err
	}
	if config.Digest == "" {
		return nil, garbage("a configuration without digest")
	}
	g := &guest{
		ref: ref{vmid, config.Name + config.Hostname}, node: node, net0: config.Net0, ipconfig0: config.IPConfig0,
		protected: config.Protection != 0, template: config.Template != 0,
	}
	g.mark, g.marked = readMark(config.Description, vmid)
	if err := p.readStatus(ctx, g); err != nil {
		return nil, err
	}
	return g, p.explain(ctx, g)
}

func (p *Provider) readStatus(ctx context.Context, g *guest) error {
	var now struct {
		Status    string `json:"status"`
		QMPStatus string `json:"qmpstatus"`
		Lock      string `json:"lock"`
		PID       number `json:"pid"`
		Uptime    number `json:"uptime"`
	}
	if err := p.client.get(ctx, p.path(g.node, g.vmid)+"/status/current", nil, &now); err != nil {
		return err
	}
	if now.Status != "running" && now.Status != "stopped" {
		return garbage(fmt.Sprintf("a guest's status is %.40q", now.Status))
	}
	g.alive, g.qmp, g.lock = now.Status == "running", now.QMPStatus, now.Lock
	g.pid, g.uptime = int(now.PID), int(now.Uptime)
	return nil
}

// explain looks for the task behind a lock that is taken only while one runs.
// Without a task the lock is a leftover of one that died.
func (p *Provider) explain(ctx context.Context, g *guest) error {
	vmid, task := g.vmid, ""
	switch {
	case g.lock == lockSuspending && g.alive && g.qmp == "save-vm":
		g.busy = true
		return nil
	case g.lock == lockSuspending:
		task = "qmsuspend"
	case g.lock == lockClone || g.lock == lockCreate:
		vmid, task = 0, p.kind.cloneTask() // its id is the template's
	default:
		return nil
	}
	running, err := p.client.active(ctx, g.node, vmid, task)
	if err != nil || len(running) > 0 {
		g.busy = len(running) > 0
		return err
	}
	// It may have ended between the two looks.
	return p.readStatus(ctx, g)
}

// find looks a guest up by id, wherever it is now.
func (p *Provider) find(ctx context.Context, op string, id sandbox.ID) (*guest, error) {
	want, ok := parseID(id)
	if !ok {
		return nil, p.gone(op, id, "that is no id of a guest")
	}
	for moved := false; ; moved = true {
		inv, err := p.client.resources(ctx)
		if err != nil {
			return nil, err
		}
		e, ok := inv.guest(want.vmid)
		if !ok {
			if err := p.sighted(ctx); err != nil {
				return nil, err
			}
			return nil, p.gone(op, id, "the cluster has no such guest")
		}
		if op != "get" && (e.Template != 0 || e.VMID < firstVMID) {
			return nil, sandbox.Errorf(sandbox.KindRefused, op, p.subject(id), "templates and the VMIDs below %d are never touched", firstVMID)
		}
		e.Name = want.name
		if !p.ours(e) {
			return nil, p.gone(op, id, "the VMID is not one of ours")
		}
		g, err := p.read(ctx, e.Node, want.vmid)
		if f := failure(err); f != nil && f.missing() && !moved {
			continue
		}
		if err != nil {
			return nil, err
		}
		if g.name != want.name {
			return nil, p.gone(op, id, "the VMID belongs to another guest now")
		}
		return g, nil
	}
}

func (p *Provider) gone(op string, id sandbox.ID, why string) error {
	return sandbox.Errorf(sandbox.KindNotFound, op, p.subject(id), "%s", why)
}

// instance is a guest in the contract's words, without its address.
func (p *Provider) instance(g *guest) sandbox.Instance {
	state, reason := p.kind.state(g)
	return sandbox.Instance{
		Provider: p.Name(), ID: g.id(), Slug: strings.ToLower(g.name), State: state, Reason: reason,
		WorkloadType: g.mark.workload, Marked: g.marked, Created: g.mark.created,
		Generation: p.memory.observe(g, time.Now()),
	}
}
