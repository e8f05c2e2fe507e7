package pvesim

import (
	"context"
	"maps"
)

// routes maps each endpoint that is played to its handler. An endpoint of the
// schema without one answers 501.
func (s *Server) routes() map[string]handler {
	routes := map[string]handler{
		"GET /version":                           s.version,
		"GET /cluster/resources":                 s.resources,
		"GET /cluster/nextid":                    s.nextID,
		"GET /cluster/status":                    s.clusterStatus,
		"GET /nodes":                             s.nodes,
		"GET /nodes/{node}/status":               s.nodeStatus,
		"GET /nodes/{node}/version":              s.version,
		"GET /nodes/{node}/tasks":                s.taskList,
		"GET /nodes/{node}/tasks/{upid}/status":  s.taskStatus,
		"GET /nodes/{node}/tasks/{upid}/log":     s.taskLog,
		"DELETE /nodes/{node}/tasks/{upid}":      s.taskStop,
		"GET /nodes/{node}/storage":              s.nodeStorages,
		"GET /pools":                             s.pools,
		"GET /pools/{poolid}":                    s.pool,
		"GET /access/permissions":                s.permissions,
		"POST /nodes/{node}/qemu/{vmid}/config":  s.setConfigTask,
		"POST /nodes/{node}/lxc/{vmid}/template": s.toTemplate(LXC),
		"GET /nodes/{node}/lxc/{vmid}/interfaces": func(_ context.Context, p params) (any, error) {
			return s.interfaces(p)
		},
		"GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces": s.agentInterfaces,
		"GET /nodes/{node}/qemu/{vmid}/agent/info":                   s.agentInfo,
		"GET /nodes/{node}/qemu/{vmid}/agent/get-host-name":          s.agentHostName,
		"POST /nodes/{node}/qemu/{vmid}/agent/ping":                  s.agentPing,
		"POST /nodes/{node}/qemu/{vmid}/template":                    s.toTemplate(QEMU),
	}
	maps.Copy(routes, map[string]handler{
		"POST /nodes/{node}/qemu/{vmid}/status/start":    s.qemuStart,
		"POST /nodes/{node}/qemu/{vmid}/status/stop":     s.qemuStop,
		"POST /nodes/{node}/qemu/{vmid}/status/shutdown": s.qemuShutdown,
		"POST /nodes/{node}/qemu/{vmid}/status/suspend":  s.qemuSuspend,
		"POST /nodes/{node}/qemu/{vmid}/status/resume":   s.qemuResume,
		"POST /nodes/{node}/lxc/{vmid}/status/start":     s.lxcStart,
		"POST /nodes/{node}/lxc/{vmid}/status/stop":      s.lxcStop,
		"POST /nodes/{node}/lxc/{vmid}/status/shutdown":  s.lxcShutdown,
		"POST /nodes/{node}/lxc/{vmid}/status/suspend":   s.lxcCheckpoint("vzsuspend"),
		"POST /nodes/{node}/lxc/{vmid}/status/resume":    s.lxcCheckpoint("vzresume"),
	})
	for _, k := range []Kind{QEMU, LXC} {
		at := "/nodes/{node}/" + string(k)
		routes["GET "+at] = s.list(k)
		routes["GET "+at+"/{vmid}/status/current"] = s.current(k)
		routes["GET "+at+"/{vmid}/config"] = s.config(k)
		routes["PUT "+at+"/{vmid}/config"] = s.setConfig(k)
		routes["POST "+at+"/{vmid}/clone"] = s.clone(k)
		routes["DELETE "+at+"/{vmid}"] = s.destroy(k)
	}
	return routes
}

// lookup finds a guest of a kind on a node; nil when it isn't there.
func (s *Server) lookup(k Kind, p params) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guests[p.num("vmid")]
	if g == nil || g.kind != k || g.node != p["node"] {
		return nil
	}
	return g
}

// noConfig is what a read of a missing guest's config dies with.
func noConfig(k Kind, p params) error {
	dir := "qemu-server"
	if k == LXC {
		dir = "lxc"
	}
	return die("Configuration file 'nodes/%s/%s/%s.conf' does not exist", p["node"], dir, p["vmid"])
}

// noVM is what the checks of most qemu actions die with.
func noVM(p params) error {
	return die("unable to find configuration file for VM %s on node '%s'", p["vmid"], p["node"])
}
