package testnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how much a direction holds before a write blocks.
const bufferSize = 64 << 10

// Conn is one end of a buffered connection in memory.
type Conn struct {
	in, out       *half
	local, remote net.Addr
}

// Pipe makes a connection and returns its two ends.
func Pipe() (a, b *Conn) { return pipe(Addr("pipe-a"), Addr("pipe-b")) }

func pipe(a, b net.Addr) (*Conn, *Conn) {
	there, back := newHalf(), newHalf()
	return &Conn{in: back, out: there, local: a, remote: b}, &Conn{in: there, out: back, local: b, remote: a}
}

// Read reads what the other end wrote. It returns io.EOF behind the last byte
// of a closed direction.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write blocks while the buffer is full. It fails when either end has closed.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// CloseWrite ends the sending half: the other end reads to the end of what was
// written and can go on writing.
func (c *Conn) CloseWrite() error {
	c.out.closeWrite()
	return nil
}

// Close ends both halves. The other end can still read what was written.
func (c *Conn) Close() error {
	c.in.closeRead()
	c.out.closeWrite()
	return nil
}

// LocalAddr is this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds present and future reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.in.setDeadline(&c.in.reading, t))
}

// SetWriteDeadline bounds present and future writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.out.setDeadline(&c.out.writing, t))
}

// wrap makes err what package net returns. io.EOF stays bare.
func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // made here, never wrapped
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// half is one direction of a connection.
type half struct {
	mu      sync.Mutex
	changed sync.Cond // of anything below
	bytes   []byte
	reading side
	writing side
}

// side is one end of a direction.
type side struct {
	closed  bool // no call of this end succeeds any more
	expired bool // its deadline has passed
	timer   *time.Timer
}

func newHalf() *half {
	h := new(half)
	h.changed.L = &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reading.closed:
			return 0, net.ErrClosed
		case h.reading.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.bytes) > 0:
			n := copy(p, h.bytes)
			h.bytes = append(h.bytes[:0], h.bytes[n:]...)
			h.changed.Broadcast()
			return n, nil
		case h.writing.closed:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writing.closed:
			return n, net.ErrClosed
		case h.writing.expired:
			return n, os.ErrDeadlineExceeded
		case h.reading.closed:
			return n, syscall.EPIPE
		case len(p) == 0:
			return n, nil
		}
		if free := bufferSize - len(h.bytes); free > 0 {
			taken := min(free, len(p))
			h.bytes = append(h.bytes, p[:taken]...)
			p, n = p[taken:], n+taken
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// closeWrite ends the direction from its sending end.
func (h *half) closeWrite() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing.end()
	h.changed.Broadcast()
}

// closeRead ends the direction from its receiving end: what nobody will read
// is dropped, and the next write fails.
func (h *half) closeRead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading.end()
	h.bytes = nil
	h.changed.Broadcast()
}

func (h *half) setDeadline(s *side, t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.stop()
	s.expired = false
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		s.expired = true
	default:
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if s.timer == timer {
				s.expired = true
				h.changed.Broadcast()
			}
		})
		s.timer = timer
	}
	h.changed.Broadcast()
	return nil
}

func (s *side) end() {
	s.closed = true
	s.stop()
}

// stop takes the timer away; one that fires all the same finds itself replaced.
func (s *side) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
