package morphsim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is a running simulator.
type Server struct {
	cfg      Config
	pem      []byte
	listener net.Listener
	api      *http.ServeMux
	http     *http.Server

	ctx  context.Context // ends with Close; everything under way ends with it
	end  context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex // guards all below, and every instance's fields
	closed bool
	vms    map[string]*vm
	faults []*Fault
	calls  map[string]int
	probes map[string]int
}

// New starts a simulator. The caller closes it.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, listener: cfg.Listener,
		vms: map[string]*vm{}, calls: map[string]int{}, probes: map[string]int{},
	}
	var err error
	if s.listener == nil {
		if s.listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	host, _, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		host = "localhost"
	}
	cert, text, err := identity(host, cfg.Domain)
	if err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.pem = text
	s.api = s.routes()
	s.ctx, s.end = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes of clients that don't trust us
		// WebSockets of the services upgrade HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		BaseContext:  func(net.Listener) context.Context { return s.ctx },
	}
	secured := tls.NewListener(s.listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	s.work.Go(func() { _ = s.http.Serve(secured) }) // ends with Close, always with ErrServerClosed
	return s, nil
}

// Close ends every connection and everything under way, and waits for it.
// Machines are not removed.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, v := range s.vms {
		v.stopClock()
	}
	s.mu.Unlock()
	s.end()
	err := s.http.Close()
	s.work.Wait()
	return err
}

// URL is the API's base, without /api.
func (s *Server) URL() string { return "https://" + s.listener.Addr().String() }

// Suffix is what every service URL's host and port end with.
func (s *Server) Suffix() string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return net.JoinHostPort(s.cfg.Domain, port)
}

// CAPEM is the certificate to trust, in PEM, for the API and the services.
func (s *Server) CAPEM() []byte { return bytes.Clone(s.pem) }

// CertPool is CAPEM, ready to use.
func (s *Server) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.pem)
	return pool
}

// DialContext connects to the simulator whatever the address: the services'
// names are in no DNS.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, s.listener.Addr().Network(), s.listener.Addr().String())
}

// Calls counts the requests that reached each endpoint, by its name:
// "POST /instance/{id}/pause".
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Probes counts the requests to the service URLs of an instance that came
// while it was not ready.
func (s *Server) Probes(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes[id]
}

// ServeHTTP routes by host: to an instance's service, else to the API. On one
// connection the certificate's name must be that of the requests, as it is for
// the real front.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		cut(w)
		return
	}
	defer s.work.Done()
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	label, isService := strings.CutSuffix(host, "."+s.cfg.Domain)
	if !isService {
		s.api.ServeHTTP(w, r)
		return
	}
	if r.TLS == nil || !strings.EqualFold(r.TLS.ServerName, host) {
		http.Error(w, "the name in the handshake is not the request's", http.StatusMisdirectedRequest)
		return
	}
	s.serveService(w, r, label)
}

// enter counts a piece of work that Close must wait for, unless it has begun
// to wait.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Add(1)
	}
	return !s.closed
}

// sleep lets d pass, or less when ctx or the server ends.
func (s *Server) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-t.C:
		return nil
	}
}
