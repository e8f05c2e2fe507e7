package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"cmux.sh/edge/internal/catalog"
)

// lease is one that this store was given.
type lease struct {
	store   *Store
	key     string
	owner   string
	fence   uint64
	ttl     time.Duration
	expires atomic.Pointer[time.Time]
}

// Lease implements [catalog.Leaser].
func (s *Store) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	if err := catalog.CheckLease(key, ttl); err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	l := &lease{store: s, key: key, owner: rand.Text(), ttl: ttl}
	asked := time.Now()
	answer, err := s.durable(limited, s.take, []string{s.leaseKey(key), s.fenceKey(key)},
		l.owner, ttl.Milliseconds(), s.seen.Load())
	if err != nil {
		return nil, s.failed(ctx, "lease", key, err)
	}
	word, fence, left, err := leaseAnswer(answer)
	if err != nil {
		return nil, s.failed(ctx, "lease", key, err)
	}
	s.meet(fence)
	if word == "held" {
		return nil, &catalog.HeldError{Key: key, Fence: fence, Left: left}
	}
	l.fence = fence
	l.lasts(asked)
	return l, nil
}

func leaseAnswer(answer []any) (word string, fence uint64, left time.Duration, err error) {
	if len(answer) != 3 {
		return "", 0, 0, errors.New("an answer of another shape")
	}
	word, _ = answer[0].(string)
	text, _ := answer[1].(string)
	ms, _ := answer[2].(int64)
	fence, err = strconv.ParseUint(text, 10, 53)
	return word, fence, max(0, time.Duration(ms)*time.Millisecond), err
}

// lasts notes that the lease was alive at a time.
func (l *lease) lasts(from time.Time) {
	end := from.Add(l.ttl)
	l.expires.Store(&end)
}

// Key implements [catalog.Lease].
func (l *lease) Key() string { return l.key }

// Fence implements [catalog.Lease].
func (l *lease) Fence() uint64 { return l.fence }

// Expires implements [catalog.Lease].
func (l *lease) Expires() time.Time { return *l.expires.Load() }

// Renew implements [catalog.Lease].
func (l *lease) Renew(ctx context.Context) error {
	limited, cancel := l.store.limit(ctx)
	defer cancel()
	asked := time.Now()
	answer, err := l.store.script(limited, l.store.renew, []string{l.store.leaseKey(l.key)}, l.owner, l.ttl.Milliseconds())
	if err != nil {
		return l.store.failed(ctx, "renew", l.key, err)
	}
	if err := verdict(answer); err != nil {
		return fmt.Errorf("renew %s: %w", l.key, err)
	}
	l.lasts(asked)
	return nil
}

// Release implements [catalog.Lease].
func (l *lease) Release(ctx context.Context) error {
	limited, cancel := l.store.limit(ctx)
	defer cancel()
	answer, err := l.store.script(limited, l.store.release, []string{l.store.leaseKey(l.key)}, l.owner, l.store.channel, l.key)
	if err != nil {
		return l.store.failed(ctx, "release", l.key, err)
	}
	if err := verdict(answer); err != nil && !errors.Is(err, catalog.ErrLeaseExpired) {
		return fmt.Errorf("release %s: %w", l.key, err)
	}
	now := time.Now()
	l.expires.Store(&now)
	return nil
}
