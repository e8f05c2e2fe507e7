package manager

import (
	"context"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Pause puts a sandbox to sleep for whoever by is. Where the provider can't
// keep its RAM that is a [*ConflictError], unless force is set: then it is
// stopped, and its processes end.
func (m *Manager) Pause(ctx context.Context, slug string, by catalog.PausedBy, force bool) (Record, error) {
	return m.pause(ctx, slug, by, force, time.Time{})
}

// pause is Pause; with unused it leaves a sandbox alone that was used since.
func (m *Manager) pause(ctx context.Context, slug string, by catalog.PausedBy, force bool, unused time.Time) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, *Event, error) {
		keeps := p.Capabilities().RAMSnapshot
		switch {
		case !unused.IsZero() && unused.Sub(r.LastActive) < r.TTL:
			return r, nil, conflict("%s is in use again", slug)
		case !keeps && !force && r.State != sandbox.Paused && r.State != sandbox.Stopped:
			return r, nil, conflict("%s can't keep the RAM of %s: its processes would end; force it, or leave it running", p.Name(), slug)
		}
		if err := p.Pause(ctx, r.ID); err != nil {
			return r, nil, err
		}
		if r.State == sandbox.Paused || r.State == sandbox.Stopped {
			return r, nil, nil // it slept already, for whoever put it to sleep
		}
		r.State, r.PausedBy, r.RAMPreserved = sandbox.Stopped, by, keeps
		if keeps {
			r.State = sandbox.Paused
		}
		return r, &Event{Kind: Paused, Detail: "by " + by.String() + ramNote(keeps)}, nil
	})
}

// Resume wakes a sandbox. RAMPreserved of the record says whether its processes
// came back.
func (m *Manager) Resume(ctx context.Context, slug string) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Resume, func(ctx context.Context, p *provider, r Record) (Record, *Event, error) {
		kept := r.State != sandbox.Stopped && p.Capabilities().RAMSnapshot
		in, err := p.Resume(ctx, r.ID)
		if err != nil || r.State == sandbox.Running {
			return r, nil, err
		}
		return awake(r, in, kept), &Event{Kind: Resumed, Detail: "by api" + ramNote(kept)}, nil
	})
}

// Stop ends the processes of a sandbox and keeps its disk.
func (m *Manager) Stop(ctx context.Context, slug string) (Record, error) {
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, *Event, error) {
		if err := p.Stop(ctx, r.ID); err != nil || r.State == sandbox.Stopped {
			return r, nil, err
		}
		r.State, r.PausedBy, r.RAMPreserved = sandbox.Stopped, catalog.PausedByAPI, false
		return r, &Event{Kind: Stopped, Detail: "RAM was not preserved"}, nil
	})
}

// Boot starts a sandbox that sleeps. With cold its saved RAM, if it has any, is
// given up first: the way out when it can't be resumed.
func (m *Manager) Boot(ctx context.Context, slug string, cold bool) (Record, error) {
	if !cold {
		return m.Resume(ctx, slug)
	}
	return m.operate(ctx, slug, m.config.Timing.Sleep, func(ctx context.Context, p *provider, r Record) (Record, *Event, error) {
		if r.State == sandbox.Running {
			return r, nil, conflict("%s runs: its processes would end; stop it first", slug)
		}
		if err := p.Stop(ctx, r.ID); err != nil {
			return r, nil, err
		}
		in, err := p.Resume(ctx, r.ID)
		if err != nil {
			return r, nil, err
		}
		return awake(r, in, false), &Event{Kind: Resumed, Detail: "cold: RAM was not preserved"}, nil
	})
}

// Delete ends a sandbox and removes its disk. Naming it is an operator's word,
// so that one which the edge did not make is removed too; providers refuse
// templates and reserved guests. Its record becomes a tombstone.
func (m *Manager) Delete(ctx context.Context, slug string) error {
	if _, err := m.Look(ctx, slug); err != nil {
		return err
	}
	return m.hold(ctx, slug, func(ctx context.Context, fence uint64) error {
		r, p, err := m.read(ctx, slug)
		if err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, m.config.Timing.Sleep)
		defer cancel()
		if err := p.Delete(bounded, r.ID); err != nil {
			m.tell(Event{Kind: Failed, Slug: slug, Provider: p.Name(), ID: r.ID, Detail: "delete", Error: err.Error()})
			return err
		}
		m.tell(Event{Kind: Deleted, Slug: slug, Provider: p.Name(), ID: r.ID, Generation: r.Generation})
		r.Fence = fence
		_, err = m.catalog.Delete(ctx, r)
		m.finder.Invalidate(slug)
		return storeError("delete", slug, err)
	})
}

// operate changes one sandbox under its lease: the record, the instance as its
// provider has it now, the change, the record again, and then the news of it, if
// there are any.
func (m *Manager) operate(ctx context.Context, slug string, limit time.Duration, change func(context.Context, *provider, Record) (Record, *Event, error)) (changed Record, err error) {
	if _, err := m.Look(ctx, slug); err != nil {
		return Record{}, err
	}
	err = m.hold(ctx, slug, func(ctx context.Context, fence uint64) error {
		r, p, err := m.read(ctx, slug)
		if err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		r.Fence = fence
		if r, err = m.refresh(bounded, p, r); err != nil {
			return err
		}
		var news *Event
		if r, news, err = change(bounded, p, r); err != nil {
			if _, expected := err.(*ConflictError); !expected { //nolint:errorlint // change makes it itself
				m.tell(Event{Kind: Failed, Slug: slug, Provider: p.Name(), ID: r.ID, Error: err.Error()})
			}
			return err
		}
		changed, err = m.catalog.Put(ctx, r)
		m.finder.Invalidate(slug)
		if news != nil {
			// It happened, whether it could be recorded or not.
			news.Slug, news.Provider, news.ID, news.Generation = slug, r.Provider, r.ID, changed.Generation
			m.tell(*news)
		}
		return storeError("change", slug, err)
	})
	if err != nil {
		return Record{}, err
	}
	return changed, nil
}

// read reads a record and finds its provider.
func (m *Manager) read(ctx context.Context, slug string) (Record, *provider, error) {
	r, err := m.get(ctx, slug)
	if err != nil {
		return Record{}, nil, err
	}
	p, err := m.provider(r)
	return r, p, err
}

// refresh reads the instance from its provider. The record of one that is gone
// becomes a tombstone.
func (m *Manager) refresh(ctx context.Context, p *provider, r Record) (Record, error) {
	in, err := p.Get(ctx, r.ID)
	if err != nil {
		if sandbox.KindOf(err) == sandbox.KindNotFound {
			_, _ = m.catalog.Delete(ctx, r) // it is found gone again the next time
			m.finder.Invalidate(r.Slug)
		}
		return r, err
	}
	generation := r.Generation
	r.Instance = named(r, in)
	r.Generation = generation
	return r, nil
}

// named is an instance with what only its record knows.
func named(r Record, in sandbox.Instance) sandbox.Instance {
	in.Slug, in.WorkloadType = r.Slug, r.WorkloadType
	return in
}

// awake is the record of a sandbox that was woken: a new generation, which the
// catalogue draws.
func awake(r Record, in sandbox.Instance, kept bool) Record {
	r.Instance = named(r, in)
	r.Generation = 0
	r.PausedBy, r.RAMPreserved, r.LastActive = catalog.PausedByNobody, kept, time.Now()
	return r
}

// ramNote says what an operator must know about the RAM.
func ramNote(kept bool) string {
	if kept {
		return ""
	}
	return "; RAM was not preserved"
}
