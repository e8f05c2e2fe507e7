package testnet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"cmux.sh/edge/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnKeepsTheRulesOfNetConn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make nettest.MakePipe
	}{
		{"a pipe", func() (c1, c2 net.Conn, stop func(), err error) {
			a, b := testnet.Pipe()
			return a, b, func() { _, _ = a.Close(), b.Close() }, nil
		}},
		{"through a listener", func() (c1, c2 net.Conn, stop func(), err error) {
			l := testnet.Listen("server")
			if c1, err = l.DialContext(context.Background(), "", ""); err != nil {
				return nil, nil, nil, err
			}
			c2, err = l.Accept()
			return c1, c2, func() { _, _, _ = c1.Close(), c2.Close(), l.Close() }, err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, tt.make)
		})
	}
}

func TestCloseWriteLeavesTheOtherDirection(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	write(t, a, "before")
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b); got != "before" {
		t.Errorf("the other end read %q, want what was written before", got)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write behind CloseWrite: %v, want %v", err, net.ErrClosed)
	}
	write(t, b, "answer")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, a); got != "answer" {
		t.Errorf("read %q after CloseWrite, want the answer", got)
	}
}

func TestCloseLeavesWhatWasWritten(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	write(t, a, "last words")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b); got != "last words" {
		t.Errorf("read %q, want the last words", got)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write to a closed end: %v, want %v", err, syscall.EPIPE)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed end: %v, want %v", err, net.ErrClosed)
	}
}

func TestWritesAreBufferedUpToALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		if err := a.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		n, err := a.Write(big)
		if n == 0 || n >= len(big) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d of %d with nobody reading: %v, want a part and the deadline", n, len(big), err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("the deadline came after %v, want the bubble's hour", took)
		}
		if err := a.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() { // ends when b has read everything
			_, _ = a.Write(big[n:])
			_ = a.CloseWrite()
		}()
		if got := readAll(t, b); got != string(big) {
			t.Errorf("read %d bytes, want the %d written ones unchanged", len(got), len(big))
		}
	})
}

func TestHTTPWorksInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testnet.Listen("server")
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(time.Minute):
			case <-r.Context().Done():
			}
			_, _ = fmt.Fprint(w, "hello from ", r.Host)
		})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		transport := &http.Transport{DialContext: l.DialContext}
		client := &http.Client{Transport: transport}

		resp, err := client.Get("http://demo.test/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "hello from demo.test" {
			t.Errorf("body %q, %v", body, err)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestAClosedListenerRefuses(t *testing.T) {
	t.Parallel()
	l := testnet.Listen("server")
	waiting, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // closing twice is no mistake
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want %v", err, net.ErrClosed)
	}
	if _, err := l.DialContext(t.Context(), "", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial: %v, want %v", err, syscall.ECONNREFUSED)
	}
	if got := readAll(t, waiting); got != "" {
		t.Errorf("a connection that nobody accepted read %q, want its end", got)
	}
}

func TestDialHonoursItsContext(t *testing.T) {
	t.Parallel()
	l := testnet.Listen("server")
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestAddressesAreThoseOfTheListener(t *testing.T) {
	t.Parallel()
	l := testnet.Listen("server")
	defer l.Close()
	client, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if client.RemoteAddr() != l.Addr() || server.LocalAddr() != l.Addr() || client.LocalAddr() != server.RemoteAddr() {
		t.Errorf("client %v to %v, server %v to %v, listener %v",
			client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr(), l.Addr())
	}
	_, err = server.Read(nil)
	if err != nil {
		t.Errorf("a read of nothing: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "server") {
		t.Errorf("error %v does not name its address", err)
	}
}

func pair(t *testing.T) (a, b *testnet.Conn) {
	t.Helper()
	a, b = testnet.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
