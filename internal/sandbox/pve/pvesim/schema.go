package pvesim

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

//go:embed schema.json
var schemaJSON []byte

// Param is the schema of one parameter, in the vendor's words.
type Param struct {
	Type     string   `json:"type"`
	Format   string   `json:"format"`
	Enum     []string `json:"enum"`
	Minimum  *float64 `json:"minimum"`
	Maximum  *float64 `json:"maximum"`
	Pattern  string   `json:"pattern"`
	Requires string   `json:"requires"`
	Required bool     `json:"required"`
	// In is "path", "query" or "form".
	In string `json:"in"`
}

// Endpoint is the schema of one method on one path.
type Endpoint struct {
	Method string           `json:"method"`
	Path   string           `json:"path"`
	Params map[string]Param `json:"params"`
	// Other are further parameters whose form the simulator doesn't check.
	Other   []string `json:"other_params"`
	ProxyTo string   `json:"proxyto"`
	Perm    struct {
		User string          `json:"user"`
		Expr json.RawMessage `json:"expr"`
	} `json:"perm"`
	Returns struct {
		Type   string   `json:"type"`
		Fields []string `json:"fields"`
	} `json:"returns"`
	Delta struct {
		AddedIn9 []string        `json:"added_in_9"`
		Perm8    json.RawMessage `json:"perm_8_4_5"`
	} `json:"delta_8_4_5"`

	segments []string
}

// Name is "METHOD /path/{with}/{names}", by which faults and counters know it.
func (e *Endpoint) Name() string { return e.Method + " " + e.Path }

// Schema returns the embedded schema, a new copy on each call.
func Schema() ([]*Endpoint, error) {
	var file struct {
		Endpoints []*Endpoint `json:"endpoints"`
	}
	if err := json.Unmarshal(schemaJSON, &file); err != nil {
		return nil, fmt.Errorf("embedded API schema: %w", err)
	}
	for _, e := range file.Endpoints {
		e.segments = strings.Split(e.Path, "/")
	}
	return file.Endpoints, nil
}

// match tells whether the escaped path is one of the endpoint's, and returns
// the values of its path parameters.
func (e *Endpoint) match(method, escaped string) (map[string]string, bool) {
	parts := strings.Split(escaped, "/")
	if e.Method != method || len(parts) != len(e.segments) {
		return nil, false
	}
	values := map[string]string{}
	for i, seg := range e.segments {
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			return nil, false
		}
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			values[strings.TrimSuffix(name, "}")] = part
		} else if seg != part {
			return nil, false
		}
	}
	return values, true
}

// param finds the schema of a parameter by its name as sent, following
// numbered keys (net0 is net[n]). checked is false where any text will do.
func (e *Endpoint) param(name string, major int) (p Param, checked, ok bool) {
	if major < 9 && slices.Contains(e.Delta.AddedIn9, name) {
		return Param{}, false, false
	}
	numbered := strings.TrimRight(name, "0123456789")
	if numbered != name {
		numbered += "[n]"
	}
	for _, key := range []string{name, numbered} {
		if p, ok = e.Params[key]; ok {
			return p, true, true
		}
		if slices.Contains(e.Other, key) {
			return Param{}, false, true
		}
	}
	return Param{}, false, false
}
