package admin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type missing []string

func (m missing) NotReady() []string { return m }
func (missing) Degraded() []string   { return nil }

// limping is ready without something.
type limping struct{ missing }

func (limping) Degraded() []string { return []string{"redis does not answer"} }

func TestWhoMaySeeWhat(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "edge_test_total", Help: "A test."})
	registry.MustRegister(counter)
	var (
		open     = admin.New(admin.Config{OpenMetrics: true}, missing(nil), registry, nil, nil)
		local    = admin.New(admin.Config{Token: "secret", OpenMetrics: true}, missing(nil), registry, nil, nil)
		reached  = admin.New(admin.Config{Token: "secret"}, missing(nil), registry, nil, nil)
		draining = admin.New(admin.Config{}, missing{"draining", "no certificate"}, registry, nil, nil)
	)
	tests := []struct {
		name    string
		handler http.Handler
		path    string
		host    string // "" is 127.0.0.1:9090
		token   string
		status  int
		body    string // must be in the answer
	}{
		{"HealthForAnybody", reached, "/healthz", "evil.example", "", 200, "ok\n"},
		{"ReadinessForAnybody", reached, "/readyz", "evil.example", "", 200, "ready\n"},
		{"ReadyButDegraded", admin.New(admin.Config{}, limping{}, registry, nil, nil), "/readyz", "", "", 200, "ready, degraded: redis does not answer\n"},
		{"WhatIsNotReady", draining, "/readyz", "", "", 503, "not ready: draining, no certificate\n"},
		{"MetricsWithoutTokenWhereNoneIsSet", open, "/metrics", "", "", 200, "edge_test_total 0"},
		{"MetricsOnLoopbackWithoutTheToken", local, "/metrics", "localhost:9090", "", 200, "edge_test_total 0"},
		{"MetricsElsewhereWithoutTheToken", reached, "/metrics", "", "", 401, "Authorization: Bearer"},
		{"MetricsElsewhereWithTheToken", reached, "/metrics", "", "secret", 200, "edge_test_total 0"},
		{"WrongToken", reached, "/metrics", "", "secre", 401, ""},
		{"TokenWithMore", reached, "/metrics", "", "secrets", 401, ""},
		{"ProfilesWithoutTheToken", local, "/debug/pprof/", "", "", 401, ""},
		{"ProfilesWithTheToken", local, "/debug/pprof/", "", "secret", 200, "goroutine"},
		{"ProfilesWhereNoTokenIsSet", open, "/debug/pprof/goroutine?debug=1", "[::1]:9090", "", 200, "goroutine profile"},
		{"ForeignName", open, "/metrics", "evil.example", "", 403, "This Host is not"},
		{"ForeignNameWithPort", open, "/debug/pprof/", "evil.example:9090", "", 403, "This Host is not"},
		{"NameThatEndsLikeOurs", open, "/metrics", "localhost.evil.example", "", 403, ""},
		{"ForeignNameWithTheToken", reached, "/metrics", "edge.internal:9090", "secret", 200, "edge_test_total 0"},
		{"LocalhostWithDot", open, "/metrics", "LOCALHOST.:9090", "", 200, ""},
		{"NothingThere", open, "/nothing", "", "", 404, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, test.path, nil)
			r.Host = "127.0.0.1:9090"
			if test.host != "" {
				r.Host = test.host
			}
			if test.token != "" {
				r.Header.Set("Authorization", "Bearer "+test.token)
			}
			w := httptest.NewRecorder()
			test.handler.ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
				t.Errorf("got %d %q, want %d with %q", w.Code, w.Body, test.status, test.body)
			}
			if test.status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Error("the answer tells the token")
			}
		})
	}
}

func TestHealthPathsTakeNoOtherMethod(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	admin.New(admin.Config{}, missing(nil), prometheus.NewRegistry(), nil, nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/healthz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("got %d", w.Code)
	}
}
