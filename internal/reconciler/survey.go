package reconciler

import (
	"context"
	"fmt"
	"sync"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// survey is what the catalogue and the providers list.
type survey struct {
	records map[string]catalog.Record
	// unreadable slugs are in use, by records that this edge can't read.
	unreadable map[string]bool
	// recorded are the instances of all records that are no tombstones.
	recorded map[place]bool

	answered  map[string]bool // providers
	instances map[place]sandbox.Instance
	// bySlug has the instances whose slug can be a record's, in the order of
	// the providers.
	bySlug map[string][]sandbox.Instance
}

// survey lists everything. Its error is the catalogue's; a provider that does
// not answer is left out.
func (r *Reconciler) survey(ctx context.Context) (*survey, error) {
	lists := make([][]sandbox.Instance, len(r.providers))
	errs := make([]error, len(r.providers))
	var listing sync.WaitGroup
	for i, p := range r.providers {
		listing.Go(func() { // ends with its call; waited for below
			bounded, cancel := context.WithTimeout(ctx, r.config.Call)
			defer cancel()
			lists[i], errs[i] = p.List(bounded)
		})
	}
	s := &survey{
		unreadable: make(map[string]bool), recorded: make(map[place]bool), answered: make(map[string]bool),
		instances: make(map[place]sandbox.Instance), bySlug: make(map[string][]sandbox.Instance),
	}
	err := s.read(ctx, r.catalog)
	listing.Wait()
	if err != nil {
		return nil, err
	}
	for i, p := range r.providers {
		r.heard(ctx, p.Name(), errs[i])
		if errs[i] != nil {
			continue
		}
		s.answered[p.Name()] = true
		for _, in := range lists[i] {
			in.Provider = p.Name()
			at := placeOf(&in)
			if _, twice := s.instances[at]; twice || in.ID == "" {
				continue
			}
			s.instances[at] = in
			if catalog.ValidSlug(in.Slug) {
				s.bySlug[in.Slug] = append(s.bySlug[in.Slug], in)
			}
		}
	}
	return s, nil
}

// read lists the catalogue.
func (s *survey) read(ctx context.Context, from catalog.Reader) error {
	s.records = make(map[string]catalog.Record)
	for cursor := ""; ; {
		page, err := from.List(ctx, cursor, 0)
		if err != nil {
			return fmt.Errorf("list the catalogue: %w", err)
		}
		for _, rec := range page.Records {
			if old, twice := s.records[rec.Slug]; !twice || old.Version < rec.Version {
				s.records[rec.Slug] = rec
			}
		}
		for _, slug := range page.Unreadable {
			s.unreadable[slug] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, rec := range s.records {
		if !rec.Tombstone() {
			s.recorded[placeOf(&rec.Instance)] = true
		}
	}
	return nil
}

// heard logs when a provider falls silent, and when it answers again.
func (r *Reconciler) heard(ctx context.Context, provider string, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !r.silent[provider]:
		r.log.Warn("provider is not reconciled", "provider", provider, "error", err)
	case err == nil && r.silent[provider]:
		r.log.Info("provider is reconciled again", "provider", provider)
	}
	r.silent[provider] = err != nil
}
