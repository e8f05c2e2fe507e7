package morph

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// The metadata keys that the edge writes. "app" is also read by the control
// plane's clean-up, which leaves alone what begins with neither prefix.
const (
	metaApp      = "app"
	metaSlug     = "edge_slug"
	metaKey      = "edge_key"
	metaMark     = "edge_mark"
	metaWorkload = "edge_workload"
)

// app is the value of metaApp on what the edge makes.
const app = "cmux"

// idPrefix begins every instance id; host names have a hyphen in its place.
const (
	idPrefix   = "morphvm_"
	hostPrefix = "morphvm-"
)

// model is an instance as the API writes it.
type model struct {
	ID         string            `json:"id"`
	Object     string            `json:"object"`
	Created    float64           `json:"created"` // unix seconds; a resume does not move it
	Status     string            `json:"status"`
	Metadata   map[string]string `json:"metadata"`
	Networking struct {
		HTTPServices services `json:"http_services"`
	} `json:"networking"`
	TTL struct {
		Seconds  *float64 `json:"ttl_seconds"`
		ExpireAt *float64 `json:"ttl_expire_at"` // unix seconds
	} `json:"ttl"`
	WakeOn struct {
		HTTP *bool `json:"wake_on_http"`
	} `json:"wake_on"`
}

// UnmarshalJSON refuses what is no instance, so that an empty object from
// something that is not the API never becomes one.
func (m *model) UnmarshalJSON(text []byte) error {
	type plainModel model
	var read plainModel
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	if read.Object != "" && read.Object != "instance" {
		return fmt.Errorf("an object %q in place of an instance", plain(read.Object))
	}
	if !isID(sandbox.ID(read.ID)) {
		return fmt.Errorf("an instance without a proper id")
	}
	*m = model(read)
	return nil
}

// ours tells whether the instance lies in the edge's scope.
func (m *model) ours() bool {
	return strings.HasPrefix(m.Metadata[metaApp], "cmux") || strings.HasPrefix(m.Metadata[metaApp], "manaflow")
}

// slug is the public name: the one given to Start, else the id's own part.
func (m *model) slug() string {
	if given := m.Metadata[metaSlug]; isLabel(given) {
		return given
	}
	return hostForm(strings.TrimPrefix(m.ID, idPrefix))
}

// state maps the status, and says whether it is a known one. A status that
// is not is taken for a passing one, as "pending" is.
func (m *model) state() (state sandbox.State, reason string, known bool) {
	switch m.Status {
	case "ready", "running":
		return sandbox.Running, "", true
	case "paused":
		return sandbox.Paused, "", true
	case "saving":
		return sandbox.Pausing, "a snapshot or a pause is under way", true
	case "pending", "":
		return sandbox.Starting, "", true
	case "stopped":
		return sandbox.Stopped, "", true
	case "error":
		return sandbox.Failed, "Morph reports the instance as failed", true
	}
	return sandbox.Starting, fmt.Sprintf("unknown status %q", plain(m.Status)), false
}

// created is the time of creation; zero when it isn't told.
func (m *model) created() time.Time {
	if m.Created <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(m.Created), 0).UTC()
}

// older orders instances by age, and the rest by id.
func older(a, b model) int {
	if a.Created != b.Created {
		if a.Created < b.Created {
			return -1
		}
		return 1
	}
	return strings.Compare(a.ID, b.ID)
}

// instance is the model in the contract's words. It has places for its ports
// only while it runs: a paused instance's URLs would wake it.
func (p *Provider) instance(m model) sandbox.Instance {
	state, reason, _ := m.state()
	in := sandbox.Instance{
		Provider:     Name,
		ID:           sandbox.ID(m.ID),
		Slug:         m.slug(),
		State:        state,
		Reason:       reason,
		WorkloadType: m.Metadata[metaWorkload],
		Marked:       m.Metadata[metaMark] == p.cfg.Mark,
		Created:      m.created(),
		Generation:   p.seen.generation(sandbox.ID(m.ID)),
	}
	if state == sandbox.Running {
		in.Ports, _ = m.Networking.HTTPServices.ports(p.suffix)
	}
	return in
}

// isID tells whether id is made as the API makes them, and so is safe as a
// part of a path.
func isID(id sandbox.ID) bool {
	rest, ok := strings.CutPrefix(string(id), idPrefix)
	return ok && rest != "" && len(rest) <= 64 && !slices.ContainsFunc([]byte(rest), func(c byte) bool {
		return !isAlnum(c) && c != '_'
	})
}

// hostForm writes an id as it stands in host names.
func hostForm(id string) string { return strings.ReplaceAll(strings.ToLower(id), "_", "-") }

// idOf is the id that a slug stands for by itself: "x" and "morphvm-x" are
// morphvm_x.
func idOf(slug string) sandbox.ID {
	return sandbox.ID(idPrefix + strings.ReplaceAll(strings.TrimPrefix(slug, hostPrefix), "-", "_"))
}
