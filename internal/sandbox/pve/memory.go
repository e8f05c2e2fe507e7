package pve

import (
	"sync"
	"time"
)

// memory is what a provider remembers of guests between calls: what Proxmox
// doesn't tell, or not at every moment.
type memory struct {
	mu     sync.Mutex
	guests map[int]*remembered
}

type remembered struct {
	name       string
	node       string
	alive      bool
	pid        int
	started    time.Time
	generation uint64
	kept       bool   // its RAM was saved when it was last seen
	address    string // survives hibernation, not a cold start
}

// drift is how far two readings of one process's start may lie apart: the
// uptime is in whole seconds, and requests take time.
const drift = 3 * time.Second

// of returns the memory of a guest, emptied when the name is another one; with
// m.mu.
func (m *memory) of(vmid int, name string) *remembered {
	if m.guests == nil {
		m.guests = map[int]*remembered{}
	}
	r := m.guests[vmid]
	if r == nil || r.name != name {
		var last uint64
		if r != nil {
			last = r.generation
		}
		r = &remembered{name: name, generation: last}
		m.guests[vmid] = r
	}
	return r
}

func (m *memory) named(vmid int, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(vmid, name)
}

func (m *memory) name(vmid int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.guests[vmid]; r != nil {
		return r.name
	}
	return ""
}

// observe takes in a reading of a guest and returns its generation. The
// generation is the time at which this process first saw the guest's present
// run, in ms, so that it also grows from one process of the edge to the next.
func (m *memory) observe(g *guest, now time.Time) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(g.vmid, g.name)
	started := now.Add(-time.Duration(g.uptime) * time.Second)
	same := r.node == g.node && r.alive && g.alive && r.pid == g.pid && started.Sub(r.started).Abs() <= drift
	if g.alive && !same || r.generation == 0 {
		r.generation = max(r.generation+1, uint64(now.UnixMilli()))
		r.started = started
	}
	if g.alive && !same && !r.kept && g.lock != lockSuspended {
		r.address = ""
	}
	r.kept = g.lock == lockSuspended
	r.node, r.alive, r.pid = g.node, g.alive, g.pid
	return r.generation
}

// settle remembers the address of a guest's present run.
func (m *memory) settle(g *guest, address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(g.vmid, g.name).address = address
}

// address is the last one of the guest's present run, "" when there is none.
func (m *memory) address(g *guest) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of(g.vmid, g.name).address
}

// generation is the last one of a guest, 0 when it was never seen.
func (m *memory) generation(vmid int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.guests[vmid]; r != nil {
		return r.generation
	}
	return 0
}
