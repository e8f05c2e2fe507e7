package pvesim

import "context"

func (s *Server) lxcStart(ctx context.Context, p params) (any, error) {
	g := s.lookup(LXC, p)
	if g == nil {
		return s.fork(ctx, p["node"], "vzstart", p.num("vmid"), func(context.Context, *task) error { return noConfig(LXC, p) })
	}
	s.mu.Lock()
	alive := g.alive
	s.mu.Unlock()
	if alive {
		return nil, die("CT %d already running", g.vmid)
	}
	return s.carry(ctx, g, g.node, "vzstart", g.vmid, func(ctx context.Context, t *task) error {
		release, err := s.flock(ctx, g)
		if err != nil {
			return err
		}
		defer release()
		s.mu.Lock()
		err = g.locked()
		switch {
		case g.template:
			err = die("you can't start a CT if it's a template")
		case err == nil && g.alive:
			err = die("CT %d already running", g.vmid)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if err := s.half(t, g); err != nil {
			return err
		}
		if err := s.cfg.Sleep(ctx, s.cfg.Latency.Start); err != nil {
			return err
		}
		return s.launch(ctx, g, true, "running")
	})
}

func (s *Server) lxcStop(ctx context.Context, p params) (any, error) {
	return s.lxcEnd(ctx, p, "vzstop", func(ctx context.Context, g *guest) error { return s.halt(ctx, g, s.cfg.Latency.Stop) })
}

func (s *Server) lxcShutdown(ctx context.Context, p params) (any, error) {
	return s.lxcEnd(ctx, p, "vzshutdown", func(ctx context.Context, g *guest) error { return s.shutdown(ctx, g, p) })
}

func (s *Server) lxcEnd(ctx context.Context, p params, typ string, end func(context.Context, *guest) error) (any, error) {
	g := s.lookup(LXC, p)
	alive := false
	if g != nil {
		s.mu.Lock()
		alive = g.alive
		s.mu.Unlock()
	}
	if !alive {
		return nil, die("CT %s not running", p["vmid"])
	}
	return s.fork(ctx, g.node, typ, g.vmid, func(ctx context.Context, _ *task) error { return end(ctx, g) })
}

// lxcCheckpoint plays suspend and resume of a container, which call an
// experimental tool that fails on most systems.
func (s *Server) lxcCheckpoint(typ string) handler {
	return func(ctx context.Context, p params) (any, error) {
		g := s.lookup(LXC, p)
		if g == nil {
			return nil, noConfig(LXC, p)
		}
		s.mu.Lock()
		alive := g.alive
		s.mu.Unlock()
		if !alive && typ == "vzsuspend" {
			return nil, die("CT %d not running", g.vmid)
		}
		return s.fork(ctx, g.node, typ, g.vmid, func(context.Context, *task) error {
			return die("command 'lxc-checkpoint -n %d' failed: exit code 1", g.vmid)
		})
	}
}

func (s *Server) interfaces(p params) (any, error) {
	g := s.lookup(LXC, p)
	if g == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !g.alive {
		return nil, nil
	}
	one := func(name, hw, cidr, ip string, prefix int) map[string]any {
		m := map[string]any{"name": name, "hwaddr": hw, "hardware-address": hw, "ip-addresses": []any{}}
		if ip != "" {
			m["inet"] = cidr
			m["ip-addresses"] = []any{map[string]any{"ip-address": ip, "ip-address-type": "inet", "prefix": prefix}}
		}
		return m
	}
	list := []any{one("lo", "00:00:00:00:00:00", "127.0.0.1/8", "127.0.0.1", 8)}
	hw := hardware(g.config["net0"])
	if s.cfg.Now().Before(g.agentFrom) || g.agent == AgentDead {
		return append(list, one("eth0", hw, "", "", 0)), nil
	}
	ip := g.address
	if g.agent == AgentLies {
		ip = lie
	}
	list = append(list, one("eth0", hw, ip+"/16", ip, 16), one("docker0", "02:42:ac:11:00:01", "172.17.0.1/16", "172.17.0.1", 16))
	return list, nil
}
