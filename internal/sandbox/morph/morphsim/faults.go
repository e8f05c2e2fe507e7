package morphsim

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"time"
)

// Fault makes requests to the API fail. With only Delay set it only delays.
type Fault struct {
	// Endpoint names whom it hits: "POST /instance"; "" is everybody.
	Endpoint string
	// Times is how many requests it hits; 0 is all until it is removed.
	Times int
	// Delay comes before everything else.
	Delay time.Duration
	// Status is answered in place of the deed, with Body, of ContentType
	// (empty is JSON), and Retry-After where that is not empty. A Body without
	// Status is sent with 200: garbage.
	Status      int
	Body        string
	ContentType string
	RetryAfter  string
	// After does the deed first, and then answers Status.
	After bool
	// CutBefore closes the connection in place of the deed.
	CutBefore bool
	// CutAfter does the deed and closes the connection without an answer.
	CutAfter bool
}

// Inject adds a fault and returns a function that removes it. Of several that
// fit a request the one injected first is used.
func (s *Server) Inject(f Fault) (remove func()) {
	added := &f
	s.mu.Lock()
	s.faults = append(s.faults, added)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(x *Fault) bool { return x == added })
	}
}

func (s *Server) takeFault(endpoint string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Endpoint != "" && f.Endpoint != endpoint {
			continue
		}
		hit := *f
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return &hit
	}
	return nil
}

// before plays the part of a fault that comes before the deed, and tells
// whether the request is finished with it.
func (s *Server) before(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	if f.Delay > 0 && s.sleep(r.Context(), f.Delay) != nil {
		cut(w)
		return true
	}
	switch {
	case f.CutBefore:
		cut(w)
	case (f.Status != 0 || f.Body != "") && !f.After:
		f.answer(w)
	default:
		return false
	}
	return true
}

func (f *Fault) answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", cmp.Or(f.ContentType, "application/json"))
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
	_, _ = io.WriteString(w, f.Body) // a client that left is its own problem
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}
