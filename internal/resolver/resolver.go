package resolver

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"cmux.sh/edge/internal/catalog"
)

// Resolver finds records by slug. Run must be called once for the news of the
// catalogue to be heard, and Close when nobody asks any more.
type Resolver struct {
	catalog   catalog.Catalog
	providers []Provider
	log       *slog.Logger
	config    Config
	metrics   *metrics
	cache     *cache
	health    *health
	// searches are allowed for slugs that the catalogue lacks, checks for
	// sandboxes that it has.
	searches, checks *rate.Limiter
	lookups          *flights
	refreshes        *flights
}

// New makes a resolver and registers its metrics with reg. It asks nobody yet.
func New(deps Deps, c Config, reg prometheus.Registerer) (*Resolver, error) {
	c = c.withDefaults()
	remembered, err := newCache(c)
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		catalog: deps.Catalog, providers: deps.Providers, log: deps.Log, config: c, metrics: newMetrics(reg, c.Shared), cache: remembered,
		searches: rate.NewLimiter(rate.Limit(c.Lookups), c.Burst),
		checks:   rate.NewLimiter(rate.Limit(c.Lookups), c.Burst),
	}
	r.health = &health{log: deps.Log, gauge: r.metrics.up, back: remembered.missed, fell: make(chan struct{}, 1)}
	r.lookups = newFlights(deps.Log, c.Lookup, r.lookUp)
	r.refreshes = newFlights(deps.Log, c.Lookup, r.refresh)
	return r, nil
}

// Close ends what look-ups still run and waits for their end. Later ones fail.
func (r *Resolver) Close() {
	r.lookups.close()
	r.refreshes.close()
}

// CatalogUp tells whether the catalogue answered the last time it was asked.
func (r *Resolver) CatalogUp() bool { return !r.health.down.Load() }

// Resolve returns the record that serves slug. The error is of kind not-found
// when there is no such sandbox, a [*Gone] when it was deleted, and of kind
// unavailable when that can't be told.
func (r *Resolver) Resolve(ctx context.Context, slug string) (catalog.Record, error) {
	began := r.cache.now()
	e := r.cache.look(slug)
	if e != nil && r.cache.fresh(e, began) {
		shown := e.result
		if e.unconfirmed.Load() {
			shown = stale
		}
		r.metrics.observe(local, shown, r.cache.now()-began)
		return e.record, e.err
	}
	var a answer
	if err := r.cache.lacks(slug); err != nil && e == nil {
		a = answer{err: err, source: local, result: negative}
	} else {
		a = r.confirm(ctx, slug, e, began)
	}
	r.metrics.observe(a.source, a.result, r.cache.now()-began)
	return a.record, a.err
}

// confirm looks a slug up, of which e is remembered, if anything. Where that
// comes to nothing, or takes too long, the remembered record is the answer.
func (r *Resolver) confirm(ctx context.Context, slug string, e *entry, now time.Duration) answer {
	usable := e != nil && now-e.confirmed < r.config.ServeStale
	if usable && r.health.down.Load() {
		return e.stale()
	}
	f := r.lookups.join(slug) //nolint:contextcheck // others wait for it as well
	if f == nil {
		return answer{err: unavailable(slug, errClosed), source: local, result: failed}
	}
	var impatient <-chan time.Time
	if usable && !e.outdated.Load() {
		timer := time.NewTimer(r.config.Patience)
		defer timer.Stop()
		impatient = timer.C
	}
	select {
	case <-f.done:
	case <-impatient:
		return e.stale()
	case <-ctx.Done():
		return answer{err: ended(ctx, slug), source: local, result: failed}
	}
	if usable && !definite(f.answer.err) {
		r.cache.postpone(e, r.cache.now())
		return e.stale()
	}
	return f.answer
}

// stale is the answer that an entry gives without having been confirmed.
func (e *entry) stale() answer {
	return answer{record: e.record, err: e.err, source: local, result: stale}
}

// Invalidate makes the next use of slug ask the catalogue.
func (r *Resolver) Invalidate(slug string) {
	r.cache.absent.Invalidate(slug)
	if e := r.cache.peek(slug); e != nil {
		e.outdated.Store(true)
	}
}
