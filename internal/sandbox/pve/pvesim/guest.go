package pvesim

import (
	"context"
	"crypto/sha1" //nolint:gosec // the vendor's digest of a config, no secret
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Kind is a guest's kind, as the API's paths spell it.
type Kind string

// The kinds of guest.
const (
	QEMU Kind = "qemu"
	LXC  Kind = "lxc"
)

// Agent is how a virtual machine's guest agent behaves.
type Agent uint8

// The behaviours of a guest agent.
const (
	AgentAnswers Agent = iota
	// AgentDead never answers.
	AgentDead
	// AgentLies claims the metadata service's address on every interface.
	AgentLies
	// AgentOff: the config has no agent.
	AgentOff
)

// Machine is what really runs behind a guest. The simulator calls it from
// tasks, one call at a time for a guest, without holding locks.
type Machine interface {
	// Start begins to run; fresh is a boot, otherwise the state that Suspend
	// saved is loaded. The result is the address the guest then has; "" is the
	// simulated one.
	Start(ctx context.Context, fresh bool) (address string, err error)
	// Suspend saves the RAM and ends the machine.
	Suspend(ctx context.Context) error
	// Stop ends the machine at once.
	Stop(ctx context.Context) error
	// Remove is called when the guest is deleted; it is stopped then.
	Remove(ctx context.Context) error
}

// Guest describes a guest: to [Server.Add], and as it is now.
type Guest struct {
	VMID int
	Kind Kind
	// Node is where it lives; "" is the first node.
	Node string
	// Name is a virtual machine's name or a container's hostname.
	Name        string
	Description string
	Pool        string
	Template    bool
	// Storage is where its disk lies; "" is "local-lvm".
	Storage string
	// Config holds further config keys, such as "ipconfig0"; net0 is made up
	// when it is missing.
	Config map[string]string
	Agent  Agent
	// Protected guests can't be deleted.
	Protected bool
	// HA says that the high-availability manager looks after it.
	HA bool

	// Status is "running" or "stopped": whether its process lives. QMP is what
	// QEMU says of it then, "" is "running". Lock is the config's lock.
	Status, QMP, Lock string
	// Base is the template that a linked clone depends on.
	Base int
	// Starts counts how often its process really began to run.
	Starts int
}

type guest struct {
	vmid             int
	kind             Kind
	node, pool       string
	config           map[string]string // name or hostname, description, net0, …
	storage          string
	template, ha     bool
	agent            Agent
	base             int
	alive            bool // its process lives
	qmp              string
	lock             string
	pid, starts      int
	since, agentFrom time.Time
	address          string
	machine          Machine
	flock            chan struct{} // holds one token while the config file is locked
}

// published is what a node's daemon last said about a guest.
type published struct{ status, name string }

// Add puts a guest into the cluster.
func (s *Server) Add(spec Guest) error {
	g := &guest{
		vmid: spec.VMID, kind: spec.Kind, node: spec.Node, pool: spec.Pool, storage: spec.Storage,
		config: map[string]string{}, template: spec.Template, ha: spec.HA, agent: spec.Agent, base: spec.Base,
		alive: spec.Status == "running", qmp: spec.QMP, lock: spec.Lock, flock: make(chan struct{}, 1),
	}
	if g.node == "" {
		g.node = s.cfg.Nodes[0]
	}
	if g.storage == "" {
		g.storage = "local-lvm"
	}
	g.config[g.nameKey()] = spec.Name
	if spec.Description != "" {
		g.config["description"] = spec.Description
	}
	if spec.Protected {
		g.config["protection"] = "1"
	}
	maps.Copy(g.config, spec.Config)
	s.equip(g)
	s.mu.Lock()
	if _, taken := s.guests[g.vmid]; taken || g.vmid < 100 || g.kind != QEMU && g.kind != LXC {
		s.mu.Unlock()
		return fmt.Errorf("guest %d: taken, below 100 or of unknown kind %q", g.vmid, g.kind)
	}
	s.guests[g.vmid] = g
	if g.alive {
		qmp := g.qmp
		s.began(g)
		if qmp != "" {
			g.qmp = qmp
		}
		g.agentFrom = s.cfg.Now()
	}
	s.mu.Unlock()
	s.attach(g)
	return nil
}

// equip gives a guest that lacks them a disk, a network card and, to a virtual
// machine, an agent.
func (s *Server) equip(g *guest) {
	disk, iface := "scsi0", "virtio=%s,bridge=vmbr0"
	if g.kind == LXC {
		disk, iface = "rootfs", "name=eth0,bridge=vmbr0,hwaddr=%s,ip=dhcp,type=veth"
	} else if g.agent != AgentOff && g.config["agent"] == "" {
		g.config["agent"] = "1"
	}
	set := func(key, v string) {
		if g.config[key] == "" {
			g.config[key] = v
		}
	}
	set("net0", fmt.Sprintf(iface, mac(g.vmid)))
	set(disk, fmt.Sprintf("%s:vm-%d-disk-0,size=8G", g.storage, g.vmid))
	set("memory", "2048")
	set("meta", fmt.Sprintf("creation-qemu=10.0.2,ctime=%d", s.cfg.Now().Unix()))
	if g.kind == LXC {
		delete(g.config, "meta")
		set("arch", "amd64")
	}
}

// attach makes the machine behind a guest; without s.mu.
func (s *Server) attach(g *guest) {
	if s.cfg.NewMachine == nil {
		return
	}
	s.mu.Lock()
	view := g.view()
	s.mu.Unlock()
	m := s.cfg.NewMachine(view)
	s.mu.Lock()
	g.machine = m
	s.mu.Unlock()
}

// began marks that the process started; with s.mu.
func (s *Server) began(g *guest) {
	s.pid++
	now := s.cfg.Now()
	g.alive, g.qmp, g.pid, g.since, g.agentFrom = true, "running", s.pid, now, now.Add(s.cfg.Latency.Agent)
	g.starts++
	host := s.cfg.Subnet.Masked().Addr().As4()
	g.address = netip.AddrFrom4([4]byte{host[0], host[1], byte(g.vmid >> 8), byte(g.vmid)}).String()
}

// ended marks that the process is gone; with s.mu.
func (g *guest) ended() { g.alive, g.qmp, g.pid, g.address = false, "", 0, "" }

func (g *guest) nameKey() string {
	if g.kind == LXC {
		return "hostname"
	}
	return "name"
}

func (g *guest) name() string {
	if n := g.config[g.nameKey()]; n != "" {
		return n
	}
	if g.kind == LXC {
		return "CT" + strconv.Itoa(g.vmid)
	}
	return "VM " + strconv.Itoa(g.vmid)
}

func (g *guest) status() string {
	if g.alive {
		return "running"
	}
	return "stopped"
}

func (g *guest) view() Guest {
	return Guest{
		VMID: g.vmid, Kind: g.kind, Node: g.node, Name: g.name(), Description: g.config["description"], Pool: g.pool,
		Template: g.template, Storage: g.storage, Config: maps.Clone(g.config), Agent: g.agent,
		Protected: g.config["protection"] == "1", HA: g.ha,
		Status: g.status(), QMP: g.qmp, Lock: g.lock, Base: g.base, Starts: g.starts,
	}
}

func (g *guest) digest() string {
	sum := sha1.New() //nolint:gosec // as above
	for _, k := range slices.Sorted(maps.Keys(g.config)) {
		_, _ = fmt.Fprintf(sum, "%s: %s\n", k, g.config[k])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// mac is a guest's made-up hardware address, in the vendor's own range.
func mac(vmid int) string {
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", byte(vmid>>16), byte(vmid>>8), byte(vmid))
}
