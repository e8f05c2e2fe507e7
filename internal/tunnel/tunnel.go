package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Conn is one end of a tunnel: a connection whose sending half can be closed
// alone, as TCP and TLS connections can.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Tunnel is a pair of connections to join. Its fields are set once, before
// [Registry.Serve].
type Tunnel struct {
	// Client and Upstream are the two ends. Serve closes both.
	Client, Upstream Conn
	// FromClient and FromUpstream are what to read from, where that is not the
	// connection alone: bytes that arrived right behind the handshake come
	// first. Nil stands for the connection. Both must honour the read deadline
	// of their connection.
	FromClient, FromUpstream io.Reader
	// WebSocket says that both directions speak RFC 6455 frames.
	WebSocket bool
	// BytesUp and BytesDown count what reached the upstream and the client;
	// nil counts nothing.
	BytesUp, BytesDown prometheus.Counter

	draining atomic.Bool
	mu       sync.Mutex // held while a read deadline is set, so that a drain is not overruled
	deadline time.Time  // of the whole goodbye, once draining
}

// halfOpenIdle bounds how long a WebSocket whose one end is gone may stay
// silent: its closing handshake cannot complete any more, and a peer that
// vanished behind its own FIN is noticed by nothing else.
const halfOpenIdle = time.Minute

// bufferSize is one read. Larger ones gain nothing measurable on loopback
// (BenchmarkTunnel), and every open tunnel holds two.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// pump is one direction of a tunnel.
type pump struct {
	t        *Tunnel
	from     io.Reader
	src, dst Conn
	frames   frames
	rest     []byte // read behind the frame that a drain ends with
	goodbye  []byte // the close frame for dst
	count    prometheus.Counter
	linger   time.Duration
	half     *atomic.Bool // the other direction has ended
}

// run joins the two ends until both directions ended.
func (t *Tunnel) run(ctx context.Context, linger time.Duration) {
	defer t.Client.Close()
	defer t.Upstream.Close()
	stop := context.AfterFunc(ctx, t.cut)
	defer stop()

	var half atomic.Bool
	up := &pump{
		t: t, from: t.FromClient, src: t.Client, dst: t.Upstream, count: t.BytesUp,
		goodbye: closeFrame(goingAway, true), linger: linger, half: &half,
	}
	down := &pump{
		t: t, from: t.FromUpstream, src: t.Upstream, dst: t.Client, count: t.BytesDown,
		goodbye: closeFrame(serviceRestart, false), linger: linger, half: &half,
	}
	done := make(chan struct{})
	go func() { // ends with its direction; run waits for it
		defer close(done)
		up.run()
	}()
	down.run()
	<-done
}

// run copies until src ends, either end breaks, or the tunnel drains.
func (p *pump) run() {
	if p.from == nil {
		p.from = p.src
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		if p.t.draining.Load() && (!p.t.WebSocket || p.frames.boundary()) {
			p.sayGoodbye(buf[:])
			return
		}
		n, err := p.from.Read(buf[:])
		if n > 0 && !p.forward(buf[:n]) {
			p.t.cut()
			return
		}
		switch {
		case err == nil:
			if p.half.Load() {
				p.t.expectSoon(p.src)
			}
		case errors.Is(err, os.ErrDeadlineExceeded) && p.t.wait(p.src):
			// Woken for a drain in the middle of a frame: go on to its end.
		case errors.Is(err, io.EOF):
			p.halfClose()
			return
		default:
			p.t.cut()
			return
		}
	}
}

// forward writes chunk to dst and tells whether dst took it. A drain ends the
// frame that has begun and leaves the rest: the frame behind it may be the
// answer to the goodbye that the other direction said.
func (p *pump) forward(chunk []byte) bool {
	if p.t.WebSocket {
		n, draining := 0, p.t.draining.Load()
		if !draining || !p.frames.boundary() {
			n = p.frames.advance(chunk, draining)
		}
		chunk, p.rest = chunk[:n], chunk[n:]
	}
	if len(chunk) == 0 {
		return true
	}
	n, err := p.dst.Write(chunk)
	if p.count != nil {
		p.count.Add(float64(n))
	}
	return err == nil
}

// halfClose passes src's end of stream on. A Websocket whose other direction
// then falls silent is ended after [halfOpenIdle].
func (p *pump) halfClose() {
	p.half.Store(true)
	if p.dst.CloseWrite() != nil {
		p.t.cut()
		return
	}
	p.t.expectSoon(p.dst)
}

// sayGoodbye writes the close frame to dst, unless one has passed already, and
// lingers until src's own close frame or end, so that the frame is read before
// the connection closes: a close with unread bytes is a reset.
func (p *pump) sayGoodbye(buf []byte) {
	if !p.t.WebSocket {
		p.t.cut()
		return
	}
	if !p.frames.closed {
		if _, err := p.dst.Write(p.goodbye); err != nil {
			p.t.cut()
			return
		}
	}
	p.t.lingerOn(p.src, p.linger)
	p.frames.advance(p.rest, false)
	for !p.frames.closed {
		n, err := p.from.Read(buf)
		p.frames.advance(buf[:n], false)
		if err != nil {
			return
		}
	}
}

// drain asks the tunnel to end politely before deadline.
func (t *Tunnel) drain(deadline time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = deadline
	if t.draining.Swap(true) {
		return
	}
	for _, c := range []Conn{t.Client, t.Upstream} {
		_ = c.SetWriteDeadline(deadline)
		_ = c.SetReadDeadline(time.Now()) // wakes a pump that waits for bytes
	}
}

// wait lets a pump that drain woke go on reading from c until the deadline.
func (t *Tunnel) wait(c Conn) bool {
	if !t.draining.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !time.Now().Before(t.deadline) {
		return false
	}
	_ = c.SetReadDeadline(t.deadline)
	return true
}

// expectSoon gives the only end left of a WebSocket [halfOpenIdle] to speak. A
// drain has deadlines of its own.
func (t *Tunnel) expectSoon(c Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.WebSocket && !t.draining.Load() {
		_ = c.SetReadDeadline(time.Now().Add(halfOpenIdle))
	}
}

// lingerOn gives c's peer d to answer the goodbye, counted behind the deadline
// by which drain wakes the pumps.
func (t *Tunnel) lingerOn(c Conn, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = c.SetReadDeadline(time.Now().Add(d))
}

// cut ends both directions at once.
func (t *Tunnel) cut() {
	_ = t.Client.Close()
	_ = t.Upstream.Close()
}
