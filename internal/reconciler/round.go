package reconciler

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// suspicion is a slug that the catalogue seems to be wrong about.
type suspicion struct {
	slug string
	// known is the record as it was listed, a tombstone too; nil when there is
	// none.
	known *catalog.Record
	// found is an instance with the slug that known is not about; nil when
	// there is none.
	found *sandbox.Instance
	// twice says that known's instance was missing in two rounds.
	twice bool
}

// round is one comparison and what follows from it.
type round struct {
	*Reconciler
	// quiet are providers that did not answer a Get in time.
	quiet sync.Map // of provider name
	// failures counts sandboxes that could not be looked at; first is why.
	failures atomic.Int64
	first    atomic.Pointer[error]
}

// round compares everything once and returns what came of it.
func (r *Reconciler) round(ctx context.Context) string {
	s, err := r.survey(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("nothing is reconciled", "error", err)
		}
		r.missing, r.unripe = nil, nil
		return roundFailed
	}
	now := &round{Reconciler: r}
	var work errgroup.Group
	work.SetLimit(r.config.Parallel)
	for _, suspect := range append(r.doubts(s), r.strangers(s)...) {
		if ctx.Err() != nil {
			break
		}
		work.Go(func() error { // ends with its calls; waited for below
			now.check(ctx, suspect)
			return nil
		})
	}
	_ = work.Wait() // always nil
	if first := now.first.Load(); first != nil && ctx.Err() == nil {
		r.log.Warn("some sandboxes are not reconciled", "count", now.failures.Load(), "error", *first)
		return roundPartial
	}
	if len(s.answered) < len(r.providers) {
		return roundPartial
	}
	return roundOK
}

// doubts are the records that seem to be wrong. It takes down which instances
// are missing.
func (r *Reconciler) doubts(s *survey) []suspicion {
	var list []suspicion
	missing := make(map[string]look)
	for slug, rec := range s.records {
		if rec.Tombstone() || rec.ID == "" || !s.answered[rec.Provider] {
			continue
		}
		at := placeOf(&rec.Instance)
		if in, listed := s.instances[at]; listed {
			if differs(&rec, &in) {
				list = append(list, suspicion{slug: slug, known: &rec})
			}
			continue
		}
		missing[slug] = look{at, rec.Version}
		other := r.choose(slug, s, nil)
		twice := r.missing[slug] == missing[slug]
		if other != nil || twice {
			list = append(list, suspicion{slug: slug, known: &rec, found: other, twice: twice})
		}
	}
	r.missing = missing
	return list
}

// strangers are the instances that the catalogue lacks. It takes down which of
// them are too young.
func (r *Reconciler) strangers(s *survey) []suspicion {
	var list []suspicion
	unripe, disputed := make(map[place]bool), make(map[string]string)
	for slug, several := range s.bySlug {
		rec, known := s.records[slug]
		if len(several) > 1 {
			disputed[slug] = r.disputes(slug, several, &rec)
		}
		if s.unreadable[slug] || known && !rec.Tombstone() {
			continue
		}
		suspect := suspicion{slug: slug}
		if known {
			suspect.known = &rec
		}
		if suspect.found = r.choose(slug, s, suspect.known); suspect.found == nil {
			continue
		}
		if at := placeOf(suspect.found); r.young(suspect.found) && !r.unripe[at] && len(s.records) > 0 {
			unripe[at] = true
			continue
		}
		list = append(list, suspect)
	}
	r.unripe, r.disputed = unripe, disputed
	return list
}

// choose returns the oldest instance that may get the record of slug, or nil.
// buried is the slug's tombstone. As long as one of them is not understood,
// none is chosen.
func (r *Reconciler) choose(slug string, s *survey, buried *catalog.Record) *sandbox.Instance {
	var oldest *sandbox.Instance
	for _, in := range s.bySlug[slug] {
		switch {
		case s.recorded[placeOf(&in)], buried != nil && buried.SameInstance(&catalog.Record{Instance: in}):
		case in.State == sandbox.Unknown:
			return nil
		case oldest == nil, older(&in, oldest):
			oldest = &in
		}
	}
	return oldest
}

// older tells whether a is known to be older than b.
func older(a, b *sandbox.Instance) bool {
	return !a.Created.IsZero() && (b.Created.IsZero() || a.Created.Before(b.Created))
}

// young tells whether somebody may be about to record an instance: one that the
// provider names is started without the lease of its slug.
func (r *Reconciler) young(in *sandbox.Instance) bool {
	return in.Marked && (in.State == sandbox.Starting || time.Since(in.Created) < r.config.Young)
}

// disputes logs, unless it did before, that several instances have one slug, and
// returns which they are.
func (r *Reconciler) disputes(slug string, several []sandbox.Instance, rec *catalog.Record) string {
	names := make(map[string]bool, len(several))
	for _, in := range several {
		names[in.Provider+" "+string(in.ID)] = true
	}
	who := strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	if r.disputed[slug] != who {
		stays := "the oldest"
		if rec.Slug != "" && !rec.Tombstone() {
			stays = rec.Provider + " " + string(rec.ID)
		}
		r.log.Warn("several instances have one slug", "slug", slug, "instances", who, "used", stays)
	}
	return who
}

// differs tells whether a list raises doubts about a record.
func differs(rec *catalog.Record, in *sandbox.Instance) bool {
	return in.State != sandbox.Unknown &&
		(in.State != rec.State || in.Address != "" && in.Address != rec.Address || !maps.Equal(in.Ports, rec.Ports))
}
