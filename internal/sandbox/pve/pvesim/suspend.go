package pvesim

import (
	"context"
	"fmt"
	"strings"
)

func (s *Server) qemuSuspend(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	if g == nil {
		return nil, noVM(p)
	}
	s.mu.Lock()
	alive, ha, storage := g.alive, g.ha, g.storage
	pci := false
	for key := range g.config {
		pci = pci || strings.HasPrefix(key, "hostpci")
	}
	s.mu.Unlock()
	todisk := p.flag("todisk")
	switch {
	case todisk && ha:
		return nil, die("Cannot suspend HA managed VM to disk")
	case !alive:
		return nil, die("VM %d not running", g.vmid)
	case !todisk:
		return s.fork(ctx, g.node, "qmpause", g.vmid, func(ctx context.Context, _ *task) error { return s.freeze(ctx, g) })
	}
	if err := s.need("/vms/"+p["vmid"], "VM.Config.Disk"); err != nil {
		return nil, err
	}
	if pci {
		return nil, die("cannot suspend VM to disk due to passed-through PCI device(s)")
	}
	if p["statestorage"] != "" {
		storage = p["statestorage"]
	}
	if err := s.need("/storage/"+storage, "Datastore.AllocateSpace"); err != nil {
		return nil, err
	}
	if _, ok := s.cfg.Storages[storage]; !ok {
		return nil, die("storage '%s' does not exist", storage)
	}
	return s.fork(ctx, g.node, "qmsuspend", g.vmid, func(ctx context.Context, t *task) error { return s.hibernate(ctx, t, g, storage) })
}

// freeze stops the CPUs and keeps the process.
func (s *Server) freeze(ctx context.Context, g *guest) error {
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := g.locked("backup"); err != nil {
		return err
	}
	if g.qmp == "running" {
		g.qmp = "paused"
	}
	return nil
}

// hibernate saves the RAM to a volume and ends the process. The config is
// locked "suspending" meanwhile, its file only at both ends; the guest runs on
// until the last phase. A save that fails leaves the lock.
func (s *Server) hibernate(ctx context.Context, t *task, g *guest, storage string) error {
	err := s.withLock(ctx, g, func() error {
		if err := g.locked("backup"); err != nil {
			return err
		}
		g.lock = "suspending"
		g.config["vmstate"] = fmt.Sprintf("%s:vm-%d-state-suspend", storage, g.vmid)
		return nil
	})
	if err != nil {
		return err
	}
	s.say(t, "saving VM state and RAM on storage '%s'", storage)
	err = s.save(ctx, t, g)
	if _, killed := err.(*diedError); killed { //nolint:errorlint // never wrapped
		return err
	}
	if err != nil { // the volume is removed, the lock stays as a sign
		_ = s.withLock(context.WithoutCancel(ctx), g, func() error {
			delete(g.config, "vmstate")
			if g.qmp == "save-vm" {
				g.qmp = "running"
			}
			return nil
		})
		return err
	}
	return s.withLock(ctx, g, func() error {
		g.ended()
		g.lock = "suspended"
		return nil
	})
}

func (s *Server) save(ctx context.Context, t *task, g *guest) error {
	took := s.cfg.Latency.Suspend
	if err := s.cfg.Sleep(ctx, took/2); err != nil {
		return err
	}
	if err := s.half(t, g); err != nil {
		return err
	}
	s.say(t, "%s", "1.00 GiB in 1s")
	if err := s.cfg.Sleep(ctx, took/4); err != nil {
		return err
	}
	s.mu.Lock()
	g.qmp = "save-vm"
	s.mu.Unlock()
	if m := s.machine(g); m != nil {
		if err := m.Suspend(ctx); err != nil {
			return die("suspend failed: %v", err)
		}
	}
	if err := s.cfg.Sleep(ctx, took/4); err != nil {
		return err
	}
	s.say(t, "%s", "State saved, quitting")
	return nil
}

// withLock runs a change of a guest's config under its flock and s.mu.
func (s *Server) withLock(ctx context.Context, g *guest, change func() error) error {
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	return change()
}
