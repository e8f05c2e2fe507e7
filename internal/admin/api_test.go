package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/admin"
	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

// port is an admin port with a manager of two providers behind it.
type port struct {
	*httptest.Server
	client  *adminapi.Client
	vm, lxc *sandboxtest.Fake
}

func newPort(t *testing.T) *port {
	t.Helper()
	p := &port{
		vm:  sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-vm"}),
		lxc: sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-lxc", Capabilities: &sandbox.Capabilities{Create: true, Suspend: true}}),
	}
	registry := prometheus.NewRegistry()
	store := memory.New(memory.Config{})
	m, err := manager.New(slog.New(slog.DiscardHandler), manager.Config{Primary: "pve-vm"}, registry, store, &finder{store, p.vm}, p.vm, p.lxc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	p.Server = httptest.NewServer(admin.New(admin.Config{Token: "secret"}, missing(nil), registry, m, echo{}))
	base, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.client = adminapi.NewClient(base, "secret")
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		p.Close()
		stop()
		running.Wait()
	})
	return p
}

// echo explains nothing but the host it was asked for.
type echo struct{}

func (echo) Explain(_ context.Context, host string) adminapi.Resolution {
	return adminapi.Resolution{Host: host, Status: 200, Outcome: "forwarded"}
}

func TestResolveIsAskedForAHost(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	if got, err := p.client.Resolve(t.Context(), "port-1-a.cmux.test:80&x"); err != nil || got.Host != "port-1-a.cmux.test:80&x" {
		t.Errorf("got %+v, %v", got, err)
	}
	if status, _ := p.ask(t, "GET", "resolve", ""); status != http.StatusBadRequest {
		t.Errorf("without a host: %d", status)
	}
}

// finder looks into the catalogue, then asks one provider.
type finder struct {
	store    catalog.Catalog
	provider sandbox.Provider
}

func (*finder) Invalidate(string) {}

func (f *finder) Resolve(ctx context.Context, slug string) (catalog.Record, error) {
	r, err := f.store.Get(ctx, slug)
	if err == nil && !r.Tombstone() {
		return r, nil
	}
	in, err := f.provider.Find(ctx, slug)
	return catalog.Record{Instance: in}, err
}

// ask sends a request as an operator would and returns status and body.
func (p *port) ask(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && kind != "application/problem+json" {
		t.Errorf("%s %s: %s with the type %q", method, path, resp.Status, kind)
	}
	if (resp.StatusCode == http.StatusServiceUnavailable) != (resp.Header.Get("Retry-After") != "") {
		t.Errorf("%s %s: %s with Retry-After %q", method, path, resp.Status, resp.Header.Get("Retry-After"))
	}
	return resp.StatusCode, string(all)
}

func TestASandboxLivesThroughTheAPI(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	ctx := t.Context()
	s, err := p.client.Start(ctx, adminapi.StartRequest{Slug: "box", WorkloadType: "dev", TTL: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if s.Slug != "box" || s.Provider != "pve-vm" || s.State != "running" || s.WorkloadType != "dev" || s.CreatedAt == nil || !s.RAMPreserved || s.Generation == 0 {
		t.Errorf("started: %+v", s)
	}
	for _, step := range []struct {
		do       func() (adminapi.Sandbox, error)
		state    string
		pausedBy string
		ram      bool
	}{
		{func() (adminapi.Sandbox, error) { return p.client.Pause(ctx, "box", false) }, "paused", "api", true},
		{func() (adminapi.Sandbox, error) { return p.client.Get(ctx, "box") }, "paused", "api", true},
		{func() (adminapi.Sandbox, error) { return p.client.Resume(ctx, "box") }, "running", "", true},
		{func() (adminapi.Sandbox, error) { return p.client.Stop(ctx, "box") }, "stopped", "api", false},
		{func() (adminapi.Sandbox, error) { return p.client.Boot(ctx, "box", true) }, "running", "", false},
	} {
		s, err := step.do()
		if err != nil || s.State != step.state || s.PausedBy != step.pausedBy || s.RAMPreserved != step.ram {
			t.Errorf("got %+v, %v; want %+v", s, err, step)
		}
	}
	list, err := p.client.List(ctx)
	if err != nil || len(list) != 1 || list[0].Slug != "box" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := p.client.Delete(ctx, "box"); err != nil {
		t.Error(err)
	}
	if _, err := p.client.Get(ctx, "box"); err == nil || !strings.HasSuffix(err.Error(), "(not_found)") {
		t.Errorf("got %v", err)
	}
}

func TestTheAPIRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	p.vm.Put(sandbox.Instance{Slug: "taken"})
	for slug, provider := range map[string]string{"loses-ram": "pve-lxc", "box": "pve-vm"} {
		if _, err := p.client.Start(t.Context(), adminapi.StartRequest{Slug: slug, PreferredProvider: provider}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, method, path, body string
		status                   int
		code, detail             string
	}{
		{"UnknownKey", "POST", "sandboxes", `{"slugg":"a"}`, 400, "bad_request", `unknown field "slugg"`},
		{"NoJSON", "POST", "sandboxes", `slug=a`, 400, "bad_request", "not understood"},
		{"Null", "POST", "sandboxes", `null`, 400, "bad_request", "JSON object"},
		{"LongSlug", "POST", "sandboxes", `{"slug":"` + strings.Repeat("a", 53) + `"}`, 400, "bad_request", "would not fit"},
		{"BadWorkload", "POST", "sandboxes", `{"workload_type":"a b"}`, 400, "bad_request", "are words"},
		{"TwoValues", "POST", "sandboxes", `{} {}`, 400, "bad_request", "something follows"},
		{"BadSlug", "POST", "sandboxes", `{"slug":"A_b"}`, 400, "bad_request", "is not a slug"},
		{"NegativeTTL", "POST", "sandboxes", `{"ttl":-1}`, 400, "bad_request", "ttl is in seconds"},
		{"HugeTTL", "POST", "sandboxes", `{"ttl":99999999999}`, 400, "bad_request", "ttl is in seconds"},
		{"TooLarge", "POST", "sandboxes", `{"slug":"` + strings.Repeat("a", 70<<10) + `"}`, 413, "request_too_large", "64 KiB"},
		{"SlugInUse", "POST", "sandboxes", `{"slug":"box"}`, 409, "conflict", "in use"},
		{"SlugAtAProvider", "POST", "sandboxes", `{"slug":"taken"}`, 409, "conflict", "in use"},
		{"UnknownPreset", "POST", "sandboxes", `{"preset":"gpu"}`, 400, "bad_request", "no provider could make"},
		{"PauseThatLosesRAM", "POST", "sandboxes/loses-ram/pause", ``, 409, "conflict", "force"},
		{"NoSuchSandbox", "POST", "sandboxes/nobody/resume", ``, 404, "not_found", ""},
		{"WrongMethod", "PUT", "sandboxes", ``, 405, "bad_request", "use GET or POST"},
		{"WrongMethodOnOne", "GET", "sandboxes/box/pause", ``, 405, "bad_request", "use POST"},
		{"NoSuchPath", "GET", "sandbox", ``, 404, "not_found", "The API has no GET"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := p.ask(t, test.method, test.path, test.body)
			var problem adminapi.Problem
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Fatalf("%d %s: %v", status, body, err)
			}
			if problem.RequestID == "" {
				t.Error("no request id")
			}
			if status != test.status || problem.Status != status || problem.Code != test.code || !strings.Contains(problem.Detail, test.detail) {
				t.Errorf("got %d %+v, want %d %s %q", status, problem, test.status, test.code, test.detail)
			}
		})
	}
	if status, body := p.ask(t, "POST", "sandboxes/loses-ram/pause", `{"force":true}`); status != http.StatusOK || !strings.Contains(body, `"ram_preserved":false`) {
		t.Errorf("forced: %d %s", status, body)
	}
}

func TestTheAPISaysWhenNobodyCanMakeASandbox(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	p.vm.Fail(sandboxtest.OpStart, sandbox.KindUnavailable, 0)
	if status, body := p.ask(t, "POST", "sandboxes", `{}`); status != 503 || !strings.Contains(body, `"no_provider"`) {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := p.ask(t, "POST", "sandboxes", `{"requires_ram_snapshot":true,"preferred_provider":"pve-lxc"}`); status != 503 || !strings.Contains(body, `"no_provider"`) {
		t.Errorf("got %d %s", status, body)
	}
}

func TestTheAPIWantsTheTokenAndTheSameSite(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	if status, _ := p.ask(t, "GET", "sandboxes", "", "Authorization", "Bearer wrong"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d", status)
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		if status, _ := p.ask(t, "POST", "sandboxes", "", header...); status != http.StatusForbidden {
			t.Errorf("with %v: %d", header, status)
		}
	}
	if status, _ := p.ask(t, "POST", "sandboxes", "slug", "Content-Type", "text/plain"); status != http.StatusUnsupportedMediaType {
		t.Errorf("a form's type: %d", status)
	}
}

func TestProvidersAreShownWithHealthAndShares(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	if _, err := p.client.Start(t.Context(), adminapi.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	got, err := p.client.Providers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []adminapi.Provider{
		{
			Name: "pve-vm", Healthy: true, Primary: true, Sandboxes: map[string]int{"running": 1},
			Capabilities: adminapi.Capabilities{RAMSnapshot: true, Create: true, Suspend: true, StartTime: "quick", ResumeTime: "quick", Price: "flat"},
		},
		{
			Name: "pve-lxc", Healthy: true, Sandboxes: map[string]int{},
			Capabilities: adminapi.Capabilities{Create: true, Suspend: true, StartTime: "instant", ResumeTime: "instant", Price: "free"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("providers (-want +got):\n%s", diff)
	}
}

func TestEventsStreamWhatHappens(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The header has come, so from here on nothing is missed.
	if _, err := p.client.Start(t.Context(), adminapi.StartRequest{Slug: "box"}); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || line != "event: started\n" {
		t.Errorf("got %q, %v", line, err)
	}

	done := errors.New("seen")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := make(chan error, 1)
	go func() {
		seen <- p.client.Events(ctx, func(e adminapi.Event) error {
			if e.Kind == "paused" && e.Slug == "box" && e.Provider == "pve-vm" {
				return done
			}
			return nil
		})
	}()
	for { // until the listener is there
		if _, err := p.client.Pause(ctx, "box", false); err != nil {
			t.Fatal(err)
		}
		if _, err := p.client.Resume(ctx, "box"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-seen:
			if !errors.Is(err, done) {
				t.Errorf("got %v", err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
