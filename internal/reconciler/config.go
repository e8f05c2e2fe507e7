package reconciler

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Provider is what the reconciler asks of a [sandbox.Provider].
type Provider interface {
	Name() string
	Get(ctx context.Context, id sandbox.ID) (sandbox.Instance, error)
	List(ctx context.Context) ([]sandbox.Instance, error)
}

// Deps are what a reconciler asks and tells.
type Deps struct {
	Catalog   catalog.Catalog
	Providers []Provider
	Log       *slog.Logger
	// Invalidate hears of every slug whose record was written. It must not
	// block; nil is nobody.
	Invalidate func(slug string)
	// Tell hears of every change, from several goroutines. It must not block;
	// nil is nobody.
	Tell func(Event)
}

// Config paces the reconciler. Zero fields take the values named here.
type Config struct {
	// Every is the time between two rounds: 30 s.
	Every time.Duration
	// Lease is how long a lease lasts unless it is renewed: 15 s. It is about
	// how long the reconciler is missed when its replica dies.
	Lease time.Duration
	// Call bounds one call of a provider: 30 s.
	Call time.Duration
	// Parallel is how many sandboxes are looked at at a time: 8.
	Parallel int
	// Young is how long an instance that the edge made is left to who made it,
	// unless it is seen twice: 5 min.
	Young time.Duration
}

func (c Config) withDefaults() Config {
	c.Every = cmp.Or(c.Every, 30*time.Second)
	c.Lease = cmp.Or(c.Lease, 15*time.Second)
	c.Call = cmp.Or(c.Call, 30*time.Second)
	c.Parallel = cmp.Or(c.Parallel, 8)
	c.Young = cmp.Or(c.Young, 5*time.Minute)
	return c
}

// Kinds of changes: the Kind of an [Event], and a metric's label.
const (
	Adopted   = "adopted"
	Forgotten = "forgotten"
	Repaired  = "repaired"
)

// Event is a change that was made to the catalogue.
type Event struct {
	Kind     string
	Slug     string
	Provider string
	ID       sandbox.ID
	// Detail says what changed, in a few words.
	Detail string
}
