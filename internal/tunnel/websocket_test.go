package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The tests here run over TCP, with somebody else's WebSocket on both sides.

// patience is how long a step may take on a machine that is busy.
const patience = 30 * time.Second

// edge makes a server that joins each WebSocket handshake with upstream by a
// tunnel, as the proxy does, and returns its ws URL.
func edge(t *testing.T, g *Registry, upstream *httptest.Server) string {
	t.Helper()
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		defer tunnels.Done()
		up, err := net.Dial("tcp", upstream.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		if err := r.Write(up); err != nil {
			t.Error(err)
			return
		}
		fromUpstream := bufio.NewReader(up)
		resp, err := http.ReadResponse(fromUpstream, r)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("handshake: %+v, %v", resp, err)
			return
		}
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		var head bytes.Buffer
		head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
		_ = resp.Header.Write(&head)
		head.WriteString("\r\n")
		if _, err := client.Write(head.Bytes()); err != nil {
			t.Error(err)
			return
		}
		g.Serve(context.WithoutCancel(r.Context()), &Tunnel{
			Client: client.(*net.TCPConn), Upstream: up.(*net.TCPConn),
			FromClient: buffered.Reader, FromUpstream: fromUpstream, WebSocket: true,
		})
	}))
	t.Cleanup(func() {
		tunnels.Wait()
		server.Close()
		upstream.Close()
		if n := g.Len(); n != 0 {
			t.Errorf("%d tunnels are left", n)
		}
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// serve makes a WebSocket server.
func serve(t *testing.T, handle func(*websocket.Conn)) *httptest.Server {
	t.Helper()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		handle(c)
	}))
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// echo sends every message back and returns what ended the connection.
func echo(c *websocket.Conn) error {
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if err := c.WriteMessage(kind, message); err != nil {
			return err
		}
	}
}

// closure is the close frame that err says was read.
func closure(t *testing.T, err error) websocket.CloseError {
	t.Helper()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		t.Errorf("the connection ended with %v, want a close frame", err)
		return websocket.CloseError{}
	}
	return *closed
}

func TestMessagesOfEveryLengthPass(t *testing.T) {
	t.Parallel()
	c := dial(t, edge(t, new(Registry), serve(t, func(c *websocket.Conn) { _ = echo(c) })))
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
		for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20} {
			want := bytes.Repeat([]byte("x7"), n/2+1)[:n]
			if err := c.WriteMessage(kind, want); err != nil {
				t.Fatal(err)
			}
			gotKind, got, err := c.ReadMessage()
			if err != nil || gotKind != kind || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of kind %d came back as %d bytes of kind %d, %v", n, kind, len(got), gotKind, err)
			}
		}
	}
	goodbye(t, c, websocket.CloseNormalClosure, "")
	if got := closure(t, lastError(c)); got.Code != websocket.CloseNormalClosure {
		t.Errorf("closed with %v", got)
	}
}

func goodbye(t *testing.T, c *websocket.Conn, code int, reason string) {
	t.Helper()
	if err := c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

// lastError reads until the connection ends.
func lastError(c *websocket.Conn) error {
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return err
		}
	}
}

func TestPingsAndPongsPass(t *testing.T) {
	t.Parallel()
	pings := make(chan string, 1)
	c := dial(t, edge(t, new(Registry), serve(t, func(c *websocket.Conn) {
		answer := c.PingHandler()
		c.SetPingHandler(func(data string) error {
			pings <- data
			return answer(data)
		})
		_ = echo(c)
	})))
	pongs := make(chan string, 1)
	c.SetPongHandler(func(data string) error {
		pongs <- data
		// The next message ends the read below.
		return c.WriteMessage(websocket.TextMessage, []byte("seen"))
	})
	if err := c.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, message, err := c.ReadMessage(); err != nil || string(message) != "seen" {
		t.Fatalf("read %q, %v", message, err)
	}
	for name, got := range map[string]string{"ping": <-pings, "pong": <-pongs} {
		if got != "are you there?" {
			t.Errorf("the %s carried %q", name, got)
		}
	}
}

func TestACloseFramePassesWithCodeAndReason(t *testing.T) {
	t.Parallel()
	const reason = "the sandbox says so"
	t.Run("from the sandbox", func(t *testing.T) {
		t.Parallel()
		answers := make(chan error, 1)
		c := dial(t, edge(t, new(Registry), serve(t, func(c *websocket.Conn) {
			goodbye(t, c, 4001, reason)
			answers <- lastError(c)
		})))
		if got := closure(t, lastError(c)); got.Code != 4001 || got.Text != reason {
			t.Errorf("the client read %v", got)
		}
		if got := closure(t, <-answers); got.Code != 4001 {
			t.Errorf("the sandbox read %v as the answer", got)
		}
	})
	t.Run("from the client", func(t *testing.T) {
		t.Parallel()
		read := make(chan error, 1)
		c := dial(t, edge(t, new(Registry), serve(t, func(c *websocket.Conn) { read <- lastError(c) })))
		goodbye(t, c, 4001, reason)
		if got := closure(t, <-read); got.Code != 4001 || got.Text != reason {
			t.Errorf("the sandbox read %v", got)
		}
		if got := closure(t, lastError(c)); got.Code != 4001 {
			t.Errorf("the client read %v as the answer", got)
		}
	})
}

// Talkers send without pause in both directions while the edge drains: all
// that anybody may see are whole messages and then a close frame.
func TestADrainBreaksNoMessageOfManyTalkers(t *testing.T) {
	t.Parallel()
	const talkers = 4
	ended := make(chan error, talkers)
	upstream := serve(t, func(c *websocket.Conn) { ended <- talk(c) })
	g := Registry{Linger: patience}
	url := edge(t, &g, upstream)

	var clients sync.WaitGroup
	clientEnds := make(chan error, talkers)
	for range talkers {
		c := dial(t, url)
		clients.Go(func() { clientEnds <- talk(c) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.Drain(ctx); err != nil {
		t.Errorf("Drain: %v", err)
	}
	clients.Wait()
	for range talkers {
		if got := closure(t, <-clientEnds); got.Code != websocket.CloseServiceRestart {
			t.Errorf("a client read %v, want 1012", got)
		}
		if got := closure(t, <-ended); got.Code != websocket.CloseGoingAway {
			t.Errorf("a sandbox read %v, want 1001", got)
		}
	}
}

// talk sends messages until it can't and returns what ended the other side's,
// each of which must be whole.
func talk(c *websocket.Conn) error {
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			message := bytes.Repeat([]byte{byte(i)}, 1+i*7919%70000)
			if c.WriteMessage(websocket.BinaryMessage, message) != nil {
				return
			}
		}
	})
	defer sender.Wait()
	defer close(stop)
	for i := 0; ; i++ {
		_, message, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if want := 1 + i*7919%70000; len(message) != want || bytes.Count(message, []byte{byte(i)}) != want {
			return fmt.Errorf("message %d is broken: %s, want %d times %x", i, short(message), want, byte(i))
		}
	}
}

func TestADrainIsAnsweredByBothSides(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	g := Registry{Linger: patience}
	c := dial(t, edge(t, &g, serve(t, func(c *websocket.Conn) { ended <- echo(c) })))
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := c.ReadMessage(); err != nil || string(message) != "hello" {
		t.Fatalf("read %q, %v", message, err)
	}
	last := make(chan error, 1)
	go func() { last <- lastError(c) }()
	start := time.Now()
	if err := g.Drain(t.Context()); err != nil {
		t.Errorf("Drain: %v", err)
	}
	if took := time.Since(start); took >= g.Linger {
		t.Errorf("it took %v, the whole linger", took)
	}
	if got := closure(t, <-last); got.Code != websocket.CloseServiceRestart {
		t.Errorf("the client read %v, want 1012", got)
	}
	if got := closure(t, <-ended); got.Code != websocket.CloseGoingAway {
		t.Errorf("the sandbox read %v, want 1001", got)
	}
}

// BenchmarkTunnel sends frames of 64 KiB one way over TCP on loopback, through a
// tunnel and through io.Copy in its place. A plain io.Copy of TCP connections
// is spliced by the kernel, which can't follow frames.
func BenchmarkTunnel(b *testing.B) {
	frame := encode(true, opBinary, false, make([]byte, 64<<10))
	size := int64(len(frame))
	for _, bb := range []struct {
		name string
		join func(client, upstream *net.TCPConn)
	}{
		{"WebSocket", func(client, upstream *net.TCPConn) {
			new(Registry).Serve(context.Background(), &Tunnel{Client: client, Upstream: upstream, WebSocket: true})
		}},
		{"another protocol", func(client, upstream *net.TCPConn) {
			new(Registry).Serve(context.Background(), &Tunnel{Client: client, Upstream: upstream})
		}},
		{"io.Copy, spliced", func(client, upstream *net.TCPConn) { copyBoth(client, upstream, client, upstream) }},
		{"io.Copy, through a buffer", func(client, upstream *net.TCPConn) {
			copyBoth(client, upstream, struct{ io.Reader }{client}, struct{ io.Reader }{upstream})
		}},
	} {
		b.Run(bb.name+"/stream", func(b *testing.B) {
			client, upstream, done := between(b, bb.join)
			b.SetBytes(size)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for range b.N {
					_, _ = upstream.Write(frame)
				}
			}()
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{client}, int64(b.N)*size); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			end(client, upstream, done)
		})
		b.Run(bb.name+"/round trip", func(b *testing.B) {
			client, upstream, done := between(b, bb.join)
			up, down := encode(true, opText, true, make([]byte, 100)), encode(true, opText, false, make([]byte, 100))
			buf := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = client.Write(up)
				_, _ = io.ReadFull(upstream, buf[:len(up)])
				_, _ = upstream.Write(down)
				if _, err := io.ReadFull(client, buf[:len(down)]); err != nil {
					b.Fatal(err)
				}
			}
			end(client, upstream, done)
		})
	}
}

// copyBoth is the simplest tunnel there is.
func copyBoth(client, upstream *net.TCPConn, fromClient, fromUpstream io.Reader) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(hideReadFrom(upstream, fromClient, client), fromClient)
		_ = upstream.CloseWrite()
	})
	wg.Go(func() {
		_, _ = io.Copy(hideReadFrom(client, fromUpstream, upstream), fromUpstream)
		_ = client.CloseWrite()
	})
	wg.Wait()
	_, _ = client.Close(), upstream.Close()
}

// hideReadFrom takes dst's ReadFrom away unless it reads from src itself.
func hideReadFrom(dst *net.TCPConn, from io.Reader, src *net.TCPConn) io.Writer {
	if from == io.Reader(src) {
		return dst
	}
	return struct{ io.Writer }{dst}
}

// between makes two connections over TCP, joins their near ends and returns
// the far ones.
func between(b *testing.B, join func(client, upstream *net.TCPConn)) (client, upstream *net.TCPConn, done chan struct{}) {
	b.Helper()
	client, near := tcpPair(b)
	upstream, far := tcpPair(b)
	done = make(chan struct{})
	go func() {
		defer close(done)
		join(near, far)
	}()
	return client, upstream, done
}

func end(client, upstream *net.TCPConn, done chan struct{}) {
	_, _ = client.Close(), upstream.Close()
	<-done
}

func tcpPair(tb testing.TB) (a, b *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}
