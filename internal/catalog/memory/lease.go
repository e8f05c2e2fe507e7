package memory

import (
	"context"
	"fmt"
	"time"

	"cmux.sh/edge/internal/catalog"
)

// lease is one that was given out. Only the entry's lease may be alive.
type lease struct {
	store *Store
	key   string
	fence uint64
	ttl   time.Duration

	expires time.Time // guarded by store.mu
}

// Lease implements [catalog.Leaser].
func (s *Store) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	if err := catalog.CheckLease(key, ttl); err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		e = s.enter(key)
	}
	if s.leased(e) {
		return nil, &catalog.HeldError{Key: key, Fence: e.lease.fence, Left: e.lease.expires.Sub(s.now())}
	}
	e.fence = s.draw(e.fence)
	e.lease = &lease{store: s, key: key, fence: e.fence, ttl: ttl, expires: s.now().Add(ttl)}
	s.sweep()
	return e.lease, nil
}

// leased tells whether an entry's lease is alive.
func (s *Store) leased(e *entry) bool {
	return e.lease != nil && s.now().Before(e.lease.expires)
}

// Key implements [catalog.Lease].
func (l *lease) Key() string { return l.key }

// Fence implements [catalog.Lease].
func (l *lease) Fence() uint64 { return l.fence }

// Expires implements [catalog.Lease].
func (l *lease) Expires() time.Time {
	l.store.mu.RLock()
	defer l.store.mu.RUnlock()
	return l.expires
}

// Renew implements [catalog.Lease].
func (l *lease) Renew(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("renew %s: %w", l.key, err)
	}
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[l.key]; e == nil || e.lease != l || !s.leased(e) {
		return fmt.Errorf("renew %s: %w", l.key, catalog.ErrLeaseExpired)
	}
	l.expires = s.now().Add(l.ttl)
	return nil
}

// Release implements [catalog.Lease].
func (l *lease) Release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("release %s: %w", l.key, err)
	}
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[l.key]
	if e == nil || e.lease != l || !s.leased(e) {
		return nil
	}
	s.tell(catalog.Change{Kind: catalog.Released, Key: l.key, Fence: l.fence})
	l.expires = s.now()
	return nil
}
