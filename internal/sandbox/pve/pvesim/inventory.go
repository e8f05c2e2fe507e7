package pvesim

import (
	"fmt"
	"maps"
	"slices"
)

// Guests are all guests as they are now, templates included, by VMID.
func (s *Server) Guests() []Guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Guest, 0, len(s.guests))
	for _, vmid := range slices.Sorted(maps.Keys(s.guests)) {
		list = append(list, s.guests[vmid].view())
	}
	return list
}

// Guest is one guest as it is now.
func (s *Server) Guest(vmid int) (Guest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.guests[vmid]
	if !ok {
		return Guest{}, false
	}
	return g.view(), true
}

// Change edits a guest behind the API's back, as another administrator or a
// crash would: its node, name, description, pool, agent, lock, status and QMP
// state. Other fields are left alone. No machine is told.
func (s *Server) Change(vmid int, edit func(*Guest)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.guests[vmid]
	if !ok {
		return fmt.Errorf("no guest %d", vmid)
	}
	v := g.view()
	edit(&v)
	g.node, g.pool, g.agent, g.lock, g.ha = v.Node, v.Pool, v.Agent, v.Lock, v.HA
	g.config[g.nameKey()] = v.Name
	g.config["description"] = v.Description
	if running := v.Status == "running"; running && !g.alive {
		s.began(g)
		g.agentFrom = s.cfg.Now()
	} else if !running {
		g.ended()
	}
	if g.alive && v.QMP != "" {
		g.qmp = v.QMP
	}
	return nil
}

// Remove takes a guest away behind the API's back.
func (s *Server) Remove(vmid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.guests, vmid)
}

// HoldLock takes the lock of a guest's config file, as a backup job or a hung
// process does, until release is called.
func (s *Server) HoldLock(vmid int) (release func(), err error) {
	s.mu.Lock()
	g, ok := s.guests[vmid]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("no guest %d", vmid)
	}
	select {
	case g.flock <- struct{}{}:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	return func() { <-g.flock }, nil
}
