package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"cmux.sh/edge/internal/sandbox"
)

// grace is how long Start goes on cleaning up after its context ended.
const grace = 500 * time.Millisecond

// Start makes a container of the preset's image and starts it. A slug that
// another container has is KindBusy, an image that is not on the Engine's host
// is KindInvalid. Without a slug one is drawn.
//
// When ctx ends while the create is unanswered, Start returns soon and the
// container is removed in the background as soon as the answer comes.
func (p *Provider) Start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	in, err := p.start(ctx, req)
	if err != nil {
		return sandbox.Instance{}, fail(ctx, "start", req.Slug, err)
	}
	return in, nil
}

func (p *Provider) start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	image, err := p.cfg.image(req.Preset)
	if err != nil {
		return sandbox.Instance{}, err
	}
	if req.Slug == "" {
		req.Slug = draw()
	}
	if req.Key == "" {
		req.Key = rand.Text()
	}
	if in, err := p.find(ctx, labelKey, req.Key); err == nil {
		return p.run(ctx, in.ID)
	} else if kindOf(err) != sandbox.KindNotFound {
		return sandbox.Instance{}, err
	}
	id, adopted, err := p.create(ctx, image, req)
	if err != nil {
		return sandbox.Instance{}, err
	}
	in, err := p.run(ctx, id)
	if err != nil && !adopted {
		err = p.undo(ctx, id, err)
	}
	return in, err
}

// draw makes a slug of 8 hex digits.
func draw() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, says its doc
	return hex.EncodeToString(random[:])
}

// created is the end of a create. adopted says that an earlier one with the
// same key had made the container.
type created struct {
	id      sandbox.ID
	adopted bool
	err     error
}

// create asks for a container. The call outlives ctx, because one that is cut
// short may still make one, which then nobody would know.
func (p *Provider) create(ctx context.Context, image string, req sandbox.StartRequest) (sandbox.ID, bool, error) {
	answer := make(chan created)
	over := make(chan struct{})
	var left error
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return "", false, &failure{kind: sandbox.KindUnavailable, text: "the provider is closed"}
	}
	p.work.Go(func() { // ends within CreateLimit or with Close
		defer close(over)
		made := p.createNow(ctx, image, req)
		select {
		case answer <- made:
		case <-ctx.Done():
			if made.err == nil && !made.adopted {
				left = p.discard(ctx, made.id)
			}
		}
	})
	p.mu.Unlock()
	select {
	case made := <-answer:
		return made.id, made.adopted, made.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-over:
		if left != nil {
			return "", false, left
		}
	case <-timer.C:
	}
	return "", false, ctx.Err()
}

// createNow sends the create. A name that is taken is either this request's
// own container, of an answer that was lost or of another call with the same
// key, or somebody else's.
func (p *Provider) createNow(ctx context.Context, image string, req sandbox.StartRequest) created {
	ctx, cancel := p.detached(ctx, p.cfg.CreateLimit)
	defer cancel()
	answer, err := p.engine.ContainerCreate(ctx, p.options(image, req))
	if err == nil && isID(sandbox.ID(answer.ID)) {
		return created{id: sandbox.ID(answer.ID)}
	}
	if err == nil {
		err = garbage("a create without an id")
	}
	kind := kindOf(err)
	if errdefs.IsNotFound(err) {
		err = &failure{kind: sandbox.KindInvalid, text: err.Error() + " (images are not pulled: docker pull " + image + ")"}
		return created{err: err}
	}
	if kind != sandbox.KindBusy && kind != sandbox.KindUnavailable {
		return created{err: err}
	}
	in, found := p.find(ctx, labelKey, req.Key)
	switch {
	case found == nil:
		return created{id: in.ID, adopted: kind == sandbox.KindBusy}
	case kind == sandbox.KindBusy:
		return created{err: &failure{kind: kind, text: "the slug is in use: " + err.Error()}}
	}
	return created{err: err}
}

func (p *Provider) options(image string, req sandbox.StartRequest) client.ContainerCreateOptions {
	labels := map[string]string{labelMark: p.cfg.Mark, labelSlug: req.Slug, labelKey: req.Key}
	if req.WorkloadType != "" {
		labels[labelWorkload] = req.WorkloadType
	}
	reap := true // a sandbox's first process is rarely one that reaps orphans
	config := &container.Config{Image: image, Hostname: req.Slug, Labels: labels}
	host := &container.HostConfig{Init: &reap, NetworkMode: container.NetworkMode(p.cfg.Network)}
	for _, number := range p.cfg.Publish {
		port, _ := network.PortFrom(number, network.TCP)
		if config.ExposedPorts == nil {
			config.ExposedPorts, host.PortBindings = network.PortSet{}, network.PortMap{}
		}
		config.ExposedPorts[port] = struct{}{}
		host.PortBindings[port] = []network.PortBinding{{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	}
	return client.ContainerCreateOptions{Name: p.cfg.Mark + "-" + req.Slug, Config: config, HostConfig: host}
}

// undo removes a container whose start went wrong. Its error is cause, and
// names the container when that could not be removed in time.
func (p *Provider) undo(ctx context.Context, id sandbox.ID, cause error) error {
	ctx, cancel := p.detached(ctx, grace)
	defer cancel()
	if err := p.remove(ctx, id); err != nil {
		return fmt.Errorf("%w (%w)", cause, &sandbox.Leftover{ID: id})
	}
	return cause
}

// discard removes a container that nobody waits for.
func (p *Provider) discard(ctx context.Context, id sandbox.ID) error {
	ctx, cancel := p.detached(ctx, p.cfg.CreateLimit)
	defer cancel()
	if err := p.remove(ctx, id); err != nil {
		p.log.Error("a container that nobody waits for is left behind",
			slog.String("provider", Name), slog.String("instance", string(id)), slog.Any("error", err))
		return fmt.Errorf("%w (%w)", err, &sandbox.Leftover{ID: id})
	}
	return nil
}
