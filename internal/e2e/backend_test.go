package e2e_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// serve runs a server written in Go on a port of the sandbox until the test
// ends, and returns the port.
func serve(t *testing.T, handler http.Handler) int {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listen(t, 0)
	server.Start()
	t.Cleanup(server.Close)
	return portOf(server.Listener)
}

// serveRaw answers every connection to a port of the sandbox by answer, which
// finds the request's header read, and then closes it. It returns the port.
func serveRaw(t *testing.T, answer func(net.Conn)) int {
	t.Helper()
	l := listen(t, 0)
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			readHeader(conn)
			answer(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return portOf(l)
}

// readHeader reads up to the empty line, and not a byte further.
func readHeader(r io.Reader) {
	var last [4]byte
	for string(last[:]) != "\r\n\r\n" {
		copy(last[:], last[1:])
		if _, err := io.ReadFull(r, last[3:]); err != nil {
			return
		}
	}
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// noise is a stream of n bytes that nothing can compress or guess, and their
// checksum once they are read.
type noise struct {
	left  int64
	block []byte
	sum   hash.Hash
}

func newNoise(n int64) *noise {
	// An odd size, so that no buffer's end falls on a block's.
	block := make([]byte, 1<<20+7)
	_, _ = rand.Read(block) // never fails
	return &noise{left: n, block: block, sum: sha256.New()}
}

// Read implements io.Reader.
func (s *noise) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	at := s.left % int64(len(s.block))
	n := copy(p[:min(int64(len(p)), s.left)], s.block[at:])
	s.left -= int64(n)
	s.sum.Write(p[:n])
	return n, nil
}

// checksum is that of all that was read.
func (s *noise) checksum() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// checksumOf reads r to its end.
func checksumOf(r io.Reader) (n int64, sum string, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// receive is the next value of c, for which it waits as long as patience allows.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("not reached")
	}
}

// within runs do, and fails the test when it takes longer than patience: what
// waits for bytes that never come can't be told otherwise from what is slow.
func within(t *testing.T, what string, do func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }() // ends with do, whose connections the test closes
	if err := receive(t, done, what); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// readAnswer reads a whole answer as text.
func readAnswer(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, body)
	}
	return string(body), nil
}
