package docker

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"cmux.sh/edge/internal/sandbox"
)

// The labels that the edge writes.
const (
	labelMark     = "sh.cmux.edge.mark"
	labelSlug     = "sh.cmux.edge.slug"
	labelKey      = "sh.cmux.edge.key"
	labelWorkload = "sh.cmux.edge.workload"
)

// stateOf maps the Engine's states.
func stateOf(s container.ContainerState) sandbox.State {
	switch s {
	case container.StateCreated, container.StateRestarting:
		return sandbox.Starting
	case container.StateRunning:
		return sandbox.Running
	case container.StatePaused:
		return sandbox.Paused
	case container.StateRemoving:
		return sandbox.Stopping
	case container.StateExited:
		return sandbox.Stopped
	case container.StateDead:
		return sandbox.Failed
	}
	return sandbox.Unknown
}

// inspected is a container as the Engine describes one.
func (p *Provider) inspected(c container.InspectResponse) (sandbox.Instance, error) {
	if c.State == nil || c.Config == nil || !isID(sandbox.ID(c.ID)) {
		return sandbox.Instance{}, garbage("it is no container")
	}
	if c.Config.Labels[labelMark] != p.cfg.Mark {
		return sandbox.Instance{}, &failure{kind: sandbox.KindNotFound, text: "the container is not the edge's"}
	}
	in := p.instance(c.ID, stateOf(c.State.Status), c.Config.Labels)
	if in.State == sandbox.Failed {
		in.Reason = c.State.Error
	}
	if created, err := time.Parse(time.RFC3339Nano, c.Created); err == nil {
		in.Created = created.UTC().Truncate(time.Second) // as precise as a list
	}
	in.Generation = p.seen.look(in.ID, in.State, c.State.StartedAt)
	if c.NetworkSettings != nil {
		in.Address = p.address(c.NetworkSettings.Networks)
		in.Ports = published(c.NetworkSettings.Ports)
	}
	return in, nil
}

// summarised is a container as the Engine lists one.
func (p *Provider) summarised(c container.Summary) (sandbox.Instance, error) {
	if !isID(sandbox.ID(c.ID)) || c.Labels[labelMark] != p.cfg.Mark {
		return sandbox.Instance{}, garbage("the list has what was not asked for")
	}
	in := p.instance(c.ID, stateOf(c.State), c.Labels)
	in.Created = time.Unix(c.Created, 0).UTC()
	in.Generation = p.seen.look(in.ID, in.State, "")
	if c.NetworkSettings != nil {
		in.Address = p.address(c.NetworkSettings.Networks)
	}
	for _, one := range c.Ports {
		if one.Type == "tcp" && one.PublicPort != 0 && one.IP.IsLoopback() {
			if in.Ports == nil {
				in.Ports = map[uint16]string{}
			}
			in.Ports[one.PrivatePort] = netip.AddrPortFrom(one.IP, one.PublicPort).String()
		}
	}
	return in, nil
}

func (p *Provider) instance(id string, state sandbox.State, labels map[string]string) sandbox.Instance {
	return sandbox.Instance{
		Provider:     Name,
		ID:           sandbox.ID(id),
		Slug:         labels[labelSlug],
		State:        state,
		WorkloadType: labels[labelWorkload],
		Marked:       true, // without the mark it would not be here
	}
}

// address is the container's on the configured network, else on the first by
// name that gives it one.
func (p *Provider) address(networks map[string]*network.EndpointSettings) string {
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		one := networks[name]
		if one == nil || p.cfg.Network != "" && name != p.cfg.Network {
			continue
		}
		for _, ip := range []netip.Addr{one.IPAddress, one.GlobalIPv6Address} {
			if ip.IsValid() {
				return ip.String()
			}
		}
	}
	return ""
}

// published are the ports that are published on the loopback, where Start
// publishes them; what else somebody opened is not the edge's to dial.
func published(ports network.PortMap) map[uint16]string {
	var places map[uint16]string
	for port, bindings := range ports {
		for _, one := range bindings {
			if port.Proto() != network.TCP || !one.HostIP.IsLoopback() {
				continue
			}
			if _, err := strconv.ParseUint(one.HostPort, 10, 16); err != nil {
				continue
			}
			if places == nil {
				places = map[uint16]string{}
			}
			places[port.Num()] = net.JoinHostPort(one.HostIP.String(), one.HostPort)
		}
	}
	return places
}

// isID tells whether id is a full container id. The Engine takes names and
// beginnings of ids as well; those are not unique over time.
func isID(id sandbox.ID) bool {
	return len(id) == 64 && strings.Trim(string(id), "0123456789abcdef") == ""
}
