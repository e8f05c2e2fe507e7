package catalogtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"cmux.sh/edge/internal/catalog"
)

// writes are the methods that take a fence, on both replicas.
func (f *fixture) writes() []func(context.Context, catalog.Record) (catalog.Record, error) {
	return []func(context.Context, catalog.Record) (catalog.Record, error){f.A.Create, f.B.Put, f.A.Delete}
}

func aLeaseHasOneHolder(f *fixture) {
	before := time.Now()
	l := f.lease("demo")
	if l.Key() != "demo" || l.Fence() == 0 {
		f.t.Errorf("got the lease on %q with fence %d", l.Key(), l.Fence())
	}
	if left := l.Expires().Sub(before); left < 50*time.Second || left > time.Minute+f.patience {
		f.t.Errorf("it ends in %v, want about a minute", left)
	}
	for _, c := range []catalog.Catalog{f.A, f.B} {
		_, err := c.Lease(f.ctx, "demo", time.Minute)
		f.want(err, catalog.ErrLeaseHeld)
		held, ok := errors.AsType[*catalog.HeldError](err)
		if !ok || held.Key != "demo" || held.Fence != l.Fence() || held.Left <= 0 || held.Left > time.Minute {
			f.t.Errorf("got %#v, want a HeldError with the holder's fence and up to a minute", err)
		}
	}
	if _, err := f.B.Lease(f.ctx, "other", time.Minute); err != nil {
		f.t.Errorf("another key: %v", err)
	}
}

func aLeaseThatIsReleasedIsFree(f *fixture) {
	l := f.lease("demo")
	f.must(l.Release(f.ctx))
	f.must(l.Release(f.ctx))
	f.want(l.Renew(f.ctx), catalog.ErrLeaseExpired)
	if l.Expires().After(time.Now()) {
		f.t.Errorf("it ends at %v although it was released", l.Expires())
	}
	next, err := f.B.Lease(f.ctx, "demo", time.Minute)
	f.must(err)
	if next.Fence() <= l.Fence() {
		f.t.Errorf("fence %d follows %d", next.Fence(), l.Fence())
	}
	// The former holder takes nothing away.
	f.must(l.Release(f.ctx))
	f.want(l.Renew(f.ctx), catalog.ErrLeaseExpired)
	f.must(next.Renew(f.ctx))
}

func aLeaseThatRunsOutIsFree(f *fixture) {
	const ttl = 50 * time.Millisecond
	l, err := f.A.Lease(f.ctx, "demo", ttl)
	f.must(err)
	began := time.Now()
	var next catalog.Lease
	f.eventually("the lease is free", func() bool {
		next, err = f.B.Lease(f.ctx, "demo", time.Minute)
		return err == nil
	})
	// Redis counts in milliseconds and began counting before the answer came.
	if took := time.Since(began); took > ttl+f.patience/2 {
		f.t.Errorf("a lease of %v was free after %v", ttl, took)
	}
	if time.Now().Before(l.Expires()) {
		f.t.Error("it was free before its holder knew")
	}
	if next.Fence() <= l.Fence() {
		f.t.Errorf("fence %d follows %d", next.Fence(), l.Fence())
	}
	f.want(l.Renew(f.ctx), catalog.ErrLeaseExpired)
	f.must(l.Release(f.ctx))
	f.must(next.Renew(f.ctx))
}

func aLeaseThatIsRenewedLasts(f *fixture) {
	const ttl = 2 * time.Second
	l, err := f.A.Lease(f.ctx, "demo", ttl)
	f.must(err)
	first := l.Expires()
	f.eventually("the lease would have run out", func() bool {
		f.must(l.Renew(f.ctx))
		if _, err := f.B.Lease(f.ctx, "demo", ttl); !errors.Is(err, catalog.ErrLeaseHeld) {
			f.t.Fatalf("another got the lease while it was renewed (%v)", err)
		}
		return time.Now().After(first)
	})
	if !l.Expires().After(first) {
		f.t.Errorf("it ends at %v, which is not after %v", l.Expires(), first)
	}
}

func badLeasesAreRefused(f *fixture) {
	for _, key := range []string{"", "Demo", "a}b", "singleton/", "singleton/a/b", "other/a"} {
		_, err := f.A.Lease(f.ctx, key, time.Minute)
		f.want(err, catalog.ErrInvalid)
	}
	for _, ttl := range []time.Duration{0, -time.Second, time.Microsecond} {
		_, err := f.A.Lease(f.ctx, "demo", ttl)
		f.want(err, catalog.ErrInvalid)
	}
}

func singletonsAndSlugsAreApart(f *fixture) {
	slug := f.lease("reconciler")
	job := f.lease(catalog.Singleton("reconciler"))
	_, err := f.B.Lease(f.ctx, catalog.Singleton("reconciler"), time.Minute)
	f.want(err, catalog.ErrLeaseHeld)
	f.must(slug.Release(f.ctx))
	f.must(job.Renew(f.ctx))
}

func fencesGrowUnderContention(f *fixture) {
	var mu sync.Mutex
	var fences []uint64 // in the order in which they were held
	var all sync.WaitGroup
	for i := range 6 {
		c := []catalog.Catalog{f.A, f.B}[i%2]
		all.Go(func() {
			for held := 0; held < 10 && f.ctx.Err() == nil; {
				l, err := c.Lease(f.ctx, "demo", time.Minute)
				if errors.Is(err, catalog.ErrLeaseHeld) {
					continue
				}
				if err != nil {
					f.t.Error(err)
					return
				}
				mu.Lock()
				fences = append(fences, l.Fence())
				mu.Unlock()
				if err := l.Release(f.ctx); err != nil {
					f.t.Error(err)
				}
				held++
			}
		})
	}
	all.Wait()
	if len(fences) != 60 || !slices.IsSorted(fences) || len(slices.Compact(slices.Clone(fences))) != 60 {
		f.t.Errorf("fences %v do not grow", fences)
	}
}
