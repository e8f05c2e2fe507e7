package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// job is the name of the lease that the working replica holds.
const job = "reconciler"

// Reconciler compares the catalogue with the providers. Run is called once.
type Reconciler struct {
	catalog   catalog.Catalog
	providers []Provider
	byName    map[string]Provider
	log       *slog.Logger
	tell      func(Event)
	written   func(slug string)
	config    Config
	metrics   *metrics

	// What the last round saw; only the goroutine of Run uses it.
	missing  map[string]look   // records whose instance was not listed, by slug
	unripe   map[place]bool    // instances that were left to who made them
	silent   map[string]bool   // providers that did not answer
	disputed map[string]string // slugs of several instances, and who has them
}

// place is where an instance is.
type place struct {
	provider string
	id       sandbox.ID
}

func placeOf(in *sandbox.Instance) place { return place{in.Provider, in.ID} }

// look is a first look at a record whose instance is missing.
type look struct {
	place
	version uint64
}

// New makes a reconciler and registers its metrics with reg. It asks nobody yet.
func New(deps Deps, c Config, reg prometheus.Registerer) *Reconciler {
	r := &Reconciler{
		catalog: deps.Catalog, providers: deps.Providers, byName: make(map[string]Provider, len(deps.Providers)),
		log: deps.Log, tell: deps.Tell, written: deps.Invalidate, config: c.withDefaults(), metrics: newMetrics(reg),
		silent: make(map[string]bool),
	}
	for _, p := range deps.Providers {
		r.byName[p.Name()] = p
	}
	if r.tell == nil {
		r.tell = func(Event) {}
	}
	if r.written == nil {
		r.written = func(string) {}
	}
	return r
}

// takeover is how soon the lease is asked for again after it was lost.
const takeover = time.Second

// Run works whenever no other replica does, until ctx ends, and returns nil
// then. Nothing of it runs any more when it returns.
func (r *Reconciler) Run(ctx context.Context) error {
	complained := false
	for {
		led := false
		err := catalog.Hold(ctx, r.catalog, catalog.Singleton(job), r.config.Lease, func(ctx context.Context, _ catalog.Lease) error {
			led = true
			r.lead(ctx)
			return context.Cause(ctx)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was asked to end
		}
		pause := min(r.config.Every, r.config.Lease)
		held, others := errors.AsType[*catalog.HeldError](err)
		switch {
		case led:
			r.log.Warn("reconciler lost its lease", "error", err)
			complained, pause = false, takeover
		case others:
			complained, pause = false, max(time.Millisecond, min(held.Left, r.config.Every))
		case !complained:
			r.log.Warn("reconciler can't take its lease", "error", err)
			complained = true
		}
		if !wait(ctx, pause) {
			return nil
		}
	}
}

// lead makes rounds until ctx ends. What was seen before somebody else may have
// worked counts for nothing.
func (r *Reconciler) lead(ctx context.Context) {
	r.missing, r.unripe, r.disputed = nil, nil, nil
	for {
		result := r.round(ctx)
		if ctx.Err() != nil {
			return
		}
		r.metrics.rounds.WithLabelValues(result).Inc()
		if !wait(ctx, r.config.Every) {
			return
		}
	}
}

// wait tells whether d went by before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
