package resolver

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"cmux.sh/edge/internal/catalog"
)

// clock counts from when it was made, so that a clock that is set changes
// nothing. It never ticks: the caches drop what expired when they are written
// to, and need no goroutine.
type clock struct{ began time.Time }

// NowNano implements [otter.Clock].
func (c clock) NowNano() int64 { return int64(c.now()) }

// Tick implements [otter.Clock].
func (clock) Tick(time.Duration) <-chan time.Time { return nil }

func (c clock) now() time.Duration { return time.Since(c.began) }

// entry is a record that was confirmed at some time.
type entry struct {
	record catalog.Record
	err    error // the *Gone of a tombstone
	result result

	// confirmed is from when on the record was known to be true: when the look
	// that found it began.
	confirmed time.Duration
	// verified is when the provider was last asked; 0 is never.
	verified time.Duration
	// share is the entry's own part of Config.Spread.
	share time.Duration

	// next is when to look again.
	next atomic.Int64
	// outdated says that a later version is known to exist.
	outdated atomic.Bool
	// unconfirmed says that the last attempt to confirm came to nothing.
	unconfirmed atomic.Bool
	// gap says that next accounts for a gap since it was confirmed.
	gap atomic.Bool
}

// absence is that nobody knew a slug at some time.
type absence struct {
	err       error
	confirmed time.Duration
}

// cache is what one replica remembers.
type cache struct {
	clock
	ttl, spread time.Duration
	records     *otter.Cache[string, *entry]
	absent      *otter.Cache[string, *absence]
	// lastGap is when news may last have been missed.
	lastGap atomic.Int64
}

func newCache(c Config) (*cache, error) {
	k := &cache{clock: clock{time.Now()}, ttl: c.TTL, spread: c.Spread}
	k.lastGap.Store(-1)
	var err error
	if k.records, err = otter.New(&otter.Options[string, *entry]{
		MaximumSize:      c.Entries,
		ExpiryCalculator: otter.ExpiryWriting[string, *entry](max(c.ServeStale, c.TTL)),
		Clock:            k.clock,
	}); err != nil {
		return nil, fmt.Errorf("cache of records: %w", err)
	}
	if k.absent, err = otter.New(&otter.Options[string, *absence]{
		MaximumSize:      c.Absent,
		ExpiryCalculator: otter.ExpiryWriting[string, *absence](c.NegativeTTL),
		Clock:            k.clock,
	}); err != nil {
		return nil, fmt.Errorf("cache of absent slugs: %w", err)
	}
	return k, nil
}

// fresh tells whether an entry may be used without another look.
func (k *cache) fresh(e *entry, now time.Duration) bool {
	if gap := k.lastGap.Load(); int64(e.confirmed) <= gap && e.gap.CompareAndSwap(false, true) {
		// Its moment; later gaps don't put it off.
		e.next.Store(gap + int64(e.share))
	}
	return int64(now) < e.next.Load() && !e.outdated.Load()
}

// look returns what is remembered of a slug.
func (k *cache) look(slug string) *entry {
	e, _ := k.records.GetIfPresent(slug)
	return e
}

// peek is look for who is no user of the record.
func (k *cache) peek(slug string) *entry {
	e, _ := k.records.GetEntryQuietly(slug)
	return e.Value
}

// keep remembers a record that was confirmed at some time, unless it was
// confirmed later as well. It returns the new entry.
func (k *cache) keep(r catalog.Record, confirmed, verified, ttl time.Duration) *entry {
	e := &entry{record: r, confirmed: confirmed, verified: verified, share: rand.N(k.spread)}
	if r.Tombstone() {
		e.err, e.result = &Gone{r.Slug, r.Deleted}, negative
	}
	e.next.Store(int64(confirmed + ttl))
	k.records.Compute(r.Slug, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		if found && old.confirmed > confirmed {
			return old, otter.CancelOp
		}
		if found && e.verified == 0 {
			e.verified = old.verified
		}
		return e, otter.WriteOp
	})
	k.absent.Invalidate(r.Slug)
	return e
}

// forget remembers that nobody knew a slug at some time.
func (k *cache) forget(slug string, err error, confirmed time.Duration) {
	k.records.Invalidate(slug)
	k.absent.Set(slug, &absence{err, confirmed})
}

// lacks is the error of a slug that is remembered as unknown; nil for any other.
func (k *cache) lacks(slug string) error {
	if a, ok := k.absent.GetIfPresent(slug); ok && int64(a.confirmed) > k.lastGap.Load() {
		return a.err
	}
	return nil
}

// postpone makes an entry be used as it is for a time.
func (k *cache) postpone(e *entry, now time.Duration) {
	e.unconfirmed.Store(true)
	e.outdated.Store(false)
	e.next.Store(int64(now + k.spread + e.share))
}

// written notes that a version of a slug's record exists.
func (k *cache) written(slug string, version uint64) {
	k.absent.Invalidate(slug)
	if e := k.peek(slug); e != nil && e.record.Version < version {
		e.outdated.Store(true)
	}
}

// missed notes that anything may have been written.
func (k *cache) missed() { k.lastGap.Store(int64(k.now())) }
