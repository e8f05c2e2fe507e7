package morphsim

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// hostID is an instance's id as it stands in host names.
func hostID(id string) string { return strings.ReplaceAll(id, "_", "-") }

// url is a service's public address: its name, not its port, comes first.
func (s *Server) url(v *vm, one Service) string {
	if one.URL != "" {
		return one.URL
	}
	return fmt.Sprintf("https://%s-%s.%s", one.Name, hostID(v.ID), s.Suffix())
}

// serveService answers a request to a service URL. One to a paused instance
// wakes it first, where that is left on.
func (s *Server) serveService(w http.ResponseWriter, r *http.Request, label string) {
	s.mu.Lock()
	v, one, ok := s.findService(label)
	if !ok {
		s.mu.Unlock()
		http.Error(w, "no such service", http.StatusNotFound)
		return
	}
	if v.Status != Ready {
		s.probes[v.ID]++
	}
	if v.Status == Paused && v.WakeOnHTTP {
		woken := s.resume(v)
		s.mu.Unlock()
		select {
		case <-woken:
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
	}
	status, handler := v.Status, http.Handler(nil)
	if status == Ready {
		handler = v.handler(one.Port)
	}
	s.mu.Unlock()
	switch {
	case status != Ready:
		http.Error(w, "the instance is "+status, http.StatusServiceUnavailable)
	case one.AuthMode == "api_key" && !s.holdsKey(r):
		http.Error(w, "the service wants the account's key", http.StatusUnauthorized)
	case handler == nil:
		http.Error(w, "nothing listens there", http.StatusBadGateway)
	default:
		handler.ServeHTTP(w, r)
	}
}

func (s *Server) findService(label string) (*vm, Service, bool) {
	for _, v := range s.vms {
		name, ok := strings.CutSuffix(label, "-"+hostID(v.ID))
		if !ok {
			continue
		}
		for _, one := range v.Services {
			if one.Name == name {
				return v, one, true
			}
		}
	}
	return nil, Service{}, false
}

func (s *Server) holdsKey(r *http.Request) bool {
	return subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.cfg.Key)) == 1
}
