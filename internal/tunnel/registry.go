package tunnel

import (
	"context"
	"sync"
	"time"
)

// Registry knows every open tunnel. The zero value is ready; it is safe for
// concurrent use.
type Registry struct {
	// Linger is how long a drained tunnel waits for its peers' own close
	// frames after it wrote its own; 0 is 2 s.
	Linger time.Duration

	mu       sync.Mutex
	open     map[*Tunnel]struct{}
	draining time.Time     // the deadline of the drain; zero before
	empty    chan struct{} // closed when the last tunnel of a drain is gone
}

const defaultLinger = 2 * time.Second

// Serve joins t's ends and returns when both directions have ended, with both
// connections closed. When ctx ends first it cuts them. A tunnel that comes
// while the registry drains is told so at once.
func (g *Registry) Serve(ctx context.Context, t *Tunnel) {
	g.mu.Lock()
	if g.open == nil {
		g.open = make(map[*Tunnel]struct{})
	}
	g.open[t] = struct{}{}
	draining := g.draining
	g.mu.Unlock()
	if !draining.IsZero() {
		t.drain(draining)
	}
	defer g.remove(t)

	linger := g.Linger
	if linger == 0 {
		linger = defaultLinger
	}
	t.run(ctx, linger)
}

func (g *Registry) remove(t *Tunnel) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, t)
	if len(g.open) == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// Len is the number of open tunnels.
func (g *Registry) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// Drain asks every tunnel to end: a WebSocket gets a close frame with status
// 1012 (service restart) at the next frame boundary and a moment to answer.
// It returns when all are gone, or cuts the rest when ctx ends and returns its
// error. The deadline of ctx bounds how long an unfinished frame is waited
// for; without one that is 10 s.
func (g *Registry) Drain(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	g.mu.Lock()
	g.draining = deadline
	var gone chan struct{}
	if len(g.open) > 0 {
		if g.empty == nil {
			g.empty = make(chan struct{})
		}
		gone = g.empty
	}
	open := make([]*Tunnel, 0, len(g.open))
	for t := range g.open {
		open = append(open, t)
	}
	g.mu.Unlock()
	if gone == nil {
		return nil
	}
	for _, t := range open {
		t.drain(deadline)
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		for _, t := range open {
			t.cut()
		}
		return ctx.Err()
	}
}
