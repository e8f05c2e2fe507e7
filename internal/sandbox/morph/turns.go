package morph

import (
	"context"
	"sync"
)

// turns lets the starts of one sandbox go one after the other, so that the
// second finds what the first made. Between processes a lease does that.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when the turn ends
}

// take waits for the turn and returns what ends it.
func (t *turns) take(ctx context.Context, name string) (end func(), err error) {
	for {
		t.mu.Lock()
		before, taken := t.taken[name]
		if !taken {
			mine := make(chan struct{})
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			t.taken[name] = mine
			t.mu.Unlock()
			return func() { t.release(name, mine) }, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *turns) release(name string, mine chan struct{}) {
	t.mu.Lock()
	delete(t.taken, name)
	t.mu.Unlock()
	close(mine)
}
