package resolve

import (
	"context"

	"cmux.sh/edge/internal/sandbox"
)

// Resolver finds the instance that serves a sandbox by asking the providers.
// It is immutable and safe for concurrent use.
type Resolver struct {
	providers []sandbox.Provider
}

// NewResolver makes a resolver that asks providers in the order given.
func NewResolver(providers ...sandbox.Provider) *Resolver {
	return &Resolver{providers: providers}
}

// Resolve returns the instance that serves slug. The error is of kind
// not-found only when every provider said so; one that could not be asked may
// be the one that has it.
func (r *Resolver) Resolve(ctx context.Context, slug string) (sandbox.Instance, error) {
	err := sandbox.Errorf(sandbox.KindNotFound, "resolve", slug, "no provider knows it")
	for _, p := range r.providers {
		in, failed := p.Find(ctx, slug)
		if failed == nil {
			return in, nil
		}
		if sandbox.KindOf(failed) != sandbox.KindNotFound {
			err = failed
		}
	}
	return sandbox.Instance{}, err
}
