package manager

import (
	"fmt"
	"slices"
	"strings"

	"cmux.sh/edge/internal/sandbox"
)

// builtIn are the providers of workload types that the configuration does not
// name: what runs long should keep its RAM, what is gone soon should start fast.
var builtIn = map[string]string{
	"long-running": "pve-vm",
	"ephemeral":    "pve-lxc",
	"quick-task":   "pve-lxc",
}

// candidate is a provider that may make a sandbox, and why it is asked.
type candidate struct {
	*provider
	why string
}

// errNoProvider is the sentence for a client when nobody can make a sandbox.
const errNoProvider = "No healthy sandbox provider available"

// candidates are the providers that may make the sandbox of req, whose slug is
// hashed as key, in the order in which they are to be asked: preferred,
// workload, rollout, primary, fallbacks. Each is there once.
func (m *Manager) candidates(req StartRequest, key string) ([]candidate, error) {
	var list []candidate
	var passed []string // names passed over, with the reason
	consider := func(name, why string) {
		if name == "" || slices.ContainsFunc(list, func(c candidate) bool { return c.Name() == name }) {
			return
		}
		p := m.providers[name]
		switch {
		case p == nil:
			passed = append(passed, name+" is not configured")
		case !p.Capabilities().Create:
			passed = append(passed, name+" makes no sandboxes"+m.lacking(name))
		case req.RequiresRAMSnapshot && !p.Capabilities().RAMSnapshot:
			passed = append(passed, name+" can't keep RAM")
		case !p.status().OK:
			passed = append(passed, name+" is down: "+p.status().Reason)
		default:
			list = append(list, candidate{p, why})
		}
	}
	consider(req.Preferred, "preferred")
	if routed := m.config.Workloads[req.WorkloadType]; routed != "" {
		consider(routed, "workload "+req.WorkloadType)
	} else if name := builtIn[req.WorkloadType]; m.providers[name] != nil {
		consider(name, "workload "+req.WorkloadType)
	}
	for _, name := range m.rollout.chosen(key) {
		consider(name, "rollout")
	}
	consider(m.config.Primary, "primary")
	for _, name := range m.config.Fallback {
		consider(name, "fallback")
	}
	if len(list) == 0 {
		slices.Sort(passed)
		detail := errNoProvider
		if len(passed) > 0 {
			detail = fmt.Sprintf("%s: %s", errNoProvider, strings.Join(slices.Compact(passed), "; "))
		}
		return nil, &NoProviderError{detail}
	}
	return list, nil
}

// lacking names the key that would let a provider make sandboxes.
func (m *Manager) lacking(name string) string {
	if key := m.config.CreateKeys[name]; key != "" {
		return ": set " + key
	}
	return ""
}

// NoProviderError says that no provider can make a sandbox now, and why each
// was passed over.
type NoProviderError struct{ text string }

// Error is one sentence and the reasons.
func (e *NoProviderError) Error() string { return e.text }

// Unwrap gives the error its kind.
func (e *NoProviderError) Unwrap() error {
	return &sandbox.Error{Kind: sandbox.KindUnavailable, Op: "start"}
}
