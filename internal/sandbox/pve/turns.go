package pve

import (
	"context"
	"sync"
)

// turns lets one caller at a time act under a name.
type turns struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the turn ends
}

// take waits for the turn of name. The caller ends it with done.
func (t *turns) take(ctx context.Context, name string) (done func(), err error) {
	for {
		t.mu.Lock()
		turn, busy := t.busy[name]
		if !busy {
			turn = make(chan struct{})
			if t.busy == nil {
				t.busy = map[string]chan struct{}{}
			}
			t.busy[name] = turn
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.busy, name)
				close(turn)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, &Failure{Text: "waiting for another start of " + name, cause: ctx.Err()}
		}
	}
}

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
