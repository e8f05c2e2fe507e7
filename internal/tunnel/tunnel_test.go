package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends are the two peers of a tunnel and the tunnel between them. Everything
// is in memory, so time in a bubble is exact.
type ends struct {
	client, upstream *testnet.Conn // the peers
	tunnel           *Tunnel
	done             chan struct{} // closed when Serve returned
}

// open makes two connections that a tunnel is to join.
func open(t *testing.T, webSocket bool) *ends {
	t.Helper()
	e := &ends{tunnel: &Tunnel{WebSocket: webSocket}, done: make(chan struct{})}
	var client, upstream *testnet.Conn
	e.client, client = testnet.Pipe()
	e.upstream, upstream = testnet.Pipe()
	e.tunnel.Client, e.tunnel.Upstream = client, upstream
	return e
}

// serve joins them. At the end of the test both peers close, which must end
// the tunnel.
func (e *ends) serve(t *testing.T, ctx context.Context, g *Registry) *ends {
	t.Helper()
	go func() {
		defer close(e.done)
		g.Serve(ctx, e.tunnel)
	}()
	t.Cleanup(func() {
		_, _ = e.client.Close(), e.upstream.Close()
		<-e.done
	})
	return e
}

func join(t *testing.T, g *Registry, webSocket bool) *ends {
	t.Helper()
	return open(t, webSocket).serve(t, context.Background(), g)
}

// drain drains g beside the test.
func drain(ctx context.Context, g *Registry) <-chan error {
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(ctx) }()
	return drained
}

func (e *ends) checkOpen(t *testing.T) {
	t.Helper()
	select {
	case <-e.done:
		t.Fatal("the tunnel has ended")
	default:
	}
}

func (e *ends) checkEnded(t *testing.T) {
	t.Helper()
	select {
	case <-e.done:
	default:
		t.Fatal("the tunnel is still open")
	}
}

func write(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}

// expect reads exactly want.
func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("read % x, want % x: %v", got[:n], want, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %s, want %s", short(got), short(want))
	}
}

// expectEnd reads the end of the stream and nothing before it.
func expectEnd(t *testing.T, r io.Reader) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || len(got) > 0 {
		t.Fatalf("read %s, %v, want the end", short(got), err)
	}
}

func short(p []byte) string {
	if len(p) > 40 {
		return fmt.Sprintf("% x … (%d bytes)", p[:40], len(p))
	}
	return fmt.Sprintf("% x", p)
}

// The close frames of a drain.
var (
	toClient   = encode(true, opClose, false, []byte{0x03, 0xf4}) // 1012
	toUpstream = closeFrame(goingAway, true)
)

// Two messages and close frames of each side.
var (
	fromClient    = encode(true, opText, true, []byte("hello"))
	fromUpstream  = encode(true, opText, false, []byte("welcome"))
	clientCloses  = encode(true, opClose, true, []byte{0x03, 0xf4})
	upstreamClose = encode(true, opClose, false, []byte{0x03, 0xe9})
)

// each runs f for a WebSocket and for another protocol.
func each(t *testing.T, f func(t *testing.T, webSocket bool)) {
	t.Helper()
	for name, webSocket := range map[string]bool{"a WebSocket": true, "another protocol": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, webSocket) })
		})
	}
}

func TestBytesPassUnchangedBothWays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		random := rand.NewChaCha8([32]byte{1})
		up, down := make([]byte, 1<<20), make([]byte, 1<<20+17)
		_, _ = random.Read(up)
		_, _ = random.Read(down)
		e := open(t, webSocket)
		e.tunnel.BytesUp = prometheus.NewCounter(prometheus.CounterOpts{Name: "up"})
		e.tunnel.BytesDown = prometheus.NewCounter(prometheus.CounterOpts{Name: "down"})
		e.serve(t, t.Context(), new(Registry))

		var wg sync.WaitGroup
		wg.Go(func() { write(t, e.client, up); _ = e.client.CloseWrite() })
		wg.Go(func() { write(t, e.upstream, down); _ = e.upstream.CloseWrite() })
		wg.Go(func() { expect(t, e.upstream, up); expectEnd(t, e.upstream) })
		wg.Go(func() { expect(t, e.client, down); expectEnd(t, e.client) })
		wg.Wait()
		<-e.done
		for counter, want := range map[prometheus.Counter]int{e.tunnel.BytesUp: len(up), e.tunnel.BytesDown: len(down)} {
			if got := testutil.ToFloat64(counter); got != float64(want) {
				t.Errorf("%v counts %v bytes, want %d", counter.Desc(), got, want)
			}
		}
	})
}

func TestTheOtherDirectionGoesOnAfterAHalfClose(t *testing.T) {
	t.Parallel()
	for name, clientFirst := range map[string]bool{"the client first": true, "the upstream first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, webSocket bool) {
				e := join(t, new(Registry), webSocket)
				first, second := e.client, e.upstream
				if !clientFirst {
					first, second = e.upstream, e.client
				}
				write(t, first, []byte("last words"))
				if err := first.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expect(t, second, []byte("last words"))
				expectEnd(t, second)
				for range 3 {
					time.Sleep(30 * time.Second) // the bubble's time, not ours
					write(t, second, []byte("and the answer"))
					expect(t, first, []byte("and the answer"))
				}
				e.checkOpen(t)
				if err := second.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expectEnd(t, first)
				synctest.Wait()
				e.checkEnded(t)
			})
		})
	}
}

func TestAHalfOpenWebSocketThatFallsSilentEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := join(t, new(Registry), true)
		if err := e.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, e.upstream)
		for range 3 { // as long as the other end speaks
			time.Sleep(halfOpenIdle - time.Second)
			write(t, e.upstream, fromUpstream)
			expect(t, e.client, fromUpstream)
		}
		start := time.Now()
		<-e.done
		if took := time.Since(start); took != halfOpenIdle {
			t.Errorf("it ended after %v of silence, want %v", took, halfOpenIdle)
		}
	})
}

func TestAHalfOpenTunnelOfAnotherProtocolMayBeSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := join(t, new(Registry), false)
		if err := e.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, e.upstream)
		time.Sleep(24 * time.Hour)
		write(t, e.upstream, []byte("done at last"))
		expect(t, e.client, []byte("done at last"))
	})
}

func TestSilenceEndsNoTunnel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := join(t, new(Registry), webSocket)
		for range 7 {
			time.Sleep(24 * time.Hour)
			write(t, e.client, fromClient)
			expect(t, e.upstream, fromClient)
			write(t, e.upstream, fromUpstream)
			expect(t, e.client, fromUpstream)
		}
		e.checkOpen(t)
	})
}

func TestEarlyBytesComeFirst(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := open(t, webSocket)
		// What a server had read ahead, and what a response's reader still holds.
		e.tunnel.FromClient = io.MultiReader(bytes.NewReader(fromClient), e.tunnel.Client)
		write(t, e.upstream, append([]byte("HTTP/1.1 101\r\n"), fromUpstream...))
		buffered := bufio.NewReader(e.tunnel.Upstream)
		if _, err := buffered.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		e.tunnel.FromUpstream = buffered
		e.serve(t, t.Context(), new(Registry))

		expect(t, e.upstream, fromClient)
		expect(t, e.client, fromUpstream)
		write(t, e.client, []byte("later"))
		expect(t, e.upstream, []byte("later"))
		write(t, e.upstream, []byte("later too"))
		expect(t, e.client, []byte("later too"))
	})
}

// The frames are followed from the first early byte on: a drain that finds
// half a frame there waits for its other half.
func TestEarlyBytesCountForTheBoundary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := open(t, true)
		e.tunnel.FromClient = io.MultiReader(bytes.NewReader(fromClient[:3]), e.tunnel.Client)
		e.serve(t, t.Context(), &g)
		expect(t, e.upstream, fromClient[:3])
		drained := drain(t.Context(), &g)
		synctest.Wait()
		write(t, e.client, fromClient[3:])
		expect(t, e.upstream, append(bytes.Clone(fromClient[3:]), toUpstream...))
		write(t, e.client, clientCloses)
		write(t, e.upstream, upstreamClose)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestASlowReaderSlowsItsWriter(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := join(t, new(Registry), webSocket)
		if err := e.upstream.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		n, err := e.upstream.Write(make([]byte, 10<<20))
		// Both connections' buffers and one read of the tunnel.
		if limit := 2*64<<10 + bufferSize; err == nil || n > limit {
			t.Errorf("the upstream could write %d bytes to a client that reads none: %v; want at most %d", n, err, limit)
		}
		e.checkOpen(t)
	})
}

func TestTheContextEndsATunnel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		ctx, cancel := context.WithCancel(t.Context())
		e := open(t, webSocket).serve(t, ctx, new(Registry))
		write(t, e.client, fromClient[:4])
		expect(t, e.upstream, fromClient[:4])
		cancel()
		synctest.Wait()
		e.checkEnded(t)
		expectEnd(t, e.client)
		expectEnd(t, e.upstream)
	})
}

func TestAContextThatEndedBeforeEndsATunnel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e := open(t, webSocket).serve(t, ctx, new(Registry))
		synctest.Wait()
		e.checkEnded(t)
	})
}

// A peer that closes both halves is noticed by the next write to it.
func TestAWriteToAPeerThatIsGoneEndsTheTunnel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := join(t, new(Registry), webSocket)
		if err := e.client.Close(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, e.upstream)
		write(t, e.upstream, fromUpstream)
		synctest.Wait()
		e.checkEnded(t)
		if _, err := e.upstream.Write(fromUpstream); err == nil {
			t.Error("the upstream can still write")
		}
	})
}

func TestAReadErrorEndsTheTunnel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := open(t, webSocket)
		e.tunnel.FromUpstream = io.MultiReader(strings.NewReader("begun"), brokenReader{})
		e.serve(t, t.Context(), new(Registry))
		expect(t, e.client, []byte("begun"))
		expectEnd(t, e.client)
		synctest.Wait()
		e.checkEnded(t)
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestLenCountsOpenTunnels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		if g.Len() != 0 {
			t.Errorf("a new registry has %d tunnels", g.Len())
		}
		all := []*ends{join(t, &g, true), join(t, &g, false), join(t, &g, true)}
		synctest.Wait()
		for i, e := range all {
			if got, want := g.Len(), len(all)-i; got != want {
				t.Errorf("%d tunnels, want %d", got, want)
			}
			_, _ = e.client.Close(), e.upstream.Close()
			<-e.done
		}
		if g.Len() != 0 {
			t.Errorf("%d tunnels are left", g.Len())
		}
	})
}

func TestServeClosesBothConnections(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, webSocket bool) {
		e := join(t, new(Registry), webSocket)
		_, _ = e.client.Close(), e.upstream.Close()
		<-e.done
		for _, c := range []Conn{e.tunnel.Client, e.tunnel.Upstream} {
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a write to the tunnel's own end: %v, want %v", err, net.ErrClosed)
			}
		}
	})
}
