package edge

import (
	"context"
	"sync"

	"cmux.sh/edge/internal/reconciler"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
)

// lookup is what the proxy asks: it resolves slugs, notes which sandboxes are
// used, and has those looked at that could not be reached.
type lookup struct {
	resolver *resolver.Resolver
	manager  *manager.Manager

	ctx     context.Context // ends with close
	end     context.CancelFunc
	looking sync.Map // slugs that are being looked at
	work    sync.WaitGroup
}

func newLookup(r *resolver.Resolver, m *manager.Manager) *lookup {
	l := &lookup{resolver: r, manager: m}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// Resolve implements proxy.Resolver.
func (l *lookup) Resolve(ctx context.Context, slug string) (sandbox.Instance, error) {
	r, err := l.resolver.Resolve(ctx, slug)
	if err == nil && r.State == sandbox.Running {
		l.manager.Use(slug)
	}
	return r.Instance, err
}

// Used implements proxy.Resolver.
func (l *lookup) Used(slug string) { l.manager.Use(slug) }

// Unreachable implements proxy.Resolver: the provider is asked once, however
// many requests failed.
func (l *lookup) Unreachable(in sandbox.Instance) {
	if _, looking := l.looking.LoadOrStore(in.Slug, true); looking {
		return
	}
	l.work.Go(func() {
		defer l.looking.Delete(in.Slug)
		_, _ = l.resolver.Refresh(l.ctx, in.Slug) // the next request finds out by itself
	})
}

// close ends the looks that are under way. The proxy must have no more
// requests.
func (l *lookup) close() {
	l.end()
	l.work.Wait()
}

// listed are the providers as the reconciler sees them.
func listed(list []sandbox.Provider) []reconciler.Provider {
	out := make([]reconciler.Provider, len(list))
	for i, p := range list {
		out[i] = p
	}
	return out
}

// asked are the providers as the resolver sees them.
func asked(list []sandbox.Provider) []resolver.Provider {
	out := make([]resolver.Provider, len(list))
	for i, p := range list {
		out[i] = p
	}
	return out
}
