package proxy

import (
	"net/http"

	"cmux.sh/edge/internal/resolve"
)

// pages is what the edge does to exchanges with sandboxes so that their pages
// work in browsers, under public names and inside dashboards. It is immutable.
type pages struct {
	grammar    *resolve.Grammar
	dashboards []string
	headScript bool
	retire     bool
}

func newPages(c Config) *pages {
	return &pages{grammar: c.Grammar, dashboards: c.DashboardOrigins, headScript: c.HeadScript, retire: c.RetireServiceWorker}
}

// treat makes of an answer what the profile of its port says. It may read the
// beginning of the body, and put another body in its place.
func (p *pages) treat(resp *http.Response, r *http.Request, x *Exchange) {
	publish(resp.Header, x)
	if x.profile.cors {
		allow(resp.Header, p.allowedOrigin(r, x))
	}
	if x.profile.embeddable {
		delete(resp.Header, "Cross-Origin-Resource-Policy")
	}
	p.reframe(resp.Header, x)
	if x.profile.devTools {
		redirectDevTools(resp, r, x)
	}
	if x.profile.headScript && p.headScript {
		insertHeadScript(resp, r, x)
	}
}
