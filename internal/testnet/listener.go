package testnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Addr is an address in memory: any name.
type Addr string

// Network is "memory".
func (Addr) Network() string { return "memory" }

// String is the name.
func (a Addr) String() string { return string(a) }

// backlog is how many connections wait for Accept before a dial blocks.
const backlog = 128

// Listener accepts the connections that its Dial makes.
type Listener struct {
	addr   Addr
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
	dialed atomic.Int64
}

// Listen makes a listener with an address of that name.
func Listen(name string) *Listener {
	return &Listener{addr: Addr(name), accept: make(chan net.Conn, backlog), closed: make(chan struct{})}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // before the backlog, as a closed socket
	default:
		select {
		case c := <-l.accept:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

// Close ends Accept and Dial, and drops what nobody accepted.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for {
			select {
			case c := <-l.accept:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr is the listener's address.
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects to the listener.
func (l *Listener) Dial(ctx context.Context) (*Conn, error) {
	from := Addr(fmt.Sprintf("%s-client-%d", l.addr, l.dialed.Add(1)))
	client, server := pipe(from, l.addr)
	err := error(syscall.ECONNREFUSED)
	select {
	case <-l.closed:
	case <-ctx.Done():
		err = ctx.Err()
	default:
		select {
		case l.accept <- server:
			select {
			case <-l.closed: // Close may have emptied the backlog before
				_ = server.Close()
			default:
			}
			return client, nil
		case <-l.closed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return nil, &net.OpError{Op: "dial", Net: l.addr.Network(), Source: from, Addr: l.addr, Err: err}
}

// DialContext is Dial for the field of that name in http.Transport; it does
// not look at the address.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := l.Dial(ctx)
	if err != nil {
		return nil, err // not a *Conn that is nil in an interface
	}
	return c, nil
}
