package manager

import (
	"context"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Pause puts a sandbox to sleep for whoever by is. Where the provider can't
// keep its RAM that is a [*ConflictError], unless force is set: then it is
// stopped, and its processes end.
func (m *Manager) Pause(ctx context.Context, slug, by string, force bool) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, error) {
		keeps := p.Capabilities().RAMSnapshot
		if !keeps && !force && r.Instance.State != sandbox.Paused && r.Instance.State != sandbox.Stopped {
			return r, conflict("%s can't keep the RAM of %s: its processes would end; force it, or leave it running", p.Name(), slug)
		}
		if err := p.Pause(ctx, r.Instance.ID); err != nil {
			return r, err
		}
		r.Instance.State, r.PausedBy = sandbox.Stopped, by
		if keeps {
			r.Instance.State = sandbox.Paused
		}
		r.RAMPreserved, r.Deadline = keeps, time.Time{}
		m.tell(Event{Kind: Paused, Slug: slug, Provider: p.Name(), ID: r.Instance.ID, Detail: "by " + by + ramNote(keeps)})
		return r, nil
	})
}

// Resume wakes a sandbox. RAMPreserved of the record says whether its processes
// came back.
func (m *Manager) Resume(ctx context.Context, slug string) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Resume, func(ctx context.Context, p *provider, r Record) (Record, error) {
		kept := r.Instance.State != sandbox.Stopped && p.Capabilities().RAMSnapshot
		in, err := p.Resume(ctx, r.Instance.ID)
		if err != nil {
			return r, err
		}
		r = awake(r, in, kept)
		m.tell(Event{Kind: Resumed, Slug: slug, Provider: p.Name(), ID: in.ID, Detail: "by api" + ramNote(kept)})
		return r, nil
	})
}

// Stop ends the processes of a sandbox and keeps its disk.
func (m *Manager) Stop(ctx context.Context, slug string) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, error) {
		if err := p.Stop(ctx, r.Instance.ID); err != nil {
			return r, err
		}
		r.Instance.State, r.PausedBy, r.RAMPreserved, r.Deadline = sandbox.Stopped, ByAPI, false, time.Time{}
		m.tell(Event{Kind: Stopped, Slug: slug, Provider: p.Name(), ID: r.Instance.ID, Detail: "RAM was not preserved"})
		return r, nil
	})
}

// Boot starts a sandbox that sleeps. With cold its saved RAM, if it has any, is
// given up first: the way out when it can't be resumed.
func (m *Manager) Boot(ctx context.Context, slug string, cold bool) (Record, error) {
	if !cold {
		return m.Resume(ctx, slug)
	}
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, error) {
		if err := p.Stop(ctx, r.Instance.ID); err != nil {
			return r, err
		}
		in, err := p.Resume(ctx, r.Instance.ID)
		if err != nil {
			return r, err
		}
		m.tell(Event{Kind: Resumed, Slug: slug, Provider: p.Name(), ID: in.ID, Detail: "cold: RAM was not preserved"})
		return awake(r, in, false), nil
	})
}

// Delete ends a sandbox and removes its disk. Naming it is an operator's word,
// so that one which the edge did not make is removed too; providers refuse
// templates and reserved guests.
func (m *Manager) Delete(ctx context.Context, slug string) error {
	done, err := m.turn(ctx, slug)
	if err != nil {
		return err
	}
	defer done()
	r, err := m.Look(ctx, slug)
	if err != nil {
		return err
	}
	p, err := m.provider(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.config.Timing.Sleep)
	defer cancel()
	if err := p.Delete(ctx, r.Instance.ID); err != nil {
		m.tell(Event{Kind: Failed, Slug: slug, Provider: p.Name(), ID: r.Instance.ID, Detail: "delete", Error: err.Error()})
		return err
	}
	m.records.drop(slug)
	m.tell(Event{Kind: Deleted, Slug: slug, Provider: p.Name(), ID: r.Instance.ID})
	return nil
}

// operate changes one sandbox: its turn, its record as the provider has it now,
// the change, the record again.
func (m *Manager) operate(ctx context.Context, slug string, limit time.Duration, change func(context.Context, *provider, Record) (Record, error)) (Record, error) {
	done, err := m.turn(ctx, slug)
	if err != nil {
		return Record{}, err
	}
	defer done()
	r, err := m.Look(ctx, slug)
	if err != nil {
		return Record{}, err
	}
	p, err := m.provider(r)
	if err != nil {
		return Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if r, err = m.refresh(ctx, p, r); err != nil {
		return Record{}, err
	}
	changed, err := change(ctx, p, r)
	if err != nil {
		if _, expected := err.(*ConflictError); !expected { //nolint:errorlint // change makes it itself
			m.tell(Event{Kind: Failed, Slug: slug, Provider: p.Name(), ID: r.Instance.ID, Error: err.Error()})
		}
		return Record{}, err
	}
	m.records.put(changed)
	return changed, nil
}

// turn waits for the other operations on a sandbox.
func (m *Manager) turn(ctx context.Context, slug string) (done func(), err error) {
	if done, err = m.turns.Take(ctx, slug); err != nil {
		return nil, sandbox.Errorf(sandbox.KindUnavailable, "change", slug, "wait for another operation: %w", err)
	}
	return done, nil
}

// refresh reads the instance from its provider. One that is gone loses its
// record.
func (m *Manager) refresh(ctx context.Context, p *provider, r Record) (Record, error) {
	in, err := p.Get(ctx, r.Instance.ID)
	if err != nil {
		if sandbox.KindOf(err) == sandbox.KindNotFound {
			m.records.drop(r.Instance.Slug)
		}
		return r, err
	}
	in.Slug, in.WorkloadType = r.Instance.Slug, r.Instance.WorkloadType
	r.Instance = in
	return r, nil
}

// awake is the record of a sandbox that was woken.
func awake(r Record, in sandbox.Instance, kept bool) Record {
	in.Slug, in.WorkloadType = r.Instance.Slug, r.Instance.WorkloadType
	r.Instance, r.PausedBy, r.RAMPreserved, r.LastActive = in, "", kept, time.Now()
	if r.TTL > 0 {
		r.Deadline, r.extended = r.LastActive.Add(r.TTL), time.Time{}
	}
	return r
}

// ramNote says what an operator must know about the RAM.
func ramNote(kept bool) string {
	if kept {
		return ""
	}
	return "; RAM was not preserved"
}

// extend tells providers that would put a sandbox to sleep by themselves which
// ones were used, not more often than four times in their time to live.
func (m *Manager) extend(ctx context.Context, now time.Time) {
	for _, r := range m.records.list() {
		p := m.providers[r.Instance.Provider]
		if r.TTL == 0 || r.Instance.State != sandbox.Running || !r.LastActive.After(r.extended) || now.Sub(r.extended) < r.TTL/4 || p == nil {
			continue
		}
		extender, ok := p.Provider.(sandbox.Extender)
		if !ok {
			continue
		}
		m.records.change(r.Instance.Slug, func(r *Record) { r.extended = now })
		m.background.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, m.config.Timing.Resume)
			defer cancel()
			if err := extender.Extend(ctx, r.Instance.ID, r.TTL); err != nil {
				m.log.Warn("can't extend the time to live", "slug", r.Instance.Slug, "provider", p.Name(), "error", err)
			}
		})
	}
}

// expire pauses the sandboxes whose time to live has ended, each in a goroutine
// that Run waits for. Where no RAM can be kept they are stopped.
func (m *Manager) expire(ctx context.Context, now time.Time) {
	for _, r := range m.records.list() {
		if r.Deadline.IsZero() || r.Deadline.After(now) || r.Instance.State != sandbox.Running {
			continue
		}
		slug := r.Instance.Slug
		// One attempt a minute, should it fail.
		m.records.change(slug, func(r *Record) { r.Deadline = now.Add(time.Minute) })
		m.background.Go(func() { _, _ = m.Pause(ctx, slug, ByTTL, true) }) // a failure is told as an event
	}
}
