package pvesim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// everything are the privileges of a token without limits.
var everything = []string{
	"Datastore.AllocateSpace", "Datastore.Audit", "Pool.Audit", "SDN.Use", "Sys.Audit", "VM.Allocate", "VM.Audit", "VM.Clone",
	"VM.Config.Disk", "VM.Config.Options", "VM.GuestAgent.Audit", "VM.Monitor", "VM.PowerMgmt",
}

func (s *Server) version(context.Context, params) (any, error) {
	release := s.cfg.Version
	if parts := strings.Split(release, "."); len(parts) > 2 {
		release = strings.Join(parts[:2], ".")
	}
	return map[string]any{"version": s.cfg.Version, "release": release, "repoid": "5f3b9d81"}, nil
}

func (s *Server) nodes(context.Context, params) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, n := range s.cfg.Nodes {
		state := "online"
		if s.offline[n] {
			state = "offline"
		}
		list = append(list, map[string]any{"node": n, "status": state, "ssl_fingerprint": s.identity.fingerprint})
	}
	return list, nil
}

func (s *Server) nodeStatus(context.Context, params) (any, error) {
	return map[string]any{
		"pveversion": "pve-manager/" + s.cfg.Version + "/5f3b9d81", "cpu": 0.02, "loadavg": []string{"0.10", "0.05", "0.01"},
		"memory": map[string]any{"total": 64 << 30, "used": 8 << 30, "free": 56 << 30, "available": 56 << 30},
		"rootfs": map[string]any{"total": 100 << 30, "used": 10 << 30, "free": 90 << 30, "avail": 90 << 30},
	}, nil
}

func (s *Server) clusterStatus(context.Context, params) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{map[string]any{"id": "cluster", "type": "cluster", "name": "sim", "nodes": len(s.cfg.Nodes), "quorate": 1}}
	for i, n := range s.cfg.Nodes {
		list = append(list, map[string]any{"id": "node/" + n, "type": "node", "name": n, "nodeid": i + 1, "online": bit(!s.offline[n]), "local": bit(i == 0)})
	}
	return list, nil
}

func (s *Server) nodeStorages(_ context.Context, p params) (any, error) {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Storages)) {
		if (p["storage"] == "" || p["storage"] == name) && (s.may("/storage/"+name, "Datastore.Audit") || s.may("/storage/"+name, "Datastore.AllocateSpace")) {
			list = append(list, map[string]any{"storage": name, "type": "lvmthin", "content": "images,rootdir", "active": 1, "enabled": 1, "shared": 0, "total": 1 << 40, "used": 1 << 30, "avail": 1<<40 - 1<<30})
		}
	}
	return list, nil
}

// resources shows the states and names that the nodes' daemons last
// published; the lock, the pool and the place are live.
func (s *Server) resources(_ context.Context, p params) (any, error) {
	type shown struct {
		entry map[string]any
		path  string
	}
	s.mu.Lock()
	s.publish()
	var all []shown
	if p["type"] == "" || p["type"] == "vm" {
		for _, vmid := range slices.Sorted(maps.Keys(s.guests)) {
			g := s.guests[vmid]
			last, known := s.stats[vmid]
			if s.offline[g.node] || !known {
				last = published{status: "unknown"}
			}
			m := map[string]any{"id": fmt.Sprintf("%s/%d", g.kind, vmid), "type": string(g.kind), "vmid": vmid, "node": g.node, "status": last.status, "template": bit(g.template)}
			for key, v := range map[string]string{"name": last.name, "pool": g.pool, "lock": g.lock, "tags": g.config["tags"]} {
				if v != "" {
					m[key] = v
				}
			}
			all = append(all, shown{m, fmt.Sprintf("/vms/%d", vmid)})
		}
	}
	if p["type"] == "" || p["type"] == "node" {
		for _, n := range s.cfg.Nodes {
			state := "online"
			if s.offline[n] {
				state = "offline"
			}
			all = append(all, shown{entry: map[string]any{"id": "node/" + n, "type": "node", "node": n, "status": state}})
		}
	}
	s.mu.Unlock()
	list := []any{}
	for _, x := range all {
		if x.path == "" || s.may(x.path, "VM.Audit") {
			list = append(list, x.entry)
		}
	}
	return list, nil
}

// publish refreshes what the daemons say when they are due; with s.mu.
func (s *Server) publish() {
	now := s.cfg.Now()
	if s.cfg.StatInterval > 0 && !s.statsAt.IsZero() && now.Sub(s.statsAt) < s.cfg.StatInterval {
		return
	}
	s.statsAt = now
	clear(s.stats)
	for vmid, g := range s.guests {
		s.stats[vmid] = published{status: g.status(), name: g.name()}
	}
}

func (s *Server) pools(_ context.Context, p params) (any, error) {
	names := map[string]bool{}
	s.mu.Lock()
	for _, g := range s.guests {
		if g.pool != "" {
			names[g.pool] = true
		}
	}
	s.mu.Unlock()
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !s.may("/pool/"+name, "Pool.Audit") || p["poolid"] != "" && p["poolid"] != name {
			continue
		}
		m := map[string]any{"poolid": name}
		if p["poolid"] != "" {
			m["members"] = s.members(name, p["type"])
		}
		list = append(list, m)
	}
	return list, nil
}

func (s *Server) pool(_ context.Context, p params) (any, error) {
	return map[string]any{"members": s.members(p["poolid"], p["type"])}, nil
}

func (s *Server) members(pool, kind string) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, vmid := range slices.Sorted(maps.Keys(s.guests)) {
		if g := s.guests[vmid]; g.pool == pool && (kind == "" || kind == string(g.kind)) {
			list = append(list, map[string]any{"id": fmt.Sprintf("%s/%d", g.kind, vmid), "node": g.node, "type": string(g.kind), "vmid": vmid})
		}
	}
	return list
}

func (s *Server) permissions(_ context.Context, p params) (any, error) {
	paths := s.cfg.Privileges
	if paths == nil {
		paths = map[string][]string{"/": everything}
	}
	tree := map[string]any{}
	for path, list := range paths {
		if p["path"] != "" && p["path"] != path {
			continue
		}
		privs := map[string]int{}
		for _, priv := range list {
			privs[priv] = 1
		}
		tree[path] = privs
	}
	return tree, nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
