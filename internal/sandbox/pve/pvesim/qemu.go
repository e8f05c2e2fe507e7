package pvesim

import (
	"context"
	"time"
)

// qemuStart accepts whatever is asked; what is wrong with it the task says.
func (s *Server) qemuStart(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	return s.carry(ctx, g, p["node"], "qmstart", p.num("vmid"), func(ctx context.Context, t *task) error {
		if g == nil {
			return noConfig(QEMU, p)
		}
		return s.boot(ctx, t, g)
	})
}

// boot starts a stopped guest under its flock: it loads the RAM of one that
// hibernates.
func (s *Server) boot(ctx context.Context, t *task, g *guest) error {
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	if g.alive && g.lock == "backup" { // a backup started it with its CPUs held
		g.qmp = "running"
		s.mu.Unlock()
		return nil
	}
	err = g.locked("suspended")
	switch {
	case g.template:
		err = die("you can't start a vm if it's a template")
	case err == nil && g.alive:
		err = die("VM %d already running", g.vmid)
	}
	fresh := g.lock != "suspended"
	s.mu.Unlock()
	if err != nil {
		return err
	}
	took, phase := s.cfg.Latency.Start, "running"
	if !fresh {
		took, phase = s.cfg.Latency.Resume, "inmigrate"
		s.say(t, "Resuming suspended VM")
	}
	if err := s.half(t, g); err != nil {
		return err
	}
	if err := s.launch(ctx, g, fresh, phase); err != nil {
		return err
	}
	if err := s.cfg.Sleep(ctx, took); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.qmp = "running"
	if !fresh {
		g.lock = ""
		delete(g.config, "vmstate")
		g.agentFrom = s.cfg.Now() // its agent was there when it fell asleep
		t.log = append(t.log, "Resumed VM, removing state")
	}
	return nil
}

// launch begins the process and what really stands behind it.
func (s *Server) launch(ctx context.Context, g *guest, fresh bool, phase string) error {
	address := ""
	if m := s.machine(g); m != nil {
		var err error
		if address, err = m.Start(ctx, fresh); err != nil {
			return die("start failed: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began(g)
	g.qmp = phase
	if address != "" {
		g.address = address
	}
	return nil
}

func (s *Server) machine(g *guest) Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.machine
}

func (s *Server) qemuStop(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	return s.carry(ctx, g, p["node"], "qmstop", p.num("vmid"), func(ctx context.Context, _ *task) error {
		if g == nil {
			return noConfig(QEMU, p)
		}
		return s.halt(ctx, g, s.cfg.Latency.Stop)
	})
}

// halt ends a guest's process; one that is stopped is left as it is, whatever
// lock it has.
func (s *Server) halt(ctx context.Context, g *guest, took time.Duration) error {
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	alive := g.alive
	if alive {
		err = g.locked()
	}
	s.mu.Unlock()
	if err != nil || !alive {
		return err
	}
	if err := s.cfg.Sleep(ctx, took); err != nil {
		return err
	}
	if m := s.machine(g); m != nil {
		if err := m.Stop(ctx); err != nil {
			return die("stop failed: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.ended()
	return nil
}

func (s *Server) qemuShutdown(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	if g == nil {
		return s.fork(ctx, p["node"], "qmshutdown", p.num("vmid"), func(context.Context, *task) error { return noConfig(QEMU, p) })
	}
	s.mu.Lock()
	paused := g.qmp == "paused"
	s.mu.Unlock()
	if !paused {
		return s.fork(ctx, p["node"], "qmshutdown", g.vmid, func(ctx context.Context, _ *task) error { return s.shutdown(ctx, g, p) })
	}
	if !p.flag("forceStop") {
		return nil, die("VM is paused - cannot shutdown")
	}
	return s.fork(ctx, p["node"], "qmstop", g.vmid, func(ctx context.Context, _ *task) error {
		return s.halt(ctx, g, s.cfg.Latency.Stop)
	})
}

// shutdownTimeout is how long a guest gets to end by itself unless the request
// says otherwise.
const shutdownTimeout = time.Minute

// shutdown asks a guest to end. One that takes too long is ended with
// forceStop, and runs on without.
func (s *Server) shutdown(ctx context.Context, g *guest, p params) error {
	took, limit := s.cfg.Latency.Shutdown, shutdownTimeout
	if _, said := p["timeout"]; said {
		limit = time.Duration(p.num("timeout")) * time.Second
	}
	if took <= limit || p.flag("forceStop") {
		return s.halt(ctx, g, min(took, limit))
	}
	if err := s.cfg.Sleep(ctx, limit); err != nil {
		return err
	}
	return die("VM quit/powerdown failed - got timeout")
}

// qemuResume waits for the flock before it looks whether the guest hibernates,
// and goes on without when it doesn't get it.
func (s *Server) qemuResume(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	if g == nil {
		return nil, noVM(p)
	}
	hibernated := false
	if release, err := s.flock(ctx, g); err == nil {
		s.mu.Lock()
		hibernated = g.lock == "suspended" && !g.alive
		s.mu.Unlock()
		release()
	}
	s.mu.Lock()
	alive, template := g.alive, g.template
	s.mu.Unlock()
	switch {
	case template:
		return nil, die("VM %d is a template and cannot be resumed!", g.vmid)
	case !hibernated && !alive:
		return nil, die("VM %d not running", g.vmid)
	}
	return s.fork(ctx, g.node, "qmresume", g.vmid, func(ctx context.Context, t *task) error {
		if hibernated {
			return s.boot(ctx, t, g)
		}
		return s.cont(ctx, g)
	})
}

// cont continues a guest whose CPUs stand still. One that runs is left alone,
// also when it is about to be saved.
func (s *Server) cont(ctx context.Context, g *guest) error {
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.qmp == "running" {
		return nil
	}
	if err := g.locked("backup"); err != nil {
		return err
	}
	g.qmp = "running"
	return nil
}
