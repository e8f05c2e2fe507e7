package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// machine is what stands behind a simulated guest: a process while it runs, one
// that stands still while it is suspended, none while it is off.
type machine struct {
	name string
	log  io.Writer

	mu    sync.Mutex
	child *child // nil while it is off
}

var errNoRAM = errors.New("the process that held its RAM is gone")

// boot begins with an empty memory, on listeners.
func (m *machine) boot(listeners []net.Listener) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off()
	c, err := startChild(m.name, listeners, m.log)
	if err != nil {
		return err
	}
	m.child = c
	return nil
}

// load goes on where Suspend left off.
func (m *machine) load() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.child == nil {
		return errNoRAM
	}
	return m.child.thaw()
}

// addresses are where its ports are, nil while it is off.
func (m *machine) addresses() map[uint16]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.child == nil {
		return nil
	}
	return m.child.addresses
}

// Suspend keeps all that the machine has in memory.
func (m *machine) Suspend(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.child == nil {
		return errNoRAM
	}
	return m.child.freeze()
}

// Stop ends the machine.
func (m *machine) Stop(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off()
	return nil
}

// Remove does the same: its disk is empty.
func (m *machine) Remove(ctx context.Context) error { return m.Stop(ctx) }

// off ends the process, if there is one; with mu.
func (m *machine) off() {
	if m.child != nil {
		m.child.stop()
		m.child = nil
	}
}

// machines are those behind one simulator, which end with it.
type machines struct {
	log io.Writer

	mu  sync.Mutex
	all []*machine
}

// add makes one more.
func (s *machines) add(name string) *machine {
	m := &machine{name: name, log: s.log}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, m)
	return m
}

// stop ends all of them. The simulator starts none any more.
func (s *machines) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.all {
		_ = m.Stop(context.Background()) // it can't fail
	}
}
