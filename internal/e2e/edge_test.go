package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The domains that the edge serves. Browsers hold whatever is below .localhost
// for a secure context, and so does VS Code; Vite and Chromium's DevTools hold it
// for a name of their own, so only the other domain shows what the edge does to
// the Host header.
const (
	secureDomain = "cmux.localhost"
	plainDomain  = "cmux.test"
)

// edge is a running edge with one sandbox, real, at sandboxAddress.
type edge struct {
	*process
	port int // of its public listener, on 127.0.0.1
}

// url is the public address of a port of the sandbox.
func (e edge) url(port int, domain string) string {
	return fmt.Sprintf("http://port-%d-real.%s:%d", port, domain, e.port)
}

// host is the name under which a port of the sandbox is public.
func (e edge) host(port int) string {
	return fmt.Sprintf("port-%d-real.%s", port, plainDomain)
}

// dial connects to the edge, whatever the address: for clients that would look
// a public name up.
func (e edge) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", e.port))
}

// client makes requests through the edge. It neither asks for nor undoes
// compression, and leaves no connection behind.
func (e edge) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: e.dial, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// startEdge runs `edge serve` until the test ends, with settings as more lines of
// its configuration. Then it must end on SIGTERM, cleanly.
func startEdge(t *testing.T, settings ...string) edge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "edge.yaml")
	// The system chooses the ports. One that a test found free could be taken
	// before the edge opens it: some tests make hundreds of connections.
	writeFile(t, file, fmt.Sprintf(`domains: [%s, %s]
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstream: {allow_cidrs: [%s/32]}
providers: {static: {instances: [{slug: real, address: %[3]s}]}}
log: {format: json}
%s
`, secureDomain, plainDomain, sandboxAddress(t), strings.Join(settings, "\n")))

	p := start(t, "edge", exec.Command(edgeBinary(t), "serve", "--config", file))
	t.Cleanup(func() { p.stop(t) })
	listening := func(key string) string {
		return p.awaitOutput(t, `"key":"`+regexp.QuoteMeta(key)+`","address":"127\.0\.0\.1:(\d+)"`)[1]
	}
	port, err := strconv.Atoi(listening("listen.http"))
	if err != nil {
		t.Fatal(err)
	}
	admin := listening("listen.admin")
	p.await(t, "be ready", func() error { return getOK("http://127.0.0.1:" + admin + "/readyz") })
	return edge{process: p, port: port}
}

// sandboxAddress is the loopback address that stands for the sandbox. Its ports
// are fixed, and some lie in the range from which the kernel takes the ports of
// outgoing connections: on an address of its own nothing else can hold them, and
// two runs of the tests at a time get one each.
func sandboxAddress(t *testing.T) string {
	t.Helper()
	address, err := claimAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

var claimAddress = sync.OnceValues(func() (string, error) {
	var err error
	for n := 1; n < 255; n++ {
		address := fmt.Sprintf("127.0.77.%d", n)
		// Held, never accepted from, until the process ends.
		if claim, err = net.Listen("tcp", address+":1077"); err == nil {
			return address, nil
		}
	}
	return "", fmt.Errorf("no loopback address to be had for the sandbox: %w", err)
})

// claim keeps the listener of claimAddress from being collected and so closed.
var claim net.Listener

// listen opens a port of the sandbox until the test ends.
func listen(t *testing.T, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", sandboxAddress(t), port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// getOK tells whether url answers, with a success or a redirect.
func getOK(url string) error {
	resp, err := probe.Get(url)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

var probe = &http.Client{
	Timeout:       5 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
