package memory

import (
	"context"
	"fmt"

	"cmux.sh/edge/internal/catalog"
)

// backlog is how many changes wait for a watcher before they become a gap.
const backlog = 1024

// watcher is one Watch and what it has not told yet.
type watcher struct {
	pending []catalog.Change // guarded by Store.mu
	wake    chan struct{}
}

// tell passes a change on to every watcher.
func (s *Store) tell(c catalog.Change) {
	for w := range s.watchers {
		if len(w.pending) >= backlog {
			w.pending = append(w.pending[:0], catalog.Change{Kind: catalog.Gap})
		} else if len(w.pending) != 1 || w.pending[0].Kind != catalog.Gap {
			w.pending = append(w.pending, c)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch implements [catalog.Watcher].
func (s *Store) Watch(ctx context.Context, notify func(catalog.Change)) error {
	w := &watcher{pending: []catalog.Change{{Kind: catalog.Gap}}, wake: make(chan struct{}, 1)}
	w.wake <- struct{}{}
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}()
	var batch []catalog.Change
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch: %w", ctx.Err())
		case <-w.wake:
		}
		s.mu.Lock()
		batch, w.pending = w.pending, batch[:0]
		s.mu.Unlock()
		for _, c := range batch {
			notify(c)
		}
	}
}
