package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestADrainSaysGoodbyeAndWaitsForTheAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		write(t, e.client, fromClient)
		expect(t, e.upstream, fromClient)
		drained := drain(t.Context(), &g)
		expect(t, e.client, toClient)
		expect(t, e.upstream, toUpstream)

		time.Sleep(time.Second)
		e.checkOpen(t)
		write(t, e.client, clientCloses)
		synctest.Wait()
		e.checkOpen(t) // the upstream has not answered yet
		write(t, e.upstream, upstreamClose)
		start := time.Now()
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it waited %v after the last answer", took)
		}
		e.checkEnded(t)
		expectEnd(t, e.client)
		expectEnd(t, e.upstream)
		if g.Len() != 0 {
			t.Errorf("%d tunnels are left", g.Len())
		}
	})
}

func TestADrainOfNothingReturnsAtOnce(t *testing.T) {
	t.Parallel()
	var g Registry
	if err := g.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADrainWaitsForTheEndOfAFrame(t *testing.T) {
	t.Parallel()
	big := encode(true, opBinary, false, payload(200000))
	for _, tt := range []struct {
		name string
		cut  int
	}{
		{"cut in the first header byte", 1},
		{"cut in the length", 5},
		{"cut behind the header", 10},
		{"cut in the payload", 100000},
		{"cut before the last byte", len(big) - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g Registry
				e := join(t, &g, true)
				go func() { _, _ = e.upstream.Write(big[:tt.cut]) }() // ends when the client has read it
				expect(t, e.client, big[:tt.cut])
				drained := drain(t.Context(), &g)
				expect(t, e.upstream, toUpstream) // that direction is at a boundary
				time.Sleep(5 * time.Second)       // far longer than the linger
				e.checkOpen(t)

				go func() { _, _ = e.upstream.Write(big[tt.cut:]) }() // ends when the client has read it
				expect(t, e.client, big[tt.cut:])
				expect(t, e.client, toClient)
				write(t, e.upstream, upstreamClose)
				if err := <-drained; err != nil {
					t.Errorf("Drain: %v", err)
				}
				expectEnd(t, e.client)
			})
		})
	}
}

// Frames between the fragments of a message are boundaries too: RFC 6455
// section 5.4 lets a control frame stand there.
func TestADrainMayStandBetweenFragments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		first := encode(false, opText, false, []byte("a message in"))
		write(t, e.upstream, first)
		expect(t, e.client, first)
		drained := drain(t.Context(), &g)
		expect(t, e.client, toClient)
		write(t, e.client, clientCloses)
		write(t, e.upstream, encode(true, 0, false, []byte(" two parts")))
		write(t, e.upstream, upstreamClose)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		expectEnd(t, e.client)
	})
}

// What is read together with the end of the last frame does not get through,
// but it is followed: the peer's close frame ends the wait wherever it stands.
func TestBytesBehindTheLastFrameAreFollowed(t *testing.T) {
	t.Parallel()
	next := encode(true, opText, false, payload(100))
	for _, tt := range []struct {
		name         string
		behind, rest []byte // read together with the frame's end, and later
	}{
		{"the close frame", upstreamClose, nil},
		{"half of the close frame", upstreamClose[:2], upstreamClose[2:]},
		{"a whole frame", next, upstreamClose},
		{"a whole frame and the close frame", append(bytes.Clone(next), upstreamClose...), nil},
		{"half of a frame", next[:50], append(bytes.Clone(next[50:]), upstreamClose...)},
		{"one byte of a header", next[:1], append(bytes.Clone(next[1:]), upstreamClose...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := Registry{Linger: time.Hour}
				e := join(t, &g, true)
				write(t, e.upstream, fromUpstream[:4])
				expect(t, e.client, fromUpstream[:4])
				start := time.Now()
				drained := drain(t.Context(), &g)
				synctest.Wait()
				write(t, e.client, clientCloses)
				write(t, e.upstream, append(bytes.Clone(fromUpstream[4:]), tt.behind...))
				expect(t, e.client, fromUpstream[4:])
				expect(t, e.client, toClient)
				if len(tt.rest) > 0 {
					write(t, e.upstream, tt.rest)
				}
				if err := <-drained; err != nil {
					t.Errorf("Drain: %v", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("it waited %v though both peers have closed", took)
				}
				expectEnd(t, e.client)
			})
		})
	}
}

func TestADrainAddsNothingBehindAPeersCloseFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		write(t, e.upstream, upstreamClose)
		expect(t, e.client, upstreamClose)
		drained := drain(t.Context(), &g)
		expect(t, e.upstream, toUpstream)
		write(t, e.client, clientCloses)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		expectEnd(t, e.client)
		expectEnd(t, e.upstream)
	})
}

func TestTheLingerEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		linger, want time.Duration
	}{
		{"by default after 2 s", 0, 2 * time.Second},
		{"after what is configured", 700 * time.Millisecond, 700 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := Registry{Linger: tt.linger}
				e := join(t, &g, true)
				talk := time.NewTicker(100 * time.Millisecond) // a peer that goes on talking
				defer talk.Stop()
				go func() {
					for {
						select {
						case <-talk.C:
							_, _ = e.upstream.Write(fromUpstream)
						case <-e.done:
							return
						}
					}
				}()
				go func() { _, _ = io.Copy(io.Discard, e.client) }() // ends with the tunnel
				synctest.Wait()
				start := time.Now()
				if err := g.Drain(t.Context()); err != nil {
					t.Errorf("Drain: %v", err)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("it ended after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// A pump can see the drain and say goodbye before Drain has come to wake it:
// the waking must not end its linger.
func TestAWakingThatComesLateDoesNotEndTheLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := Registry{Linger: time.Hour}
		e, slow := joinSlowly(t, &g)
		drained := drain(t.Context(), &g)
		<-slow.called
		write(t, e.upstream, fromUpstream) // wakes that direction by itself
		expect(t, e.client, toClient)
		close(slow.goOn)
		expect(t, e.upstream, toUpstream)
		write(t, e.client, clientCloses)
		time.Sleep(time.Minute)
		e.checkOpen(t) // the upstream has not closed
		write(t, e.upstream, upstreamClose)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
	})
}

// The answer to one goodbye is not passed on in place of the other: each side
// reads the code that is meant for it.
func TestAnAnswerThatOvertakesTheDrainIsNotPassedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := Registry{Linger: time.Hour}
		e, slow := joinSlowly(t, &g)
		drained := drain(t.Context(), &g)
		<-slow.called
		write(t, e.upstream, fromUpstream)
		expect(t, e.client, toClient)
		write(t, e.client, clientCloses)
		expect(t, e.upstream, toUpstream)
		close(slow.goOn)
		write(t, e.upstream, upstreamClose)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		expectEnd(t, e.client)
		expectEnd(t, e.upstream)
	})
}

// slowConn holds its write deadline, the first thing a drain sets, until it
// may go on.
type slowConn struct {
	Conn
	called, goOn chan struct{}
}

func (c *slowConn) SetWriteDeadline(t time.Time) error {
	close(c.called)
	<-c.goOn
	return c.Conn.SetWriteDeadline(t)
}

// joinSlowly joins a WebSocket whose client side is a slowConn.
func joinSlowly(t *testing.T, g *Registry) (*ends, *slowConn) {
	t.Helper()
	e := open(t, true)
	slow := &slowConn{Conn: e.tunnel.Client, called: make(chan struct{}), goOn: make(chan struct{})}
	e.tunnel.Client = slow
	e.serve(t, context.Background(), g)
	synctest.Wait()
	return e, slow
}

func TestADrainCutsATunnelOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, false)
		write(t, e.client, []byte("in the middle of some"))
		expect(t, e.upstream, []byte("in the middle of some"))
		start := time.Now()
		if err := g.Drain(t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		e.checkEnded(t)
		expectEnd(t, e.client)
		expectEnd(t, e.upstream)
	})
}

func TestTheDeadlineCutsAPeerThatNeverFinishesItsFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		timeout time.Duration // of Drain's context; 0 is none
		want    time.Duration
	}{
		{"the deadline of the context", 3 * time.Second, 3 * time.Second},
		{"10 s without one", 0, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := Registry{Linger: time.Second}
				e := join(t, &g, true)
				write(t, e.upstream, fromUpstream[:5])
				expect(t, e.client, fromUpstream[:5])
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				start := time.Now()
				// At the deadline the tunnel's own end and Drain's race.
				if err := g.Drain(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Drain: %v", err)
				}
				<-e.done
				if took := time.Since(start); took != tt.want {
					t.Errorf("it ended after %v, want %v", took, tt.want)
				}
				expectEnd(t, e.client) // and no close frame inside the frame
			})
		})
	}
}

// A peer that drips bytes of one frame has no more time than a silent one,
// also when the other end is gone already.
func TestDrippingDoesNotMoveTheDeadline(t *testing.T) {
	t.Parallel()
	for name, half := range map[string]bool{"both ends there": false, "the client gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := Registry{Linger: time.Second}
				e := join(t, &g, true)
				if half {
					if err := e.client.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					expectEnd(t, e.upstream)
				}
				go func() { _, _ = io.Copy(io.Discard, e.client) }() // ends with the tunnel
				write(t, e.upstream, encode(true, opBinary, false, payload(60000))[:100])
				synctest.Wait()
				start := time.Now()
				drained := drain(context.Background(), &g)
				for e.open() {
					time.Sleep(900 * time.Millisecond)
					_, _ = e.upstream.Write([]byte("drip"))
				}
				if err := <-drained; err != nil {
					t.Errorf("Drain: %v", err)
				}
				if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
					t.Errorf("it ended after %v, want 10 s", took)
				}
			})
		})
	}
}

func (e *ends) open() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

func TestTheDeadlineCutsAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		go func() { _, _ = e.upstream.Write(encode(true, opBinary, false, payload(1<<20))) }() // ends with the tunnel
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		if err := g.Drain(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		<-e.done
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("it ended after %v, want the deadline's 4 s", took)
		}
	})
}

func TestADrainThatIsCancelledCutsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := Registry{Linger: time.Hour}
		polite, silent := join(t, &g, true), join(t, &g, true)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		drained := drain(ctx, &g)
		write(t, polite.client, clientCloses)
		write(t, polite.upstream, upstreamClose)
		<-polite.done
		silent.checkOpen(t)
		cancel()
		if err := <-drained; !errors.Is(err, context.Canceled) {
			t.Errorf("Drain: %v, want %v", err, context.Canceled)
		}
		synctest.Wait()
		silent.checkEnded(t)
	})
}

func TestATunnelThatComesDuringADrainIsToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		if err := g.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		e := join(t, &g, true)
		expect(t, e.client, toClient)
		expect(t, e.upstream, toUpstream)
		write(t, e.client, clientCloses)
		write(t, e.upstream, upstreamClose)
		synctest.Wait()
		e.checkEnded(t)

		other := join(t, &g, false)
		synctest.Wait()
		other.checkEnded(t)
	})
}

func TestADrainEndsAHalfOpenTunnel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		if err := e.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, e.upstream)
		drained := drain(t.Context(), &g)
		expect(t, e.client, toClient)
		write(t, e.upstream, upstreamClose)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		e.checkEnded(t)
	})
}

func TestTwoDrainsAreOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		e := join(t, &g, true)
		synctest.Wait()
		first, second := drain(t.Context(), &g), drain(t.Context(), &g)
		expect(t, e.client, toClient)
		write(t, e.client, clientCloses)
		write(t, e.upstream, upstreamClose)
		for _, drained := range []<-chan error{first, second} {
			if err := <-drained; err != nil {
				t.Errorf("Drain: %v", err)
			}
		}
		expectEnd(t, e.client)
	})
}
