package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"cmux.sh/edge/internal/tunnel"
)

// upgradeOf is the protocol that a request asks to switch to, "" if none.
//
// Upgrades to HTTP/2 and TLS are not passed on: they are the edge's to offer,
// and an h2c connection opened through the edge would carry requests that no
// rule of the edge sees.
func upgradeOf(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || !hasToken(r.Header["Connection"], "upgrade") {
		return ""
	}
	protocol := strings.Join(r.Header["Upgrade"], ", ")
	if hasToken(r.Header["Upgrade"], "h2c") || strings.Contains(strings.ToUpper(protocol), "TLS/") {
		return ""
	}
	return protocol
}

// isWebSocket tells whether an upgrade is one to RFC 6455.
func isWebSocket(upgrade string) bool { return strings.EqualFold(upgrade, "websocket") }

// tunnels turns a 101 into a tunnel.
type tunnels struct {
	registry *tunnel.Registry
	metrics  *metrics
}

// errUnasked is a 101 that no client asked for.
var errUnasked = errors.New("the sandbox switched protocols without being asked")

// join passes the 101 on to the client and then carries bytes until both ends
// are done. It returns an error only when nothing was sent to the client.
func (t *tunnels) join(w http.ResponseWriter, r *http.Request, x *Exchange, resp *http.Response, upstream *upstreamConn) error {
	asked := upgradeOf(r)
	if asked == "" || !hasToken(resp.Header["Connection"], "upgrade") || !offered(asked, resp.Header["Upgrade"]) {
		return errUnasked
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the client's connection: %w", err)
	}
	client, ok := conn.(halfCloser)
	if !ok {
		return errors.Join(fmt.Errorf("the client's connection is a %T, which can't be half-closed", conn), conn.Close())
	}
	if err := resetDeadlines(client); err != nil {
		return &BrokenOff{errors.Join(err, client.Close())}
	}
	if _, err := client.Write(switchingHead(resp, x)); err != nil {
		return &BrokenOff{errors.Join(err, client.Close())}
	}

	port := t.metrics.of(x)
	if isWebSocket(asked) {
		port.webSockets.Inc()
		defer port.webSockets.Dec()
	}
	t.registry.Serve(r.Context(), &tunnel.Tunnel{
		Client:       client,
		Upstream:     upstream.detach(),
		FromClient:   afterBuffered(buffered.Reader, client),
		FromUpstream: resp.Body,
		WebSocket:    isWebSocket(asked),
		BytesUp:      x.activity(port.up),
		BytesDown:    x.activity(port.down),
	})
	return nil
}

// offered tells whether the protocol that the upstream chose was asked for.
func offered(asked string, chosen []string) bool {
	return len(chosen) == 1 && hasToken([]string{asked}, chosen[0])
}

// resetDeadlines takes back what the server set for reading a header.
func resetDeadlines(c net.Conn) error { return c.SetDeadline(time.Time{}) }

// switchingHead is the client's 101, the upstream's with its header spelled as
// RFC 6455 spells it.
func switchingHead(resp *http.Response, x *Exchange) []byte {
	upgrade := resp.Header["Upgrade"]
	h := make(http.Header, len(resp.Header)+2)
	copyAnswerHeader(h, resp.Header, x)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, upgrade
	webSocketSpelling(h)
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&head) // a bytes.Buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}

// afterBuffered reads what the server had read ahead of the handshake's end,
// then conn itself.
func afterBuffered(ahead *bufio.Reader, conn net.Conn) io.Reader {
	n := ahead.Buffered()
	if n == 0 {
		return conn
	}
	early, _ := ahead.Peek(n)
	return io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
}
