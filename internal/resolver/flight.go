package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cmux.sh/edge/internal/catalog"
)

// answer is what a look-up found, and who decided it.
type answer struct {
	record catalog.Record
	err    error
	source source
	result result
}

// flight is one look-up, which any number of callers wait for.
type flight struct {
	slug   string
	done   chan struct{} // closed when answer is there
	answer answer
	// newest is the largest version that was heard of meanwhile.
	newest atomic.Uint64
}

// flights let one look-up at a time run per slug.
type flights struct {
	log     *slog.Logger
	timeout time.Duration
	look    func(context.Context, *flight) answer

	ctx    context.Context // ended by close
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu     sync.Mutex
	bySlug map[string]*flight
	closed bool
}

func newFlights(log *slog.Logger, timeout time.Duration, look func(context.Context, *flight) answer) *flights {
	f := &flights{log: log, timeout: timeout, look: look, bySlug: make(map[string]*flight)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// join returns the flight of a slug, begun if there is none; nil after close.
func (f *flights) join(slug string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	if one := f.bySlug[slug]; one != nil {
		return one
	}
	// What is kept of it must not hold the host name that it was cut from.
	one := &flight{slug: strings.Clone(slug), done: make(chan struct{})}
	f.bySlug[one.slug] = one
	f.wait.Go(func() { // ends by timeout, or with f.ctx
		defer f.leave(one)
		ctx, cancel := context.WithTimeout(f.ctx, f.timeout)
		defer cancel()
		f.run(ctx, one)
	})
	return one
}

// run looks. A provider that panics fails the look-up, as it would fail the one
// request that it was called for, not the process.
func (f *flights) run(ctx context.Context, one *flight) {
	defer func() {
		if p := recover(); p != nil {
			f.log.Error("look-up panicked", "slug", one.slug, "error", fmt.Sprint(p), "stack", string(debug.Stack()))
			one.answer = answer{err: unavailable(one.slug, errPanicked), source: provider, result: failed}
		}
	}()
	one.answer = f.look(ctx, one)
}

func (f *flights) leave(one *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.bySlug, one.slug)
	close(one.done)
}

// written tells a flight that a version exists.
func (f *flights) written(slug string, version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.bySlug[slug]; one != nil {
		one.newest.Store(max(one.newest.Load(), version))
	}
}

// close ends every flight and waits for its end.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wait.Wait()
}
