package morphsim

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Key is the API key accepted unless Config names another.
const Key = "morph_test_8a51cbd96c1c4c2b"

// Snapshot is the one snapshot there is unless Config names others. It exposes
// the ports of the product's image.
const Snapshot = "snapshot_default"

// Config says what account to play. Its zero value works.
type Config struct {
	// Listener takes the connections; nil is a free port of 127.0.0.1. The
	// server owns and closes it.
	Listener net.Listener
	// Key is the one accepted key; empty is [Key].
	Key string
	// Domain is what service URLs lie below; empty is "http.morph.localhost".
	Domain string
	// Snapshots are the services that an instance of each snapshot exposes;
	// nil is [Snapshot].
	Snapshots map[string][]Service
	// Latency says how long things take; zero fields have short defaults.
	Latency Latency
	// Async answers a pause and a resume while they are under way; otherwise
	// the answer comes when they are done.
	Async bool
	// EmptyReads is how often a new instance that is ready still shows no
	// services; 0 is once, less than 0 is never.
	EmptyReads int
	// ResumeRenewsTTL starts an instance's time to live anew with a resume.
	// Otherwise one that ran out during a pause runs out again
	// Latency.Expiry after the resume.
	ResumeRenewsTTL bool
	// WakeOnHTTP is how new instances are: a request to a service wakes them.
	WakeOnHTTP bool
	// LegacyServices shows http_services as an object from port to URL.
	LegacyServices bool
	// NewMachine makes what stands behind an instance, when that is created.
	// Nil, or a nil result, is pure simulation. It is called without locks held.
	NewMachine func(Instance) Machine
}

// Latency says how long the phases take.
type Latency struct {
	// Create is the time from a create to ready.
	Create time.Duration
	// Pause and Resume save and load the RAM; Save is a snapshot of a running
	// instance.
	Pause, Resume, Save time.Duration
	// Expiry is how soon a resumed instance whose time to live ran out is put
	// to sleep again.
	Expiry time.Duration
}

// Machine is what really runs behind an instance. The simulator makes one call
// of Start, Suspend and Remove at a time for an instance, without holding
// locks.
type Machine interface {
	// Start begins to run; fresh is a boot, otherwise the state that Suspend
	// saved is loaded.
	Start(ctx context.Context, fresh bool) error
	// Suspend saves the RAM and ends the machine.
	Suspend(ctx context.Context) error
	// Remove is called when the instance is deleted, in whatever state.
	Remove(ctx context.Context) error
	// Handler answers what comes to an exposed port while the machine runs; nil
	// is that nothing listens there.
	Handler(port int) http.Handler
}

func (c Config) withDefaults() Config {
	if c.Key == "" {
		c.Key = Key
	}
	if c.Domain == "" {
		c.Domain = "http.morph.localhost"
	}
	if c.Snapshots == nil {
		var services []Service
		for port := 39377; port <= 39381; port++ {
			services = append(services, Service{Port: port})
		}
		c.Snapshots = map[string][]Service{Snapshot: services}
	}
	if c.EmptyReads == 0 {
		c.EmptyReads = 1
	}
	for _, f := range []struct {
		d    *time.Duration
		zero time.Duration
	}{
		{&c.Latency.Create, 30 * time.Millisecond},
		{&c.Latency.Pause, 40 * time.Millisecond},
		{&c.Latency.Resume, 30 * time.Millisecond},
		{&c.Latency.Save, 40 * time.Millisecond},
		{&c.Latency.Expiry, 200 * time.Millisecond},
	} {
		if *f.d == 0 {
			*f.d = f.zero
		}
	}
	return c
}
