package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// handshake is what a client sends to open a WebSocket.
const handshake = "GET /ws HTTP/1.1\nHost: " + testHost + "\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\nSec-WebSocket-Protocol: a, b\nSec-WebSocket-Extensions: permessage-deflate\n\n"

// switching is a sandbox's 101.
const switching = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\nSec-WebSocket-Protocol: b\nSec-WebSocket-Extensions: permessage-deflate\n\n"

func TestUpgradeKeepsTheHandshakeAndItsSpelling(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	e := newEdge(t, serveRaw(t, func(w *wire) {
		got <- w.head()
		w.send(switching)
		w.head() // until the end
	}))
	client := e.dial(t)
	client.send(handshake)
	compareHeads(t, "the client got", client.head(), "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\nSec-WebSocket-Protocol: b\nSec-WebSocket-Extensions: permessage-deflate\n~X-Request-Id\n\n")
	compareHeads(t, "the sandbox got", <-got, "GET /ws HTTP/1.1\nHost: "+testHost+"\nConnection: Upgrade\nUpgrade: websocket\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\nSec-WebSocket-Protocol: a, b\nSec-WebSocket-Extensions: permessage-deflate\n"+strings.ReplaceAll(forwarded, "39375", "39378")+"\n")
	if got := e.metric(t, "edge_websocket_connections", "port", "39378"); got != 1 {
		t.Errorf("%v WebSockets are open, want 1", got)
	}
	if got := e.metric(t, "edge_http_requests_in_flight"); got != 0 {
		t.Errorf("%v requests are in flight, want 0: a tunnel is none", got)
	}
	client.Close()
	eventually(t, "no WebSocket is open", func() bool { return e.metric(t, "edge_websocket_connections") == 0 })
}

func TestUpgradeLosesNoEarlyBytesOnEitherSide(t *testing.T) {
	t.Parallel()
	early := strings.Repeat("early", 2000) // more than one read ahead
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if w.head() == "" {
			return
		}
		w.send(switching + "first")
		if got := w.bytes(len(early)); got != early {
			t.Error("the sandbox got something else")
		}
		w.send("last")
	}))
	client := e.dial(t)
	client.send(handshake + early)
	client.head()
	if got, err := client.rest(); got != "firstlast" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	eventually(t, "bytes are counted up", func() bool {
		return e.metric(t, "edge_proxied_bytes_total", "direction", "up", "port", "39378") == float64(len(early))
	})
	if got := e.metric(t, "edge_proxied_bytes_total", "direction", "down", "port", "39378"); got != 9 {
		t.Errorf("%v bytes are counted down, want 9", got)
	}
}

// A tunnel is in use while something passes.
func TestUpgradeTellsThatTheSandboxIsInUse(t *testing.T) {
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
	for range 3 {
		before := e.box.used.Load()
		client.send("ping")
		client.bytes(4)
		eventually(t, "both directions are told", func() bool { return e.box.used.Load() >= before+2 })
	}
}

func TestUpgradePassesAHalfCloseOn(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if w.head() == "" {
			return
		}
		w.send(switching)
		all, err := w.rest()
		if all != "question" || err != nil {
			t.Errorf("the sandbox got %q, %v", all, err)
		}
		w.send("answer")
	}))
	client := e.dial(t)
	client.send(handshake)
	client.head()
	client.send("question")
	_ = client.Conn.(*net.TCPConn).CloseWrite()
	if got, err := client.rest(); got != "answer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUpgradeCarriesAnyProtocol(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if head := w.head(); !strings.Contains(head, "\nUpgrade: chat/2\n") {
			return
		}
		w.send("HTTP/1.1 101 Switching Protocols\nUpgrade: chat/2\nConnection: Upgrade\n\nhi")
		w.bytes(3)
	}))
	client := e.dial(t)
	client.send("GET / HTTP/1.1\nHost: " + testHost + "\nConnection: Upgrade\nUpgrade: chat/2\n\n")
	client.head()
	if got := client.bytes(2); got != "hi" {
		t.Errorf("got %q", got)
	}
	if tunnels, sockets := e.metric(t, "edge_tunnels"), e.metric(t, "edge_websocket_connections"); tunnels != 1 || sockets != 0 {
		t.Errorf("%v tunnels and %v WebSockets are open, want 1 and 0", tunnels, sockets)
	}
	client.send("bye")
	if got, _ := client.rest(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestUpgradeRefusesASwitchThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ask, answer string }{
		"NotAsked":      {"", switching},
		"OtherProtocol": {"Connection: Upgrade\nUpgrade: chat\n", switching},
		"NotConnection": {"Connection: Upgrade\nUpgrade: websocket\n", "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\n"},
		"H2C":           {"Connection: Upgrade\nUpgrade: h2c\n", "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: h2c\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				if w.head() != "" {
					w.send(c.answer)
				}
			}))
			client := e.dial(t)
			client.send("GET / HTTP/1.1\nHost: " + testHost + "\n" + c.ask + "\n")
			if resp := client.response(http.MethodGet); resp.StatusCode != http.StatusBadGateway {
				t.Errorf("got %s", resp.Status)
			}
		})
	}
}

func TestDrainSaysGoodbyeToAWebSocket(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if w.head() == "" {
			return
		}
		w.send(switching)
		w.send("\x82\x02hi")
		// A client masks its frames; the edge stands for it here.
		if got := w.bytes(8); got[0] != '\x88' || got[1] != '\x82' {
			t.Errorf("the sandbox got %x, want a masked close frame", got)
		}
		w.send("\x88\x02\x03\xe9")
	}))
	client := e.dial(t)
	client.send(handshake)
	client.head()
	if got := client.bytes(4); got != "\x82\x02hi" {
		t.Fatalf("got %x", got)
	}
	drained := make(chan error, 1)
	go func() { drained <- e.Drain(t.Context()) }()
	if got, want := client.bytes(4), "\x88\x02\x03\xf4"; got != want {
		t.Errorf("got %x, want a close frame with status 1012, %x", got, want)
	}
	client.Close()
	select {
	case err := <-drained:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the drain does not end")
	}
}

func TestUpgradeOnHTTP2IsAnOrdinaryRequest(t *testing.T) {
	t.Parallel()
	// RFC 8441 is not announced, so a browser opens WebSockets on HTTP/1.1.
	if got := upgradeOf(&http.Request{ProtoMajor: 2, Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}}); got != "" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkUpgradeRoundTrip(b *testing.B) {
	e := newEdge(b, serveRaw(b, func(w *wire) {
		if w.head() == "" {
			return
		}
		w.send(switching)
		_, _ = io.Copy(w, w.r)
	}))
	client := e.dial(b)
	_ = client.SetDeadline(time.Time{})
	client.send(handshake)
	client.head()
	message := make([]byte, 64)
	message[0], message[1] = 0x82, 62
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(message); err != nil {
			b.Fatal(err)
		}
		client.bytes(len(message))
	}
}
