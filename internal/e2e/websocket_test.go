package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The close code and reason of the tests: one of those left to applications
// (RFC 6455 section 7.4.2).
const (
	closeCode   = 4001
	closeReason = "moved to another tab"
)

// serveWebSocket runs a WebSocket server on a port of the sandbox until the
// test ends. converse has each connection, which closes after it.
func serveWebSocket(t *testing.T, converse func(*websocket.Conn)) int {
	t.Helper()
	var conversations sync.WaitGroup
	t.Cleanup(conversations.Wait)
	upgrader := websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"second", "first"}}
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conversations.Add(1)
		defer conversations.Done()
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // answered by the upgrader
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(2 * patience))
		converse(conn)
	}))
}

// echoMessages sends every message back, and passes on what ended that.
func echoMessages(ended chan<- error) func(*websocket.Conn) {
	return func(conn *websocket.Conn) {
		for {
			kind, message, err := conn.ReadMessage()
			if err == nil {
				err = conn.WriteMessage(kind, message)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}
}

// openWebSocket connects to a port of the sandbox through the edge. The
// connection closes with the test, and no read on it waits for ever.
func (e edge) openWebSocket(t *testing.T, port int) *websocket.Conn {
	t.Helper()
	conn, err := e.tryWebSocket(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (e edge) tryWebSocket(ctx context.Context, port int) (*websocket.Conn, error) {
	dialer := websocket.Dialer{NetDialContext: e.dial, HandshakeTimeout: patience}
	conn, _, err := dialer.DialContext(ctx, strings.Replace(e.url(port, plainDomain), "http", "ws", 1), nil)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetReadDeadline(time.Now().Add(patience))
}

// echo sends a message and wants it back.
func echo(conn *websocket.Conn, kind int, message []byte) error {
	written := make(chan error, 1)
	go func() { written <- conn.WriteMessage(kind, message) }() // ends with the connection
	gotKind, got, err := conn.ReadMessage()
	if err = errors.Join(err, <-written); err != nil {
		return err
	}
	if gotKind != kind || sha256.Sum256(got) != sha256.Sum256(message) {
		return fmt.Errorf("sent %d bytes of kind %d, got %d of kind %d, not the same", len(message), kind, len(got), gotKind)
	}
	return nil
}

// wantClose fails the test unless err is a close frame with code and reason.
func wantClose(t *testing.T, side string, err error, code int, reason string) {
	t.Helper()
	if closed, ok := errors.AsType[*websocket.CloseError](err); !ok || closed.Code != code || closed.Text != reason {
		t.Errorf("the %s got %v, want close code %d and reason %q", side, err, code, reason)
	}
}

func TestFiveHundredWebSocketsAreOpenAtOnce(t *testing.T) {
	t.Parallel()
	const count = 500
	ended := make(chan error, count)
	port := serveWebSocket(t, echoMessages(ended))
	e := startEdge(t)

	// Every one is opened before any is used.
	conns := make([]*websocket.Conn, count)
	forAll := func(what string, do func(n int) error) {
		var group sync.WaitGroup
		errs := make([]error, count)
		for n := range count {
			group.Go(func() { errs[n] = do(n) })
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	forAll("open", func(n int) (err error) {
		conns[n], err = e.tryWebSocket(t.Context(), port)
		return err
	})
	forAll("echo", func(n int) error {
		for m := range 10 {
			if err := echo(conns[n], websocket.TextMessage, fmt.Appendf(nil, "message %d of socket %d", m, n)); err != nil {
				return err
			}
		}
		return nil
	})
	forAll("close", func(n int) error {
		goodbye := websocket.FormatCloseMessage(closeCode, closeReason)
		return conns[n].WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(patience))
	})
	for range count {
		wantClose(t, "sandbox", receive(t, ended, "the end of a WebSocket"), closeCode, closeReason)
	}
}

func TestAMessageOf16MiBPasses(t *testing.T) {
	t.Parallel()
	port := serveWebSocket(t, echoMessages(make(chan error, 1)))
	e := startEdge(t)
	message := make([]byte, 16<<20)
	_, _ = rand.Read(message) // never fails
	if err := echo(e.openWebSocket(t, port), websocket.BinaryMessage, message); err != nil {
		t.Error(err)
	}
}

func TestPingsAndPongsPass(t *testing.T) {
	t.Parallel()
	// In each direction: a side pings, and stops reading at the pong.
	errPonged := errors.New("ponged")
	ping := func(conn *websocket.Conn, payload string) error {
		var pong string
		conn.SetPongHandler(func(data string) error {
			pong = data
			return errPonged
		})
		if err := conn.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(patience)); err != nil {
			return err
		}
		_, message, err := conn.ReadMessage()
		if err == nil {
			return fmt.Errorf("got the message %q, want a pong", message)
		}
		if !errors.Is(err, errPonged) {
			return err
		}
		if pong != payload {
			return fmt.Errorf("pinged %q, got the pong %q", payload, pong)
		}
		return nil
	}

	t.Run("from the client", func(t *testing.T) {
		port := serveWebSocket(t, func(conn *websocket.Conn) { _, _, _ = conn.ReadMessage() })
		if err := ping(startEdge(t).openWebSocket(t, port), "from the client"); err != nil {
			t.Error(err)
		}
	})
	t.Run("from the sandbox", func(t *testing.T) {
		result := make(chan error, 1)
		port := serveWebSocket(t, func(conn *websocket.Conn) { result <- ping(conn, "from the sandbox") })
		conn := startEdge(t).openWebSocket(t, port)
		_, _, _ = conn.ReadMessage() // answers the ping, and ends with the sandbox's end
		if err := receive(t, result, "the pong"); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseCodesAndReasonsPass(t *testing.T) {
	t.Parallel()
	goodbye := websocket.FormatCloseMessage(closeCode, closeReason)
	e := startEdge(t)

	t.Run("from the client", func(t *testing.T) {
		ended := make(chan error, 1)
		conn := e.openWebSocket(t, serveWebSocket(t, echoMessages(ended)))
		if err := conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		wantClose(t, "sandbox", receive(t, ended, "the close frame"), closeCode, closeReason)
		_, _, err := conn.ReadMessage() // what the sandbox answered
		wantClose(t, "client", err, closeCode, "")
	})
	t.Run("from the sandbox", func(t *testing.T) {
		answered := make(chan error, 1)
		conn := e.openWebSocket(t, serveWebSocket(t, func(conn *websocket.Conn) {
			_ = conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(patience))
			_, _, err := conn.ReadMessage()
			answered <- err
		}))
		_, _, err := conn.ReadMessage()
		wantClose(t, "client", err, closeCode, closeReason)
		wantClose(t, "sandbox", receive(t, answered, "the client's answer"), closeCode, "")
	})
}

func TestSubprotocolsAndExtensionsAreLeftToTheEnds(t *testing.T) {
	t.Parallel()
	port := serveWebSocket(t, echoMessages(make(chan error, 1)))
	e := startEdge(t)
	dialer := websocket.Dialer{NetDialContext: e.dial, EnableCompression: true, Subprotocols: []string{"first", "second"}}
	conn, resp, err := dialer.DialContext(t.Context(), "ws://"+e.host(port), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, want := conn.Subprotocol(), "second"; got != want {
		t.Errorf("got subprotocol %q, the sandbox chose %q", got, want)
	}
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "permessage-deflate") {
		t.Errorf("got extensions %q, the sandbox chose permessage-deflate", got)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if err := echo(conn, websocket.TextMessage, []byte(strings.Repeat("compressible ", 10_000))); err != nil {
		t.Error(err)
	}
}

func TestARefusedWebSocketReachesTheClientAsItIs(t *testing.T) {
	t.Parallel()
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="sandbox"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}))
	e := startEdge(t)
	dialer := websocket.Dialer{NetDialContext: e.dial}
	conn, resp, err := dialer.DialContext(t.Context(), "ws://"+e.host(port), nil)
	if err == nil {
		conn.Close()
		t.Fatal("the handshake succeeded")
	}
	if resp == nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" || strings.TrimSpace(string(body)) != "who are you?" {
		t.Errorf("got %s %v %q, want the sandbox's 401", resp.Status, resp.Header, body)
	}
}

// Both ends are told why: the client that the service restarts, so that it
// connects again; the sandbox that the client goes away, unless the client's
// own answer is there first.
func TestSIGTERMSaysGoodbyeOnOpenWebSockets(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	port := serveWebSocket(t, echoMessages(ended))
	e := startEdge(t)
	conn := e.openWebSocket(t, port)
	if err := echo(conn, websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	e.terminate(t)
	_, _, err := conn.ReadMessage()
	wantClose(t, "client", err, websocket.CloseServiceRestart, "")
	err = receive(t, ended, "the goodbye")
	if !websocket.IsCloseError(err, websocket.CloseGoingAway, websocket.CloseServiceRestart) {
		t.Errorf("the sandbox got %v, want close code %d, or the client's %d", err, websocket.CloseGoingAway, websocket.CloseServiceRestart)
	}
	e.awaitEnd(t)
}
