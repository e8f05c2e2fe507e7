package pvesim

import (
	"context"
	"strings"
	"time"
)

// lie is what a lying agent claims: the metadata service of most clouds.
const lie = "169.254.169.254"

// agentTimeout is how long the real server pings an agent that doesn't answer.
const agentTimeout = 3 * time.Second

// agent finds a guest whose agent answers.
func (s *Server) agentOf(ctx context.Context, p params) (*guest, error) {
	g := s.lookup(QEMU, p)
	if g == nil {
		return nil, noConfig(QEMU, p)
	}
	s.mu.Lock()
	alive, has := g.alive, g.config["agent"] != "" && g.config["agent"] != "0"
	answers := g.qmp == "running" && g.agent != AgentDead && !s.cfg.Now().Before(g.agentFrom)
	dead := g.agent == AgentDead
	s.mu.Unlock()
	switch {
	case !has:
		return nil, die("No QEMU guest agent configured")
	case !alive:
		return nil, die("VM %d is not running", g.vmid)
	case dead:
		if err := s.cfg.Sleep(ctx, min(agentTimeout, s.cfg.LockTimeout)); err != nil {
			return nil, err
		}
		fallthrough
	case !answers:
		return nil, die("QEMU guest agent is not running")
	}
	return g, nil
}

func (s *Server) agentInterfaces(ctx context.Context, p params) (any, error) {
	g, err := s.agentOf(ctx, p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	address := func(ip, kind string, prefix int) map[string]any {
		return map[string]any{"ip-address": ip, "ip-address-type": kind, "prefix": prefix}
	}
	ip := g.address
	if g.agent == AgentLies {
		ip = lie
	}
	return map[string]any{"result": []any{
		map[string]any{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": []any{address("127.0.0.1", "ipv4", 8), address("::1", "ipv6", 128)}},
		map[string]any{"name": "docker0", "hardware-address": "02:42:ac:11:00:01", "ip-addresses": []any{address("172.17.0.1", "ipv4", 16)}},
		map[string]any{"name": "tun0"},
		map[string]any{"name": "eth0", "hardware-address": strings.ToLower(hardware(g.config["net0"])), "ip-addresses": []any{address("fe80::be24:11ff:fe00:1", "ipv6", 64), address(ip, "ipv4", 16)}},
	}}, nil
}

func (s *Server) agentInfo(ctx context.Context, p params) (any, error) {
	if _, err := s.agentOf(ctx, p); err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{"version": "9.0.2"}}, nil
}

func (s *Server) agentHostName(ctx context.Context, p params) (any, error) {
	g, err := s.agentOf(ctx, p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{"result": map[string]any{"host-name": g.name()}}, nil
}

func (s *Server) agentPing(ctx context.Context, p params) (any, error) {
	if _, err := s.agentOf(ctx, p); err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{}}, nil
}

// hardware is the hardware address within a net0 value.
func hardware(net0 string) string {
	for part := range strings.SplitSeq(net0, ",") {
		if _, v, _ := strings.Cut(part, "="); strings.Count(v, ":") == 5 {
			return v
		}
	}
	return ""
}
