package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Step is one look that a resolve makes or would make.
type Step struct {
	// Source is who was asked: "local", "redis" or "memory", or the name of a
	// provider.
	Source string
	// Decision is what came of it, in a few words.
	Decision string
	// Decides says that a request would look no further.
	Decides bool
	// Age is how long ago the source's answer was confirmed; 0 is now.
	Age time.Duration
	// Took is how long the look took.
	Took time.Duration
	// Record is what the source has; nil when it has none.
	Record *catalog.Record
	// Err is why it could not answer; nil when it did.
	Err error
}

// Explain tells step by step how slug is resolved. It asks the catalogue even
// where the local cache decides, and the providers where the catalogue does
// not. It changes nothing: what it finds is neither adopted nor remembered. The
// providers are asked under the same limit as for a request.
func (r *Resolver) Explain(ctx context.Context, slug string) []Step {
	steps := []Step{r.explainLocal(slug)}
	decided := steps[0].Decides
	step := r.explainStore(ctx, slug)
	undecided := !step.Decides
	step.Decides = step.Decides && !decided
	steps = append(steps, step)
	if !undecided {
		return steps
	}
	if !r.searches.Allow() {
		return append(steps, Step{Source: "providers", Decision: "not asked", Err: ErrLimit})
	}
	for _, p := range r.providers {
		step := r.explainProvider(ctx, p, slug)
		found := step.Record != nil
		step.Decides = found && !decided
		steps = append(steps, step)
		if found {
			break
		}
	}
	return steps
}

func (r *Resolver) explainLocal(slug string) Step {
	s, now := Step{Source: sourceLabels[local]}, r.cache.now()
	e := r.cache.peek(slug)
	if e == nil {
		if r.cache.lacks(slug) != nil {
			s.Decision, s.Decides = "remembered as unknown", true
		} else {
			s.Decision = "not cached"
		}
		return s
	}
	rec := e.record
	s.Record, s.Age = &rec, now-e.confirmed
	switch {
	case e.outdated.Load():
		s.Decision = "outdated: a later version exists"
	case r.cache.fresh(e, now):
		s.Decision, s.Decides = describe(&rec), true
	case r.health.down.Load() && s.Age < r.config.ServeStale:
		s.Decision, s.Decides = "stale, used because the catalogue is unavailable: "+describe(&rec), true
	default:
		s.Decision = "to be confirmed"
	}
	if e.unconfirmed.Load() {
		s.Decision += " (could not be confirmed)"
	}
	return s
}

func (r *Resolver) explainStore(ctx context.Context, slug string) Step {
	s := Step{Source: "memory"}
	if r.config.Shared {
		s.Source = "redis"
	}
	began := r.cache.now()
	rec, err := r.get(ctx, slug)
	s.Took = r.cache.now() - began
	switch {
	case err == nil:
		s.Record, s.Decision, s.Decides = &rec, describe(&rec), true
	case errors.Is(err, catalog.ErrNotFound):
		s.Decision = "not in the catalogue"
	default:
		s.Decision, s.Err = "no answer", err
	}
	return s
}

func (r *Resolver) explainProvider(ctx context.Context, p Provider, slug string) Step {
	s := Step{Source: p.Name()}
	began := r.cache.now()
	found, err := p.Find(ctx, slug)
	s.Took = r.cache.now() - began
	switch {
	case err == nil:
		rec := adopted(slug, found, nil)
		s.Record, s.Decision = &rec, "found: "+describe(&rec)
	case sandbox.KindOf(err) == sandbox.KindNotFound:
		s.Decision = "does not know it"
	default:
		s.Decision, s.Err = "no answer", err
	}
	return s
}

// describe says in words what a request finds in a record.
func describe(rec *catalog.Record) string {
	if rec.Tombstone() {
		return "deleted " + rec.Deleted.Format(time.RFC3339)
	}
	text := fmt.Sprintf("%s %s is %s, generation %d", rec.Provider, rec.ID, rec.State, rec.Generation)
	if rec.Reason != "" {
		text += ": " + rec.Reason
	}
	return text
}
