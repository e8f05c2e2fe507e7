package manager

import (
	"context"
	"errors"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

const (
	// leaseTTL is how long the lease on a sandbox outlives a replica that
	// died; it is renewed while an operation runs.
	leaseTTL = 15 * time.Second
	// leaseLook is how often somebody else's lease is looked at again.
	leaseLook = 250 * time.Millisecond
)

// hold runs work under the lease on a sandbox, once whoever has it is done.
// fence goes into every record that work writes.
func (m *Manager) hold(ctx context.Context, slug string, work func(ctx context.Context, fence uint64) error) error {
	// Within the process operations take turns, which costs the store nothing.
	done, err := m.turns.Take(ctx, slug)
	if err != nil {
		return sandbox.Errorf(sandbox.KindUnavailable, "change", slug, "wait for another operation: %w", err)
	}
	defer done()
	for {
		began := false
		err := catalog.Hold(ctx, m.catalog, slug, leaseTTL, func(ctx context.Context, lease catalog.Lease) error {
			began = true
			return work(ctx, lease.Fence())
		})
		if began {
			return err
		}
		held, ok := errors.AsType[*catalog.HeldError](err)
		if !ok {
			return storeError("change", slug, err)
		}
		wait := time.NewTimer(min(held.Left, leaseLook))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return sandbox.Errorf(sandbox.KindUnavailable, "change", slug, "wait for another replica: %w", ctx.Err())
		}
	}
}

// storeError is an error of the catalogue as one of the vocabulary's.
func storeError(op, slug string, err error) error {
	kind := sandbox.KindUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, catalog.ErrDeleted):
		return sandbox.Errorf(sandbox.KindNotFound, op, slug, "%w", sandbox.ErrGone)
	case errors.Is(err, catalog.ErrNotFound):
		kind = sandbox.KindNotFound
	case errors.Is(err, catalog.ErrConflict), errors.Is(err, catalog.ErrFenced), errors.Is(err, catalog.ErrLeaseExpired), errors.Is(err, catalog.ErrLeaseHeld):
		kind = sandbox.KindBusy
	case errors.Is(err, catalog.ErrInvalid):
		kind = sandbox.KindInvalid
	}
	return sandbox.Errorf(kind, op, slug, "%w", err)
}

// get reads a record; a tombstone is not there.
func (m *Manager) get(ctx context.Context, slug string) (Record, error) {
	r, err := m.catalog.Get(ctx, slug)
	if err == nil && r.Tombstone() {
		err = catalog.ErrDeleted
	}
	return r, storeError("get", slug, err)
}
