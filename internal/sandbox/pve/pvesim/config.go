package pvesim

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Config says what cluster to play. Its zero value is one node "pve" of
// version 9.2.3 on a free port of the loopback, with the token [Token].
type Config struct {
	// Listener takes the connections; nil is a free port of 127.0.0.1. The
	// server owns and closes it.
	Listener net.Listener
	// Nodes are the cluster's nodes. The first one answers; the others are
	// reached through it. Empty is "pve".
	Nodes []string
	// Token is the one accepted token, "user@realm!name=secret". Empty is
	// [Token].
	Token string
	// Version is the release, at least "major.minor"; empty is "9.2.3". Below
	// 9 the API of 8.4 is played: other privileges, fewer parameters.
	Version string
	// AuthDelay is how late a 401 comes; 0 is the real server's 3 s, less than
	// 0 is at once.
	AuthDelay time.Duration
	// OldErrors leaves the message out of error bodies, as releases before 8.4
	// did: it is in the status line only.
	OldErrors bool
	// NumericNextID makes /cluster/nextid answer a number, as its schema says;
	// otherwise it answers the digits as a string.
	NumericNextID bool
	// Privileges are the token's, by path ("/vms/100", "/pool/edge", "/"). Nil
	// is all of them. A path without an entry has those of its nearest parent;
	// a guest in a pool has the pool's as well.
	Privileges map[string][]string
	// Latency says how long things take; zero fields have short defaults.
	Latency Latency
	// LockTimeout is how long a config file's lock is waited for; 0 is the real
	// 10 s.
	LockTimeout time.Duration
	// StatInterval is how often a node's daemon publishes the states and names
	// in /cluster/resources; 0 is always fresh. The real one is about 10 s.
	StatInterval time.Duration
	// Subnet is where guests get their addresses from; zero is 10.77.0.0/16.
	Subnet netip.Prefix
	// Storages are the cluster's storages; nil is "local-lvm" with linked
	// clones.
	Storages map[string]Storage
	// NewMachine makes what stands behind a guest, when the guest is made. Nil,
	// or a nil result, is pure simulation. It is called without locks held.
	NewMachine func(Guest) Machine
	// Now and Sleep are the clock; nil is the real one. Sleep returns early
	// with ctx's error.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// Token is the token accepted unless Config names another.
const Token = "edge@pve!test=8a51cbd9-6c1c-4c2b-a0c7-0d6e24d0a5b1"

// Storage is what the simulator knows of a storage.
type Storage struct {
	// NoLinkedClones: its volumes can only be copied in full.
	NoLinkedClones bool
}

// Latency says how long the phases of tasks take.
type Latency struct {
	// Start is the time to boot; Resume the time to load RAM from the storage;
	// Suspend the time to save it.
	Start, Resume, Suspend time.Duration
	// Stop ends a guest at once, Shutdown asks it to end.
	Stop, Shutdown time.Duration
	// Clone is a linked clone, FullClone copies the disks.
	Clone, FullClone time.Duration
	Delete           time.Duration
	// Agent is the time from a guest's start until its agent answers and it
	// has an address.
	Agent time.Duration
	// Manager is the time until the high-availability manager carries out a
	// request that was filed with it.
	Manager time.Duration
}

func (l Latency) withDefaults() Latency {
	for _, f := range []struct {
		d    *time.Duration
		zero time.Duration
	}{
		{&l.Start, 30 * time.Millisecond},
		{&l.Resume, 30 * time.Millisecond},
		{&l.Suspend, 60 * time.Millisecond},
		{&l.Stop, 10 * time.Millisecond},
		{&l.Shutdown, 30 * time.Millisecond},
		{&l.Clone, 30 * time.Millisecond},
		{&l.FullClone, 80 * time.Millisecond},
		{&l.Delete, 10 * time.Millisecond},
		{&l.Agent, 20 * time.Millisecond},
		{&l.Manager, 20 * time.Millisecond},
	} {
		if *f.d == 0 {
			*f.d = f.zero
		}
	}
	return l
}

func (c Config) withDefaults() Config {
	if len(c.Nodes) == 0 {
		c.Nodes = []string{"pve"}
	}
	if c.Token == "" {
		c.Token = Token
	}
	if c.Version == "" {
		c.Version = "9.2.3"
	}
	if c.AuthDelay == 0 {
		c.AuthDelay = 3 * time.Second
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 10 * time.Second
	}
	if !c.Subnet.IsValid() {
		c.Subnet = netip.MustParsePrefix("10.77.0.0/16")
	}
	if c.Storages == nil {
		c.Storages = map[string]Storage{"local-lvm": {}}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	c.Latency = c.Latency.withDefaults()
	return c
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
