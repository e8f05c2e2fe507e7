package morph

import (
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// seen remembers what the API forgets: how often an instance woke, and when
// its time to live was last extended. It is safe for concurrent use.
type seen struct {
	mu   sync.Mutex
	byID map[sandbox.ID]*sighting
}

type sighting struct {
	status     string
	asleep     bool
	generation uint64
	// extended is when the time to live was last set, and to what.
	extended time.Time
	ttl      time.Duration
}

func newSeen() *seen { return &seen{byID: map[sandbox.ID]*sighting{}} }

// look takes note of an instance and tells whether its status is another than
// at the last look. One that is saving counts as asleep: it may be paused and
// awake again before the next look.
func (s *seen) look(m model) (changed bool) {
	now := uint64(time.Now().UnixMilli())
	state, _, _ := m.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.byID[sandbox.ID(m.ID)]
	if !known {
		one = &sighting{generation: now}
		s.byID[sandbox.ID(m.ID)] = one
	}
	switch state {
	case sandbox.Paused, sandbox.Pausing, sandbox.Stopped:
		one.asleep = true
	case sandbox.Running:
		if one.asleep {
			one.asleep = false
			one.generation = max(one.generation+1, now)
		}
	}
	changed = one.status != m.Status
	one.status = m.Status
	return changed
}

// generation is 0 for an instance that was never looked at.
func (s *seen) generation(id sandbox.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.byID[id]; ok {
		return one.generation
	}
	return 0
}

// known tells whether the instance was seen, and so is in the edge's scope.
func (s *seen) known(id sandbox.ID) bool { return s.generation(id) != 0 }

// extended notes that the instance now lives for ttl.
func (s *seen) extended(id sandbox.ID, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.byID[id]; ok {
		one.extended, one.ttl = time.Now(), ttl
	}
}

// fresh tells whether the same time to live was set less than a quarter of it
// ago, while the instance ran: then setting it again gains little.
func (s *seen) fresh(id sandbox.ID, ttl time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.byID[id]
	return ok && !one.asleep && one.ttl == ttl && time.Since(one.extended) < ttl/4
}

// forget drops an instance that is gone.
func (s *seen) forget(id sandbox.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// keep drops every instance that is not in list. One that is started while
// the list is read is dropped too and met anew at the next look, with a
// generation that is later all the same.
func (s *seen) keep(list []model) {
	there := make(map[sandbox.ID]bool, len(list))
	for _, m := range list {
		there[sandbox.ID(m.ID)] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.byID {
		if !there[id] {
			delete(s.byID, id)
		}
	}
}
