package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/loopguard"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

func TestMain(m *testing.M) {
	// The server lingers for half a second on connections that it closes while
	// the client may still send.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience bounds every wait of a test; nothing takes a tenth of it.
const patience = 20 * time.Second

// testHost is a port of the sandbox that newEdge knows, on which the public
// Host is kept; appHost is one that gets localhost.
const (
	testHost = "port-39378-box.cmux.test"
	appHost  = "port-3000-box.cmux.test"
)

// edge is a handler behind a real listener, with one sandbox, box.
type edge struct {
	*Handler
	addr     string
	registry *prometheus.Registry
	log      *syncBuffer
	box      *box
}

// box is the resolver of an edge: one sandbox, which a test may change.
type box struct {
	mu       sync.Mutex
	instance sandbox.Instance
	err      error
	resolve  func() // called on every look-up, if set

	unreached []uint64 // generations
	used      atomic.Int64
}

func (b *box) Resolve(_ context.Context, slug string) (sandbox.Instance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.resolve != nil {
		b.resolve()
	}
	if b.err != nil {
		return sandbox.Instance{}, b.err
	}
	if slug != b.instance.Slug {
		return sandbox.Instance{}, sandbox.Errorf(sandbox.KindNotFound, "resolve", slug, "no provider knows it")
	}
	return b.instance, nil
}

// Used counts.
func (b *box) Used(string) { b.used.Add(1) }

// Unreachable remembers what was not reached.
func (b *box) Unreachable(in sandbox.Instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unreached = append(b.unreached, in.Generation)
}

// set changes the sandbox.
func (b *box) set(change func(*sandbox.Instance)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.instance)
}

// newEdge starts an edge whose sandbox has every port at upstream.
func newEdge(t testing.TB, upstream string, configure ...func(*Config)) *edge {
	t.Helper()
	e := &edge{registry: prometheus.NewRegistry(), log: new(syncBuffer), box: &box{instance: sandbox.Instance{
		Provider: "static", ID: "box", Slug: "box", State: sandbox.Running, Generation: 1,
		Ports: map[uint16]string{3000: upstream},
	}}}
	for port := uint16(firstToolPort); port <= lastToolPort; port++ {
		e.box.instance.Ports[port] = upstream
	}
	c := Config{Grammar: resolve.NewGrammar([]string{"cmux.test"}, true), MaxIdlePerInstance: 4}
	for _, f := range configure {
		f(&c)
	}
	log := slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e.Handler = New(c, e.box, loopguard.New(1, e.registry), log, e.registry)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	l := listen(t)
	e.addr = l.Addr().String()
	server := &http.Server{Handler: e, Protocols: protocols, DisableGeneralOptionsHandler: true, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.Drain(ctx)
		_ = server.Close()
		serving.Wait()
		e.Close()
	})
	return e
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serveHTTP starts a sandbox's server that speaks Go's HTTP.
func serveHTTP(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l := listen(t)
	server := &http.Server{Handler: h, DisableGeneralOptionsHandler: true}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return l.Addr().String()
}

// serveRaw starts a sandbox's server that speaks whatever script does with each
// connection; the connection closes when script returns.
func serveRaw(t testing.TB, script func(*wire)) string {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				script(newWire(t, conn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}

// wire is a connection that a test speaks byte by byte.
type wire struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func newWire(t testing.TB, conn net.Conn) *wire {
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &wire{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

// dial connects to the edge.
func (e *edge) dial(t testing.TB) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newWire(t, conn)
}

// send writes text, with each line end made CRLF.
func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		w.t.Errorf("write: %v", err)
	}
}

// head reads up to and including an empty line, with CRLF made LF.
func (w *wire) head() string {
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		b.WriteString(strings.ReplaceAll(line, "\r\n", "\n"))
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// bytes reads exactly n bytes.
func (w *wire) bytes(n int) string {
	w.t.Helper()
	buf := make([]byte, n)
	if _, err := io.ReadFull(w.r, buf); err != nil {
		w.t.Errorf("read %d bytes: %v", n, err)
	}
	return string(buf)
}

// rest reads to the end.
func (w *wire) rest() (string, error) {
	all, err := io.ReadAll(w.r)
	return string(all), err
}

// response reads one answer; its body is read by the test.
func (w *wire) response(method string) *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	return resp
}

// get sends one request for testHost on a connection of its own and returns
// the answer with its body read.
func (e *edge) get(t testing.TB, host, extra string) (*http.Response, string) {
	t.Helper()
	w := e.dial(t)
	w.send("GET / HTTP/1.1\nHost: " + host + "\n" + extra + "\n")
	resp := w.response(http.MethodGet)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return resp, string(body)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !met() {
		select {
		case <-deadline:
			t.Fatalf("not seen within %v: %s", patience, what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// metric sums a metric over the labels that are not given as name, value pairs.
func (e *edge) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				match := false
				for _, l := range m.GetLabel() {
					match = match || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !match {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// syncBuffer is a log that a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// loopback is what tests may trust.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
