package resolver

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// lookUp finds a slug's record and remembers what it found.
func (r *Resolver) lookUp(ctx context.Context, f *flight) answer {
	began := r.cache.now()
	found, err := r.get(ctx, f.slug)
	switch {
	case err == nil:
		return r.keep(f, found, began, 0, store)
	case ctx.Err() != nil:
		return answer{err: ended(ctx, f.slug), source: store, result: failed}
	case errors.Is(err, catalog.ErrNotFound):
		return r.adopt(ctx, f, began)
	default: // it does not answer, or has what this edge can't read
		return r.bypass(ctx, f, began, err)
	}
}

// adopt asks the providers for a slug that the catalogue lacks, and writes what
// they find. A record that is remembered here, though the catalogue lost it, is
// asked for by its id and keeps what only the edge knows of it.
func (r *Resolver) adopt(ctx context.Context, f *flight, began time.Duration) answer {
	known := r.remembered(f.slug)
	found, err := r.ask(ctx, r.searches, f.slug, known)
	if err != nil {
		if !definite(err) {
			return answer{err: err, source: provider, result: failed}
		}
		r.cache.forget(f.slug, err, began)
		if f.newest.Load() > 0 { // somebody made it meanwhile
			r.cache.absent.Invalidate(f.slug)
		}
		return answer{err: err, source: provider, result: miss}
	}
	verified := r.cache.now()
	wanted := adopted(f.slug, found, known)
	written, err := r.create(ctx, wanted)
	if err != nil {
		r.log.Warn("sandbox is used without a record", "slug", f.slug, "error", err.Error())
		return r.unrecorded(wanted, verified)
	}
	return r.keep(f, written, began, verified, provider)
}

// bypass asks the providers in place of the catalogue.
func (r *Resolver) bypass(ctx context.Context, f *flight, began time.Duration, cause error) answer {
	known := r.remembered(f.slug)
	found, err := r.ask(ctx, r.searches, f.slug, known)
	switch {
	case err == nil:
		return r.unrecorded(adopted(f.slug, found, known), began)
	case definite(err):
		// The catalogue may know what they don't: where it moved to, or that
		// it was deleted.
		err = unavailable(f.slug, cause)
	default:
		err = unavailable(f.slug, errors.Join(cause, err))
	}
	return answer{err: err, source: provider, result: failed}
}

// unrecorded remembers a record that only this replica has, and for a short
// time does not look again. A new generation is drawn as the catalogue would:
// the next it draws is larger.
func (r *Resolver) unrecorded(rec catalog.Record, confirmed time.Duration) answer {
	if rec.Generation == 0 {
		rec.Generation = uint64(time.Now().UnixMicro())
	}
	r.cache.keep(rec, confirmed, r.cache.now(), r.config.Spread)
	return answer{record: rec, source: provider}
}

// keep remembers what the catalogue has.
func (r *Resolver) keep(f *flight, rec catalog.Record, began, verified time.Duration, s source) answer {
	e := r.cache.keep(rec, began, verified, r.config.TTL)
	if f.newest.Load() > rec.Version {
		e.outdated.Store(true)
	}
	return answer{record: rec, err: e.err, source: s, result: e.result}
}

// remembered is the cached record of a sandbox that is not deleted, or nil.
func (r *Resolver) remembered(slug string) *catalog.Record {
	if e := r.cache.peek(slug); e != nil && e.err == nil {
		return &e.record
	}
	return nil
}

// get asks the catalogue.
func (r *Resolver) get(ctx context.Context, slug string) (catalog.Record, error) {
	rec, err := r.catalog.Get(ctx, slug)
	return rec, r.health.saw(err)
}

// ask finds the instance of a slug at the providers, at its own one first where
// that is known. The error is of kind not-found only when every provider said
// so, else of kind unavailable.
func (r *Resolver) ask(ctx context.Context, limit *rate.Limiter, slug string, known *catalog.Record) (sandbox.Instance, error) {
	if !limit.Allow() {
		return sandbox.Instance{}, unavailable(slug, ErrLimit)
	}
	if known != nil && known.ID != "" {
		in, err := r.own(ctx, known)
		if !errors.Is(err, errNotThere) {
			return in, err
		}
	}
	var failure error
	for _, p := range r.providers {
		in, err := p.Find(ctx, slug)
		if err == nil {
			return in, nil
		}
		if sandbox.KindOf(err) != sandbox.KindNotFound {
			failure = errors.Join(failure, err)
		}
	}
	if failure != nil {
		return sandbox.Instance{}, unavailable(slug, failure)
	}
	return sandbox.Instance{}, notFound(slug)
}

// errNotThere says that a provider does not know an instance that it had.
var errNotThere = errors.New("its provider does not know it any more")

// own asks the provider of a record for its instance.
func (r *Resolver) own(ctx context.Context, known *catalog.Record) (sandbox.Instance, error) {
	for _, p := range r.providers {
		if p.Name() != known.Provider {
			continue
		}
		in, err := p.Get(ctx, known.ID)
		switch {
		case err == nil:
			return in, nil
		case sandbox.KindOf(err) == sandbox.KindNotFound:
			return sandbox.Instance{}, errNotThere
		default:
			return sandbox.Instance{}, unavailable(known.Slug, err)
		}
	}
	return sandbox.Instance{}, unavailable(known.Slug, errors.New("its provider "+known.Provider+" is not configured"))
}
