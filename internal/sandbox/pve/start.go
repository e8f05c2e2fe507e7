package pve

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// slugForm is a DNS label: the slug becomes the guest's name.
var slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// cleanupTimeout bounds the removal of what a failed start left.
const cleanupTimeout = 30 * time.Second

// cloneGrace is how long a clone's request outlives its caller: the answer
// comes as soon as the task was forked.
const cloneGrace = 500 * time.Millisecond

// Start clones the preset's template, boots the clone and waits until its
// address is known. One that was cut short by its context removes nothing:
// the error's [sandbox.Leftover] names what may be there.
func (p *Provider) Start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	in, err := p.start(ctx, req)
	return in, p.wrap("start", req.Slug, err)
}

func (p *Provider) start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	template, err := p.accept(req)
	if err != nil {
		return sandbox.Instance{}, err
	}
	done, err := p.starts.Take(ctx, req.Slug)
	if err != nil {
		return sandbox.Instance{}, &Failure{Text: "waiting for another start of " + req.Slug, cause: err}
	}
	defer done()
	inv, err := p.named(ctx)
	if err != nil {
		return sandbox.Instance{}, err
	}
	if g, err := p.earlier(ctx, inv, req); err != nil {
		return sandbox.Instance{}, err
	} else if g != nil {
		// It may have served for long: a failure now is no reason to delete it.
		return p.boot(ctx, g.id())
	}
	node, err := p.place(inv, template)
	if err != nil {
		return sandbox.Instance{}, err
	}
	free, err := p.slots.take(ctx, node)
	if err != nil {
		return sandbox.Instance{}, err
	}
	defer free()
	tell, err := p.breakers.attempt(node)
	if err != nil {
		return sandbox.Instance{}, err
	}
	in, err := p.makeOn(ctx, inv, node, template, req)
	tell(blamesNode(p.wrap("start", req.Slug, err), ctx.Err() != nil))
	return in, err
}

// makeOn clones the template on its node and boots the copy.
func (p *Provider) makeOn(ctx context.Context, inv inventory, node string, template int, req sandbox.StartRequest) (sandbox.Instance, error) {
	made, err := p.clone(ctx, inv, node, template, req)
	if err != nil {
		return sandbox.Instance{}, p.undo(ctx, made, req, err, failure(err) == nil || failure(err).Lost)
	}
	in, err := p.boot(ctx, made.id())
	if err != nil {
		return sandbox.Instance{}, p.undo(ctx, made, req, err, false)
	}
	return in, nil
}

// accept checks a request and finds its template.
func (p *Provider) accept(req sandbox.StartRequest) (template int, err error) {
	invalid := func(format string, args ...any) (int, error) {
		return 0, sandbox.Errorf(sandbox.KindInvalid, "start", p.Name()+" "+req.Slug, format, args...)
	}
	key := "providers.pve." + strings.TrimPrefix(p.Name(), "pve-") + ".templates"
	preset := req.Preset
	if preset == "" {
		preset = "default"
	}
	template, ok := p.guests.Templates[preset]
	switch {
	case !slugForm.MatchString(req.Slug):
		return invalid("the slug becomes a host name: up to 63 of a-z, 0-9 and -, not at its ends")
	case req.Key == "":
		return invalid("the request has no key")
	case p.guests.Pool == "" && !strings.HasPrefix(req.Slug, p.kind.prefix()):
		return invalid("without a pool the slug must begin with %s", p.kind.prefix())
	case !ok:
		return invalid("%s has no %q", key, preset)
	}
	return template, nil
}

// earlier is the guest that the same request made before. Any other guest with
// the name, ours or not, makes the slug busy. Guests whose node doesn't answer
// may have no name; an earlier clone is not among them, because it lies beside
// the template, whose node must answer.
func (p *Provider) earlier(ctx context.Context, inv inventory, req sandbox.StartRequest) (*guest, error) {
	for _, e := range inv.guests {
		if !strings.EqualFold(e.Name, req.Slug) {
			continue
		}
		if p.ours(e) {
			g, err := p.read(ctx, e.Node, int(e.VMID))
			if f := failure(err); f != nil && f.missing() {
				continue // deleted meanwhile
			}
			if err != nil {
				return nil, err
			}
			if g.marked && g.mark.key == req.Key {
				return g, nil
			}
		}
		return nil, sandbox.Errorf(sandbox.KindBusy, "start", p.Name()+" "+req.Slug, "the slug is the name of guest %d", e.VMID)
	}
	return nil, nil
}

// place is the node that has the template, and makes the clone.
func (p *Provider) place(inv inventory, template int) (node string, err error) {
	e, ok := inv.guest(template)
	subject := fmt.Sprintf("%s template %d", p.Name(), template)
	switch nodes := p.client.cfg.Nodes; {
	case !ok:
		return "", sandbox.Errorf(sandbox.KindInvalid, "start", subject, "there is none, or the token lacks VM.Audit on it")
	case e.Type != p.kind.api() || e.Template == 0:
		return "", sandbox.Errorf(sandbox.KindInvalid, "start", subject, "that is no template of this kind")
	case len(nodes) > 0 && !slices.Contains(nodes, e.Node):
		return "", sandbox.Errorf(sandbox.KindInvalid, "start", subject, "it lies on node %s, which is not configured", e.Node)
	case !inv.nodes[e.Node]:
		return "", sandbox.Errorf(sandbox.KindUnavailable, "start", subject, "its node %s is offline", e.Node)
	}
	return e.Node, nil
}

// maxVMIDs is how many VMIDs are tried: guests that the token can't see take
// theirs without notice.
const maxVMIDs = 50

// clone copies the template under the lowest free VMID. The result names the
// copy, also beside an error when there may be one.
func (p *Provider) clone(ctx context.Context, inv inventory, node string, template int, req sandbox.StartRequest) (made ref, err error) {
	used, full := maps.Clone(inv.used()), false
	for range maxVMIDs {
		vmid := p.client.reserve(used)
		r := ref{vmid, req.Slug}
		begun, err := p.copyTo(ctx, r, node, template, full, req)
		p.client.release(vmid)
		switch f := failure(err); {
		case err == nil:
			return r, nil
		case f != nil && f.taken():
			used[vmid] = true
		case f != nil && f.unlinkable() && !full:
			full = true
		case !begun:
			return ref{}, err
		default:
			return p.settleClone(ctx, r, node, req, err)
		}
	}
	return ref{}, &Failure{Text: fmt.Sprintf("no free VMID among %d that looked free", maxVMIDs)}
}

// copyTo makes one copy. begun says that there may be one, whatever the error.
func (p *Provider) copyTo(ctx context.Context, r ref, node string, template int, full bool, req sandbox.StartRequest) (begun bool, err error) {
	params := map[string]any{
		"newid": r.vmid, p.kind.nameKey(): r.name,
		"description": mark{vmid: r.vmid, key: req.Key, workload: req.WorkloadType, created: time.Now()}.String(),
	}
	if p.guests.Pool != "" {
		params["pool"] = p.guests.Pool
	}
	if full { // a template's clone is linked unless one says so
		params["full"] = 1
	}
	if ctx.Err() != nil {
		return false, &Failure{Text: "not asked", cause: ctx.Err()}
	}
	// Cut short, the request would leave open whether there will be a guest.
	patient, cancel := outlive(ctx, cloneGrace)
	defer cancel()
	task, err := p.client.post(patient, p.path(node, template)+"/clone", params)
	if err != nil {
		f := failure(err)
		if f != nil && ctx.Err() != nil {
			f.cause = ctx.Err()
		}
		return f == nil || f.Lost, err
	}
	return true, p.client.wait(ctx, task)
}

// outlive is a context that ends a little later than ctx.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// settleClone finds out what became of a clone that failed, or whose answer
// was lost. The guest is ours when its description carries the request's key.
func (p *Provider) settleClone(ctx context.Context, r ref, node string, req sandbox.StartRequest, cause error) (made ref, err error) {
	if gaveUp(cause) {
		return r, cause
	}
	for range maxMissed {
		g, err := p.read(ctx, node, r.vmid)
		f := failure(err)
		switch {
		case err == nil && (!g.marked || g.mark.key != req.Key):
			return ref{}, cause // somebody else took the VMID
		case err == nil && failure(cause).Lost && (g.lock == "" || g.busy):
			return r, nil // it came about, or is about to: boot waits
		case err == nil:
			return r, cause
		case f == nil || !f.missing():
			return r, cause
		case !failure(cause).Lost:
			return ref{}, cause // the task removed what it had made
		}
		if err := p.client.pause(ctx); err != nil {
			return r, cause
		}
	}
	return r, cause // it may still come
}

// boot starts a clone and waits for its address.
func (p *Provider) boot(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	g, err := p.drive(ctx, "start", id, awake)
	if err != nil {
		return sandbox.Instance{}, err
	}
	in := p.instance(g)
	in.Address, err = p.awaitAddress(ctx, g)
	if err != nil {
		return sandbox.Instance{}, err
	}
	return in, nil
}

// undo removes what a failed start made. It says what is left when that can't
// be done, when the copy may still come about, and when the caller's context
// has ended: then there is no time.
func (p *Provider) undo(ctx context.Context, made ref, req sandbox.StartRequest, cause error, mayCome bool) error {
	if made.vmid == 0 {
		return cause
	}
	left := error(&sandbox.Leftover{ID: made.id()})
	if ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, cleanupTimeout)
		defer cancel()
		err := p.discard(short, made, req.Key)
		if err == nil && !mayCome {
			return cause
		}
		if err != nil {
			left = fmt.Errorf("%w: %w", left, err)
		}
	}
	kind := sandbox.KindOf(p.wrap("start", req.Slug, cause))
	return &sandbox.Error{Kind: kind, Op: "start", Subject: p.Name() + " " + req.Slug, Err: fmt.Errorf("%w; %w", cause, left)}
}

// discard deletes a copy, unless another process made it: one that was given
// the same name and VMID while the answer to this one's clone was lost.
func (p *Provider) discard(ctx context.Context, made ref, key string) error {
	g, err := p.find(ctx, "delete", made.id())
	if err != nil {
		if err = p.wrap("delete", string(made.id()), err); sandbox.KindOf(err) == sandbox.KindNotFound {
			return nil
		}
		return err
	}
	if !g.marked || g.mark.key != key {
		return nil
	}
	return p.Delete(ctx, made.id())
}
