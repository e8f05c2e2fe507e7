package morph

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// defaultPreset is the preset of a request that names none.
const defaultPreset = "default"

// startLooks is how often an empty list of services is read again after a
// start: the answer to a create may be ahead of it.
const startLooks = 4

// boot is the body of a create.
type boot struct {
	Metadata   map[string]string `json:"metadata"`
	TTLSeconds int64             `json:"ttl_seconds,omitempty"`
	TTLAction  string            `json:"ttl_action"`
}

// Start makes an instance from the preset's snapshot and waits until it runs.
// A slug that another instance has is KindBusy. With an empty slug the instance
// is known by its id.
//
// When ctx ends while the create is unanswered, Start returns soon and the
// instance is deleted in the background as soon as its answer comes; until then
// it carries the edge's mark and the request's key.
func (p *Provider) Start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	in, err := p.start(ctx, req)
	if err != nil {
		return sandbox.Instance{}, fail("start", plain(req.Slug), err)
	}
	return in, nil
}

func (p *Provider) start(ctx context.Context, req sandbox.StartRequest) (sandbox.Instance, error) {
	snapshot, err := p.snapshot(req.Preset)
	if err != nil {
		return sandbox.Instance{}, err
	}
	if req.Slug != "" && !isLabel(req.Slug) {
		return sandbox.Instance{}, &failure{kind: sandbox.KindInvalid, text: "it is no slug"}
	}
	drawn := req.Key == ""
	if drawn {
		req.Key = rand.Text()
	}
	end, err := p.turns.Take(ctx, cmp.Or(req.Slug, req.Key))
	if err != nil {
		return sandbox.Instance{}, err
	}
	if !drawn {
		if m, found, err := p.made(ctx, req.Key); err != nil || found {
			defer end()
			if err != nil {
				return sandbox.Instance{}, err
			}
			// Whoever made it looks after it: a failure here deletes nothing.
			return p.finish(ctx, sandbox.ID(m.ID))
		}
	}
	if err := p.free(ctx, req.Slug); err != nil {
		end()
		return sandbox.Instance{}, err
	}
	id, err := p.create(ctx, snapshot, req, end)
	if err != nil {
		return sandbox.Instance{}, err
	}
	in, err := p.finish(ctx, id)
	if err != nil {
		return sandbox.Instance{}, p.undo(ctx, id, err)
	}
	return in, nil
}

// free fails when another instance has the slug.
func (p *Provider) free(ctx context.Context, slug string) error {
	if slug == "" {
		return nil
	}
	taken, err := p.list(ctx, map[string]string{metaSlug: slug})
	if err == nil && len(taken) > 0 {
		err = &failure{kind: sandbox.KindBusy, text: "the slug is in use by " + taken[0].ID}
	}
	return err
}

func (p *Provider) snapshot(preset string) (string, error) {
	if preset == "" {
		preset = defaultPreset
	}
	snapshot := p.cfg.Snapshots[preset]
	if snapshot == "" {
		return "", &failure{kind: sandbox.KindInvalid, text: fmt.Sprintf("providers.morph.snapshots names no snapshot for the preset %q", plain(preset))}
	}
	return snapshot, nil
}

// made finds the instance of an earlier request with the same key.
func (p *Provider) made(ctx context.Context, key string) (m model, found bool, err error) {
	all, err := p.list(ctx, map[string]string{metaKey: key})
	if err != nil || len(all) == 0 {
		return model{}, false, err
	}
	return all[0], true, nil
}

// finish waits until a new instance runs and settles what the create could not
// be told.
func (p *Provider) finish(ctx context.Context, id sandbox.ID) (sandbox.Instance, error) {
	m, err := p.drive(ctx, id, resuming(id))
	if err != nil {
		return sandbox.Instance{}, err
	}
	if p.cfg.DisableWakeOnHTTP {
		if err := p.disableWake(ctx, id); err != nil {
			p.warn("a new instance may wake on any request to its service URLs", m, err)
		}
	}
	return p.instance(p.withServices(ctx, m, startLooks)), nil
}

// created is the end of a create that runs on its own.
type created struct {
	id  sandbox.ID
	err error
}

// create asks for an instance, and calls settled when it is known what became of
// that. The call outlives ctx, because one that is cut short still makes an
// instance, which then nobody would know.
func (p *Provider) create(ctx context.Context, snapshot string, req sandbox.StartRequest, settled func()) (sandbox.ID, error) {
	end := make(chan created, 1)
	running := p.background(func() {
		id, err := p.createOnce(ctx, snapshot, req)
		end <- created{id, err}
	})
	if !running {
		settled()
		return "", &failure{kind: sandbox.KindUnavailable, text: "the provider is closed"}
	}
	select {
	case made := <-end:
		settled()
		return made.id, made.err
	case <-ctx.Done():
		return "", p.abandon(ctx, end, settled)
	}
}

// createOnce sends creates until there is one instance with the request's key.
// No second one is sent before the first is known not to have made anything,
// and none after ctx ended.
func (p *Provider) createOnce(ctx context.Context, snapshot string, req sandbox.StartRequest) (sandbox.ID, error) {
	what := call{
		method: http.MethodPost, path: "/instance", query: url.Values{"snapshot_id": {snapshot}},
		body: boot{Metadata: p.metadata(req), TTLSeconds: seconds(req.TTL), TTLAction: actionPause},
	}
	detached, end := p.detached(ctx)
	defer end()
	pace := newPace(p.cfg.Timing.Retry, p.cfg.Timing.RetryMax)
	for try := 1; ; try++ {
		var m model
		err := p.api.act(detached, what, &m)
		if err == nil {
			p.look(m)
			return p.only(detached, req.Key, sandbox.ID(m.ID), try), nil
		}
		f, ok := asFailure(err)
		if !ok || !f.transient() {
			return "", err
		}
		if !f.unsent {
			m, found, lookup := p.made(detached, req.Key)
			if lookup != nil {
				return "", because(lookup, err)
			}
			if found {
				return p.only(detached, req.Key, sandbox.ID(m.ID), try), nil
			}
		}
		if try == maxTries {
			return "", err
		}
		pace.heed(err)
		if wait := pace.wait(ctx); wait != nil {
			return "", because(wait, err)
		}
	}
}

// only makes sure, where more than one create was sent, that a late first one
// leaves no second instance: the oldest stays.
func (p *Provider) only(ctx context.Context, key string, id sandbox.ID, tries int) sandbox.ID {
	if tries == 1 {
		return id
	}
	all, err := p.list(ctx, map[string]string{metaKey: key})
	if err != nil {
		p.log.Warn("whether a start made two instances is not known",
			slog.String("provider", Name), slog.String("instance", string(id)), slog.Any("error", err))
	}
	if len(all) == 0 {
		return id // it exists, whatever the list says
	}
	for _, m := range all[1:] {
		if err := p.remove(ctx, sandbox.ID(m.ID)); err != nil {
			p.warn("a second instance of the same start is left behind", m, err)
		}
	}
	return sandbox.ID(all[0].ID)
}

func (p *Provider) metadata(req sandbox.StartRequest) map[string]string {
	metadata := maps.Clone(p.cfg.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[metaApp] = app
	metadata[metaMark] = p.cfg.Mark
	metadata[metaKey] = req.Key
	if req.Slug != "" {
		metadata[metaSlug] = req.Slug
	}
	if req.WorkloadType != "" {
		metadata[metaWorkload] = req.WorkloadType
	}
	return metadata
}

// abandon deletes what a create makes that nobody waits for any more. It waits
// for that only as long as a caller whose context ended may be kept.
func (p *Provider) abandon(ctx context.Context, end <-chan created, settled func()) error {
	gone := make(chan error, 1)
	running := p.background(func() {
		defer settled()
		made := <-end
		if made.err != nil {
			p.log.Warn("a start that nobody waits for went wrong", slog.String("provider", Name), slog.Any("error", made.err))
		} else if err := p.discard(ctx, made.id); err != nil {
			gone <- fmt.Errorf("%w (%w)", err, &sandbox.Leftover{ID: made.id})
			return
		}
		gone <- nil
	})
	if !running {
		settled()
		return ctx.Err()
	}
	timer := time.NewTimer(p.cfg.Timing.Grace)
	defer timer.Stop()
	select {
	case err := <-gone:
		return because(ctx.Err(), err)
	case <-timer.C:
		return ctx.Err()
	}
}

// undo deletes an instance whose start went wrong. Its error is cause, and
// names the instance when that could not be deleted in time.
func (p *Provider) undo(ctx context.Context, id sandbox.ID, cause error) error {
	gone := make(chan error, 1)
	if p.background(func() { gone <- p.discard(ctx, id) }) {
		timer := time.NewTimer(p.cfg.Timing.Grace)
		defer timer.Stop()
		select {
		case err := <-gone:
			if err == nil {
				return cause
			}
		case <-timer.C:
		}
	}
	return fmt.Errorf("%w (%w)", cause, &sandbox.Leftover{ID: id})
}

// discard deletes an instance that Start made, within the time of one call and
// whether or not ctx has ended.
func (p *Provider) discard(ctx context.Context, id sandbox.ID) error {
	ctx, end := p.detached(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timing.Act)
	defer cancel()
	err := p.Delete(ctx, id)
	if err != nil {
		p.log.Error("an instance that nobody waits for is left behind",
			slog.String("provider", Name), slog.String("instance", string(id)), slog.Any("error", err))
	}
	return err
}
