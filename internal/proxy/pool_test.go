package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cmux.sh/edge/internal/sandbox"
)

// counting is a server that numbers its connections and answers each request
// with the number of its connection.
func counting(t *testing.T, then func(n int, w *wire)) (address string, conns *atomic.Int64) {
	conns = new(atomic.Int64)
	return serveRaw(t, func(w *wire) {
		n := int(conns.Add(1))
		for w.head() != "" {
			w.send("HTTP/1.1 200 OK\nContent-Length: 1\n\n" + string(rune('0'+n)))
			if then != nil {
				then(n, w)
			}
		}
	}), conns
}

func TestPoolKeepsConnectionsWithinAGeneration(t *testing.T) {
	t.Parallel()
	address, _ := counting(t, nil)
	e := newEdge(t, address)
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "1"},
		{func() {}, "1"},
		{func() { e.box.set(func(in *sandbox.Instance) { in.Generation = 2 }) }, "2"},
		{func() {}, "2"},
	} {
		step.do()
		if _, body := e.get(t, testHost, ""); body != step.want {
			t.Errorf("answered on connection %s, want %s", body, step.want)
		}
	}
}

func TestCloseGenerationClosesItsConnections(t *testing.T) {
	t.Parallel()
	closed := make(chan int, 3)
	address := serveRaw(t, func(w *wire) {
		for w.head() != "" {
			w.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
		}
		closed <- 1
	})
	e := newEdge(t, address)
	e.get(t, testHost, "")
	e.CloseGeneration("box", 7)
	select {
	case <-closed:
		t.Error("another generation's connection was closed")
	case <-time.After(20 * time.Millisecond):
	}
	e.CloseGeneration("box", 1)
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("the connection stays open")
	}
	eventually(t, "the registry is empty", func() bool {
		d := e.transport.dialer
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.open) == 0
	})
}

func TestCloseGenerationLeavesTunnelsOpen(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if w.head() != "" {
			w.send(switching)
			_, _ = io.Copy(w, w.r)
		}
	}))
	client := e.dial(t)
	client.send(handshake)
	client.head()
	e.CloseGeneration("box", 1)
	client.send("still here")
	if got := client.bytes(10); got != "still here" {
		t.Errorf("got %q", got)
	}
}

// A sandbox closes a kept connection when it likes. The request that meets the
// close is sent again only when nothing of it can have been read.
func TestForwarderRetriesOnlyWhatWasNotSent(t *testing.T) {
	t.Parallel()
	t.Run("AConnectionClosedWhileIdle", func(t *testing.T) {
		t.Parallel()
		var gone sync.WaitGroup
		gone.Add(1)
		address, conns := counting(t, func(n int, w *wire) {
			if n == 1 {
				_ = w.Close()
				gone.Done()
			}
		})
		e := newEdge(t, address)
		e.get(t, testHost, "")
		gone.Wait()
		for range 20 {
			if resp, body := e.get(t, testHost, ""); resp.StatusCode != http.StatusOK {
				t.Fatalf("got %s: %s", resp.Status, body)
			}
		}
		if got := conns.Load(); got != 2 {
			t.Errorf("%d connections were made, want 2", got)
		}
	})
	t.Run("ButNotAGetThatWasRead", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int64
		e := newEdge(t, serveRaw(t, func(w *wire) {
			for w.head() != "" {
				if requests.Add(1) > 1 {
					return // closes without an answer
				}
				w.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
			}
		}))
		e.get(t, testHost, "")
		if resp, _ := e.get(t, testHost, ""); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("got %s", resp.Status)
		}
		if got := requests.Load(); got != 2 {
			t.Errorf("the sandbox got %d requests, want 2", got)
		}
	})
	t.Run("NorAnIdempotentPost", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int64
		e := newEdge(t, serveRaw(t, func(w *wire) {
			for w.head() != "" {
				if requests.Add(1) > 1 {
					return
				}
				w.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
			}
		}))
		e.get(t, testHost, "Idempotency-Key: 1\n")
		if resp, _ := e.get(t, testHost, "Idempotency-Key: 1\n"); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("got %s", resp.Status)
		}
		if got := requests.Load(); got != 2 {
			t.Errorf("the sandbox got %d requests, want 2", got)
		}
	})
}

func TestPoolDropsIdleConnectionsBeforeNodeDoes(t *testing.T) {
	t.Parallel()
	if idleTimeout >= 4*time.Second {
		t.Errorf("idle connections live %v; Node closes them after 5 s", idleTimeout)
	}
	e := newEdge(t, "127.0.0.1:1")
	if got := e.transport.transport.IdleConnTimeout; got != idleTimeout {
		t.Errorf("the transport keeps them for %v", got)
	}
}

func TestPoolOfNoneKeepsNoConnection(t *testing.T) {
	t.Parallel()
	address, conns := counting(t, nil)
	e := newEdge(t, address, func(c *Config) { c.MaxIdlePerInstance = 0 })
	e.get(t, testHost, "")
	e.get(t, testHost, "")
	if got := conns.Load(); got != 2 {
		t.Errorf("%d connections were made, want 2", got)
	}
}

func TestDialerSetsTheUserTimeout(t *testing.T) {
	t.Parallel()
	address := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	e := newEdge(t, address)
	e.get(t, testHost, "")
	d := e.transport.dialer
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conns := range d.open {
		for c := range conns {
			raw, err := c.halfCloser.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var got, keepAlive int
			_ = raw.Control(func(fd uintptr) {
				got, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
				keepAlive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
			})
			if got != 10_000 || keepAlive != 1 {
				t.Errorf("TCP_USER_TIMEOUT is %d ms and SO_KEEPALIVE %d, want 10000 and 1", got, keepAlive)
			}
			return
		}
	}
	t.Error("no connection was registered")
}

func TestForwarderVerifiesTLSForTheRealName(t *testing.T) {
	t.Parallel()
	var sni, host atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sni.Store(r.TLS.ServerName)
		host.Store(r.Host)
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate()) // for example.com
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	e := newEdge(t, "", func(c *Config) {
		c.UpstreamTLS = &tls.Config{RootCAs: roots}
		c.Addresses = sandbox.AddressRule{Allow: loopback}
	})
	// localhost resolves without a DNS server, and the certificate is not for it.
	e.box.set(func(in *sandbox.Instance) { in.Ports[39378] = "https://localhost:" + port })
	if resp, _ := e.get(t, testHost, ""); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("a certificate for another name gets %s", resp.Status)
	}
	if sni.Load() != nil {
		t.Error("the request was sent all the same")
	}
	e.box.set(func(in *sandbox.Instance) { in.Generation, in.Ports[39378] = 2, "https://127.0.0.1:"+port })
	if resp, body := e.get(t, testHost, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("got %s: %s", resp.Status, body)
	}
	if got, want := host.Load(), "127.0.0.1:"+port; got != want {
		t.Errorf("the Host is %v, want the one it routes by, %s", got, want)
	}
}

func TestDialerFindsNamesBelowLocalhost(t *testing.T) {
	t.Parallel()
	address := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	_, port, _ := net.SplitHostPort(address)
	e := newEdge(t, "http://box.morph.localhost:"+port, func(c *Config) { c.Addresses = sandbox.AddressRule{Allow: loopback} })
	if resp, body := e.get(t, testHost, ""); body != "box.morph.localhost:"+port {
		t.Errorf("got %s: %s", resp.Status, body)
	}
}

func TestDialerChecksTheAddressThatANameResolvesTo(t *testing.T) {
	t.Parallel()
	address := serveHTTP(t, func(http.ResponseWriter, *http.Request) { t.Error("the request arrived") })
	_, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		place string
		rule  sandbox.AddressRule
	}{
		"Loopback":     {"http://127.0.0.1:" + port, sandbox.AddressRule{}},
		"Name":         {"http://localhost:" + port, sandbox.AddressRule{}},
		"OwnListener":  {address, sandbox.AddressRule{Never: []netip.AddrPort{netip.MustParseAddrPort(address)}}},
		"OwnWildcard":  {address, sandbox.AddressRule{Never: []netip.AddrPort{netip.MustParseAddrPort("[::]:" + port)}}},
		"OutsideAllow": {"http://127.0.0.1:" + port, sandbox.AddressRule{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, c.place, func(config *Config) { config.Addresses = c.rule })
			resp, body := e.get(t, testHost, "")
			if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "not allowed") {
				t.Errorf("got %s: %s", resp.Status, body)
			}
			if strings.Contains(body, port) || strings.Contains(body, "127.0.0.1") {
				t.Errorf("the answer tells the address:\n%s", body)
			}
		})
	}
}
