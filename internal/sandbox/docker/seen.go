package docker

import (
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// seen counts how often containers woke, which the Engine does not: it begins
// at the time of the first look and never goes back. It is safe for concurrent
// use.
type seen struct {
	mu   sync.Mutex
	byID map[sandbox.ID]*sighting
}

type sighting struct {
	started    string // the Engine's StartedAt; "" until it is known
	asleep     bool
	generation uint64
}

// look takes note of a state, and of when the container was started where that
// is known, and returns the generation.
func (s *seen) look(id sandbox.ID, state sandbox.State, started string) uint64 {
	now := uint64(time.Now().UnixMilli())
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.byID[id]
	if !known {
		one = &sighting{generation: now}
		s.byID[id] = one
	}
	restarted := started != "" && one.started != "" && started != one.started
	if started != "" {
		one.started = started
	}
	if state != sandbox.Running {
		one.asleep = true
	} else if known && (one.asleep || restarted) {
		one.asleep = false
		one.generation = max(one.generation+1, now)
	}
	return one.generation
}

// forget drops a container that is gone.
func (s *seen) forget(id sandbox.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// keep drops every container that is not in list.
func (s *seen) keep(list []sandbox.Instance) {
	there := make(map[sandbox.ID]bool, len(list))
	for _, in := range list {
		there[in.ID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.byID {
		if !there[id] {
			delete(s.byID, id)
		}
	}
}
