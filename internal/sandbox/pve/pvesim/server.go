package pvesim

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// basePath is where the API lies; what follows it is the schema's path.
const basePath = "/api2/json"

// Server is a running simulator.
type Server struct {
	cfg       Config
	major     int
	endpoints []*Endpoint
	handlers  map[string]handler
	identity  *identity
	listener  net.Listener
	http      *http.Server

	ctx  context.Context // ends with Close; so do the tasks
	end  context.CancelFunc
	work sync.WaitGroup

	mu         sync.Mutex // guards all below, and every guest's and task's fields
	closed     bool
	guests     map[int]*guest
	tasks      map[string]*task
	taskOrder  []*task
	offline    map[string]bool
	faults     []*Fault
	taskFaults []*TaskFault
	calls      map[string]int
	pid        int
	stats      map[int]published
	statsAt    time.Time
}

// handler plays one endpoint. Its result becomes "data".
type handler func(ctx context.Context, p params) (any, error)

// New starts a simulator. The caller closes it.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	endpoints, err := Schema()
	if err != nil {
		return nil, err
	}
	major, _, _ := strings.Cut(cfg.Version, ".")
	s := &Server{
		cfg: cfg, endpoints: endpoints, listener: cfg.Listener,
		guests: map[int]*guest{}, tasks: map[string]*task{}, offline: map[string]bool{},
		calls: map[string]int{}, pid: 1000, stats: map[int]published{},
	}
	if s.major, err = strconv.Atoi(major); err != nil {
		return nil, fmt.Errorf("version %q: %w", cfg.Version, err)
	}
	if s.listener == nil {
		if s.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	host, _, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		host = "localhost"
	}
	if s.identity, err = newIdentity(host, cfg.Now()); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.handlers = s.routes()
	s.ctx, s.end = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes of clients that don't trust us
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
	}
	secured := tls.NewListener(s.listener, &tls.Config{Certificates: []tls.Certificate{s.identity.cert}, MinVersion: tls.VersionTLS12})
	s.work.Go(func() { _ = s.http.Serve(secured) }) // ends with Close, always with ErrServerClosed
	return s, nil
}

// atClose has f called when the server closes, unless forget is called before.
func (s *Server) atClose(f func()) (forget func() bool) { return context.AfterFunc(s.ctx, f) }

// Close ends every connection and task and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	err := s.http.Close()
	s.work.Wait()
	return err
}

// URL is the server's address without path: "https://127.0.0.1:41234".
func (s *Server) URL() string { return "https://" + s.listener.Addr().String() }

// CAPEM is the certificate to trust, in PEM.
func (s *Server) CAPEM() []byte { return bytes.Clone(s.identity.pem) }

// Fingerprint is the certificate's SHA-256 as PVE shows it, "AA:BB:…".
func (s *Server) Fingerprint() string { return s.identity.fingerprint }

// Calls counts the requests that reached each endpoint, by [Endpoint.Name].
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ServeHTTP answers one request: authentication, the path, permissions, the
// node that must answer, parameters, and only then the deed, in the real
// server's order.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		cut(w)
		return
	}
	defer s.work.Done()
	// Unread bytes would turn the close after an error into a reset.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	e, inPath := s.find(r)
	fault := s.takeFault(e)
	if fault != nil && s.before(w, r, fault) {
		return
	}
	data, err := s.answer(r, e, inPath)
	switch {
	case fault != nil && fault.CutAfter:
		cut(w)
	case fault != nil && fault.after():
		s.refuse(w, &failure{status: fault.Status, reason: fault.Reason, empty: fault.Empty})
	case err != nil:
		s.refuse(w, err)
	default:
		s.succeed(w, r, data)
	}
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

func (s *Server) find(r *http.Request) (*Endpoint, map[string]string) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), basePath)
	if !ok {
		return nil, nil
	}
	for _, e := range s.endpoints {
		if values, ok := e.match(r.Method, path); ok {
			s.mu.Lock()
			s.calls[e.Name()]++
			s.mu.Unlock()
			return e, values
		}
	}
	return nil, nil
}

func (s *Server) answer(r *http.Request, e *Endpoint, inPath map[string]string) (any, error) {
	if err := s.authenticate(r); err != nil {
		return nil, err
	}
	var play handler
	if e != nil {
		play = s.handlers[e.Name()]
	}
	if play == nil {
		return nil, fail(http.StatusNotImplemented, "Method '%s %s' not implemented", r.Method, strings.TrimPrefix(r.URL.Path, basePath))
	}
	sent, err := collect(r, inPath)
	if err != nil {
		return nil, err
	}
	p := params{}
	for name, v := range sent {
		p[name] = v.text
	}
	if err := s.permit(e, p); err != nil {
		return nil, err
	}
	if e.ProxyTo == "node" {
		if err := s.reach(p["node"]); err != nil {
			return nil, err
		}
	}
	if faults := e.check(sent, s.major); len(faults) > 0 {
		return nil, invalid(faults)
	}
	return play(r.Context(), p)
}
