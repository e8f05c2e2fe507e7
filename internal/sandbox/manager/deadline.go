package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

const (
	// useStep is how finely uses are noted: seconds do, and spare the store.
	useStep = time.Second
	// usesQueue is how many uses may wait for the store. What does not fit is
	// noted at the next request.
	usesQueue = 1024
)

// uses collects who is in use until the store is told.
type uses struct {
	queue chan string
	last  sync.Map // from slug to the time.Time it was last queued
}

// Use notes that a sandbox is in use, so that its time to live begins anew. It
// never waits; a few uses may be lost.
func (m *Manager) Use(slug string) {
	now := time.Now()
	if last, ok := m.uses.last.Load(slug); ok && now.Sub(last.(time.Time)) < useStep {
		return
	}
	select {
	case m.uses.queue <- slug:
		m.uses.last.Store(slug, now)
	default:
	}
}

// noteUses tells the store of uses until ctx ends.
func (m *Manager) noteUses(ctx context.Context) {
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case slug := <-m.uses.queue:
			if err := m.catalog.Touch(ctx, slug, time.Now()); errors.Is(err, catalog.ErrUnavailable) {
				m.log.Debug("a use is not noted", "slug", slug, "error", err)
			}
		case now := <-sweep.C:
			m.uses.last.Range(func(slug, last any) bool {
				if now.Sub(last.(time.Time)) > time.Minute {
					m.uses.last.Delete(slug)
				}
				return true
			})
		}
	}
}

// deadlines is what the replica that keeps them remembers.
type deadlines struct {
	extended map[string]time.Time // when a provider was last told of a use
	retry    map[string]time.Time // when a pause that failed is tried again
}

// keepDeadlines puts sandboxes to sleep when their time is over, on one replica
// at a time, until ctx ends.
func (m *Manager) keepDeadlines(ctx context.Context) {
	for ctx.Err() == nil {
		err := catalog.Hold(ctx, m.catalog, catalog.Singleton("deadlines"), leaseTTL, func(ctx context.Context, _ catalog.Lease) error {
			d := &deadlines{extended: make(map[string]time.Time), retry: make(map[string]time.Time)}
			tick := time.NewTicker(m.config.Timing.Tick)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case now := <-tick.C:
					m.checkDeadlines(ctx, now, d)
				}
			}
		})
		wait := leaseTTL / 3
		if held, ok := errors.AsType[*catalog.HeldError](err); ok {
			wait = max(held.Left, leaseLook)
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
		}
	}
}

// checkDeadlines looks at every sandbox once.
func (m *Manager) checkDeadlines(ctx context.Context, now time.Time, d *deadlines) {
	list, err := m.List(ctx)
	if err != nil {
		return // the next look may work; nobody's time ends sooner for it
	}
	for _, r := range list {
		if r.TTL == 0 || r.State != sandbox.Running {
			delete(d.extended, r.Slug)
			delete(d.retry, r.Slug)
			continue
		}
		if now.Sub(r.LastActive) < r.TTL {
			m.extend(ctx, now, r, d)
			continue
		}
		if now.Before(d.retry[r.Slug]) {
			continue
		}
		d.retry[r.Slug] = now.Add(time.Minute)
		// Where no RAM can be kept it is stopped; a failure is told as an event.
		m.background.Go(func() { _, _ = m.pause(ctx, r.Slug, catalog.PausedByTTL, true, now) })
	}
}

// extend tells a provider that would put the sandbox to sleep by itself that it
// is in use, not more often than four times in its time to live.
func (m *Manager) extend(ctx context.Context, now time.Time, r Record, d *deadlines) {
	p := m.providers[r.Provider]
	if p == nil {
		return
	}
	e, ok := extender(p.Provider)
	last, told := d.extended[r.Slug]
	if !told {
		// It was told when it started, or by whoever kept the deadlines before.
		d.extended[r.Slug] = r.LastActive
		return
	}
	if !ok || !r.LastActive.After(last) || now.Sub(last) < r.TTL/4 {
		return
	}
	d.extended[r.Slug] = now
	m.background.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, m.config.Timing.Resume)
		defer cancel()
		if err := e.Extend(ctx, r.ID, r.TTL); err != nil {
			m.log.Warn("can't extend the time to live", "slug", r.Slug, "provider", p.Name(), "error", err)
		}
	})
}
