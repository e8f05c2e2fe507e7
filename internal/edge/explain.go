package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
)

// explainer says what a request for a host name would meet.
type explainer struct {
	grammar  *resolve.Grammar
	statics  map[string]bool
	resolver *resolver.Resolver
	rule     sandbox.AddressRule
}

// Explain implements admin.Explainer.
func (e *explainer) Explain(ctx context.Context, host string) adminapi.Resolution {
	out := adminapi.Resolution{Host: host}
	if e.statics[host] {
		out.Status, out.Outcome = http.StatusOK, "a static route: its upstreams answer"
		return out
	}
	route, err := e.grammar.Parse(host)
	if err != nil {
		out.Status, out.Outcome = http.StatusBadRequest, err.Error()
		if refused, ok := errors.AsType[*resolve.HostError](err); ok && refused.Foreign() {
			out.Status = http.StatusMisdirectedRequest
		}
		return out
	}
	out.Domain, out.Form, out.Sandbox, out.Port = route.Domain, route.Form.String(), route.Slug, route.Port
	out.Scope, out.Workspace = route.Scope, route.Workspace
	if route.Form == resolve.Apex {
		out.Status, out.Outcome = http.StatusOK, "the edge answers itself"
		return out
	}
	var decided *resolver.Step
	steps := e.resolver.Explain(ctx, route.Slug)
	for i := range steps {
		out.Steps = append(out.Steps, stepView(&steps[i]))
		if steps[i].Decides && decided == nil {
			decided = &steps[i]
		}
	}
	out.Status, out.Outcome = e.outcome(decided, steps, route)
	return out
}

// outcome is what a request would get now.
func (e *explainer) outcome(decided *resolver.Step, steps []resolver.Step, route resolve.Route) (status int, text string) {
	switch {
	case decided == nil:
		for _, s := range steps {
			if s.Err != nil {
				return http.StatusServiceUnavailable, "the sandbox can't be looked up at the moment"
			}
		}
		return http.StatusNotFound, "there is no such sandbox"
	case decided.Record == nil:
		return http.StatusNotFound, "there is no such sandbox"
	case decided.Record.Tombstone():
		return http.StatusGone, "the sandbox was deleted"
	case decided.Record.State != sandbox.Running:
		return http.StatusServiceUnavailable, "the sandbox is " + decided.Record.State.String()
	}
	port := route.Port
	if route.Form != resolve.Port {
		port = resolve.InnerProxyPort
	}
	upstream, err := decided.Record.Upstream(port)
	if err != nil {
		return http.StatusBadGateway, fmt.Sprintf("port %d is not exposed", port)
	}
	if addr, ok := upstream.AddrPort(); ok {
		rule := e.rule
		rule.Public = upstream.Authority != ""
		if err := rule.Check(addr, upstream.Named); err != nil {
			return http.StatusBadGateway, err.Error()
		}
	}
	return http.StatusOK, "forwarded to " + upstream.Address
}

func stepView(s *resolver.Step) adminapi.Step {
	out := adminapi.Step{
		Source: s.Source, Decision: s.Decision, Decides: s.Decides,
		AgeMS: s.Age.Milliseconds(), TookMS: float64(s.Took) / float64(time.Millisecond),
	}
	if s.Err != nil {
		out.Error = s.Err.Error()
	}
	return out
}
