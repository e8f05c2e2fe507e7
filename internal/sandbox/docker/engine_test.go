package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// engine plays the part of the Engine API that the provider uses, and refuses
// every request that the real one would, or would ignore a part of.
type engine struct {
	t      *testing.T
	server *httptest.Server
	images []string

	mu         sync.Mutex // guards all below
	containers map[string]*box
	made       int
	calls      map[string]int
	fault      func(endpoint string) *fault
}

// box is a container.
type box struct {
	id, name, image, network string
	labels                   map[string]string
	created                  time.Time
	state                    container.ContainerState
	starts                   int
	ip                       netip.Addr
	ports                    map[uint16]uint16 // published ones
}

// fault is played in place of the deed, or after it.
type fault struct {
	delay       time.Duration
	status      int
	contentType string
	body        string
	cutAfter    bool
}

// The work of the real Engine takes some milliseconds.
const (
	createTime = 10 * time.Millisecond
	actTime    = 20 * time.Millisecond
)

func newEngine(t *testing.T, listener net.Listener) *engine {
	t.Helper()
	e := &engine{t: t, images: []string{"sandbox:dev"}, containers: map[string]*box{}, calls: map[string]int{}}
	mux := http.NewServeMux()
	for name, play := range map[string]func(r *http.Request, body []byte) (int, any){
		"GET /containers/json":          e.list,
		"POST /containers/create":       e.create,
		"GET /containers/{id}/json":     e.with(e.inspect),
		"POST /containers/{id}/start":   e.with(e.start),
		"POST /containers/{id}/stop":    e.with(e.stop),
		"POST /containers/{id}/pause":   e.with(e.pause),
		"POST /containers/{id}/unpause": e.with(e.unpause),
		"DELETE /containers/{id}":       e.with(e.remove),
	} {
		method, path, _ := strings.Cut(name, " ")
		mux.HandleFunc(method+" /v"+apiVersion+path, e.endpoint(name, play))
	}
	mux.HandleFunc("/_ping", e.endpoint("_ping", func(*http.Request, []byte) (int, any) { return http.StatusOK, "OK" }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the Engine has no %s %s", r.Method, r.URL.Path)
		http.Error(w, `{"message":"page not found"}`, http.StatusNotFound)
	})
	e.server = httptest.NewUnstartedServer(mux)
	if listener != nil {
		_ = e.server.Listener.Close()
		e.server.Listener = listener
	}
	e.server.Start()
	t.Cleanup(e.server.Close)
	return e
}

func (e *engine) host() string {
	return e.server.Listener.Addr().Network() + "://" + e.server.Listener.Addr().String()
}

// on plays f for every request for which endpoint is a part of its name, for as
// long as nothing else is set. Nil ends that.
func (e *engine) on(endpoint string, f *fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = func(name string) *fault {
		if !strings.Contains(name, endpoint) {
			return nil
		}
		return f
	}
}

func (e *engine) endpoint(name string, play func(*http.Request, []byte) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.calls[name]++
		var f *fault
		if e.fault != nil {
			f = e.fault(name)
		}
		e.mu.Unlock()
		if f != nil && f.delay > 0 && !wait(r.Context(), f.delay) {
			return
		}
		if f != nil && (f.status != 0 || f.body != "") {
			w.Header().Set("Content-Type", f.contentType)
			w.WriteHeader(max(f.status, http.StatusOK))
			_, _ = io.WriteString(w, f.body)
			return
		}
		status, answer := play(r, body)
		if f != nil && f.cutAfter {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Api-Version", "1.51")
		w.WriteHeader(status)
		if answer != nil && r.Method != http.MethodHead {
			_ = json.NewEncoder(w).Encode(answer)
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func message(format string, args ...any) any {
	return map[string]string{"message": fmt.Sprintf(format, args...)}
}

// query fails the test for parameters that the endpoint does not have.
func (e *engine) query(r *http.Request, known ...string) {
	for name := range r.URL.Query() {
		if !slices.Contains(known, name) {
			e.t.Errorf("%s %s has no parameter %q", r.Method, r.URL.Path, name)
		}
	}
}

func (e *engine) list(r *http.Request, _ []byte) (int, any) {
	e.query(r, "all", "limit", "size", "filters")
	var filters map[string]map[string]bool
	if text := r.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &filters); err != nil {
			return http.StatusBadRequest, message("invalid filter")
		}
	}
	all := []container.Summary{}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.containers {
		if (r.URL.Query().Get("all") == "1" || b.state == container.StateRunning) && b.matches(filters["label"]) {
			all = append(all, b.summary())
		}
	}
	return http.StatusOK, all
}

func (b *box) matches(labels map[string]bool) bool {
	for label := range labels {
		name, value, _ := strings.Cut(label, "=")
		if have, ok := b.labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// The Engine's own rule for names.
var properName = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func (e *engine) create(r *http.Request, body []byte) (int, any) {
	e.query(r, "name", "platform")
	wait(context.Background(), createTime)
	var request container.CreateRequest
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&request); err != nil {
		return http.StatusBadRequest, message("invalid JSON: %v", err)
	}
	name := r.URL.Query().Get("name")
	if !properName.MatchString(name) {
		return http.StatusBadRequest, message("Invalid container name (%s)", name)
	}
	if !slices.Contains(e.images, request.Image) {
		return http.StatusNotFound, message("No such image: %s", request.Image)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.containers {
		if b.name == name {
			return http.StatusConflict, message("Conflict. The container name %q is already in use by container %q.", "/"+name, b.id)
		}
	}
	e.made++
	b := &box{
		id: fmt.Sprintf("%064x", e.made), name: name, image: request.Image, labels: request.Labels,
		network: string(request.HostConfig.NetworkMode), created: time.Now(), state: container.StateCreated,
		ports: map[uint16]uint16{},
	}
	if b.network == "" {
		b.network = "bridge"
	}
	for port := range request.HostConfig.PortBindings {
		b.ports[port.Num()] = uint16(32768 + e.made)
	}
	e.containers[b.id] = b
	return http.StatusCreated, container.CreateResponse{ID: b.id}
}

// with finds the container; do is called with e.mu after the Engine's work.
func (e *engine) with(do func(b *box, r *http.Request) (int, any)) func(*http.Request, []byte) (int, any) {
	return func(r *http.Request, _ []byte) (int, any) {
		if r.Method != http.MethodGet {
			wait(context.Background(), actTime)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		b, ok := e.containers[r.PathValue("id")]
		if !ok {
			return http.StatusNotFound, message("No such container: %s", r.PathValue("id"))
		}
		return do(b, r)
	}
}

func (e *engine) inspect(b *box, r *http.Request) (int, any) {
	e.query(r, "size")
	answer := container.InspectResponse{
		ID: b.id, Name: "/" + b.name, Created: b.created.UTC().Format(time.RFC3339Nano),
		State: &container.State{
			Status: b.state, Running: b.up(), Paused: b.state == container.StatePaused,
			StartedAt: b.created.Add(time.Duration(b.starts)).UTC().Format(time.RFC3339Nano),
		},
		Config:          &container.Config{Image: b.image, Labels: b.labels},
		NetworkSettings: &container.NetworkSettings{Networks: b.networks(), Ports: network.PortMap{}},
	}
	for inside, outside := range b.ports {
		port, _ := network.PortFrom(inside, network.TCP)
		answer.NetworkSettings.Ports[port] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(int(outside))}}
	}
	return http.StatusOK, answer
}

func (b *box) summary() container.Summary {
	s := container.Summary{
		ID: b.id, Names: []string{"/" + b.name}, Image: b.image, Created: b.created.Unix(), Labels: b.labels, State: b.state,
		NetworkSettings: &container.NetworkSettingsSummary{Networks: b.networks()},
	}
	for inside, outside := range b.ports {
		s.Ports = append(s.Ports, container.PortSummary{IP: netip.MustParseAddr("127.0.0.1"), PrivatePort: inside, PublicPort: outside, Type: "tcp"})
	}
	return s
}

func (b *box) up() bool { return b.state == container.StateRunning || b.state == container.StatePaused }

func (b *box) networks() map[string]*network.EndpointSettings {
	settings := &network.EndpointSettings{}
	if b.up() {
		settings.IPAddress = b.ip
	}
	return map[string]*network.EndpointSettings{b.network: settings}
}

func (e *engine) start(b *box, r *http.Request) (int, any) {
	e.query(r, "checkpoint", "checkpoint-dir", "detachKeys")
	switch b.state {
	case container.StateRunning:
		return http.StatusNotModified, nil
	case container.StatePaused:
		return http.StatusConflict, message("cannot start a paused container, try unpause instead")
	}
	b.starts++
	b.state = container.StateRunning
	b.ip = netip.AddrFrom4([4]byte{172, 17, byte(b.starts), b.id[63]})
	return http.StatusNoContent, nil
}

func (e *engine) stop(b *box, r *http.Request) (int, any) {
	e.query(r, "t", "signal")
	if !b.up() {
		return http.StatusNotModified, nil
	}
	b.state = container.StateExited
	return http.StatusNoContent, nil
}

func (e *engine) pause(b *box, r *http.Request) (int, any) {
	e.query(r)
	switch b.state {
	case container.StateRunning:
		b.state = container.StatePaused
		return http.StatusNoContent, nil
	case container.StatePaused:
		return http.StatusConflict, message("Container %s is already paused", b.id)
	}
	return http.StatusConflict, message("Container %s is not running", b.id)
}

func (e *engine) unpause(b *box, r *http.Request) (int, any) {
	e.query(r)
	if b.state != container.StatePaused {
		return http.StatusConflict, message("Container %s is not paused", b.id)
	}
	b.state = container.StateRunning
	return http.StatusNoContent, nil
}

func (e *engine) remove(b *box, r *http.Request) (int, any) {
	e.query(r, "v", "force", "link")
	if b.up() && r.URL.Query().Get("force") != "1" {
		return http.StatusConflict, message("cannot remove container %q: container is running", b.name)
	}
	delete(e.containers, b.id)
	return http.StatusNoContent, nil
}

func (e *engine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.containers)
}

func (e *engine) vanish(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}
