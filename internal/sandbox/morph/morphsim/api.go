package morphsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is the largest request body that is read.
const maxBody = 1 << 20

// refusal is an answer with a status of 400 or more.
type refusal struct {
	status int
	detail any // a text, or the list of a 422
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %v", r.status, r.detail) }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

// handler plays one endpoint. A nil answer is 204.
type handler func(ctx context.Context, id string, f *form) (any, error)

// routes are the endpoints, below /api. Each is also there in the plural.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for name, play := range map[string]handler{
		"POST /instance":                    s.create,
		"POST /snapshot/{id}/boot":          s.bootSnapshot,
		"GET /instance":                     s.list,
		"GET /instance/list":                s.listPage,
		"GET /instance/{id}":                s.with(s.get),
		"DELETE /instance/{id}":             s.with(s.delete),
		"POST /instance/{id}/pause":         s.with(s.pauseCall),
		"POST /instance/{id}/resume":        s.with(s.resumeCall),
		"POST /instance/{id}/snapshot":      s.with(s.snapshot),
		"POST /instance/{id}/ttl":           s.with(s.ttl),
		"POST /instance/{id}/wake-on":       s.with(s.wakeOn),
		"POST /instance/{id}/metadata":      s.with(s.setMetadata),
		"POST /instance/{id}/http":          s.with(s.expose),
		"DELETE /instance/{id}/http/{name}": s.with(s.hide),
	} {
		method, path, _ := strings.Cut(name, " ")
		serve := s.endpoint(name, play)
		mux.HandleFunc(method+" /api"+path, serve)
		if rest, ok := strings.CutPrefix(path, "/instance"); ok {
			mux.HandleFunc(method+" /api/instances"+rest, serve)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, nil, refuse(http.StatusNotFound, "Not Found"))
	})
	return mux
}

// endpoint answers one request: faults first, then the key, then the deed.
func (s *Server) endpoint(name string, play handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A server notices that its client left only once the body is read.
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return
		}
		s.mu.Lock()
		s.calls[name]++
		s.mu.Unlock()
		fault := s.takeFault(name)
		if fault != nil && s.before(w, r, fault) {
			return
		}
		var answer any
		if s.holdsKey(r) {
			f := readForm(r, body)
			// hide's second wildcard reads like a parameter.
			if service := r.PathValue("name"); service != "" {
				f.query.Set("name", service)
			}
			answer, err = play(r.Context(), r.PathValue("id"), f)
		} else {
			err = refuse(http.StatusUnauthorized, "Invalid API key")
		}
		switch {
		case fault != nil && fault.CutAfter || errors.Is(err, context.Canceled):
			cut(w)
		case fault != nil && fault.After:
			fault.answer(w)
		default:
			write(w, answer, err)
		}
	}
}

func write(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		said, ok := errors.AsType[*refusal](err)
		if !ok {
			said = &refusal{status: http.StatusInternalServerError, detail: err.Error()}
		}
		status, answer = said.status, map[string]any{"detail": said.detail}
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // a client that left is its own problem
}

// change plays an endpoint of one instance, with s.mu. What it returns is
// waited for before the instance is shown.
type change func(v *vm, f *form) (under <-chan struct{}, err error)

// errGone is what a change returns when there is nothing left to show.
var errGone = errors.New("gone")

// with finds the instance and shows it as it is after the change.
func (s *Server) with(do change) handler {
	return func(ctx context.Context, id string, f *form) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		v, ok := s.vms[id]
		if !ok {
			return nil, refuse(http.StatusNotFound, "Instance %s not found", id)
		}
		under, err := do(v, f)
		if errors.Is(err, errGone) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if under != nil && !s.cfg.Async {
			s.mu.Unlock()
			select {
			case <-under:
			case <-ctx.Done():
			}
			s.mu.Lock()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		return s.show(v), nil
	}
}

func (s *Server) get(_ *vm, f *form) (<-chan struct{}, error) { return nil, f.done() }

func (s *Server) delete(v *vm, f *form) (<-chan struct{}, error) {
	if err := f.done(); err != nil {
		return nil, err
	}
	if v.Status == Saving {
		return nil, conflict(v)
	}
	s.remove(v)
	return nil, errGone
}

func (s *Server) pauseCall(v *vm, f *form) (<-chan struct{}, error) {
	if text := f.param("snapshot"); text != "" && text != "true" && text != "false" {
		f.fault("query", "snapshot", "Input should be a valid boolean", "bool_parsing")
	}
	if err := f.done(); err != nil {
		return nil, err
	}
	switch v.Status {
	case Paused:
		return nil, nil
	case Ready:
		return s.pause(v), nil
	}
	return nil, conflict(v)
}

func (s *Server) resumeCall(v *vm, f *form) (<-chan struct{}, error) {
	if err := f.done(); err != nil {
		return nil, err
	}
	switch v.Status {
	case Ready:
		return nil, nil
	case Paused:
		return s.resume(v), nil
	}
	return nil, conflict(v)
}

func (s *Server) snapshot(v *vm, f *form) (<-chan struct{}, error) {
	if err := f.done(); err != nil {
		return nil, err
	}
	if v.Status != Ready {
		return nil, conflict(v)
	}
	return s.save(v), nil
}

func conflict(v *vm) error {
	return refuse(http.StatusConflict, "Instance %s is %s", v.ID, v.Status)
}

func (s *Server) ttl(v *vm, f *form) (<-chan struct{}, error) {
	_, there := f.body["ttl_seconds"]
	f.need("ttl_seconds", there)
	seconds, action := f.count("ttl_seconds"), f.choice("ttl_action", "stop", "pause")
	if err := f.done(); err != nil {
		return nil, err
	}
	v.setTTL(seconds, action)
	s.setClock(v)
	return nil, nil
}

// setTTL counts from now. Without an action the present one stays, and the
// first one is to delete.
func (v *vm) setTTL(seconds int64, action string) {
	v.TTL, v.Expires = seconds, time.Time{}
	if seconds > 0 {
		v.Expires = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	if action != "" {
		v.Action = action
	}
	if v.Action == "" {
		v.Action = "stop"
	}
}

func (s *Server) wakeOn(v *vm, f *form) (<-chan struct{}, error) {
	byHTTP, bySSH := v.WakeOnHTTP, v.WakeOnSSH
	f.take("wake_on_http", &byHTTP, "a valid boolean")
	f.take("wake_on_ssh", &bySSH, "a valid boolean")
	if err := f.done(); err != nil {
		return nil, err
	}
	v.WakeOnHTTP, v.WakeOnSSH = byHTTP, bySSH
	return nil, nil
}

// setMetadata replaces the map: whether the real one merges is undocumented,
// so nobody should rely on it.
func (s *Server) setMetadata(v *vm, f *form) (<-chan struct{}, error) {
	metadata := map[string]string{}
	for name := range f.body {
		var value string
		f.take(name, &value, "a valid string")
		metadata[name] = value
	}
	if err := f.done(); err != nil {
		return nil, err
	}
	v.Metadata = metadata
	return nil, nil
}

func (s *Server) expose(v *vm, f *form) (<-chan struct{}, error) {
	one := Service{Port: int(f.count("port")), AuthMode: f.choice("auth_mode", "none", "api_key")}
	f.need("name", f.take("name", &one.Name, "a valid string"))
	f.need("port", one.Port > 0)
	if err := f.done(); err != nil {
		return nil, err
	}
	if one.AuthMode == "" {
		one.AuthMode = "none"
	}
	v.Services = append(slices.DeleteFunc(v.Services, func(x Service) bool { return x.Name == one.Name }), one)
	v.emptyReads = 0
	return nil, nil
}

func (s *Server) hide(v *vm, f *form) (<-chan struct{}, error) {
	name := f.param("name")
	if err := f.done(); err != nil {
		return nil, err
	}
	before := len(v.Services)
	v.Services = slices.DeleteFunc(v.Services, func(x Service) bool { return x.Name == name })
	if len(v.Services) == before {
		return nil, refuse(http.StatusNotFound, "HTTP service %s not found", name)
	}
	return nil, nil
}

// create starts from a snapshot named in the query or the body; the body wins.
func (s *Server) create(_ context.Context, _ string, f *form) (any, error) {
	snapshot := f.param("snapshot_id")
	f.take("snapshot_id", &snapshot, "a valid string")
	if snapshot == "" {
		f.fault("query", "snapshot_id", "Field required", "missing")
	}
	return s.startFrom(snapshot, f)
}

// bootSnapshot starts with another size, which is checked and forgotten.
func (s *Server) bootSnapshot(_ context.Context, snapshot string, f *form) (any, error) {
	for _, name := range []string{"vcpus", "memory", "disk_size"} {
		f.count(name)
	}
	return s.startFrom(snapshot, f)
}

func (s *Server) startFrom(snapshot string, f *form) (any, error) {
	in := Instance{Status: Pending, Snapshot: snapshot, WakeOnHTTP: s.cfg.WakeOnHTTP}
	f.take("metadata", &in.Metadata, "a map of strings")
	seconds, action := f.count("ttl_seconds"), f.choice("ttl_action", "stop", "pause")
	if err := f.done(); err != nil {
		return nil, err
	}
	services, ok := s.cfg.Snapshots[snapshot]
	if !ok {
		return nil, refuse(http.StatusNotFound, "Snapshot %s not found", snapshot)
	}
	in.Services = services
	v := s.newVM(in)
	v.setTTL(seconds, action)
	v.emptyReads = max(s.cfg.EmptyReads, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vms[v.ID] = v
	s.boot(v)
	return s.show(v), nil
}

func (s *Server) matching(f *form) ([]*vm, error) {
	want := f.filter()
	if err := f.done(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(s.sorted(), func(v *vm) bool {
		for key, value := range want {
			if v.Metadata[key] != value {
				return true
			}
		}
		return false
	}), nil
}

func (s *Server) showAll(vms []*vm) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []any{}
	for _, v := range vms {
		all = append(all, s.show(v))
	}
	return all
}

func (s *Server) list(_ context.Context, _ string, f *form) (any, error) {
	vms, err := s.matching(f)
	if err != nil {
		return nil, err
	}
	return map[string]any{"object": "list", "data": s.showAll(vms)}, nil
}

func (s *Server) listPage(_ context.Context, _ string, f *form) (any, error) {
	page, size := f.number("page", 1), f.number("limit", 50)
	vms, err := s.matching(f)
	if err != nil {
		return nil, err
	}
	from := min((page-1)*size, len(vms))
	to := min(from+size, len(vms))
	pages := (len(vms) + size - 1) / size
	return map[string]any{
		"instances": s.showAll(vms[from:to]), "total": len(vms), "page": page, "size": size,
		"total_pages": pages, "has_next": page < pages, "has_prev": page > 1,
	}, nil
}

// show writes an instance as the API does; with s.mu. A new one's services
// stay hidden while it is pending and for some reads more.
func (s *Server) show(v *vm) map[string]any {
	services := v.Services
	if v.emptyReads > 0 {
		services = nil
		if v.Status == Ready {
			v.emptyReads--
		}
	}
	ttl := map[string]any{"ttl_seconds": nil, "ttl_expire_at": nil, "ttl_action": nil}
	if v.TTL > 0 {
		ttl = map[string]any{"ttl_seconds": v.TTL, "ttl_expire_at": v.Expires.Unix(), "ttl_action": v.Action}
	}
	return map[string]any{
		"id": v.ID, "object": "instance", "created": v.Created.Unix(), "status": v.Status,
		"spec":       map[string]any{"vcpus": 2, "memory": 4096, "disk_size": 8192},
		"refs":       map[string]any{"snapshot_id": v.Snapshot, "image_id": "morphvm-minimal"},
		"networking": map[string]any{"internal_ip": "10.200.0.2", "http_services": s.showServices(v, services)},
		"metadata":   maps.Clone(v.Metadata),
		"ttl":        ttl,
		"wake_on":    map[string]any{"wake_on_http": v.WakeOnHTTP, "wake_on_ssh": v.WakeOnSSH},
	}
}

func (s *Server) showServices(v *vm, services []Service) any {
	if s.cfg.LegacyServices {
		object := map[string]any{}
		for _, one := range services {
			object[strconv.Itoa(one.Port)] = s.url(v, one)
		}
		return object
	}
	list := []any{}
	for _, one := range services {
		list = append(list, map[string]any{"name": one.Name, "port": one.Port, "url": s.url(v, one), "auth_mode": one.AuthMode})
	}
	return list
}
