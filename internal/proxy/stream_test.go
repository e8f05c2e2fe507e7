package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestForwarderDripsBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 6\n", "Transfer-Encoding: chunked\n"} {
		t.Run(strings.TrimSpace(framing), func(t *testing.T) {
			t.Parallel()
			chunked := strings.HasPrefix(framing, "T")
			piece := func(s string) string {
				if chunked {
					return fmt.Sprintf("%x\n%s\n", len(s), s)
				}
				return s
			}
			wait := func(w *wire, s string) {
				if got := w.bytes(len(crlf(piece(s)))); got != crlf(piece(s)) {
					t.Errorf("got %q, want %q", got, piece(s))
				}
			}
			// Each side sends its next piece only when it has the other's: the
			// exchange ends only if nothing waits in between.
			e := newEdge(t, serveRaw(t, func(w *wire) {
				if w.head() == "" {
					return
				}
				w.send("HTTP/1.1 200 OK\n" + framing + "\n")
				for _, s := range []string{"ab", "cd", "ef"} {
					wait(w, s)
					w.send(piece(s))
				}
				if chunked {
					w.bytes(len("0\r\n\r\n"))
					w.send("0\n\n")
				}
				w.head() // the connection is kept
			}))
			client := e.dial(t)
			client.send("POST / HTTP/1.1\nHost: " + testHost + "\n" + framing + "\n")
			if head := client.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatalf("got %q", head)
			}
			for _, s := range []string{"ab", "cd", "ef"} {
				client.send(piece(s))
				wait(client, s)
			}
			if chunked {
				client.send("0\n\n")
				client.bytes(len("0\r\n\r\n"))
			}
		})
	}
}

func TestForwarderOpensAStreamBeforeItsFirstEvent(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for range 3 {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	client := e.dial(t)
	client.send("GET / HTTP/1.1\nHost: " + testHost + "\n\n")
	resp := client.response(http.MethodGet)
	defer resp.Body.Close()
	for range 3 {
		next <- struct{}{}
		event := make([]byte, len("data: x\n\n"))
		if _, err := io.ReadFull(resp.Body, event); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForwarderAsksForABodyOnlyWhenTheSandboxDoes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		switch head := w.head(); {
		case strings.HasPrefix(head, "PUT /yes"):
			w.send("HTTP/1.1 100 Continue\n\n")
			w.send("HTTP/1.1 200 OK\nContent-Length: 5\n\n" + w.bytes(5))
		case head != "":
			w.send("HTTP/1.1 417 Expectation Failed\nContent-Length: 0\nConnection: close\n\n")
		}
	}))
	client := e.dial(t)
	client.send("PUT /yes HTTP/1.1\nHost: " + testHost + "\nExpect: 100-continue\nContent-Length: 5\n\n")
	if got, want := client.head(), "HTTP/1.1 100 Continue\n\n"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	client.send("12345")
	resp := client.response(http.MethodPut)
	if body, _ := io.ReadAll(resp.Body); string(body) != "12345" {
		t.Errorf("got %q", body)
	}

	client = e.dial(t)
	client.send("PUT /no HTTP/1.1\nHost: " + testHost + "\nExpect: 100-continue\nContent-Length: 5\n\n")
	if head := client.head(); !strings.HasPrefix(head, "HTTP/1.1 417") {
		t.Errorf("got %q, want the refusal and no 100 before it", head)
	}
}

// A refusal without a body leaves the sandbox's connection usable, for which the
// transport would send the refused body after all.
func TestForwarderNeverAsksForARefusedBody(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"417 Expectation Failed", "401 Unauthorized", "302 Found", "200 OK"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				if w.head() != "" {
					w.send("HTTP/1.1 " + status + "\nContent-Length: 0\n\n")
					w.head()
				}
			}))
			client := e.dial(t)
			client.send("POST / HTTP/1.1\nHost: " + testHost + "\nExpect: 100-continue\nContent-Length: 5\n\n")
			if head := client.head(); !strings.HasPrefix(head, "HTTP/1.1 "+status) {
				t.Errorf("got %q", head)
			}
		})
	}
}

func TestForwarderPassesAnEarlyRefusalOfAnUploadOn(t *testing.T) {
	t.Parallel()
	for range 20 { // the answer races with the failing writes
		e := newEdge(t, serveRaw(t, func(w *wire) {
			if w.head() == "" {
				return
			}
			w.bytes(1000)
			w.send("HTTP/1.1 413 Content Too Large\nContent-Length: 9\nConnection: close\n\ntoo large")
			// Closing with bytes unread resets the connection.
		}))
		client := e.dial(t)
		client.send("POST / HTTP/1.1\nHost: " + testHost + "\nContent-Length: 104857600\n\n")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			chunk := make([]byte, 64<<10)
			for { // until the edge closes
				if _, err := client.Write(chunk); err != nil {
					return
				}
			}
		}()
		resp := client.response(http.MethodPost)
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || string(body) != "too large" || err != nil {
			t.Fatalf("got %d %q, %v", resp.StatusCode, body, err)
		}
		client.Close()
		<-sent
	}
}

func TestForwarderEndsARefusedUploadThatStalls(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		if w.head() != "" {
			w.send("HTTP/1.1 413 Content Too Large\nContent-Length: 0\nConnection: close\n\n")
		}
	}))
	client := e.dial(t)
	client.send("POST / HTTP/1.1\nHost: " + testHost + "\nContent-Length: 100000\n\nx")
	if head := client.head(); !strings.HasPrefix(head, "HTTP/1.1 413") || !strings.Contains(head, "\nConnection: close\n") {
		t.Fatalf("got %q", head)
	}
	eventually(t, "the request ends although its body does not", func() bool {
		return e.metric(t, "edge_http_requests_in_flight") == 0
	})
	if _, err := client.rest(); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection did not end: %v", err)
	}
}

func TestForwarderTruncatesWhatTheSandboxTruncates(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"Length": "HTTP/1.1 200 OK\nContent-Length: 10\n\n12345",
		"Chunks": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\n12345\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				if w.head() != "" {
					w.send(answer)
				}
			}))
			client := e.dial(t)
			client.send("GET / HTTP/1.1\nHost: " + testHost + "\n\n")
			body, err := io.ReadAll(client.response(http.MethodGet).Body)
			if string(body) != "12345" || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %q and %v, want 12345 and a truncation", body, err)
			}
			if !strings.Contains(e.log.String(), "answer broken off") {
				t.Errorf("not logged:\n%s", e.log)
			}
		})
	}
}

func TestForwarderTellsTheSandboxThatTheClientLeft(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	arrived := make(chan struct{})
	e := newEdge(t, serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	}))
	client := e.dial(t)
	client.send("GET / HTTP/1.1\nHost: " + testHost + "\n\n")
	<-arrived
	client.Close()
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("the request went on")
	}
	eventually(t, "the request is counted as 499", func() bool {
		return e.metric(t, "edge_http_requests_total", "code", "499") == 1
	})
}

func TestForwarderTellsTheSandboxThatTheUploadBrokeOff(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	e := newEdge(t, serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		got <- err
	}))
	client := e.dial(t)
	client.send("POST / HTTP/1.1\nHost: " + testHost + "\nContent-Length: 10\n\n12345")
	_ = client.Conn.(*net.TCPConn).CloseWrite()
	if err := <-got; err == nil {
		t.Error("the sandbox saw a whole body")
	}
}

func TestForwarderSpeaksHTTP2ToClients(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, r.Trailer.Get("X-Up"))
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
	}))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", e.addr)
	}, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nil, tls.AlertError(0) }}
	defer transport.CloseIdleConnections()
	payload := make([]byte, 3<<20)
	_, _ = rand.Read(payload)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+testHost+"/a%2Fb", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Up": nil}
	go func() {
		_, _ = w.Write(payload)
		req.Trailer.Set("X-Up", "done")
		_ = w.Close()
	}()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := fmt.Sprintf("%x", sha256.Sum256(payload)); err != nil || resp.ProtoMajor != 2 || string(body) != "done" || resp.Trailer.Get("X-Sum") != want {
		t.Errorf("got %s %q, trailer %v, %v", resp.Proto, body, resp.Trailer, err)
	}
}

func TestHandlerClosesAfterHTTP10(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	client := e.dial(t)
	client.send("POST / HTTP/1.0\nHost: " + testHost + "\nConnection: keep-alive\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n" +
		"GET /smuggled HTTP/1.1\nHost: " + testHost + "\n\n")
	client.head()
	if rest, _ := client.rest(); rest != "" {
		t.Errorf("the connection goes on with %q", rest)
	}
	if got := e.metric(t, "edge_http_requests_total"); got != 1 {
		t.Errorf("%v requests were answered, want 1", got)
	}
}

func TestHandlerClosesAfterChunks(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	client := e.dial(t)
	// Whoever believes the length takes the second request for the body.
	client.send("POST / HTTP/1.1\nHost: " + testHost + "\nContent-Length: 80\nTransfer-Encoding: chunked\n\n0\n\n" +
		"GET /smuggled HTTP/1.1\nHost: " + testHost + "\n\n")
	if head := client.head(); !strings.HasPrefix(head, "HTTP/1.1 200") || !strings.Contains(head, "\nConnection: close\n") {
		t.Errorf("got %q", head)
	}
	if rest, err := client.rest(); rest != "" || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection goes on with %q, %v", rest, err)
	}
	if got := e.metric(t, "edge_http_requests_total"); got != 1 {
		t.Errorf("%v requests were answered, want 1", got)
	}
}
