package morph

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// gone tells whether err says that there is no such instance, rather than that
// there is one which is not the edge's.
func gone(err error) bool {
	f, ok := asFailure(err)
	return ok && f.kind == sandbox.KindNotFound && f.status != 0
}

func instancePath(id sandbox.ID) string { return "/instance/" + string(id) }

// get reads one instance, which must lie in the edge's scope.
func (p *Provider) get(ctx context.Context, id sandbox.ID) (model, error) {
	if !isID(id) {
		return model{}, &failure{kind: sandbox.KindNotFound, status: http.StatusNotFound, text: "no instance has such an id"}
	}
	var m model
	err := p.api.read(ctx, call{method: http.MethodGet, path: instancePath(id)}, &m)
	if gone(err) {
		p.seen.forget(id)
	}
	if err != nil {
		return model{}, err
	}
	return p.checked(m, id)
}

// checked takes an answer about id for what it says, once it is about id and
// in scope.
func (p *Provider) checked(m model, id sandbox.ID) (model, error) {
	if m.ID != string(id) {
		return model{}, garbage("it is about another instance")
	}
	if !m.ours() {
		return model{}, &failure{kind: sandbox.KindNotFound, text: "it is not one of the edge's: its metadata app begins with neither cmux nor manaflow"}
	}
	p.look(m)
	return m, nil
}

func (p *Provider) look(m model) {
	if changed := p.seen.look(m); changed {
		if _, reason, known := m.state(); !known {
			p.log.Warn("an instance has a status that this version does not know; treating it as pending",
				slog.String("provider", Name), slog.String("instance", m.ID), slog.String("reason", reason))
		}
	}
}

// list reads all instances in scope whose metadata has the given values,
// oldest first.
func (p *Provider) list(ctx context.Context, metadata map[string]string) ([]model, error) {
	query := url.Values{}
	for key, value := range metadata {
		query.Set("metadata["+key+"]", value)
	}
	var answer struct {
		Data *[]json.RawMessage `json:"data"`
	}
	if err := p.api.read(ctx, call{method: http.MethodGet, path: "/instance", query: query}, &answer); err != nil {
		return nil, err
	}
	if answer.Data == nil {
		return nil, garbage("a list without data")
	}
	var all []model
	for _, text := range *answer.Data {
		var m model
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, garbage("%s", plain(err.Error()))
		}
		// A server that ignores the filter must not make us adopt a stranger.
		if m.ours() && matches(m.Metadata, metadata) {
			p.look(m)
			all = append(all, m)
		}
	}
	slices.SortFunc(all, older)
	return all, nil
}

func matches(have, want map[string]string) bool {
	for key, value := range want {
		if have[key] != value {
			return false
		}
	}
	return true
}

// setTTL sets the time to live, counted from now. The action is always named:
// the API's default deletes.
func (p *Provider) setTTL(ctx context.Context, id sandbox.ID, ttl time.Duration) error {
	body := map[string]any{"ttl_seconds": seconds(ttl), "ttl_action": actionPause}
	if err := p.api.insist(ctx, call{method: http.MethodPost, path: instancePath(id) + "/ttl", body: body}, nil); err != nil {
		return err
	}
	p.seen.extended(id, ttl)
	return nil
}

const actionPause = "pause"

// seconds rounds up: half a second is not for ever.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// disableWake turns off that requests to service URLs wake the instance. SSH
// stays as it is.
func (p *Provider) disableWake(ctx context.Context, id sandbox.ID) error {
	body := map[string]any{"wake_on_http": false}
	return p.api.insist(ctx, call{method: http.MethodPost, path: instancePath(id) + "/wake-on", body: body}, nil)
}

// remove deletes an instance. One that is gone is what was asked for.
func (p *Provider) remove(ctx context.Context, id sandbox.ID) error {
	err := p.api.insist(ctx, call{method: http.MethodDelete, path: instancePath(id)}, nil)
	if gone(err) {
		err = nil
	}
	if err == nil {
		p.seen.forget(id)
	}
	return err
}

// probe makes the cheapest call that needs the key to be good.
func (p *Provider) probe(ctx context.Context) error {
	query := url.Values{"page": {"1"}, "limit": {strconv.Itoa(1)}}
	var answer struct {
		Instances *[]json.RawMessage `json:"instances"`
	}
	err := p.api.once(ctx, call{method: http.MethodGet, path: "/instance/list", query: query}, &answer, p.cfg.Timing.Read)
	if err == nil && answer.Instances == nil {
		err = errors.New("it answers, but not as Morph's API")
	}
	return err
}
