package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Parse(pageHTML))

// RunSandbox serves one sandbox on the listeners that the demo left to this
// process. It returns when in or ctx ends.
func RunSandbox(ctx context.Context, name string, in io.Reader) error {
	listeners, err := inherited()
	if err != nil {
		return err
	}
	return serve(ctx, name, in, listeners)
}

func serve(ctx context.Context, name string, in io.Reader, listeners []net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler:           newSandbox(name),
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() { // ends with in: its end is the parent's
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	var serving errgroup.Group
	for _, l := range listeners {
		serving.Go(func() error {
			defer stop()
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	return serving.Wait()
}

// sandbox is what lives in a demo sandbox's memory.
type sandbox struct {
	name    string
	started time.Time
	counter atomic.Int64
}

func newSandbox(name string) http.Handler {
	s := &sandbox{name: name, started: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("POST /counter", s.count)
	mux.HandleFunc("GET /ticks", s.ticks)
	mux.HandleFunc("GET /echo", s.echo)
	return mux
}

// page shows everything at once.
func (s *sandbox) page(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	err := page.Execute(&body, map[string]any{
		"Name":    s.name,
		"Host":    r.Header.Get("X-Cmux-Original-Host"),
		"Process": os.Getpid(),
		"Started": s.started.Format(time.TimeOnly),
		"Counter": s.counter.Load(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = body.WriteTo(w)
}

// count adds one and answers the sum.
func (s *sandbox) count(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprint(w, s.counter.Add(1))
}

// ticks is a stream of server-sent events, one a second: how long the process
// has run by its own clock.
func (s *sandbox) ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", int(time.Since(s.started).Seconds())); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// upgrader wants a page's origin to agree with the host that the page is at.
// That is the Host, but for a provider that routes by names of its own.
var upgrader = websocket.Upgrader{CheckOrigin: func(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // no browser
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, r.Header.Get("X-Cmux-Original-Host")))
}}

// echo sends every message back.
func (s *sandbox) echo(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // answered by the upgrader
	}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}
