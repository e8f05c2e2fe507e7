package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Lease is the right to change a sandbox, or to do a job that only one replica
// does, for a time. It is safe for concurrent use.
type Lease interface {
	// Key is what was leased.
	Key() string
	// Fence numbers the lease: it is larger than that of any earlier lease on
	// the key. It goes into every record that is written under the lease.
	Fence() uint64
	// Expires is the end of the lease by the holder's own clock, on the safe
	// side: it counts from before the store was asked.
	Expires() time.Time
	// Renew makes the lease last for its ttl from now. It fails with
	// ErrLeaseExpired when the lease is not held any more; a lease does not
	// come back.
	Renew(ctx context.Context) error
	// Release ends the lease at once. Releasing one that ended is no error.
	Release(ctx context.Context) error
}

const singleton = "singleton/"

// Singleton is the key of a job that only one replica does at a time. No slug
// is equal to it.
func Singleton(name string) string { return singleton + name }

// CheckLease tells whether a lease of ttl on key may be asked for; else the
// error is an [ErrInvalid].
func CheckLease(key string, ttl time.Duration) error {
	if name := strings.TrimPrefix(key, singleton); !ValidSlug(name) {
		return fmt.Errorf("%w: %q is neither a slug nor a singleton", ErrInvalid, key)
	}
	if ttl < time.Millisecond {
		return fmt.Errorf("%w: a lease of %v", ErrInvalid, ttl)
	}
	return nil
}

// Hold takes the lease on key, runs work while renewing it, and releases it.
// It returns Lease's error when work did not run, else work's.
//
// work's context ends when the lease is lost, with a cause that wraps
// [ErrLeaseExpired]: at the latest when the lease ends by this replica's clock.
func Hold(ctx context.Context, from Leaser, key string, ttl time.Duration, work func(context.Context, Lease) error) error {
	lease, err := from.Lease(ctx, key, ttl)
	if err != nil {
		return err
	}
	held, lose := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() { // ends with held, below
		defer close(renewed)
		lose(renew(held, lease, ttl))
	}()
	defer func() {
		lose(nil)
		<-renewed
		// Who leaves still says so; what is not said in time runs out by itself.
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), ttl)
		defer cancel()
		_ = lease.Release(release)
	}()
	return work(held, lease)
}

// renew keeps a lease until ctx ends or the lease is lost, and says which.
func renew(ctx context.Context, lease Lease, ttl time.Duration) error {
	pause := time.NewTimer(ttl / 3)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		attempt, cancel := context.WithDeadline(ctx, lease.Expires())
		err := lease.Renew(attempt)
		cancel()
		switch {
		case err == nil:
			pause.Reset(ttl / 3)
		case errors.Is(err, ErrLeaseExpired):
			return err
		case !time.Now().Before(lease.Expires()):
			return fmt.Errorf("%w: %w", ErrLeaseExpired, err)
		default: // the store may answer the next one
			pause.Reset(min(ttl/10, time.Until(lease.Expires())))
		}
	}
}
