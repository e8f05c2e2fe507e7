package pvesim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (s *Server) list(k Kind) handler {
	return func(_ context.Context, p params) (any, error) {
		s.mu.Lock()
		var on []*guest
		for _, vmid := range slices.Sorted(maps.Keys(s.guests)) {
			if g := s.guests[vmid]; g.kind == k && g.node == p["node"] {
				on = append(on, g)
			}
		}
		s.mu.Unlock()
		list := []any{}
		for _, g := range on {
			if !s.may(fmt.Sprintf("/vms/%d", g.vmid), "VM.Audit") {
				continue
			}
			s.mu.Lock()
			m := s.fields(g)
			if p.flag("full") && g.alive {
				m["qmpstatus"] = g.qmp
			}
			s.mu.Unlock()
			list = append(list, m)
		}
		return list, nil
	}
}

func (s *Server) current(k Kind) handler {
	return func(_ context.Context, p params) (any, error) {
		g := s.lookup(k, p)
		if g == nil {
			return nil, noConfig(k, p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		m := s.fields(g)
		m["ha"] = map[string]any{"managed": bit(g.ha)}
		if k == LXC {
			return m, nil
		}
		m["qmpstatus"] = g.status()
		if g.alive {
			m["qmpstatus"] = g.qmp
		}
		if g.config["agent"] != "" && g.config["agent"] != "0" {
			m["agent"] = 1
		}
		return m, nil
	}
}

// fields are what lists and the current status share; with s.mu.
func (s *Server) fields(g *guest) map[string]any {
	m := map[string]any{"vmid": g.vmid, "name": g.name(), "status": g.status(), "uptime": 0, "cpus": 2, "maxmem": 2 << 30, "maxdisk": 8 << 30, "mem": 0}
	if g.kind == LXC {
		m["type"] = "lxc"
	}
	if g.alive {
		m["uptime"] = int(s.cfg.Now().Sub(g.since).Seconds())
		m["mem"] = 512 << 20
		if g.kind == QEMU {
			m["pid"] = g.pid
		}
	}
	if g.template {
		m["template"] = 1
	}
	if g.lock != "" {
		m["lock"] = g.lock
	}
	if tags := g.config["tags"]; tags != "" {
		m["tags"] = tags
	}
	return m
}

func (s *Server) config(k Kind) handler {
	return func(_ context.Context, p params) (any, error) {
		g := s.lookup(k, p)
		if g == nil {
			return nil, noConfig(k, p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		m := map[string]any{"digest": g.digest()}
		for key, v := range g.config {
			m[key] = v
		}
		if d := g.config["description"]; d != "" {
			m["description"] = strings.TrimSuffix(d, "\n") + "\n" // stored as comment lines
		}
		if g.template {
			m["template"] = 1
		}
		if g.lock != "" {
			m["lock"] = g.lock
		}
		return m, nil
	}
}

func (s *Server) setConfig(k Kind) handler {
	return func(ctx context.Context, p params) (any, error) {
		g := s.lookup(k, p)
		if g == nil {
			return nil, noConfig(k, p)
		}
		return nil, s.withLock(ctx, g, func() error { return g.set(p) })
	}
}

func (s *Server) setConfigTask(ctx context.Context, p params) (any, error) {
	g := s.lookup(QEMU, p)
	if g == nil {
		return nil, noConfig(QEMU, p)
	}
	return s.fork(ctx, g.node, "qmconfig", g.vmid, func(ctx context.Context, _ *task) error {
		return s.withLock(ctx, g, func() error { return g.set(p) })
	})
}

// set changes config keys; with s.mu.
func (g *guest) set(p params) error {
	if err := g.locked(); err != nil {
		return err
	}
	for key, v := range p {
		switch key {
		case "node", "vmid", "delete", "digest", "revert", "force", "background_delay":
		default:
			g.config[key] = v
		}
	}
	for key := range strings.FieldsFuncSeq(p["delete"], func(r rune) bool { return r == ',' || r == ' ' }) {
		delete(g.config, key)
	}
	return nil
}
