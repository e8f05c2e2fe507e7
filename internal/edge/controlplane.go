package edge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
	"cmux.sh/edge/internal/webhook"
)

// controlPlane tells the control plane of every start, pause, resume, stop,
// deletion and failure, and daily of what is in use, so that its clean-up spares
// that.
type controlPlane struct {
	sender    *webhook.Sender
	refresher *webhook.Refresher
	manager   *manager.Manager

	events <-chan manager.Event // from the beginning
	ignore func()
}

// newControlPlane returns nil when there is nobody to tell.
func newControlPlane(c config.ControlPlane, m *manager.Manager, log *slog.Logger, reg prometheus.Registerer) (*controlPlane, error) {
	if c.Webhook == "" {
		return nil, nil
	}
	if _, err := webhook.ParseSecret(c.Secret.Reveal()); err != nil {
		return nil, fmt.Errorf("control_plane.secret_file: %w", err)
	}
	p := &controlPlane{manager: m}
	p.events, p.ignore = m.Events().Listen()
	p.sender = webhook.New(webhook.Config{
		URL: func() string { return c.Webhook }, Secret: c.Secret.Reveal,
	}, nil, log, reg)
	p.refresher = webhook.NewRefresher(webhook.RefresherConfig{List: p.inUse, Enqueue: p.sender.Enqueue}, log)
	return p, nil
}

// messageTypes are the events that the control plane is told of.
var messageTypes = map[string]webhook.Type{
	manager.Started: webhook.Started, manager.Paused: webhook.Paused, manager.Resumed: webhook.Resumed,
	manager.Stopped: webhook.Stopped, manager.Deleted: webhook.Deleted, manager.Failed: webhook.Failed,
}

// run tells until ctx ends.
func (p *controlPlane) run(ctx context.Context) {
	defer p.ignore()
	var running sync.WaitGroup
	running.Go(func() { _ = p.sender.Run(ctx) })    // always nil
	running.Go(func() { _ = p.refresher.Run(ctx) }) // always nil
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-p.events:
			if kind, told := messageTypes[e.Kind]; told {
				p.sender.Enqueue(ctx, webhook.Message{
					Type: kind, ID: string(e.ID), Slug: e.Slug, Provider: e.Provider, Generation: e.Generation, Time: e.Time, Reason: e.Detail + e.Error,
				})
			}
		}
	}
}

// inUse are the sandboxes that run.
func (p *controlPlane) inUse(ctx context.Context) ([]webhook.Use, error) {
	list, err := p.manager.List(ctx)
	if err != nil {
		return nil, err
	}
	var uses []webhook.Use
	for _, r := range list {
		if r.State == sandbox.Running {
			uses = append(uses, webhook.Use{Slug: r.Slug, ID: string(r.ID), Provider: r.Provider, Generation: r.Generation, LastActive: r.LastActive})
		}
	}
	return uses, nil
}
