package docker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox"
)

func newRig(t *testing.T, adjust func(*Config)) (*Provider, *engine) {
	t.Helper()
	e := newEngine(t, nil)
	cfg := Config{Host: e.host(), Images: map[string]string{"default": "sandbox:dev", "gone": "no:such"}}
	if adjust != nil {
		adjust(&cfg)
	}
	return newProvider(t, cfg), e
}

func start(t *testing.T, p *Provider, slug string) sandbox.Instance {
	t.Helper()
	in, err := p.Start(t.Context(), sandbox.StartRequest{Slug: slug, Key: "key-of-" + slug})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func wantKind(t *testing.T, err error, want sandbox.Kind) {
	t.Helper()
	if err == nil || sandbox.KindOf(err) != want {
		t.Errorf("got %v, want an error of kind %s", err, want)
	}
}

func TestEngineOverAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "engine") //nolint:usetesting // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, listener)
	p := newProvider(t, Config{Host: e.host(), Images: map[string]string{"default": "sandbox:dev"}})
	in := start(t, p, "a")
	want := sandbox.Instance{
		Provider: Name, ID: in.ID, Slug: "a", State: sandbox.Running, Address: "172.17.1.49",
		Marked: true, Created: in.Created, Generation: in.Generation,
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPublishedPortsAreOnTheLoopback(t *testing.T) {
	t.Parallel()
	p, _ := newRig(t, func(c *Config) { c.Publish = []uint16{39378} })
	in := start(t, p, "a")
	up, err := in.Upstream(39378)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sandbox.Upstream{Address: "127.0.0.1:32769", Named: true}, up); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sandbox.Instance{in}, list); diff != "" {
		t.Errorf("List (-Start +List):\n%s", diff)
	}
}

func TestContainersJoinTheConfiguredNetwork(t *testing.T) {
	t.Parallel()
	p, _ := newRig(t, func(c *Config) { c.Network = "cmux" })
	if in := start(t, p, "a"); in.Address == "" {
		t.Errorf("no address on the network in %+v", in)
	}
}

func TestAnotherEdgesContainersDoNotExist(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	other := newProvider(t, Config{Host: e.host(), Images: map[string]string{"default": "sandbox:dev"}, Mark: "other"})
	in := start(t, other, "a")
	_, err := p.Get(t.Context(), in.ID)
	wantKind(t, err, sandbox.KindNotFound)
	wantKind(t, p.Delete(t.Context(), in.ID), sandbox.KindNotFound)
	list, err := p.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("got %v, %v, want an empty list", list, err)
	}
	if e.count() != 1 {
		t.Error("the other edge's container is gone")
	}
}

func TestAMissingImageIsNotPulled(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	_, err := p.Start(t.Context(), sandbox.StartRequest{Slug: "a", Preset: "gone"})
	wantKind(t, err, sandbox.KindInvalid)
	if err != nil && !strings.Contains(err.Error(), "docker pull no:such") {
		t.Errorf("%v does not say what to do", err)
	}
	_, err = p.Start(t.Context(), sandbox.StartRequest{Slug: "a", Preset: "nobody"})
	wantKind(t, err, sandbox.KindInvalid)
	if err != nil && !strings.Contains(err.Error(), "providers.docker.images") {
		t.Errorf("%v does not name the key", err)
	}
	if e.count() != 0 {
		t.Errorf("%d containers were made", e.count())
	}
}

func TestALostAnswerOfACreateIsLookedUp(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	e.on("/containers/create", &fault{cutAfter: true})
	in := start(t, p, "a")
	if in.State != sandbox.Running || e.count() != 1 {
		t.Errorf("got %+v and %d containers, want one that runs", in, e.count())
	}
}

func TestAStartThatFailsHalfWayLeavesNothing(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	e.on("/start", &fault{status: http.StatusInternalServerError, contentType: "application/json", body: `{"message":"port is already allocated"}`})
	_, err := p.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindUnavailable)
	if e.count() != 0 {
		t.Errorf("%d containers are left", e.count())
	}
}

func TestWhatCannotBeRemovedIsNamed(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	broken := &fault{status: http.StatusInternalServerError, contentType: "application/json", body: `{"message":"broken"}`}
	e.mu.Lock()
	e.fault = func(endpoint string) *fault {
		if strings.HasSuffix(endpoint, "/start") || strings.HasPrefix(endpoint, "DELETE") {
			return broken
		}
		return nil
	}
	e.mu.Unlock()
	_, err := p.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	left, ok := errors.AsType[*sandbox.Leftover](err)
	if !ok {
		t.Fatalf("%v names no leftover", err)
	}
	if _, err := p.Get(t.Context(), left.ID); err != nil {
		t.Errorf("the leftover: %v", err)
	}
}

func TestFaultsHaveTheirKind(t *testing.T) {
	t.Parallel()
	const asJSON = "application/json"
	for name, tc := range map[string]struct {
		fault fault
		want  sandbox.Kind
	}{
		"NoSuchContainer":     {fault{status: 404, contentType: asJSON, body: `{"message":"No such container: x"}`}, sandbox.KindNotFound},
		"A404OfAnythingElse":  {fault{status: 404, contentType: "text/html", body: "<html>nginx</html>"}, sandbox.KindUnavailable},
		"Forbidden":           {fault{status: 403, contentType: asJSON, body: `{"message":"authorization denied by plugin"}`}, sandbox.KindPermission},
		"Unauthorized":        {fault{status: 401, contentType: asJSON, body: `{"message":"who?"}`}, sandbox.KindPermission},
		"BadRequest":          {fault{status: 400, contentType: asJSON, body: `{"message":"no"}`}, sandbox.KindInvalid},
		"ServerError":         {fault{status: 500, contentType: asJSON, body: `{"message":"disk full"}`}, sandbox.KindUnavailable},
		"AnHTMLPage":          {fault{status: 502, contentType: "text/html", body: "<html>" + strings.Repeat("x", 5000)}, sandbox.KindUnavailable},
		"NoJSON":              {fault{contentType: asJSON, body: "hello"}, sandbox.KindUnavailable},
		"AnotherObject":       {fault{contentType: asJSON, body: `{"Id":"abc"}`}, sandbox.KindUnavailable},
		"EmptyObject":         {fault{contentType: asJSON, body: `{}`}, sandbox.KindUnavailable},
		"AFieldOfAnotherType": {fault{contentType: asJSON, body: `{"State":7}`}, sandbox.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, e := newRig(t, nil)
			in := start(t, p, "a")
			e.on("/json", &tc.fault)
			_, err := p.Get(t.Context(), in.ID)
			wantKind(t, err, tc.want)
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAnAbsentEngineIsUnavailable(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	e.server.Close()
	_, err := p.List(t.Context())
	wantKind(t, err, sandbox.KindUnavailable)
	_, err = p.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindUnavailable)
	if got := p.Health(t.Context()); got.OK || got.Reason == "" {
		t.Errorf("got %+v, want not OK and a reason", got)
	}
}

func TestARestartBehindTheEdgeIsANewGeneration(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	in := start(t, p, "a")
	e.mu.Lock()
	e.containers[string(in.ID)].starts++
	e.mu.Unlock()
	again, err := p.Get(t.Context(), in.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation <= in.Generation {
		t.Errorf("got generation %d, want more than %d", again.Generation, in.Generation)
	}
}

func TestCloseEndsACreateThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	p, e := newRig(t, nil)
	e.on("/containers/create", &fault{delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Start(ctx, sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindUnavailable)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	_, err = p.Start(t.Context(), sandbox.StartRequest{Slug: "b"})
	wantKind(t, err, sandbox.KindUnavailable)
}

func TestAHostThatIsNoneIsInvalid(t *testing.T) {
	t.Parallel()
	_, err := New(nil, Config{Host: "nonsense"})
	wantKind(t, err, sandbox.KindInvalid)
}
