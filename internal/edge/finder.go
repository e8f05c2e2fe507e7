package edge

import (
	"context"
	"errors"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// finder finds the record of a sandbox: in the catalogue, else at a provider,
// by its naming convention; then it is recorded.
type finder struct {
	catalog   catalog.Catalog
	providers []sandbox.Provider
}

// adoptLease bounds how long the lease on a sandbox is held to record it.
const adoptLease = 5 * time.Second

// Resolve implements manager.Finder. The error is of kind not-found only when
// the catalogue and every provider said so.
func (f *finder) Resolve(ctx context.Context, slug string) (catalog.Record, error) {
	r, err := f.catalog.Get(ctx, slug)
	switch {
	case err == nil && r.Tombstone():
		return catalog.Record{}, sandbox.Errorf(sandbox.KindNotFound, "find", slug, "%w", sandbox.ErrGone)
	case err == nil:
		return r, nil
	case errors.Is(err, catalog.ErrInvalid):
		return catalog.Record{}, sandbox.Errorf(sandbox.KindNotFound, "find", slug, "there is no such sandbox")
	case !errors.Is(err, catalog.ErrNotFound) && !errors.Is(err, catalog.ErrUnavailable):
		return catalog.Record{}, sandbox.Errorf(sandbox.KindUnavailable, "find", slug, "%w", err)
	}
	known := errors.Is(err, catalog.ErrNotFound)
	failed := sandbox.Errorf(sandbox.KindNotFound, "find", slug, "there is no such sandbox")
	if !known {
		failed = sandbox.Errorf(sandbox.KindUnavailable, "find", slug, "%w", err)
	}
	for _, p := range f.providers {
		in, err := p.Find(ctx, slug)
		if err == nil {
			return f.adopt(ctx, slug, in, p.Capabilities().RAMSnapshot), nil
		}
		if sandbox.KindOf(err) != sandbox.KindNotFound {
			failed = err
		}
	}
	return catalog.Record{}, failed
}

// adopt records an instance that a provider found. One that can't be recorded
// now is found again the next time.
func (f *finder) adopt(ctx context.Context, slug string, in sandbox.Instance, keepsRAM bool) catalog.Record {
	in.Slug = slug
	r := catalog.Record{Instance: in, LastActive: time.Now(), RAMPreserved: keepsRAM || in.State == sandbox.Running}
	if in.State == sandbox.Paused || in.State == sandbox.Stopped {
		r.PausedBy = catalog.PausedByUnknown
	}
	_ = catalog.Hold(ctx, f.catalog, slug, adoptLease, func(ctx context.Context, lease catalog.Lease) error {
		fresh := r
		fresh.Generation, fresh.Fence = 0, lease.Fence()
		written, err := f.catalog.Create(ctx, fresh)
		if err == nil {
			r = written
		}
		return err
	})
	return r
}
