package resolver

import (
	"context"
	"errors"
	"maps"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Refresh is for who found a record to be wrong, by a dial that failed: it asks
// the provider, writes what is true and returns it. While somebody else acts on
// the sandbox, or the provider was asked only just now, it returns what the
// catalogue has. Its errors are those of Resolve.
func (r *Resolver) Refresh(ctx context.Context, slug string) (catalog.Record, error) {
	f := r.refreshes.join(slug) //nolint:contextcheck // others wait for it as well
	if f == nil {
		return catalog.Record{}, unavailable(slug, errClosed)
	}
	select {
	case <-f.done:
		return f.answer.record, f.answer.err
	case <-ctx.Done():
		return catalog.Record{}, ended(ctx, slug)
	}
}

// refresh is the one Refresh of a slug.
func (r *Resolver) refresh(ctx context.Context, f *flight) answer {
	began := r.cache.now()
	e := r.cache.peek(f.slug)
	if e != nil && e.verified > 0 && began-e.verified < r.config.RefreshEvery && !e.outdated.Load() {
		return answer{record: e.record, err: e.err}
	}
	current, err := r.get(ctx, f.slug)
	switch {
	case ctx.Err() != nil:
		return answer{err: ended(ctx, f.slug)}
	case errors.Is(err, catalog.ErrNotFound):
		return r.adopt(ctx, f, began)
	case err != nil:
		return r.bypass(ctx, f, began, err)
	case current.Tombstone(), e != nil && current.Version > e.record.Version:
		return r.keep(f, current, began, 0, store) // that was not known yet
	}
	return r.publish(ctx, f, current)
}

// publish asks the provider of a record, under the lease, and writes what is
// new.
func (r *Resolver) publish(ctx context.Context, f *flight, current catalog.Record) answer {
	began, verified := r.cache.now(), time.Duration(0)
	truth := current
	err := catalog.Hold(ctx, r.catalog, f.slug, r.config.Lease, func(ctx context.Context, lease catalog.Lease) error {
		began = r.cache.now()
		// Who had the lease before may have written.
		got, err := r.get(ctx, f.slug)
		if err != nil {
			return err
		}
		current, truth = got, got
		if got.Tombstone() {
			return nil
		}
		found, err := r.ask(ctx, r.checks, f.slug, &got)
		switch {
		case err == nil:
			truth = merged(got, found)
		case definite(err):
			truth = vanished(got)
		default:
			return err
		}
		verified = r.cache.now()
		if same(&got, &truth) {
			return nil
		}
		truth.Fence = lease.Fence()
		written, err := r.catalog.Put(ctx, truth)
		if err == nil {
			current = written
		}
		return err
	})
	if errors.Is(err, catalog.ErrFenced) || errors.Is(err, catalog.ErrDeleted) {
		current, err = r.get(ctx, f.slug) // somebody else was later
	}
	switch {
	case err == nil, errors.Is(err, catalog.ErrLeaseHeld):
		return r.keep(f, current, began, verified, provider)
	case errors.Is(r.health.saw(err), catalog.ErrUnavailable) && verified > 0:
		return r.unrecorded(truth, began)
	case sandbox.KindOf(err) != sandbox.KindUnavailable:
		err = unavailable(f.slug, err)
	}
	return answer{err: err}
}

// Waits of create for whoever has the lease.
const (
	firstWait = 20 * time.Millisecond
	allWaits  = time.Second
)

// create writes the record of a slug that has none, or returns the one that it
// got meanwhile. Whoever has the lease is likely to adopt the same instance, so
// it is waited for, but not long.
func (r *Resolver) create(ctx context.Context, wanted catalog.Record) (catalog.Record, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := firstWait; ; wait *= 2 {
		got, err := r.createNow(ctx, wanted)
		if err == nil || !errors.Is(err, catalog.ErrLeaseHeld) || wait > allWaits/2 {
			return got, r.health.saw(err)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return catalog.Record{}, ctx.Err()
		}
		if got, err = r.get(ctx, wanted.Slug); !errors.Is(err, catalog.ErrNotFound) {
			return got, err
		}
	}
}

func (r *Resolver) createNow(ctx context.Context, wanted catalog.Record) (got catalog.Record, err error) {
	err = catalog.Hold(ctx, r.catalog, wanted.Slug, r.config.Lease, func(ctx context.Context, lease catalog.Lease) error {
		if got, err = r.get(ctx, wanted.Slug); !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		wanted.Fence = lease.Fence()
		got, err = r.catalog.Create(ctx, wanted)
		return err
	})
	if errors.Is(err, catalog.ErrConflict) || errors.Is(err, catalog.ErrDeleted) || errors.Is(err, catalog.ErrFenced) {
		return r.get(ctx, wanted.Slug)
	}
	return got, err
}

// adopted is the record of an instance that a provider found. known is what is
// remembered of the slug, if anything.
func adopted(slug string, found sandbox.Instance, known *catalog.Record) catalog.Record {
	if known != nil {
		other := catalog.Record{Instance: found}
		if known.SameInstance(&other) {
			return merged(*known, found)
		}
	}
	found.Slug, found.Generation = slug, 0
	rec := catalog.Record{Instance: found, LastActive: time.Now(), RAMPreserved: found.State != sandbox.Stopped}
	if asleep(found.State) {
		rec.PausedBy = catalog.PausedByUnknown
	}
	return rec
}

// merged is a record with what its provider says now. One that moved, or woke,
// begins a new generation.
func merged(old catalog.Record, found sandbox.Instance) catalog.Record {
	now := old
	now.Instance = found
	now.Slug, now.Generation = old.Slug, old.Generation
	if found.WorkloadType == "" {
		now.WorkloadType = old.WorkloadType
	}
	if found.Created.IsZero() {
		now.Created = old.Created
	}
	moved := !old.SameInstance(&now) || old.Address != now.Address || !maps.Equal(old.Ports, now.Ports)
	woke := now.State == sandbox.Running && old.State != sandbox.Running
	if moved || woke {
		now.Generation = 0
	}
	switch {
	case now.State == sandbox.Running:
		now.PausedBy = catalog.PausedByNobody
	case asleep(now.State) && !asleep(old.State):
		now.PausedBy, now.RAMPreserved = catalog.PausedByExternal, now.State == sandbox.Paused
	case now.State == sandbox.Stopped:
		now.RAMPreserved = false
	}
	return now
}

// vanished is the record of an instance that no provider knows. It is not
// buried: who does that looks once more, later.
func vanished(old catalog.Record) catalog.Record {
	old.State, old.Reason = sandbox.Failed, errNotThere.Error()
	return old
}

// same tells whether two records say the same of an instance.
func same(a, b *catalog.Record) bool {
	return a.SameInstance(b) && a.State == b.State && a.Reason == b.Reason && a.Address == b.Address &&
		maps.Equal(a.Ports, b.Ports) && a.PausedBy == b.PausedBy && a.RAMPreserved == b.RAMPreserved
}

func asleep(s sandbox.State) bool { return s == sandbox.Paused || s == sandbox.Stopped }
