package reconciler

import (
	"context"
	"errors"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// errQuiet says that a provider already left a question of this round open.
var errQuiet = errors.New("its provider did not answer in time before")

// check looks into a suspicion under the lease of its slug.
func (r *round) check(ctx context.Context, s suspicion) {
	err := catalog.Hold(ctx, r.catalog, s.slug, r.config.Lease, func(ctx context.Context, lease catalog.Lease) error {
		current, err := r.catalog.Get(ctx, s.slug)
		switch {
		case errors.Is(err, catalog.ErrNotFound) && s.known == nil:
			return r.adopt(ctx, lease, s)
		case err != nil:
			return err
		case s.known == nil, current.Version != s.known.Version:
			return nil // somebody wrote it meanwhile: the next round will see
		case current.Tombstone():
			return r.adopt(ctx, lease, s)
		}
		return r.verify(ctx, lease, s, current)
	})
	switch {
	case err == nil, ctx.Err() != nil:
	case errors.Is(err, catalog.ErrLeaseHeld), errors.Is(err, catalog.ErrFenced), errors.Is(err, catalog.ErrLeaseExpired),
		errors.Is(err, catalog.ErrConflict), errors.Is(err, catalog.ErrDeleted), errors.Is(err, catalog.ErrNotFound):
		// Somebody else is at it, or was later.
	default:
		r.failures.Add(1)
		r.first.CompareAndSwap(nil, &err)
	}
}

// adopt records an instance.
func (r *round) adopt(ctx context.Context, lease catalog.Lease, s suspicion) error {
	in, err := r.whole(ctx, s.found)
	if err != nil || in.State == sandbox.Unknown {
		return err
	}
	rec := adopted(s.slug, in)
	rec.Fence = lease.Fence()
	if rec, err = r.catalog.Create(ctx, rec); err != nil {
		return err
	}
	r.did(Adopted, &rec, "it is "+rec.State.String())
	return nil
}

// verify asks the provider of a record for its instance and corrects the
// record.
func (r *round) verify(ctx context.Context, lease catalog.Lease, s suspicion, current catalog.Record) error {
	in, err := r.get(ctx, placeOf(&current.Instance))
	switch {
	case err == nil:
	case !gone(err):
		return err
	case s.found != nil:
		if in, err = r.whole(ctx, s.found); err != nil {
			return err
		}
	case s.twice:
		current.Fence = lease.Fence()
		buried, err := r.catalog.Delete(ctx, current)
		if err == nil {
			r.did(Forgotten, &buried, "its provider does not know it any more")
		}
		return err
	default:
		return nil // missed by the list only once
	}
	if in.State == sandbox.Unknown {
		return nil
	}
	rec, what := merged(current, in)
	if same(&current, &rec) {
		return nil
	}
	rec.Fence = lease.Fence()
	if rec, err = r.catalog.Put(ctx, rec); err != nil {
		return err
	}
	r.did(Repaired, &rec, what)
	return nil
}

// whole is a listed instance with the address that its provider's list may
// lack.
func (r *round) whole(ctx context.Context, in *sandbox.Instance) (sandbox.Instance, error) {
	if in.Address != "" || len(in.Ports) > 0 || asleep(in.State) {
		return *in, nil
	}
	found, err := r.get(ctx, placeOf(in))
	if gone(err) {
		err = catalog.ErrNotFound // it went since it was listed
	}
	return found, err
}

// get asks a provider for an instance, unless it once did not answer in time.
func (r *round) get(ctx context.Context, at place) (sandbox.Instance, error) {
	if _, quiet := r.quiet.Load(at.provider); quiet {
		return sandbox.Instance{}, errQuiet
	}
	bounded, cancel := context.WithTimeout(ctx, r.config.Call)
	defer cancel()
	in, err := r.byName[at.provider].Get(bounded, at.id)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil { // it cost all of its time
		r.quiet.Store(at.provider, true)
	}
	in.Provider = at.provider
	return in, err
}

// gone tells whether a provider said that there is no such instance.
func gone(err error) bool {
	return err != nil && sandbox.KindOf(err) == sandbox.KindNotFound
}

// did tells of a change.
func (r *round) did(kind string, rec *catalog.Record, detail string) {
	r.written(rec.Slug)
	r.metrics.changes.WithLabelValues(kind).Inc()
	r.log.Info("sandbox "+kind, "slug", rec.Slug, "provider", rec.Provider, "id", string(rec.ID), "detail", detail)
	r.tell(Event{Kind: kind, Slug: rec.Slug, Provider: rec.Provider, ID: rec.ID, Detail: detail})
}
