package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/reply"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/manager"
)

// Sandboxes is what the API acts on. Its errors are the manager's, or wrap a
// [sandbox.Error].
type Sandboxes interface {
	List(ctx context.Context) ([]manager.Record, error)
	// Look returns a sandbox that is recorded, or that a provider finds.
	Look(ctx context.Context, slug string) (manager.Record, error)
	Start(ctx context.Context, req manager.StartRequest) (manager.Record, error)
	Pause(ctx context.Context, slug string, by catalog.PausedBy, force bool) (manager.Record, error)
	Resume(ctx context.Context, slug string) (manager.Record, error)
	Stop(ctx context.Context, slug string) (manager.Record, error)
	Boot(ctx context.Context, slug string, cold bool) (manager.Record, error)
	Delete(ctx context.Context, slug string) error
	Providers(ctx context.Context) []manager.ProviderStatus
	Events() *manager.Events
}

// Explainer says how a host name is resolved.
type Explainer interface {
	// Explain asks what a request would ask, changes nothing, and honours ctx.
	Explain(ctx context.Context, host string) adminapi.Resolution
}

const (
	// maxBody is more than any request of the API needs.
	maxBody = 64 << 10
	// maxTTL is a year: beyond it somebody has mistaken the unit.
	maxTTL = 365 * 24 * time.Hour
	// maxSlug leaves room for "port-65535-" in a label of 63 bytes.
	maxSlug = 63 - len("port-65535-")
)

// api serves /api/v1.
type api struct {
	sandboxes Sandboxes
	explainer Explainer
}

// routes adds the API to mux.
func (a *api) routes(mux *http.ServeMux) {
	allowed := make(map[string][]string)
	for _, route := range []struct {
		method, path string
		handler      http.HandlerFunc
	}{
		{"GET", "/api/v1/sandboxes", a.list},
		{"POST", "/api/v1/sandboxes", a.start},
		{"GET", "/api/v1/sandboxes/{slug}", a.get},
		{"DELETE", "/api/v1/sandboxes/{slug}", a.remove},
		{"POST", "/api/v1/sandboxes/{slug}/pause", a.pause},
		{"POST", "/api/v1/sandboxes/{slug}/resume", a.resume},
		{"POST", "/api/v1/sandboxes/{slug}/stop", a.stop},
		{"POST", "/api/v1/sandboxes/{slug}/start", a.boot},
		{"GET", "/api/v1/providers", a.providers},
		{"GET", "/api/v1/resolve", a.resolve},
		{"GET", "/api/v1/events", a.events},
	} {
		mux.HandleFunc(route.method+" "+route.path, route.handler)
		allowed[route.path] = append(allowed[route.path], route.method)
	}
	for path, methods := range allowed {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			problem(w, http.StatusMethodNotAllowed, reply.BadRequest, r.Method+" is not allowed here; use "+strings.Join(methods, " or "))
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, reply.NotFound, "The API has no "+r.Method+" "+r.URL.Path)
	})
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	records, err := a.sandboxes.List(r.Context())
	if err != nil {
		failure(w, err)
		return
	}
	answer := adminapi.Sandboxes{Sandboxes: make([]adminapi.Sandbox, len(records))}
	for i, r := range records {
		answer.Sandboxes[i] = view(r)
	}
	writeJSON(w, http.StatusOK, answer)
}

func (a *api) start(w http.ResponseWriter, r *http.Request) {
	var in adminapi.StartRequest
	if !readJSON(w, r, &in) {
		return
	}
	switch {
	case in.Slug != "" && !resolve.ValidSlug(in.Slug):
		problem(w, http.StatusBadRequest, reply.BadRequest, fmt.Sprintf("%q is not a slug: write at most 63 lower-case letters, digits and hyphens, with no hyphen at either end", in.Slug))
		return
	case len(in.Slug) > maxSlug:
		problem(w, http.StatusBadRequest, reply.BadRequest, fmt.Sprintf("The slug is longer than %d, so that port-65535- would not fit in front of it", maxSlug))
		return
	case !word(in.WorkloadType) || !word(in.Preset):
		problem(w, http.StatusBadRequest, reply.BadRequest, "workload_type and preset are words: at most 63 lower-case letters, digits and hyphens")
		return
	case in.TTL < 0 || in.TTL > int64(maxTTL/time.Second):
		problem(w, http.StatusBadRequest, reply.BadRequest, fmt.Sprintf("ttl is in seconds, from 0 (never) to %d", int64(maxTTL/time.Second)))
		return
	}
	rec, err := a.sandboxes.Start(r.Context(), manager.StartRequest{
		Slug: in.Slug, Preset: in.Preset, WorkloadType: in.WorkloadType, Preferred: in.PreferredProvider,
		RequiresRAMSnapshot: in.RequiresRAMSnapshot, TTL: time.Duration(in.TTL) * time.Second,
	})
	if err != nil {
		startFailed(w, err)
		return
	}
	w.Header().Set("Location", "/api/v1/sandboxes/"+rec.Slug)
	writeJSON(w, http.StatusCreated, view(rec))
}

// word tells whether s is empty or may be a label of a sandbox.
func word(s string) bool { return s == "" || resolve.ValidSlug(s) }

// startFailed answers a start that nobody managed: because of the request, such
// as a preset that is not there, or because no provider could.
func startFailed(w http.ResponseWriter, err error) {
	_, none := errors.AsType[*manager.NoProviderError](err)
	_, failed := errors.AsType[*manager.StartError](err)
	if kind := sandbox.KindOf(err); none || failed && kind != sandbox.KindInvalid && kind != sandbox.KindBusy {
		problem(w, http.StatusServiceUnavailable, reply.NoProvider, err.Error())
		return
	}
	failure(w, err)
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	rec, err := a.sandboxes.Look(r.Context(), r.PathValue("slug"))
	answer(w, rec, err)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request) {
	if err := a.sandboxes.Delete(r.Context(), r.PathValue("slug")); err != nil {
		failure(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) pause(w http.ResponseWriter, r *http.Request) {
	var in adminapi.PauseRequest
	if readJSON(w, r, &in) {
		rec, err := a.sandboxes.Pause(r.Context(), r.PathValue("slug"), catalog.PausedByAPI, in.Force)
		answer(w, rec, err)
	}
}

func (a *api) resume(w http.ResponseWriter, r *http.Request) {
	if readJSON(w, r, &struct{}{}) {
		rec, err := a.sandboxes.Resume(r.Context(), r.PathValue("slug"))
		answer(w, rec, err)
	}
}

func (a *api) stop(w http.ResponseWriter, r *http.Request) {
	if readJSON(w, r, &struct{}{}) {
		rec, err := a.sandboxes.Stop(r.Context(), r.PathValue("slug"))
		answer(w, rec, err)
	}
}

func (a *api) boot(w http.ResponseWriter, r *http.Request) {
	var in adminapi.BootRequest
	if readJSON(w, r, &in) {
		rec, err := a.sandboxes.Boot(r.Context(), r.PathValue("slug"), in.Cold)
		answer(w, rec, err)
	}
}

func (a *api) providers(w http.ResponseWriter, r *http.Request) {
	all := a.sandboxes.Providers(r.Context())
	out := adminapi.Providers{Providers: make([]adminapi.Provider, len(all))}
	for i, p := range all {
		out.Providers[i] = providerView(p)
	}
	writeJSON(w, http.StatusOK, out)
}

func (a *api) resolve(w http.ResponseWriter, r *http.Request) {
	host := r.URL.Query().Get("host")
	if host == "" {
		problem(w, http.StatusBadRequest, reply.BadRequest, "Name a host: /api/v1/resolve?host=port-39378-demo.cmux.sh")
		return
	}
	writeJSON(w, http.StatusOK, a.explainer.Explain(r.Context(), host))
}

// heartbeat keeps proxies between from closing a stream on which nothing
// happens.
const heartbeat = 20 * time.Second

// events is a stream of server-sent events, from now on.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	events, stop := a.sandboxes.Events().Listen()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w).Flush
	if flush() != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			_, err = io.WriteString(w, ": still here\n\n")
		case e := <-events:
			var data []byte
			if data, err = json.Marshal(eventView(e)); err == nil {
				_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Kind, data)
			}
		}
		if err != nil || flush() != nil {
			return
		}
	}
}

// answer writes a sandbox, or why there is none.
func answer(w http.ResponseWriter, rec manager.Record, err error) {
	if err != nil {
		failure(w, err)
		return
	}
	writeJSON(w, http.StatusOK, view(rec))
}

// kinds says what each kind of failure means to a caller of the API.
var kinds = map[sandbox.Kind]struct {
	status int
	code   reply.Code
}{
	sandbox.KindOther:       {http.StatusServiceUnavailable, reply.SandboxFailed},
	sandbox.KindNotFound:    {http.StatusNotFound, reply.NotFound},
	sandbox.KindBusy:        {http.StatusConflict, reply.Conflict},
	sandbox.KindPermission:  {http.StatusServiceUnavailable, reply.SandboxFailed},
	sandbox.KindQuota:       {http.StatusServiceUnavailable, reply.SandboxFailed},
	sandbox.KindUnavailable: {http.StatusServiceUnavailable, reply.SandboxFailed},
	sandbox.KindInvalid:     {http.StatusBadRequest, reply.BadRequest},
	sandbox.KindRefused:     {http.StatusConflict, reply.Conflict},
}

func failure(w http.ResponseWriter, err error) {
	if errors.Is(err, sandbox.ErrGone) {
		problem(w, http.StatusGone, reply.Gone, err.Error())
		return
	}
	k := kinds[sandbox.KindOf(err)]
	problem(w, k.status, k.code, err.Error())
}

func problem(w http.ResponseWriter, status int, code reply.Code, detail string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	write(w, status, "application/problem+json", adminapi.Problem{
		Title: http.StatusText(status), Status: status, Detail: detail, Code: string(code), RequestID: w.Header().Get("X-Request-Id"),
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) { write(w, status, "application/json", v) }

func write(w http.ResponseWriter, status int, contentType string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer can't be written", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a client that left needs no answer
}

// readJSON reads a body into v; an empty one leaves it as it is. When it can't
// be read the request is answered and false returned.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			problem(w, http.StatusRequestEntityTooLarge, reply.RequestTooLarge, fmt.Sprintf("The body is larger than %d KiB", maxBody>>10))
			return false
		}
		problem(w, http.StatusBadRequest, reply.BadRequest, "The body can't be read to its end")
		return false
	}
	if len(body) == 0 {
		return true
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		problem(w, http.StatusUnsupportedMediaType, reply.BadRequest, "Send Content-Type: application/json")
		return false
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		problem(w, http.StatusBadRequest, reply.BadRequest, "The body is not understood: send a JSON object")
		return false
	}
	if err := strictJSON(body, v); err != nil {
		problem(w, http.StatusBadRequest, reply.BadRequest, "The body is not understood: "+err.Error())
		return false
	}
	return true
}
