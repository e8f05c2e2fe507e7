package sandbox

import (
	"context"
	"sync"
)

// Turns lets one caller at a time act under a name, so that the second finds
// what the first did. The zero value is ready; it is safe for concurrent use.
// It orders the goroutines of one process: between processes a lease does that.
type Turns struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the turn ends
}

// Take waits for the turn of name and returns what ends it, to be called once.
// It fails only when ctx ends first, with ctx's error.
func (t *Turns) Take(ctx context.Context, name string) (done func(), err error) {
	for {
		t.mu.Lock()
		turn, busy := t.busy[name]
		if !busy {
			turn = make(chan struct{})
			if t.busy == nil {
				t.busy = make(map[string]chan struct{})
			}
			t.busy[name] = turn
			t.mu.Unlock()
			return func() { t.end(name, turn) }, nil
		}
		t.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *Turns) end(name string, turn chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, name)
	close(turn)
}
