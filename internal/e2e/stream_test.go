package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const transferSize = 200 << 20

func TestTransfersOf200MBArriveWhole(t *testing.T) {
	t.Parallel()
	down := newNoise(transferSize)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Checksum")
		_, _ = io.Copy(w, down)
		w.Header().Set("X-Checksum", down.checksum())
	})
	mux.HandleFunc("PUT /up", func(w http.ResponseWriter, r *http.Request) {
		n, sum, err := checksumOf(r.Body)
		fmt.Fprint(w, n, " ", sum, " ", r.ContentLength, " ", err)
	})
	port := serve(t, mux)
	e := startEdge(t)
	client := e.client(t)

	t.Run("down", func(t *testing.T) {
		resp, err := client.Get(e.url(port, plainDomain) + "/down")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, sum, err := checksumOf(resp.Body)
		if err != nil || n != transferSize {
			t.Fatalf("got %d bytes and error %v, want %d bytes", n, err, transferSize)
		}
		if want := resp.Trailer.Get("X-Checksum"); sum != want {
			t.Errorf("got bytes with checksum %s, the sandbox sent %q", sum, want)
		}
	})
	for name, length := range map[string]int64{"up": transferSize, "up in chunks": -1} {
		t.Run(name, func(t *testing.T) {
			up := newNoise(transferSize)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, e.url(port, plainDomain)+"/up", up)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			got, err := readAnswer(client.Do(req))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(transferSize, " ", up.checksum(), " ", length, " ", nil); got != want {
				t.Errorf("the sandbox got %q, want %q", got, want)
			}
		})
	}
}

// Each event is sent only after the client has got the one before. Whoever held
// one back on the way would wait for ever.
func TestServerSentEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; ; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	e := startEdge(t)

	resp, err := e.client(t).Get(e.url(port, plainDomain))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, want := resp.Header.Get("Content-Type"), "text/event-stream"; got != want {
		t.Errorf("got Content-Type %q, want %q", got, want)
	}
	events := bufio.NewReader(resp.Body)
	for n := range 100 {
		within(t, fmt.Sprintf("event %d", n), func() error {
			line, err := events.ReadString('\n')
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("data: %d\n", n); line != want {
				return fmt.Errorf("got %q, want %q", line, want)
			}
			_, err = events.ReadString('\n')
			return err
		})
		next <- struct{}{}
	}
}

// The client sends each piece of its body after it has read the answer to the
// one before: both bodies are under way at once.
func TestChunksStreamInBothDirectionsAtOnce(t *testing.T) {
	t.Parallel()
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(w, strings.ToUpper(line))
			_ = http.NewResponseController(w).Flush()
		}
	}))
	e := startEdge(t)

	body, pieces := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url(port, plainDomain), body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := e.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	for n := range 20 {
		within(t, fmt.Sprintf("piece %d", n), func() error {
			if _, err := fmt.Fprintf(pieces, "piece %d\n", n); err != nil {
				return err
			}
			line, err := answers.ReadString('\n')
			if want := fmt.Sprintf("PIECE %d\n", n); err == nil && line != want {
				return fmt.Errorf("got %q, want %q", line, want)
			}
			return err
		})
	}
	pieces.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("after the last piece: got %q and error %v, want the end", rest, err)
	}
}

// A sandbox may refuse an upload after a look at its header, and the client
// must learn that although it still sends.
func TestARefusedUploadIsAnsweredBeforeItsEnd(t *testing.T) {
	t.Parallel()
	const refusal = "no more than a gigabyte, please"
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, refusal, http.StatusRequestEntityTooLarge)
	}))
	e := startEdge(t)

	conn, err := e.dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", e.host(port), int64(1)<<40)
	stopped := make(chan struct{})
	go func() { // ends with the connection
		defer close(stopped)
		for piece := make([]byte, 32<<10); ; {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	}()
	within(t, "the refusal", func() error {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || strings.TrimSpace(string(body)) != refusal {
			return fmt.Errorf("got %s %q, want status 413 and %q", resp.Status, body, refusal)
		}
		return err
	})
	conn.Close()
	<-stopped
}

// A client must never take half an answer for a whole one.
func TestATruncatedAnswerIsNoWholeOne(t *testing.T) {
	t.Parallel()
	e := startEdge(t)
	for name, answer := range map[string]string{
		"by its length": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
		"in a chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nhalf",
		"after a chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			port := serveRaw(t, func(conn net.Conn) { _, _ = io.WriteString(conn, answer) })
			resp, err := e.client(t).Get(e.url(port, plainDomain))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %q and error %v, want %q and %v", body, err, "half", io.ErrUnexpectedEOF)
			}
		})
	}
}

// The sandbox learns that nobody waits for its answer any more.
func TestAClientThatLeavesCancelsItsRequest(t *testing.T) {
	t.Parallel()
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	port := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(cancelled)
	}))
	e := startEdge(t)

	ctx, leave := context.WithTimeout(t.Context(), patience)
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url(port, plainDomain), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := e.client(t)
	left := make(chan error, 1)
	go func() { // ends when the client leaves
		_, err := readAnswer(client.Do(req))
		left <- err
	}()
	receive(t, arrived, "the request's arrival")
	leave()
	receive(t, cancelled, "the end of the request in the sandbox")
	if err := receive(t, left, "the client's end"); !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v, want %v", err, context.Canceled)
	}
}

// A drain lets a request finish that is under way.
func TestARequestUnderWayOutlivesSIGTERM(t *testing.T) {
	t.Parallel()
	arrived, finish := make(chan struct{}), make(chan struct{})
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		fmt.Fprint(w, "done")
	}))
	e := startEdge(t)
	client := e.client(t)

	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the answer
		text, err := readAnswer(client.Get(e.url(port, plainDomain)))
		answers <- answer{text, err}
	}()
	receive(t, arrived, "the request's arrival")
	e.terminate(t)
	e.awaitOutput(t, `"msg":"draining"`)
	close(finish)
	if got := receive(t, answers, "the answer"); got.err != nil || got.text != "done" {
		t.Errorf("got %q and error %v, want %q", got.text, got.err, "done")
	}
	e.awaitEnd(t)
	if conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", e.port), time.Second); err == nil {
		conn.Close()
		t.Error("something still listens")
	}
}
