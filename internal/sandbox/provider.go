package sandbox

import (
	"context"
	"time"
)

// SpeedClass tells roughly how long an operation takes, so that a choice
// between providers need not guess.
type SpeedClass uint8

// The classes of start and resume times.
const (
	Instant SpeedClass = iota // below a second
	Quick                     // seconds
	Slow                      // tens of seconds
)

// PriceClass tells what a running instance costs.
type PriceClass uint8

// The classes of price.
const (
	Free    PriceClass = iota // no cost of its own
	Flat                      // a share of a server that is paid anyway
	Metered                   // by the hour it is awake
)

// Capabilities is what a provider can do, as data.
type Capabilities struct {
	// RAMSnapshot: Pause keeps the RAM, Resume brings every process back.
	RAMSnapshot bool
	// Create: Start can make new instances.
	Create bool
	// Suspend: Pause and Resume do something.
	Suspend bool
	// StartTime and ResumeTime are what to expect of Start and Resume.
	StartTime, ResumeTime SpeedClass
	// Price is the provider's class of price.
	Price PriceClass
}

// StartRequest asks for a new instance.
type StartRequest struct {
	// Slug is the sandbox's public name. It must be free at the provider.
	Slug string
	// Preset selects the template, snapshot or image; "" is "default".
	Preset string
	// WorkloadType is passed on as a label: "dev", "long-running".
	WorkloadType string
	// TTL is the time after which the instance pauses by itself (stops, where
	// the provider keeps no RAM); 0 is never.
	TTL time.Duration
	// Key is unique to this request and stored with the instance, so that one
	// whose answer was lost is found again instead of made twice.
	Key string
}

// Health is a provider's answer to "may new work go to you?".
type Health struct {
	OK bool
	// Reason is one sentence for an operator: why not, or "" when OK.
	Reason string
	// Nodes is the health of each node, where the provider has several.
	Nodes map[string]Health
}

// Provider is a source of instances.
//
// # Promises
//
// Concurrency: every method may be called at any time from any goroutine, also
// for the same instance. A provider does not serialise calls for its callers;
// whoever must not act twice holds a lease (package catalog).
//
// Blocking: every method returns soon after ctx ends, with an error that wraps
// ctx.Err(). Start, Pause, Resume, Stop and Delete block until the provider
// reports the end of the operation, not merely its acceptance; a caller sets
// the deadline. A call that was cut short may still take effect.
//
// Idempotence: asking for what is already so succeeds. Resume of a running
// instance, Pause of a paused one, Stop of a stopped one and Delete of one
// that is gone return nil. Resume while a pause is under way waits for the
// pause, then resumes. Start with a Key that was used before returns the
// instance that was made then.
//
// Errors: each is, or wraps, an [Error] whose Kind is set. KindNotFound is
// returned only when the provider said so, never because it did not answer.
// Garbage from the provider is KindUnavailable, never a zero Instance.
//
// Ownership: a provider sees only what lies in its configured scope (a pool, a
// naming convention, a metadata prefix); anything else is KindNotFound to it.
// What may be stopped or deleted without an operator's word is told by
// [Instance].Marked; templates and reserved ids are refused (KindRefused)
// whoever asks.
type Provider interface {
	// Name is the canonical name: "pve-vm", "pve-lxc", "morph", "docker",
	// "static". It does not block.
	Name() string
	// Capabilities is constant over the provider's life. It does not block.
	Capabilities() Capabilities
	// Start makes a new instance and waits until it runs. On an error nothing
	// is left behind, or the error says what ([*Leftover]).
	Start(ctx context.Context, req StartRequest) (Instance, error)
	// Pause puts an instance to sleep with the RAM kept where
	// Capabilities().RAMSnapshot, else stops it.
	Pause(ctx context.Context, id ID) error
	// Resume wakes an instance, from Paused or Stopped, and returns it as it
	// is then: Running, with its address where that can be told.
	Resume(ctx context.Context, id ID) (Instance, error)
	// Stop ends an instance's processes and keeps its disk.
	Stop(ctx context.Context, id ID) error
	// Delete ends an instance and removes its disk.
	Delete(ctx context.Context, id ID) error
	// Get reads the instance as it is now, from the provider, not from a cache.
	Get(ctx context.Context, id ID) (Instance, error)
	// Find returns the instance that serves slug by the provider's naming
	// convention, or KindNotFound.
	Find(ctx context.Context, slug string) (Instance, error)
	// List returns all instances that are ours, in no order.
	List(ctx context.Context) ([]Instance, error)
	// Health asks the provider whether it can take work. It never starts,
	// wakes or bills anything.
	Health(ctx context.Context) Health
}

// Extender is implemented by providers that put an instance to sleep by
// themselves after a time.
type Extender interface {
	// Extend lets the instance live for ttl from now. It is idempotent and
	// cheap enough to call a few times per ttl.
	Extend(ctx context.Context, id ID, ttl time.Duration) error
}

// Leftover is wrapped by an error of Start when something was made and could
// not be removed. The caller records it and deletes it later.
type Leftover struct{ ID ID }

// Error names what was left.
func (l *Leftover) Error() string { return "left behind: " + string(l.ID) }
