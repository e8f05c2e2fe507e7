package manager

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
)

const (
	// window is how many starts by rollout are looked back at, and enough how
	// many there must be before they can stop it.
	window = 20
	enough = 5
	// limit is the share of them that may fail.
	limit = 0.3
)

// rollout gives providers shares of the new sandboxes. Whether a sandbox is in
// a provider's share is told by its slug alone, so that it is the same on every
// replica, and a share that grows keeps what it had.
//
// A provider whose starts fail too often loses its share until it is set
// again: it falls back to the share before that was held without failing.
type rollout struct {
	mu     sync.Mutex
	shares map[string]*share
}

type share struct {
	percent, former int
	outcomes        []bool // the last starts, true for a failure
	stopped         string // why the share fell back
}

func newRollout(percent map[string]int) *rollout {
	r := &rollout{shares: make(map[string]*share)}
	r.set(percent)
	return r
}

// set changes the shares. What a provider had becomes what it falls back to.
func (r *rollout) set(percent map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.shares {
		if _, kept := percent[name]; !kept {
			delete(r.shares, name)
		}
	}
	for name, p := range percent {
		s := r.shares[name]
		if s == nil {
			s = &share{}
			r.shares[name] = s
		}
		if s.percent != p {
			s.former, s.percent, s.outcomes, s.stopped = s.percent, p, nil, ""
		}
	}
}

// chosen are the providers whose share has the sandbox hashed by key, in the
// order of their names.
func (r *rollout) chosen(key string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.shares)) {
		if bucket(name, key) < r.shares[name].percent {
			names = append(names, name)
		}
	}
	return names
}

// bucket is a number from 0 to 99 that depends on nothing but its arguments.
func bucket(provider, key string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(provider + "\x00" + key)) // a hash takes everything
	// The low bits of FNV-1a are its worst; a fold mixes the high ones in.
	sum := h.Sum64()
	return int((sum ^ sum>>32) % 100) //nolint:gosec // below 100
}

// note takes in the outcome of a start by rollout. When too many failed the
// share falls back, and the reason is returned once.
func (r *rollout) note(name string, failed bool) (stopped string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shares[name]
	if s == nil || s.percent == s.former {
		return ""
	}
	s.outcomes = append(s.outcomes, failed)
	if len(s.outcomes) > window {
		s.outcomes = s.outcomes[1:]
	}
	failures := 0
	for _, f := range s.outcomes {
		if f {
			failures++
		}
	}
	if len(s.outcomes) < enough || float64(failures) <= limit*float64(len(s.outcomes)) {
		return ""
	}
	s.stopped = fmt.Sprintf("%d of the last %d starts failed; the share is back from %d %% to %d %%", failures, len(s.outcomes), s.percent, s.former)
	s.percent, s.outcomes = s.former, nil
	return s.stopped
}

// share is a provider's share in percent, and why it fell back, if it did.
func (r *rollout) share(name string) (percent int, stopped string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.shares[name]; s != nil {
		return s.percent, s.stopped
	}
	return 0, ""
}
