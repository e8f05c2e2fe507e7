package edge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/edge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

// running is an edge that Run serves.
type running struct {
	*edge.Edge
	stop func()
	done chan error
	log  *lines
}

// start runs an edge with the sandboxes in static until the test ends.
func start(t *testing.T, static ...config.StaticInstance) *running {
	t.Helper()
	c := config.Default()
	c.Domains = []string{"cmux.test"}
	c.Listen.HTTP, c.Listen.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Providers.Static = &config.Static{Instances: static}
	log := new(lines)
	e, err := edge.New(t.Context(), &c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Edge: e, stop: stop, done: make(chan error, 1), log: log}
	go func() { r.done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if r.done != nil {
			r.wait(t)
		}
	})
	return r
}

// wait returns when Run has.
func (r *running) wait(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(patience):
		t.Errorf("the edge does not stop:\n%s", r.log)
	}
	r.done = nil
}

func (r *running) readyz(t *testing.T) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%s/readyz", r.AdminAddr()))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func (r *running) awaitReadyz(t *testing.T, status int) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		got, body := r.readyz(t)
		if got == status {
			return body
		}
		select {
		case <-deadline:
			t.Fatalf("/readyz answers %d %s, want %d", got, body, status)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Readiness goes first, the admin port last; a request that was under way ends
// well in between.
func TestRunStopsInOrder(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "whole")
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { server.Close(); serving.Wait() })

	e := start(t, config.StaticInstance{Slug: "box", Ports: map[uint16]string{3000: l.Addr().String()}})
	if body := e.awaitReadyz(t, http.StatusOK); body != "ready\n" {
		t.Errorf("got %q", body)
	}
	conn, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: port-3000-box.cmux.test\r\n\r\n")
	<-arrived
	e.stop()
	if body := e.awaitReadyz(t, http.StatusServiceUnavailable); body != "not ready: draining\n" {
		t.Errorf("got %q", body)
	}
	deadline := time.After(patience)
	for {
		late, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			break
		}
		late.Close()
		select {
		case <-deadline:
			t.Fatal("the public listener stays open")
		case <-time.After(2 * time.Millisecond):
		}
	}
	close(release)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "whole" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	e.wait(t)
	if status, _ := e.readyz(t); status != 0 {
		t.Errorf("the admin port still answers %d", status)
	}
}

func TestNewNamesATakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, key := range []string{"listen.http", "listen.admin"} {
		c := config.Default()
		c.Listen.HTTP, c.Listen.Admin = "127.0.0.1:0", "127.0.0.1:0"
		if key == "listen.http" {
			c.Listen.HTTP = l.Addr().String()
		} else {
			c.Listen.Admin = l.Addr().String()
		}
		_, err := edge.New(t.Context(), &c, slog.New(slog.DiscardHandler))
		want := fmt.Sprintf("%s: %s is taken by another program; stop that, or choose another port", key, l.Addr())
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestNewRefusesAnOpenAdminPortWithoutToken(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Domains = []string{"cmux.test"}
	c.Listen.HTTP, c.Listen.Admin = "127.0.0.1:0", "0.0.0.0:0"
	_, err := edge.New(t.Context(), &c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "there is no admin token") {
		t.Errorf("got %v", err)
	}
}

// The configuration is checked when it is loaded; this is the check at dial,
// for ports that the system chose.
func TestEdgeIsNeverItsOwnUpstream(t *testing.T) {
	t.Parallel()
	reserve, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := reserve.Addr().String()
	reserve.Close()
	c := config.Default()
	c.Domains = []string{"cmux.test"}
	c.Listen.HTTP, c.Listen.Admin = own, ""
	c.Providers.Static = &config.Static{Instances: []config.StaticInstance{{Slug: "box", Ports: map[uint16]string{3000: own}}}}
	e, err := edge.New(t.Context(), &c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { stop(); <-done }()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+own, nil)
	req.Host = "port-3000-box.cmux.test"
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "not allowed") {
		t.Errorf("got %s: %s", resp.Status, body)
	}
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
