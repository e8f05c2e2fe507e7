package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cmux.sh/edge/internal/reply"
	"cmux.sh/edge/internal/sandbox"
)

// deadEnd is an address on which nothing listens.
func deadEnd(t *testing.T) string {
	t.Helper()
	l := listen(t)
	l.Close()
	return l.Addr().String()
}

// blackHole is an address that answers no connection attempt: a listener whose
// queue is full drops them, as a suspended VM does.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for range 4 { // the queue holds one or two
		if conn, err := net.DialTimeout("tcp", address, 50*time.Millisecond); err == nil {
			t.Cleanup(func() { conn.Close() })
		}
	}
	return address
}

// Every cause, by what brings it about, and what the client is told.
func TestHandlerTellsEveryCauseApart(t *testing.T) {
	t.Parallel()
	silent := func(w *wire) { w.head(); w.head() }
	tests := []struct {
		name      string
		upstream  func(t *testing.T) string
		configure func(*Config)
		change    func(*box)
		request   string // "" is a plain GET for testHost
		status    int
		code      reply.Code
		sentence  string
		state     string // X-Edge-State; "" is error
	}{
		{
			name: "MalformedHost", request: "GET / HTTP/1.1\nHost: port-0-box.cmux.test\n\n",
			status: 400, code: reply.InvalidHost, sentence: "Invalid port in subdomain",
		},
		{
			name: "ForeignHost", request: "GET / HTTP/1.1\nHost: evil.example\n\n",
			status: 421, code: reply.InvalidHost, sentence: "Not a cmux domain",
		},
		{
			name: "NoHost", request: "GET / HTTP/1.0\n\n",
			status: 400, code: reply.InvalidHost, sentence: "Invalid host",
		},
		{
			name: "Connect", request: "CONNECT " + testHost + ":443 HTTP/1.1\nHost: " + testHost + ":443\n\n",
			status: 400, code: reply.BadRequest, sentence: "The edge is no forward proxy",
		},
		{
			name: "OwnPath", request: "GET /.edge/x HTTP/1.1\nHost: " + testHost + "\n\n",
			status: 404, code: reply.NotFound, sentence: "There is nothing here",
		},
		{
			name: "Loop", request: "GET / HTTP/1.1\nHost: " + testHost + "\nX-Cmux-Proxied: TRUE\n\n",
			status: 508, code: reply.LoopDetected, sentence: "Loop detected in proxy",
		},
		{
			name: "OwnEntryInCDNLoop", request: "GET / HTTP/1.1\nHost: " + testHost + "\nCDN-Loop: cmux-edge\n\n",
			status: 508, code: reply.LoopDetected, sentence: "Loop detected in proxy",
		},
		{
			name: "MalformedHostBeforeLoop", request: "GET / HTTP/1.1\nHost: x.y.cmux.test\nX-Cmux-Hops: 9\n\n",
			status: 400, code: reply.InvalidHost, sentence: "Invalid cmux subdomain",
		},
		{
			name: "UnknownSandbox", request: "GET / HTTP/1.1\nHost: port-1-other.cmux.test\n\n",
			status: 404, code: reply.NotFound, sentence: "There is no sandbox other",
		},
		{
			name:   "DeletedSandbox",
			change: func(b *box) { b.err = sandbox.Errorf(sandbox.KindNotFound, "find", "box", "%w", sandbox.ErrGone) },
			status: 410, code: reply.Gone, sentence: "The sandbox box was deleted",
		},
		{
			name:   "LookupFails",
			change: func(b *box) { b.err = sandbox.Errorf(sandbox.KindUnavailable, "find", "box", "it is down") },
			status: 503, code: reply.CatalogUnavailable, sentence: "The sandbox can't be looked up at the moment",
		},
		{
			name: "Paused", change: func(b *box) { b.instance.State = sandbox.Paused },
			status: 503, code: reply.SandboxStopped, sentence: "The sandbox is not running", state: "paused",
		},
		{
			name: "Starting", change: func(b *box) { b.instance.State = sandbox.Starting },
			status: 503, code: reply.SandboxStarting, sentence: "The sandbox is starting", state: "starting",
		},
		{
			name: "Failed", change: func(b *box) { b.instance.State = sandbox.Failed },
			status: 503, code: reply.SandboxFailed, sentence: "The sandbox has failed", state: "failed",
		},
		{
			name: "PortNotExposed", request: "GET / HTTP/1.1\nHost: port-5-box.cmux.test\n\n",
			status: 502, code: reply.UpstreamUnreachable, sentence: "Port 5 of the sandbox is not exposed", state: "running",
		},
		{
			name: "NothingListens", upstream: deadEnd,
			status: 502, code: reply.UpstreamUnreachable, sentence: "Nothing answers on port 39378 of the sandbox", state: "running",
		},
		{
			name: "NoSuchName", upstream: func(*testing.T) string { return "no-such-host.invalid:80" },
			status: 502, code: reply.UpstreamUnreachable, sentence: "Nothing answers on port 39378 of the sandbox", state: "running",
		},
		{
			name: "NoAnswerToTheDial", upstream: blackHole, configure: func(c *Config) { c.DialTimeout = 50 * time.Millisecond },
			status: 504, code: reply.UpstreamTimeout, sentence: "Port 39378 of the sandbox did not answer in time", state: "running",
		},
		{
			name:      "NoAnswerToTheRequest",
			upstream:  func(t *testing.T) string { return serveRaw(t, silent) },
			configure: func(c *Config) { c.ResponseHeaderTimeout = 50 * time.Millisecond },
			status:    504, code: reply.UpstreamTimeout, sentence: "Port 39378 of the sandbox did not answer in time", state: "running",
		},
		{
			name: "ClosedWithoutAnswer", upstream: func(t *testing.T) string { return serveRaw(t, func(w *wire) { w.head() }) },
			status: 502, code: reply.UpstreamUnreachable, sentence: "Port 39378 of the sandbox gave no valid answer", state: "running",
		},
		{
			name: "NotHTTP", upstream: func(t *testing.T) string { return serveRaw(t, func(w *wire) { w.send("SSH-2.0-x\n\n") }) },
			status: 502, code: reply.UpstreamUnreachable, sentence: "Port 39378 of the sandbox gave no valid answer", state: "running",
		},
		{
			name: "HeaderWithoutEnd", upstream: func(t *testing.T) string {
				return serveRaw(t, func(w *wire) {
					w.head()
					filler := "X-Filler: " + strings.Repeat("x", 8000) + "\r\n"
					_, err := w.Write([]byte("HTTP/1.1 200 OK\r\n"))
					for err == nil {
						_, err = w.Write([]byte(filler))
					}
				})
			},
			status: 502, code: reply.UpstreamUnreachable, sentence: "Port 39378 of the sandbox gave no valid answer", state: "running",
		},
		{
			name: "BrokenChunks",
			upstream: func(t *testing.T) string {
				return serveRaw(t, func(w *wire) { _, _ = w.rest() })
			},
			request: "POST / HTTP/1.1\nHost: " + testHost + "\nTransfer-Encoding: chunked\n\n1\nx\nnonsense\n",
			status:  400, code: reply.BadRequest, sentence: "The request could not be read to its end", state: "running",
		},
		{
			name: "Panic", change: func(b *box) { b.resolve = func() { panic("boom") } },
			status: 500, code: reply.Internal, sentence: "The edge made a mistake",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			upstream := "127.0.0.1:1"
			if test.upstream != nil {
				upstream = test.upstream(t)
			}
			var configure []func(*Config)
			if test.configure != nil {
				configure = append(configure, test.configure)
			}
			e := newEdge(t, upstream, configure...)
			if test.change != nil {
				test.change(e.box)
			}
			request := test.request
			if request == "" {
				request = "GET / HTTP/1.1\nHost: " + testHost + "\n\n"
			}
			accept := "Accept: application/json\n"
			line, rest, _ := strings.Cut(request, "\n")
			w := e.dial(t)
			w.send(line + "\n" + accept + rest)
			resp := w.response(http.MethodGet)
			var problem struct {
				Status    int
				Code      reply.Code
				Detail    string
				RequestID string `json:"request_id"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
				t.Fatalf("%s: %v", resp.Status, err)
			}
			if resp.StatusCode != test.status || problem.Status != test.status || problem.Code != test.code {
				t.Errorf("got %s and %+v, want %d %s", resp.Status, problem, test.status, test.code)
			}
			if !strings.HasPrefix(problem.Detail, test.sentence) {
				t.Errorf("got %q, want %q", problem.Detail, test.sentence)
			}
			h := resp.Header
			if id := h.Get("X-Request-Id"); id == "" || id != problem.RequestID {
				t.Errorf("the request id is %q in the header and %q in the body", id, problem.RequestID)
			}
			state := test.state
			if state == "" {
				state = "error"
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("X-Edge-State") != state || (h.Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("the header is %v", h)
			}
			e.box.mu.Lock()
			unreached := len(e.box.unreached)
			e.box.mu.Unlock()
			if want := test.name == "NothingListens" || test.name == "NoSuchName" || strings.HasPrefix(test.name, "NoAnswer"); (unreached == 1) != want {
				t.Errorf("the resolver was told %d times that the instance is not reached", unreached)
			}
			if got := e.metric(t, "edge_http_panics_total"); (got == 1) != (test.name == "Panic") {
				t.Errorf("%v panics are counted", got)
			}
		})
	}
}

func TestHandlerCountsTheLoopsItRefuses(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "127.0.0.1:1")
	e.get(t, testHost, "X-Cmux-Hops: 1\n")
	if got := e.metric(t, "edge_loop_rejections_total"); got != 1 {
		t.Errorf("%v loops are counted, want 1", got)
	}
}

func TestHandlerLogsNoSecrets(t *testing.T) {
	t.Parallel()
	e := newEdge(t, deadEnd(t))
	w := e.dial(t)
	w.send("GET /path?token=hunter2 HTTP/1.1\nHost: " + testHost + "\nCookie: s=hunter2\nAuthorization: Bearer hunter2\nReferer: http://x/?hunter2\n\n")
	w.response(http.MethodGet)
	eventually(t, "the request is logged", func() bool { return strings.Contains(e.log.String(), "msg=request ") })
	log := e.log.String()
	if strings.Contains(log, "hunter2") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	if strings.Count(log, "level=INFO") != 1 || strings.Count(log, "level=DEBUG") != 1 {
		t.Errorf("want one line for the failure and one for the request:\n%s", log)
	}
	for _, want := range []string{"path=/path ", "host=" + testHost, "method=GET", "status=502", "connection refused"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
}

// net/http's errors quote what they could not parse.
func TestHandlerLogsNothingThatASandboxSays(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"Echo":           "GET /?hunter2 HTTP/1.1\n\n",
		"Cookie":         "HTTP/1.1 200 OK\nSet-Cookie session=hunter2\n\n",
		"BrokenChunk":    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nhunter2\n",
		"UnaskedCookies": "HTTP/1.1 200 hunter2\nContent-Length: hunter2\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				w.head()
				w.send(answer)
			}))
			w := e.dial(t)
			w.send("GET / HTTP/1.1\nHost: " + testHost + "\nConnection: close\n\n")
			_, _ = w.rest()
			eventually(t, "the failure is logged", func() bool { return strings.Contains(e.log.String(), "level=INFO") })
			if log := e.log.String(); strings.Contains(log, "hunter2") {
				t.Errorf("the log has it:\n%s", log)
			}
		})
	}
}

func TestHandlerTellsADrainFromAClientThatLeft(t *testing.T) {
	t.Parallel()
	ctx, cut := context.WithCancelCause(t.Context())
	cut(ErrDraining)
	if got := causeOf(ctx, context.Canceled); got != causeDraining {
		t.Errorf("got cause %d", got)
	}
	if o := outcomes[causeDraining]; o.status != http.StatusServiceUnavailable {
		t.Errorf("the client is told %d", o.status)
	}
}

func TestHandlerRoutesByWhatATrustedProxySays(t *testing.T) {
	t.Parallel()
	address := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Cmux-Original-Host"), " ", r.Header.Get("Cf-Connecting-Ip"))
	})
	const sent = "X-Forwarded-Host: port-39378-box.cmux.test, inner.example\nCF-Connecting-IP: 203.0.113.9\n"
	trusting := newEdge(t, address, func(c *Config) { c.TrustedProxies = loopback })
	if resp, body := trusting.get(t, "lb.internal", sent); body != "port-39378-box.cmux.test 203.0.113.9" {
		t.Errorf("got %s: %q", resp.Status, body)
	}
	if resp, _ := newEdge(t, address).get(t, "lb.internal", sent); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("from anybody: got %s", resp.Status)
	}
	if _, body := newEdge(t, address).get(t, testHost, sent); body != testHost+" " {
		t.Errorf("from anybody: got %q", body)
	}
}

func TestHandlerLogsAPanicWithItsStack(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "127.0.0.1:1")
	e.box.resolve = func() { panic("boom") }
	e.get(t, testHost, "")
	if log := e.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "errors_test.go") {
		t.Errorf("the log does not tell where:\n%s", log)
	}
}

func TestHandlerTakesARequestIDFromATrustedProxyOnly(t *testing.T) {
	t.Parallel()
	address := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("X-Request-Id"))
	})
	const sent = "X-Request-Id: from-the-proxy\nX-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https\n"
	trusting := newEdge(t, address, func(c *Config) { c.TrustedProxies = loopback })
	resp, body := trusting.get(t, testHost, sent)
	if want := "203.0.113.9, 127.0.0.1 https from-the-proxy"; body != want || resp.Header.Get("X-Request-Id") != "from-the-proxy" {
		t.Errorf("got %q and the id %q, want %q", body, resp.Header.Get("X-Request-Id"), want)
	}
	if resp, _ := trusting.get(t, testHost, "X-Request-Id: a\tb\n"); resp.Header.Get("X-Request-Id") == "a\tb" {
		t.Error("an id with a control character is taken over")
	}
	resp, body = newEdge(t, address).get(t, testHost, sent)
	if id := resp.Header.Get("X-Request-Id"); body != "127.0.0.1 http "+id || id == "from-the-proxy" {
		t.Errorf("from anybody: got %q and the id %q", body, id)
	}
}

func TestHandlerServesTheApexItself(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "127.0.0.1:1")
	for _, extra := range []string{"", "X-Cmux-Proxied: true\n"} {
		resp, body := e.get(t, "cmux.test", extra)
		if resp.StatusCode != http.StatusOK || body != "cmux!" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("got %s %q", resp.Status, body)
		}
	}
}

func TestCauseOfATimeoutOnTheWire(t *testing.T) {
	t.Parallel()
	// TCP_USER_TIMEOUT ends a connection with ETIMEDOUT.
	err := &net.OpError{Op: "read", Err: fmt.Errorf("wrapped: %w", syscall.ETIMEDOUT)}
	if got := causeOf(t.Context(), err); got != causeTimeout {
		t.Errorf("got cause %d", got)
	}
	if got := causeOf(t.Context(), errors.New("anything else")); got != causeBadAnswer {
		t.Errorf("got cause %d", got)
	}
}
