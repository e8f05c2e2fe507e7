package memory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"cmux.sh/edge/internal/catalog"
)

// Config is how a store behaves. The zero value works.
type Config struct {
	// Retention is how long a tombstone answers for its slug; 0 is 7 days.
	Retention time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Bounds of List.
const (
	defaultPage = 500
	maxPage     = 5000
)

// Store is a [catalog.Catalog].
type Store struct {
	now       func() time.Time
	retention time.Duration

	mu      sync.RWMutex
	entries map[string]*entry
	// listed are the entries with a record, each knowing its place, so that a
	// page needs no walk over the others. An entry that leaves is replaced by
	// the last one; List goes from the end to the beginning, so that one that
	// moves has been seen already.
	listed []*entry
	// last is the last number drawn.
	last uint64
	// forgotten is the largest fence of an entry that was dropped. A slug
	// without an entry takes no fence up to it.
	forgotten uint64
	// written counts what may have left something to sweep.
	written  int
	watchers map[*watcher]struct{}
}

// entry is what is known of one key.
type entry struct {
	key    string
	record catalog.Record
	// place is where the entry is in listed, plus one; 0 when it has no record.
	place int
	// fence is the latest one; lease is the latest that was given out, which may
	// have ended.
	fence uint64
	lease *lease
}

// New makes an empty store.
func New(c Config) *Store {
	if c.Retention == 0 {
		c.Retention = 7 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{
		now: c.Now, retention: c.Retention,
		entries: make(map[string]*entry), watchers: make(map[*watcher]struct{}),
	}
}

// Ping has nobody to ask.
func (s *Store) Ping(ctx context.Context) error { return ctx.Err() }

// Get implements [catalog.Reader].
func (s *Store) Get(ctx context.Context, slug string) (catalog.Record, error) {
	if err := ctx.Err(); err != nil {
		return catalog.Record{}, fmt.Errorf("get %s: %w", slug, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entries[slug]
	if e == nil || e.place == 0 || s.faded(e) {
		return catalog.Record{}, catalog.ErrNotFound
	}
	return e.record, nil
}

// faded tells whether an entry's tombstone has stood for its time.
func (s *Store) faded(e *entry) bool {
	return e.record.Tombstone() && s.now().Sub(e.record.Deleted) >= s.retention
}

// List implements [catalog.Reader]. The cursor is how many entries are left.
func (s *Store) List(ctx context.Context, cursor string, limit int) (catalog.Page, error) {
	if err := ctx.Err(); err != nil {
		return catalog.Page{}, fmt.Errorf("list: %w", err)
	}
	if limit <= 0 {
		limit = defaultPage
	}
	limit = min(limit, maxPage)
	s.mu.RLock()
	defer s.mu.RUnlock()
	left := len(s.listed)
	if cursor != "" {
		from, err := strconv.Atoi(cursor)
		if err != nil || from < 0 {
			return catalog.Page{}, fmt.Errorf("list: %w: cursor %q", catalog.ErrInvalid, cursor)
		}
		left = min(left, from)
	}
	page := catalog.Page{Records: make([]catalog.Record, 0, min(limit, left))}
	for ; left > 0 && len(page.Records) < limit; left-- {
		if e := s.listed[left-1]; !s.faded(e) {
			page.Records = append(page.Records, e.record)
		}
	}
	if left > 0 {
		page.Next = strconv.Itoa(left)
	}
	return page, nil
}

// Create implements [catalog.Writer].
func (s *Store) Create(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	return s.write(ctx, "create", r, func(old *catalog.Record) error {
		switch {
		case old == nil || old.Tombstone() && !old.SameInstance(&r):
			return nil
		case old.Tombstone():
			return catalog.ErrDeleted
		case again(old, &r):
			return errAsItIs
		default:
			return catalog.ErrConflict
		}
	})
}

// again tells whether a record was written by the very call that would write r:
// its first answer may have been lost on the way to the caller's caller.
func again(old, r *catalog.Record) bool {
	a, b := *old, r.Normal()
	for _, c := range []*catalog.Record{&a, &b} {
		c.Version, c.Generation, c.LastActive = 0, 0, time.Time{}
	}
	return reflect.DeepEqual(a, b)
}

// Put implements [catalog.Writer].
func (s *Store) Put(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	return s.write(ctx, "put", r, func(old *catalog.Record) error {
		if old != nil && old.Tombstone() {
			return catalog.ErrDeleted
		}
		return nil
	})
}

// Delete implements [catalog.Writer].
func (s *Store) Delete(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	r = r.Buried(s.now())
	return s.write(ctx, "delete", r, func(old *catalog.Record) error {
		if old != nil && old.Tombstone() {
			return errAsItIs
		}
		return nil
	})
}

// errAsItIs makes write return the old record.
var errAsItIs = errors.New("as it is")

// write stores a record unless its fence is an old one or may has an objection
// to what is there.
func (s *Store) write(ctx context.Context, op string, r catalog.Record, may func(old *catalog.Record) error) (catalog.Record, error) {
	if err := ctx.Err(); err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	if err := r.Valid(); err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	r = r.Normal()
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := s.forgotten
	e := s.entries[r.Slug]
	if e != nil {
		latest = e.fence
	}
	if r.Fence == 0 || r.Fence < latest {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, catalog.ErrFenced)
	}
	var old *catalog.Record
	if e != nil && e.place > 0 && !s.faded(e) {
		old = &e.record
	}
	if err := may(old); errors.Is(err, errAsItIs) {
		return *old, nil
	} else if err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	r.Version = s.draw(r.Fence, r.Generation, r.Version)
	if r.Generation == 0 {
		r.Generation = r.Version
	}
	if e == nil {
		e = s.enter(r.Slug)
	}
	if e.place > 0 { // a tombstone that has faded still knows what was
		r.Generation = max(r.Generation, e.record.Generation)
		if old != nil && !old.Tombstone() && old.LastActive.After(r.LastActive) {
			r.LastActive = old.LastActive
		}
	} else {
		s.listed = append(s.listed, e)
		e.place = len(s.listed)
	}
	e.record, e.fence = r, r.Fence
	s.tell(catalog.Change{
		Kind: catalog.Written, Key: r.Slug, Version: r.Version, Generation: r.Generation, Fence: r.Fence, Deleted: r.Tombstone(),
	})
	s.sweep()
	return r, nil
}

// draw is the next number: larger than any before and any that is given.
func (s *Store) draw(seen ...uint64) uint64 {
	next := max(s.last+1, uint64(s.now().UnixMicro()))
	for _, n := range seen {
		next = max(next, n+1)
	}
	s.last = next
	return next
}

func (s *Store) enter(key string) *entry {
	e := &entry{key: key}
	s.entries[key] = e
	return e
}

// Touch implements [catalog.Writer].
func (s *Store) Touch(ctx context.Context, slug string, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("touch %s: %w", slug, err)
	}
	at = at.UTC().Truncate(time.Microsecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[slug]
	switch {
	case e == nil || e.place == 0 || s.faded(e):
		return fmt.Errorf("touch %s: %w", slug, catalog.ErrNotFound)
	case e.record.Tombstone():
		return fmt.Errorf("touch %s: %w", slug, catalog.ErrDeleted)
	case at.After(e.record.LastActive):
		e.record.LastActive = at
	}
	return nil
}

// sweep drops what nobody asks for any more: faded tombstones, and keys with
// neither a record nor a recent lease. It looks at everything once per as many calls
// as there are entries, so a call costs the same however many there are.
func (s *Store) sweep() {
	if s.written++; s.written < len(s.entries)+1024 {
		return
	}
	s.written = 0
	for _, e := range s.entries {
		if e.place > 0 && s.faded(e) {
			s.unlist(e)
		}
		s.drop(e)
	}
}

// unlist takes an entry's record away.
func (s *Store) unlist(e *entry) {
	last := s.listed[len(s.listed)-1]
	s.listed[e.place-1], last.place = last, e.place
	s.listed[len(s.listed)-1] = nil
	s.listed = s.listed[:len(s.listed)-1]
	e.place, e.record = 0, catalog.Record{}
}

// grace is how long a fence is remembered after its lease when there is no
// record: who took the lease may yet write.
const grace = time.Hour

// drop forgets an entry that has neither a record nor a recent lease.
func (s *Store) drop(e *entry) {
	if e.place == 0 && (e.lease == nil || s.now().Sub(e.lease.expires) >= grace) {
		s.forgotten = max(s.forgotten, e.fence)
		delete(s.entries, e.key)
	}
}
