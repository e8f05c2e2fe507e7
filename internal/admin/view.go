package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
)

func view(r manager.Record) adminapi.Sandbox {
	return adminapi.Sandbox{
		Slug: r.Slug, Provider: r.Provider, ID: string(r.ID),
		State: r.State.String(), StateReason: r.Reason, PausedBy: r.PausedBy.String(),
		Address: r.Address, Ports: r.Ports, WorkloadType: r.WorkloadType,
		CreatedAt: moment(r.Created), LastActiveAt: moment(r.LastActive),
		Generation: r.Generation, RAMPreserved: r.RAMPreserved,
	}
}

// moment leaves out a time that is not known.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

var (
	speeds = map[sandbox.SpeedClass]string{sandbox.Instant: "instant", sandbox.Quick: "quick", sandbox.Slow: "slow"}
	prices = map[sandbox.PriceClass]string{sandbox.Free: "free", sandbox.Flat: "flat", sandbox.Metered: "metered"}
)

func providerView(p manager.ProviderStatus) adminapi.Provider {
	out := adminapi.Provider{
		Name: p.Name, Healthy: p.Healthy, Reason: p.Reason,
		Capabilities: adminapi.Capabilities{
			RAMSnapshot: p.Capabilities.RAMSnapshot, Create: p.Capabilities.Create, Suspend: p.Capabilities.Suspend,
			StartTime: speeds[p.Capabilities.StartTime], ResumeTime: speeds[p.Capabilities.ResumeTime], Price: prices[p.Capabilities.Price],
		},
		Primary: p.Primary, Fallback: p.Fallback, RolloutPercent: p.Share, RolloutStopped: p.Stopped,
		Sandboxes: make(map[string]int, len(p.Sandboxes)),
	}
	for state, n := range p.Sandboxes {
		out.Sandboxes[state.String()] = n
	}
	if len(p.Nodes) > 0 {
		out.Nodes = make(map[string]adminapi.Health, len(p.Nodes))
		for name, h := range p.Nodes {
			out.Nodes[name] = adminapi.Health{OK: h.OK, Reason: h.Reason}
		}
	}
	return out
}

func eventView(e manager.Event) adminapi.Event {
	return adminapi.Event{
		Time: e.Time.UTC(), Kind: e.Kind, Slug: e.Slug, Provider: e.Provider, ID: string(e.ID), Detail: e.Detail, Error: e.Error,
	}
}

// strictJSON decodes one JSON value with no unknown key.
func strictJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
