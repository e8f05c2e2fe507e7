package manager

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"cmux.sh/edge/internal/sandbox"
)

const (
	// badProbes in a row make a provider down, goodProbes make it up again:
	// one lost packet changes nothing, and one lucky one neither.
	badProbes, goodProbes = 3, 2
	// badStarts in a row open the breaker, for breakerPause; then one start
	// may show whether it works again.
	badStarts    = 5
	breakerPause = 30 * time.Second
)

// provider is a provider with its health and a breaker.
type provider struct {
	sandbox.Provider
	health  atomic.Pointer[sandbox.Health] // what choices read
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]

	// Of the watching goroutine alone.
	bad, good int
	probed    bool
}

func newProvider(p sandbox.Provider, m *metrics) *provider {
	w := &provider{Provider: p}
	// Until the first look it counts as well: a start finds out by itself.
	w.health.Store(&sandbox.Health{OK: true})
	m.healthy.WithLabelValues(p.Name()).Set(1)
	w.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         p.Name(),
		Timeout:      breakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= badStarts },
		IsSuccessful: func(err error) bool { return !countsAgainst(err) },
	})
	return w
}

// countsAgainst tells whether a failed start speaks against its provider: only
// what another request would meet too does, not a caller's mistake.
func countsAgainst(err error) bool {
	if err == nil {
		return false
	}
	switch sandbox.KindOf(err) {
	case sandbox.KindBusy, sandbox.KindInvalid, sandbox.KindNotFound, sandbox.KindRefused:
		return false
	}
	return true
}

// status is the health as last seen, and as the breaker has it.
func (p *provider) status() sandbox.Health {
	h := *p.health.Load()
	if h.OK && p.breaker.State() == gobreaker.StateOpen {
		h.OK, h.Reason = false, "its last starts failed; it is tried again soon"
	}
	return h
}

// attempt asks the breaker for leave to act; done tells it how that went.
func (p *provider) attempt() (done func(error), ok bool) {
	done, err := p.breaker.Allow()
	return done, err == nil
}

// watch looks at a provider's health until ctx ends.
func (m *Manager) watch(ctx context.Context, p *provider) {
	tick := time.NewTicker(m.config.Timing.Probe)
	defer tick.Stop()
	for {
		m.probe(ctx, p)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// probe looks once. The first look decides by itself; later ones change the
// verdict only several in a row. Reasons and nodes are always the latest.
func (m *Manager) probe(ctx context.Context, p *provider) {
	bounded, cancel := context.WithTimeout(ctx, m.config.Timing.Probe/2)
	defer cancel()
	now := p.Health(bounded)
	if ctx.Err() != nil {
		return
	}
	if now.OK {
		p.good, p.bad = p.good+1, 0
	} else {
		p.bad, p.good = p.bad+1, 0
		if now.Reason == "" {
			now.Reason = "it did not say why"
		}
	}
	before := p.health.Load()
	verdict := before.OK
	switch {
	case !p.probed, now.OK && p.good >= goodProbes, !now.OK && p.bad >= badProbes:
		verdict = now.OK
	}
	p.probed = true
	seen := sandbox.Health{OK: verdict, Reason: now.Reason, Nodes: now.Nodes}
	if now.OK && !verdict {
		seen.Reason = before.Reason
	}
	p.health.Store(&seen)
	if verdict == before.OK {
		return
	}
	gauge := m.metrics.healthy.WithLabelValues(p.Name())
	if verdict {
		gauge.Set(1)
		m.log.Info("provider is up", "provider", p.Name())
		return
	}
	gauge.Set(0)
	m.log.LogAttrs(ctx, slog.LevelWarn, "provider is down", slog.String("provider", p.Name()), slog.String("reason", seen.Reason))
}

// isCut tells whether err is the caller's own doing.
func isCut(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) || errors.Is(err, context.Canceled)
}
