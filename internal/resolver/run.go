package resolver

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"cmux.sh/edge/internal/catalog"
)

// Run listens to the catalogue's news and asks it whether it is there, until
// ctx ends, and returns nil then.
func (r *Resolver) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return r.catalog.Watch(running, r.hear) })
	g.Go(func() error {
		r.ping(running)
		return nil
	})
	if err := g.Wait(); ctx.Err() == nil {
		return fmt.Errorf("watch the catalogue: %w", err)
	}
	return nil
}

// hear takes in one piece of news. Look-ups under way are told first: what they
// keep before that is found in the cache.
func (r *Resolver) hear(c catalog.Change) {
	switch c.Kind {
	case catalog.Gap:
		r.cache.missed()
	case catalog.Written:
		r.lookups.written(c.Key, c.Version)
		r.refreshes.written(c.Key, c.Version)
		r.cache.written(c.Key, c.Version)
	case catalog.Released:
	}
}

// ping asks the catalogue whether it answers, more often while it does not.
func (r *Resolver) ping(ctx context.Context) {
	for {
		bounded, cancel := context.WithTimeout(ctx, r.config.Ping)
		_ = r.health.saw(r.catalog.Ping(bounded))
		cancel()
		pause := r.config.Ping
		if r.health.down.Load() {
			pause /= 5
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-r.health.fell:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
