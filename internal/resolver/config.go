package resolver

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Provider is what the resolver asks of a [sandbox.Provider].
type Provider interface {
	Name() string
	Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error)
	Find(ctx context.Context, slug string) (sandbox.Instance, error)
}

// Deps are what a resolver asks.
type Deps struct {
	Catalog catalog.Catalog
	// Providers are asked in this order.
	Providers []Provider
	Log       *slog.Logger
}

// Config says how long answers are used and how often is asked. Zero fields
// take the values named here.
type Config struct {
	// Shared says that the catalogue is one that many replicas share, in
	// Redis: then there is edge_redis_up.
	Shared bool
	// TTL is how long a record is used before the catalogue is asked again: 30 s.
	TTL time.Duration
	// NegativeTTL is how long a slug counts as unknown: 5 s.
	NegativeTTL time.Duration
	// ServeStale is how long after it was last confirmed a record is used when
	// it can't be confirmed again: 10 min.
	ServeStale time.Duration
	// Entries and Absent bound the cache: 100,000 records and 20,000 unknown
	// slugs.
	Entries, Absent int
	// Lookups is how many slugs per second the providers are asked for: 20;
	// Burst is how many at once: 40.
	Lookups float64
	Burst   int
	// Lookup bounds one look-up: 10 s.
	Lookup time.Duration
	// Patience is how long a request waits for a cached record to be confirmed
	// before it uses the record as it is: 100 ms.
	Patience time.Duration
	// Spread is the time over which cached records are confirmed after a gap:
	// 1 s. After an attempt that came to nothing the next is made when between
	// one and two such times are over.
	Spread time.Duration
	// RefreshEvery is the least time between two looks at the provider for one
	// sandbox: 1 s.
	RefreshEvery time.Duration
	// Lease is how long a lease on a slug lasts unless it is renewed: 10 s.
	Lease time.Duration
	// Ping is how often the catalogue is asked whether it answers: 5 s; every
	// fifth of it while it does not.
	Ping time.Duration
}

func (c Config) withDefaults() Config {
	c.TTL = cmp.Or(c.TTL, 30*time.Second)
	c.NegativeTTL = cmp.Or(c.NegativeTTL, 5*time.Second)
	c.ServeStale = cmp.Or(c.ServeStale, 10*time.Minute)
	c.Entries = cmp.Or(c.Entries, 100_000)
	c.Absent = cmp.Or(c.Absent, 20_000)
	c.Lookups = cmp.Or(c.Lookups, 20)
	c.Burst = cmp.Or(c.Burst, 40)
	c.Lookup = cmp.Or(c.Lookup, 10*time.Second)
	c.Patience = cmp.Or(c.Patience, 100*time.Millisecond)
	c.Spread = cmp.Or(c.Spread, time.Second)
	c.RefreshEvery = cmp.Or(c.RefreshEvery, time.Second)
	c.Lease = cmp.Or(c.Lease, 10*time.Second)
	c.Ping = cmp.Or(c.Ping, 5*time.Second)
	return c
}
