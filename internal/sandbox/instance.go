package sandbox

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ID names an instance in its provider's own terms: a VMID and node, a Morph
// instance id, a container id. It means nothing to another provider.
type ID string

// State is what an instance is doing.
type State uint8

// The states of an instance. Their String forms are those of the admin API.
const (
	// Unknown: the provider answered, but with nothing the edge understands.
	Unknown State = iota
	// Starting: being created or booted; no RAM to keep yet.
	Starting
	// Running: may be dialled.
	Running
	// Pausing: on its way to Paused; it may still run.
	Pausing
	// Paused: asleep with its RAM kept; a resume brings every process back.
	Paused
	// Resuming: on its way from Paused to Running.
	Resuming
	// Stopping: on its way to Stopped.
	Stopping
	// Stopped: its disk is kept, its RAM is not.
	Stopped
	// Failed: the provider gave up on it; Reason says why.
	Failed
)

var stateNames = [...]string{
	Unknown: "unknown", Starting: "starting", Running: "running", Pausing: "pausing", Paused: "paused",
	Resuming: "resuming", Stopping: "stopping", Stopped: "stopped", Failed: "failed",
}

// String is the state's name in the admin API and in X-Edge-State.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return stateNames[Unknown]
}

// MarshalText writes String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote; a name it does not know becomes
// [Unknown], so that an older binary reads a newer one's records.
func (s *State) UnmarshalText(text []byte) error {
	*s = Unknown
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
		}
	}
	return nil
}

// Instance is one sandbox as its provider sees it. It is a value: a copy may
// be kept and read by anybody, its map must not be written.
type Instance struct {
	Provider string
	ID       ID
	Slug     string
	State    State
	// Reason is one sentence on why State is what it is; may be empty.
	Reason string
	// Address is the host name or IP address on which the instance's ports
	// lie, without port; empty where it is not known or not one host.
	Address string
	// Ports names the places of single ports that do not lie on Address: an
	// absolute http or https URL (a provider's public service), or host:port.
	Ports map[uint16]string
	// WorkloadType is the label the instance was started with; may be empty.
	WorkloadType string
	// Marked says that the edge made this instance: it carries the edge's mark
	// (a description, metadata). Only a marked one is ever stopped or deleted
	// without an operator naming it.
	Marked bool
	// Created is when the instance was made; zero where the provider can't say.
	Created time.Time
	// Generation changes on every start, resume and move, and never goes back:
	// a connection made to one generation is not used for another.
	Generation uint64
}

// Upstream is where one port of an instance can be reached.
type Upstream struct {
	// TLS says that the connection is encrypted, and verified for the name in
	// Authority.
	TLS bool
	// Address is the host:port to dial. The host may be a name; the IP it
	// resolves to is checked by an [AddressRule] when it is dialled.
	Address string
	// Authority is the Host the upstream routes by; empty when it does not
	// care, and the edge's host_header rule applies.
	Authority string
	// Named says that the operator wrote this very address down, so that the
	// allow-list does not apply to it.
	Named bool
}

// Upstream says where port lies. It fails with [KindNotFound] when the
// instance has no address for that port, and with [KindInvalid] when what is
// written there is neither an http or https URL nor host:port.
func (i *Instance) Upstream(port uint16) (Upstream, error) {
	place, ok := i.Ports[port]
	if !ok {
		if i.Address == "" {
			return Upstream{}, Errorf(KindNotFound, "address", i.Slug, "no address for port %d", port)
		}
		return Upstream{Address: net.JoinHostPort(i.Address, strconv.Itoa(int(port)))}, nil
	}
	if isHostPort(place) {
		return Upstream{Address: place, Named: true}, nil
	}
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Upstream{}, Errorf(KindInvalid, "address", i.Slug, "port %d lies at neither a URL nor host:port", port)
	}
	up := Upstream{TLS: u.Scheme == "https", Address: u.Host, Authority: u.Host}
	if u.Port() == "" {
		up.Address = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[up.TLS])
	}
	return up, nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, "/?#@ ") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// AddrPort parses a dialled address; ok is false where it names a host rather
// than an IP.
func (u Upstream) AddrPort() (addr netip.AddrPort, ok bool) {
	addr, err := netip.ParseAddrPort(u.Address)
	return addr, err == nil
}
