package manager

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Record is what is known of one sandbox. It is a value; its maps must not be
// written.
type Record struct {
	Instance sandbox.Instance
	// PausedBy says who put it to sleep: "idle", "api", "ttl", "external" or
	// "unknown"; empty while it is awake.
	PausedBy string
	// RAMPreserved is false when its processes were ended by the last sleep.
	RAMPreserved bool
	// Created and LastActive are times of this process's clock.
	Created, LastActive time.Time
	// TTL is how long it lives after its last use; 0 is for ever. Deadline is
	// when that ends.
	TTL      time.Duration
	Deadline time.Time

	extended time.Time // when the provider was last told
}

// Who puts sandboxes to sleep.
const (
	ByAPI     = "api"
	ByTTL     = "ttl"
	ByUnknown = "unknown"
)

// records are the sandboxes that this process knows.
type records struct {
	mu     sync.RWMutex
	bySlug map[string]Record
}

func (r *records) get(slug string) (Record, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.bySlug[slug]
	return rec, ok
}

// adopt records an instance that a provider found, unless the slug has a
// record already, and returns what is recorded.
func (r *records) adopt(slug string, in sandbox.Instance, keepsRAM bool) Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.bySlug[slug]; ok {
		return rec
	}
	in.Slug = slug
	rec := Record{Instance: in, RAMPreserved: keepsRAM || in.State == sandbox.Running, Created: in.Created, LastActive: time.Now()}
	if in.State == sandbox.Paused || in.State == sandbox.Stopped {
		rec.PausedBy = ByUnknown
	}
	r.bySlug[slug] = rec
	return rec
}

// reserve takes a slug for a start; it tells whether it was free.
func (r *records) reserve(slug string, rec Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.bySlug[slug]; taken {
		return false
	}
	r.bySlug[slug] = rec
	return true
}

// put replaces the record of a sandbox.
func (r *records) put(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bySlug[rec.Instance.Slug] = rec
}

// touch notes that a sandbox is in use.
func (r *records) touch(slug string, now time.Time) {
	r.mu.RLock()
	rec, ok := r.bySlug[slug]
	r.mu.RUnlock()
	// Seconds are fine enough, and spare every request of a page the lock.
	if !ok || now.Sub(rec.LastActive) < time.Second {
		return
	}
	r.change(slug, func(rec *Record) {
		rec.LastActive = now
		if !rec.Deadline.IsZero() {
			rec.Deadline = now.Add(rec.TTL)
		}
	})
}

// change applies f to a record, if there is one.
func (r *records) change(slug string, f func(*Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.bySlug[slug]; ok {
		f(&rec)
		r.bySlug[slug] = rec
	}
}

func (r *records) drop(slug string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.bySlug, slug)
}

func (r *records) list() []Record {
	r.mu.RLock()
	list := slices.Collect(maps.Values(r.bySlug))
	r.mu.RUnlock()
	slices.SortFunc(list, func(a, b Record) int { return cmp.Compare(a.Instance.Slug, b.Instance.Slug) })
	return list
}

// count is the number of sandboxes by provider and state.
func (r *records) count() map[string]map[sandbox.State]int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	counts := make(map[string]map[sandbox.State]int)
	for _, rec := range r.bySlug {
		by := counts[rec.Instance.Provider]
		if by == nil {
			by = make(map[sandbox.State]int)
			counts[rec.Instance.Provider] = by
		}
		by[rec.Instance.State]++
	}
	return counts
}
