package pvesim

import (
	"context"
	"maps"
	"strconv"
)

// clone copies a guest. The copy is there, locked, while the task runs.
func (s *Server) clone(k Kind) handler {
	class, typ, lock := "VM", "qmclone", "clone"
	if k == LXC {
		class, typ, lock = "CT", "vzclone", "create"
	}
	return func(ctx context.Context, p params) (any, error) {
		source := s.lookup(k, p)
		if source == nil {
			return nil, noConfig(k, p)
		}
		full, err := s.cloneChecks(source, p)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		newid := p.num("newid")
		if err = source.locked(); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if other, taken := s.guests[newid]; taken {
			s.mu.Unlock()
			if k == LXC {
				return nil, die("%s %d already exists on node '%s'", map[Kind]string{QEMU: "VM", LXC: "CT"}[other.kind], newid, other.node)
			}
			return nil, die("unable to create %s %d: config file already exists", class, newid)
		}
		g := s.copyOf(source, p, lock, full)
		s.guests[newid] = g
		s.mu.Unlock()
		return s.fork(ctx, source.node, typ, source.vmid, func(ctx context.Context, t *task) error {
			if err := s.copyDisks(ctx, t, g, full); err != nil {
				if _, killed := err.(*diedError); !killed { //nolint:errorlint // never wrapped
					s.Remove(newid)
				}
				return err
			}
			s.attach(g)
			s.mu.Lock()
			defer s.mu.Unlock()
			g.lock = ""
			return nil
		}, func() { s.Remove(newid) })
	}
}

// cloneChecks are those made before the task begins. It tells whether the copy
// is a full one.
func (s *Server) cloneChecks(source *guest, p params) (full bool, err error) {
	s.mu.Lock()
	template, storage := source.template, source.storage
	s.mu.Unlock()
	full = !template
	if _, said := p["full"]; said {
		full = p.flag("full")
	}
	if !full && (p["storage"] != "" || p["format"] != "") {
		return false, die("parameter 'storage' not allowed for linked clones")
	}
	if !full && (!template || s.cfg.Storages[storage].NoLinkedClones) {
		return false, die("Linked clone feature is not supported for '%s:base-%d-disk-0' (scsi0)", storage, source.vmid)
	}
	if p["storage"] != "" {
		storage = p["storage"]
	}
	if _, ok := s.cfg.Storages[storage]; !ok {
		return false, die("storage '%s' does not exist", storage)
	}
	if err := s.need("/storage/"+storage, "Datastore.AllocateSpace"); err != nil {
		return false, err
	}
	return full, s.need("/sdn/zones/localnetwork/vmbr0", "SDN.Use")
}

// copyOf makes the new guest's record; with s.mu.
func (s *Server) copyOf(source *guest, p params, lock string, full bool) *guest {
	g := &guest{
		vmid: p.num("newid"), kind: source.kind, node: source.node, pool: p["pool"], config: maps.Clone(source.config),
		storage: source.storage, agent: source.agent, lock: lock, flock: make(chan struct{}, 1),
	}
	if p["target"] != "" {
		g.node = p["target"]
	}
	if p["storage"] != "" {
		g.storage = p["storage"]
	}
	if !full {
		g.base = source.vmid
	}
	for _, own := range []string{"net0", "scsi0", "rootfs", "meta"} {
		delete(g.config, own)
	}
	g.config[g.nameKey()] = "Copy-of-" + source.name()
	for _, key := range []string{"name", "hostname", "description"} {
		if p[key] != "" {
			g.config[key] = p[key]
		}
	}
	s.equip(g)
	return g
}

func (s *Server) copyDisks(ctx context.Context, t *task, g *guest, full bool) error {
	took, how := s.cfg.Latency.Clone, "linked"
	if full {
		took, how = s.cfg.Latency.FullClone, "full"
	}
	s.say(t, "create %s clone of drive", how)
	if err := s.cfg.Sleep(ctx, took/2); err != nil {
		return err
	}
	if err := s.half(t, g); err != nil {
		return err
	}
	s.say(t, "transferred %s of 8.0 GiB", "4.0 GiB (50.00%)")
	return s.cfg.Sleep(ctx, took-took/2)
}

func (s *Server) destroy(k Kind) handler {
	typ := map[Kind]string{QEMU: "qmdestroy", LXC: "vzdestroy"}[k]
	return func(ctx context.Context, p params) (any, error) {
		g := s.lookup(k, p)
		if g == nil {
			return nil, noConfig(k, p)
		}
		s.mu.Lock()
		err := g.destroyable(p.flag("force"))
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return s.fork(ctx, g.node, typ, g.vmid, func(ctx context.Context, _ *task) error { return s.erase(ctx, g, p.flag("force")) })
	}
}

// destroyable fails for guests that run or are protected; with s.mu.
func (g *guest) destroyable(force bool) error {
	switch {
	case g.config["protection"] == "1" && g.kind == QEMU:
		return die("can't remove VM %d - protection mode enabled", g.vmid)
	case g.config["protection"] == "1":
		return die("can't remove CT %d - protection mode enabled", g.vmid)
	case g.alive && g.kind == QEMU:
		return die("VM %d is running - destroy failed", g.vmid)
	case g.alive && !force:
		return die("unable to destroy CT %d - container is running", g.vmid)
	}
	return nil
}

func (s *Server) erase(ctx context.Context, g *guest, force bool) error {
	if force {
		if err := s.halt(ctx, g, s.cfg.Latency.Stop); err != nil {
			return err
		}
	}
	release, err := s.flock(ctx, g)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	err = g.destroyable(false)
	if err == nil {
		err = g.locked("suspended")
	}
	for _, other := range s.guests {
		if err == nil && g.template && other.base == g.vmid {
			err = die("base volume '%s:base-%d-disk-0' is still in use by linked clones", g.storage, g.vmid)
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.cfg.Sleep(ctx, s.cfg.Latency.Delete); err != nil {
		return err
	}
	if m := s.machine(g); m != nil {
		if err := m.Remove(ctx); err != nil {
			return die("remove failed: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests[g.vmid] == g {
		delete(s.guests, g.vmid)
	}
	return nil
}

func (s *Server) toTemplate(k Kind) handler {
	return func(_ context.Context, p params) (any, error) {
		g := s.lookup(k, p)
		if g == nil {
			return nil, noConfig(k, p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if g.alive {
			return nil, die("you can't convert a VM to template if VM is running")
		}
		g.template = true
		return nil, nil
	}
}

func (s *Server) nextID(_ context.Context, p params) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := 100
	if _, asked := p["vmid"]; asked {
		id = p.num("vmid")
		if _, taken := s.guests[id]; taken {
			return nil, invalid(map[string]string{"vmid": "VM " + p["vmid"] + " already exists"})
		}
	}
	for s.guests[id] != nil {
		id++
	}
	if s.cfg.NumericNextID {
		return id, nil
	}
	return strconv.Itoa(id), nil
}
