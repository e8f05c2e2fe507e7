package manager

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// StartRequest asks for a new sandbox.
type StartRequest struct {
	// Slug is its public name; empty lets the edge choose one.
	Slug string
	// Preset selects template, snapshot or image; "" is "default".
	Preset       string
	WorkloadType string
	// Preferred is the provider to ask first.
	Preferred string
	// RequiresRAMSnapshot leaves out providers that lose RAM when they pause.
	RequiresRAMSnapshot bool
	// TTL is the time after its last use at which the sandbox pauses; 0 is
	// never.
	TTL time.Duration
}

// ConflictError says that an operation does not fit the state of things: a
// slug that is in use, a pause that would lose RAM, a sandbox that is locked.
type ConflictError struct{ text string }

// Error is the sentence for the client.
func (e *ConflictError) Error() string { return e.text }

// Unwrap gives the error its kind.
func (e *ConflictError) Unwrap() error { return &sandbox.Error{Kind: sandbox.KindBusy, Op: "change"} }

func conflict(format string, args ...any) error { return &ConflictError{fmt.Sprintf(format, args...)} }

// Start makes a sandbox at the first provider that manages it. The errors are
// [*ConflictError] for a slug in use, [*NoProviderError] when nobody can, and
// [*StartError] when all who could failed.
func (m *Manager) Start(ctx context.Context, req StartRequest) (Record, error) {
	drawn, key := randomHex(), rand.Text()
	candidates, err := m.candidates(req, cmp.Or(req.Slug, drawn))
	if err != nil {
		m.tell(Event{Kind: Failed, Slug: req.Slug, Error: err.Error()})
		return Record{}, err
	}
	if req.Slug != "" {
		switch _, err := m.Look(ctx, req.Slug); {
		case err == nil:
			return Record{}, conflict("the slug %s is in use", req.Slug)
		case sandbox.KindOf(err) != sandbox.KindNotFound:
			// A provider that can't be asked may have it: its own check on
			// start will tell, if it is the one.
			m.log.Warn("can't tell whether a slug is in use", "slug", req.Slug, "error", err)
		}
	}

	var failures []error
	for i, c := range candidates {
		if i > 0 || c.why == "fallback" {
			m.log.Warn("a new sandbox falls back", "slug", req.Slug, "provider", c.Name(), "why", c.why)
		}
		r, err := m.startAt(ctx, c, req, drawn, key)
		if err == nil {
			return r, nil
		}
		if _, taken := errors.AsType[*ConflictError](err); taken || ctx.Err() != nil {
			return Record{}, err
		}
		failures = append(failures, err)
	}
	return Record{}, &StartError{failures}
}

// StartError says why each provider that was asked could not make a sandbox.
type StartError struct{ failures []error }

// Error is one line with all reasons.
func (e *StartError) Error() string {
	texts := make([]string, len(e.failures))
	for i, err := range e.failures {
		texts[i] = err.Error()
	}
	return "no provider could make the sandbox: " + strings.Join(texts, "; ")
}

// Unwrap gives the reasons, the first provider's first.
func (e *StartError) Unwrap() []error { return e.failures }

// startAt makes the sandbox at one provider. drawn is its name where the request
// has none; key makes the request known again.
func (m *Manager) startAt(ctx context.Context, c candidate, req StartRequest, drawn, key string) (Record, error) {
	done, ok := c.attempt()
	if !ok {
		return Record{}, sandbox.Errorf(sandbox.KindUnavailable, "start", c.Name(), "its last starts failed; it is tried again soon")
	}
	slug := req.Slug
	if slug == "" {
		slug = slugAt(c.Name(), drawn)
	}
	if misleads(slug, c.Name()) {
		done(nil)
		return Record{}, sandbox.Errorf(sandbox.KindInvalid, "start", c.Name()+" "+slug, "the slug begins as those of another provider do")
	}
	// The breaker waits for the outcome of what it gave leave for, whatever
	// comes before.
	asked := false
	finish := func(err error) { asked = true; done(err) }
	defer func() {
		if !asked {
			done(nil)
		}
	}()
	var r Record
	var err error
	if slug == "" { // the provider names it
		r, err = m.makeAt(ctx, c, slug, req, key, finish)
	} else {
		err = m.hold(ctx, slug, func(ctx context.Context, fence uint64) error {
			if old, err := m.get(ctx, slug); err == nil {
				return conflict("the slug %s is in use by %s", slug, old.Provider)
			}
			if r, err = m.makeAt(ctx, c, slug, req, key, finish); err != nil {
				return err
			}
			r, err = m.record(ctx, c, r, fence)
			return err
		})
	}
	if err != nil {
		return Record{}, err
	}
	if slug != r.Slug {
		err = m.hold(ctx, r.Slug, func(ctx context.Context, fence uint64) error {
			r, err = m.record(ctx, c, r, fence)
			return err
		})
	}
	if err != nil {
		return Record{}, err
	}
	detail := c.why
	if !c.Capabilities().RAMSnapshot {
		detail += "; its RAM is lost when it sleeps"
	}
	m.tell(Event{Kind: Started, Slug: r.Slug, Provider: c.Name(), ID: r.ID, Generation: r.Generation, Detail: detail})
	return r, nil
}

// record writes the record of a new sandbox. While the catalogue is away the
// sandbox is found by its name. One that the catalogue refuses could never be
// used: it is removed, and the start has failed.
func (m *Manager) record(ctx context.Context, c candidate, r Record, fence uint64) (Record, error) {
	r.Fence = fence
	written, err := m.catalog.Create(ctx, r)
	m.finder.Invalidate(r.Slug)
	switch {
	case err == nil:
		return written, nil
	case errors.Is(err, catalog.ErrUnavailable):
		m.log.Warn("a new sandbox is not recorded", "slug", r.Slug, "provider", r.Provider, "id", string(r.ID), "error", err)
		return r, nil
	}
	m.leave(c.provider, r.Slug, r.ID)
	m.tell(Event{Kind: Failed, Slug: r.Slug, Provider: c.Name(), ID: r.ID, Error: err.Error()})
	return Record{}, storeError("record", r.Slug, err)
}

// makeAt asks a provider for the sandbox and tells the breaker, by done, how
// that went.
func (m *Manager) makeAt(ctx context.Context, c candidate, slug string, req StartRequest, key string, done func(error)) (Record, error) {
	bounded, cancel := context.WithTimeout(ctx, m.config.Timing.Start)
	defer cancel()
	in, err := c.Start(bounded, sandbox.StartRequest{
		Slug: slug, Preset: req.Preset, WorkloadType: req.WorkloadType, TTL: req.TTL, Key: key,
	})
	if isCut(ctx, err) {
		done(nil) // says nothing about the provider
	} else {
		done(err)
	}
	if c.why == "rollout" && !isCut(ctx, err) {
		m.noteRollout(c, !countsAgainst(err))
	}
	if err != nil {
		m.startFailed(c, slug, err)
		if sandbox.KindOf(err) == sandbox.KindBusy && req.Slug != "" {
			return Record{}, conflict("the slug %s is in use at %s", slug, c.Name())
		}
		return Record{}, err
	}
	if in.Slug == "" {
		in.Slug = slug
	}
	in.WorkloadType, in.Generation = req.WorkloadType, 0
	now := time.Now()
	if in.Created.IsZero() {
		in.Created = now
	}
	return Record{Instance: in, LastActive: now, RAMPreserved: true, TTL: req.TTL}, nil
}

// startFailed cleans up after a start that failed. Where it can't be told
// whether something was made, it is looked for later, by its name.
func (m *Manager) startFailed(c candidate, slug string, err error) {
	m.tell(Event{Kind: Failed, Slug: slug, Provider: c.Name(), Error: err.Error()})
	if id, left := leftoverOf(err); left {
		m.leave(c.provider, slug, id)
		return
	}
	switch sandbox.KindOf(err) {
	case sandbox.KindUnavailable, sandbox.KindOther:
		if slug != "" {
			m.leave(c.provider, slug, "")
		}
	}
}

func (m *Manager) noteRollout(c candidate, well bool) {
	if stopped := m.rollout.note(c.Name(), !well); stopped != "" {
		m.metrics.rolloutsStopped.WithLabelValues(c.Name()).Inc()
		m.log.Error("rollout stopped", "provider", c.Name(), "reason", stopped)
		m.events.publish(Event{Time: time.Now(), Kind: Warning, Provider: c.Name(), Detail: "rollout stopped: " + stopped})
	}
}

// slugAt is the slug that a drawn name gets at a provider. Proxmox guests carry
// their kind in their name; Morph's are known by their id.
func slugAt(provider, drawn string) string {
	switch provider {
	case "pve-vm":
		return "pvevm-" + drawn
	case "pve-lxc":
		return "pvelxc-" + drawn
	case "morph":
		return ""
	}
	return drawn
}

// misleads tells whether a slug at a provider would be taken for something else:
// for an id of Morph, for a guest of the other kind, or for an old guest. The
// name of a guest may go to another provider, as it does when Proxmox is down.
func misleads(slug, provider string) bool {
	switch {
	case strings.HasPrefix(slug, "morphvm-"):
		return provider != "morph"
	case strings.HasPrefix(slug, "pvevm-"):
		return provider == "pve-lxc"
	case strings.HasPrefix(slug, "pvelxc-"):
		return provider == "pve-vm"
	}
	return strings.HasPrefix(slug, "cmux-")
}

// randomHex are 8 hexadecimal digits.
func randomHex() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(hex.EncodeToString(b[:]))
}
