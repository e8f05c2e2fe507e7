package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/sandbox"
)

func TestHoldRenewsWhileWorkGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memory.New(memory.Config{})
		err := catalog.Hold(t.Context(), c, "demo", 10*time.Second, func(ctx context.Context, l catalog.Lease) error {
			for range 20 {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(5 * time.Second):
				}
				if _, err := c.Lease(ctx, "demo", time.Second); !errors.Is(err, catalog.ErrLeaseHeld) {
					t.Errorf("another got the lease (%v)", err)
				}
			}
			return errDone
		})
		if !errors.Is(err, errDone) {
			t.Errorf("got %v, want what work returned", err)
		}
		if _, err := c.Lease(t.Context(), "demo", time.Second); err != nil {
			t.Errorf("the lease is not released: %v", err)
		}
	})
}

var errDone = errors.New("done")

func TestHoldDoesNotWorkWithoutTheLease(t *testing.T) {
	t.Parallel()
	c := memory.New(memory.Config{})
	if _, err := c.Lease(t.Context(), "demo", time.Minute); err != nil {
		t.Fatal(err)
	}
	err := catalog.Hold(t.Context(), c, "demo", time.Minute, func(context.Context, catalog.Lease) error {
		t.Error("work runs")
		return nil
	})
	if !errors.Is(err, catalog.ErrLeaseHeld) {
		t.Errorf("got %v, want %v", err, catalog.ErrLeaseHeld)
	}
}

// flaky is a leaser whose leases can't be renewed for a while, or at all.
type flaky struct {
	catalog.Leaser
	renew func(ctx context.Context, l catalog.Lease) error
}

type flakyLease struct {
	catalog.Lease
	renew func(ctx context.Context, l catalog.Lease) error
}

func (f flaky) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	l, err := f.Leaser.Lease(ctx, key, ttl)
	return flakyLease{l, f.renew}, err
}

func (l flakyLease) Renew(ctx context.Context) error { return l.renew(ctx, l.Lease) }

func TestHoldStopsWorkWhenTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	for name, renew := range map[string]func(context.Context, catalog.Lease) error{
		"the store is away": func(context.Context, catalog.Lease) error { return catalog.ErrUnavailable },
		"the store does not answer": func(ctx context.Context, _ catalog.Lease) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"somebody else has it": func(context.Context, catalog.Lease) error { return catalog.ErrLeaseExpired },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				from := flaky{memory.New(memory.Config{}), renew}
				err := catalog.Hold(t.Context(), from, "demo", 9*time.Second, func(ctx context.Context, _ catalog.Lease) error {
					<-ctx.Done()
					return context.Cause(ctx)
				})
				if !errors.Is(err, catalog.ErrLeaseExpired) {
					t.Errorf("got %v, want %v", err, catalog.ErrLeaseExpired)
				}
				if took := time.Since(began); took > 9*time.Second {
					t.Errorf("work was stopped after %v, and the lease was of 9s", took)
				}
			})
		})
	}
}

func TestHoldGetsOverAStoreThatIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failures := 0
		from := flaky{memory.New(memory.Config{}), func(ctx context.Context, l catalog.Lease) error {
			if failures++; failures%3 != 0 {
				return catalog.ErrUnavailable
			}
			return l.Renew(ctx)
		}}
		err := catalog.Hold(t.Context(), from, "demo", 9*time.Second, func(ctx context.Context, _ catalog.Lease) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Minute):
				return nil
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestHoldEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	c := memory.New(memory.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	err := catalog.Hold(ctx, c, "demo", time.Minute, func(ctx context.Context, _ catalog.Lease) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := c.Lease(t.Context(), "demo", time.Second); err != nil {
		t.Errorf("the lease is not released: %v", err)
	}
}

func ExampleHold() {
	ctx := context.Background()
	store := memory.New(memory.Config{})
	err := catalog.Hold(ctx, store, "demo", 10*time.Second, func(ctx context.Context, lease catalog.Lease) error {
		// Look again now that nobody else writes, then act at the provider.
		record, err := store.Get(ctx, "demo")
		if err != nil {
			record = catalog.Record{Instance: sandbox.Instance{Slug: "demo"}}
		}
		record.State, record.Address = sandbox.Running, "10.0.0.5"
		record.Fence, record.Generation = lease.Fence(), 0 // a new life
		_, err = store.Put(ctx, record)
		return err
	})
	record, _ := store.Get(ctx, "demo")
	fmt.Println(record.State, record.Address, record.Generation > 0, err)
	// Output: running 10.0.0.5 true <nil>
}
