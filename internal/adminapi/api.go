// Package adminapi is the admin API as it goes over the wire, and a client for
// it. Package admin serves it; the command line uses the client.
package adminapi

import (
	"time"
)

// Sandbox is one sandbox.
type Sandbox struct {
	Slug         string            `json:"slug"`
	Provider     string            `json:"provider"`
	ID           string            `json:"id"`
	State        string            `json:"state"`
	StateReason  string            `json:"state_reason,omitempty"`
	PausedBy     string            `json:"paused_by,omitempty"`
	Address      string            `json:"address,omitempty"`
	Ports        map[uint16]string `json:"ports,omitempty"`
	WorkloadType string            `json:"workload_type,omitempty"`
	CreatedAt    *time.Time        `json:"created_at,omitempty"`
	LastActiveAt *time.Time        `json:"last_active_at,omitempty"`
	Generation   uint64            `json:"generation"`
	RAMPreserved bool              `json:"ram_preserved"`
}

// Sandboxes is the answer to GET sandboxes.
type Sandboxes struct {
	Sandboxes []Sandbox `json:"sandboxes"`
}

// StartRequest asks for a new sandbox. Every field may be left out.
type StartRequest struct {
	Slug                string `json:"slug,omitempty"`
	Preset              string `json:"preset,omitempty"`
	WorkloadType        string `json:"workload_type,omitempty"`
	PreferredProvider   string `json:"preferred_provider,omitempty"`
	RequiresRAMSnapshot bool   `json:"requires_ram_snapshot,omitempty"`
	// TTL is in seconds; 0 is never.
	TTL int64 `json:"ttl,omitempty"`
}

// PauseRequest says whether RAM may be lost.
type PauseRequest struct {
	Force bool `json:"force,omitempty"`
}

// BootRequest says whether saved RAM is given up.
type BootRequest struct {
	Cold bool `json:"cold,omitempty"`
}

// Health is how well a node is.
type Health struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// Capabilities is what a provider can do.
type Capabilities struct {
	RAMSnapshot bool   `json:"ram_snapshot"`
	Create      bool   `json:"create"`
	Suspend     bool   `json:"suspend"`
	StartTime   string `json:"start_time"`  // instant, quick or slow
	ResumeTime  string `json:"resume_time"` // the same
	Price       string `json:"price"`       // free, flat or metered
}

// Provider is a provider's health, capabilities and share of the traffic.
type Provider struct {
	Name         string            `json:"name"`
	Healthy      bool              `json:"healthy"`
	Reason       string            `json:"reason,omitempty"`
	Nodes        map[string]Health `json:"nodes,omitempty"`
	Capabilities Capabilities      `json:"capabilities"`
	Primary      bool              `json:"primary"`
	// Fallback is its place among the fallbacks from 1; 0 is none.
	Fallback int `json:"fallback,omitempty"`
	// RolloutPercent is its share of new sandboxes by rollout.
	RolloutPercent int    `json:"rollout_percent"`
	RolloutStopped string `json:"rollout_stopped,omitempty"`
	// Sandboxes counts those it serves, by state.
	Sandboxes map[string]int `json:"sandboxes"`
}

// Providers is the answer to GET providers.
type Providers struct {
	Providers []Provider `json:"providers"`
}

// Event is something that happened.
type Event struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Slug     string    `json:"slug,omitempty"`
	Provider string    `json:"provider,omitempty"`
	ID       string    `json:"id,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Step is one look that a resolve makes.
type Step struct {
	// Source is local, memory, redis or the name of a provider.
	Source   string `json:"source"`
	Decision string `json:"decision"`
	// Decides says that a request would look no further.
	Decides bool    `json:"decides"`
	AgeMS   int64   `json:"age_ms"`
	TookMS  float64 `json:"took_ms"`
	Error   string  `json:"error,omitempty"`
}

// Resolution is the answer to GET resolve: how a host name is read, who knows
// its sandbox, and what a request would get now.
type Resolution struct {
	Host      string `json:"host"`
	Domain    string `json:"domain,omitempty"`
	Form      string `json:"form,omitempty"`
	Sandbox   string `json:"sandbox,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Workspace string `json:"workspace,omitempty"`
	Steps     []Step `json:"steps,omitempty"`
	// Status is what the edge itself would answer; 200 says that it would
	// forward.
	Status  int    `json:"status"`
	Outcome string `json:"outcome"`
}

// Problem is an error (RFC 9457), and an error in Go.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// RequestID is that of the answer's X-Request-Id.
	RequestID string `json:"request_id"`
}

// Error is the detail and the code.
func (p *Problem) Error() string { return p.Detail + " (" + p.Code + ")" }
