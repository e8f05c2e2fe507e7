package pve

import (
	"context"
	"sync"
)

// slots lets limit callers at a time act on each node.
type slots struct {
	limit int
	mu    sync.Mutex
	nodes map[string]chan struct{}
}

// take waits for a slot on node. The caller gives it back with done.
func (s *slots) take(ctx context.Context, node string) (done func(), err error) {
	s.mu.Lock()
	slot := s.nodes[node]
	if slot == nil {
		slot = make(chan struct{}, s.limit)
		if s.nodes == nil {
			s.nodes = map[string]chan struct{}{}
		}
		s.nodes[node] = slot
	}
	s.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, &Failure{Text: "waiting for a free start on node " + node, cause: ctx.Err()}
	}
}
