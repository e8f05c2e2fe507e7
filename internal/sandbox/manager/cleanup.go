package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"cmux.sh/edge/internal/sandbox"
)

// leftover is something that a failed start left, or may have left, at a
// provider.
type leftover struct {
	provider *provider
	slug     string
	id       sandbox.ID // "" when it must be looked for by its slug
	due      time.Time
	wait     *backoff.ExponentialBackOff
	misses   int // looks that found nothing
}

// enoughMisses looks that find nothing say that nothing was left: providers
// show what they make within seconds, and the looks lie further apart.
const enoughMisses = 4

// cleanup holds what is to be removed.
type cleanup struct {
	mu   sync.Mutex
	list []*leftover
}

// leave remembers a leftover; it is looked at from the next tick on.
func (m *Manager) leave(p *provider, slug string, id sandbox.ID) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = m.config.Timing.Retry, 10*time.Minute
	m.cleanup.mu.Lock()
	defer m.cleanup.mu.Unlock()
	m.cleanup.list = append(m.cleanup.list, &leftover{provider: p, slug: slug, id: id, wait: wait})
	m.metrics.leftovers.Set(float64(len(m.cleanup.list)))
}

// removeLeftovers tries what is due, one after the other.
func (m *Manager) removeLeftovers(ctx context.Context, now time.Time) {
	m.cleanup.mu.Lock()
	var due []*leftover
	for _, l := range m.cleanup.list {
		if !l.due.After(now) {
			due = append(due, l)
		}
	}
	m.cleanup.mu.Unlock()
	for _, l := range due {
		if m.remove(ctx, l) {
			m.forget(l)
			continue
		}
		l.due = now.Add(l.wait.NextBackOff())
	}
}

func (m *Manager) forget(done *leftover) {
	m.cleanup.mu.Lock()
	defer m.cleanup.mu.Unlock()
	for i, l := range m.cleanup.list {
		if l == done {
			m.cleanup.list = append(m.cleanup.list[:i], m.cleanup.list[i+1:]...)
			break
		}
	}
	m.metrics.leftovers.Set(float64(len(m.cleanup.list)))
}

// remove removes a leftover and tells whether it needs no more looks. Only what
// carries the edge's mark is ever removed, and never what a record names: a
// later start may have found it again.
func (m *Manager) remove(ctx context.Context, l *leftover) bool {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timing.Sleep)
	defer cancel()
	var in sandbox.Instance
	var err error
	if l.id == "" {
		in, err = l.provider.Find(ctx, l.slug)
	} else {
		in, err = l.provider.Get(ctx, l.id)
	}
	switch {
	case sandbox.KindOf(err) == sandbox.KindNotFound && err != nil:
		l.misses++
		return l.misses >= enoughMisses
	case err != nil:
		return false
	case !in.Marked:
		return true
	}
	switch r, err := m.get(ctx, l.slug); {
	case err == nil && r.Provider == in.Provider && r.ID == in.ID:
		return true
	case err != nil && sandbox.KindOf(err) != sandbox.KindNotFound:
		return false // better late than the wrong one
	}
	if err := l.provider.Delete(ctx, in.ID); err != nil {
		return false
	}
	m.tell(Event{Kind: Deleted, Slug: l.slug, Provider: l.provider.Name(), ID: in.ID, Detail: "it was left behind by a start that failed"})
	return true
}

// leftoverOf is the id that a failed start names as left behind.
func leftoverOf(err error) (sandbox.ID, bool) {
	if l, ok := errors.AsType[*sandbox.Leftover](err); ok {
		return l.ID, true
	}
	return "", false
}
