package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cmux.sh/edge/internal/sandbox"
)

const (
	// userTimeout ends an upstream connection whose peer acknowledges nothing:
	// a VM suspended from outside answers no packet, not even with a reset
	// (TCP_USER_TIMEOUT, tcp(7)).
	userTimeout = 10 * time.Second
	// keepAlivePeriod finds such a peer on connections that send nothing.
	keepAlivePeriod = 15 * time.Second
)

// generation names one life of an instance.
type generation struct {
	slug   string
	number uint64
}

// poolHost is the host under which the transport pools connections: no
// address, but the instance and its generation, so that an instance that came
// back never gets a connection of its former life.
func poolHost(x *Exchange) string {
	if x.static != nil {
		return x.static.pool
	}
	return x.Instance.Slug + ".g" + strconv.FormatUint(x.Instance.Generation, 10) + ":" + strconv.Itoa(int(x.upstreamPort()))
}

// dialer maps pool hosts to addresses and knows every connection it made.
type dialer struct {
	net  net.Dialer
	rule sandbox.AddressRule
	tls  *tls.Config

	mu   sync.Mutex
	open map[generation]map[*upstreamConn]struct{}
}

func newDialer(c Config) *dialer {
	d := &dialer{rule: c.Addresses, tls: c.UpstreamTLS, open: make(map[generation]map[*upstreamConn]struct{})}
	d.net = net.Dialer{
		Timeout:         c.DialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlivePeriod, Interval: keepAlivePeriod, Count: 3},
		ControlContext:  d.control,
	}
	return d
}

// control checks the address that is really dialled, after the name was looked
// up, and sets the socket's options.
func (d *dialer) control(ctx context.Context, _, address string, raw syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	upstream := exchangeOf(ctx).Upstream
	rule := d.rule
	// One that routes by authority is a provider's service below a name that
	// the operator trusts; it may lie on the internet.
	rule.Public = upstream.Authority != ""
	if err := rule.Check(addr, upstream.Named); err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, set)
}

// dial connects to the upstream of the request in ctx. The transport hands it
// the pool host, which is not an address.
func (d *dialer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	x := exchangeOf(ctx)
	raw, err := d.net.DialContext(ctx, network, located(x.Upstream.Address))
	if err != nil {
		return nil, &connectError{err}
	}
	c := &upstreamConn{dialer: d, generation: generation{x.Instance.Slug, x.Instance.Generation}, halfCloser: raw.(*net.TCPConn)}
	if x.Upstream.TLS {
		encrypted, err := d.handshake(ctx, raw, x.Upstream.Authority)
		if err != nil {
			return nil, &connectError{errors.Join(err, raw.Close())}
		}
		c.halfCloser = encrypted
	}
	d.register(c)
	return c, nil
}

// located is the address to dial. Names below .localhost are this machine's
// (RFC 6761 section 6.3), which plain DNS does not know.
func located(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// connectError is a connection that did not come about; nothing of the request
// was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// handshake verifies the upstream for its real name: the transport only knows
// the pool host.
func (d *dialer) handshake(ctx context.Context, raw net.Conn, authority string) (*tls.Conn, error) {
	config := d.tls.Clone()
	config.ServerName = authority
	if name, _, err := net.SplitHostPort(authority); err == nil {
		config.ServerName = name
	}
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	conn := tls.Client(raw, config)
	return conn, conn.HandshakeContext(ctx)
}

func (d *dialer) register(c *upstreamConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[c.generation] == nil {
		d.open[c.generation] = make(map[*upstreamConn]struct{})
	}
	d.open[c.generation][c] = struct{}{}
}

func (d *dialer) unregister(c *upstreamConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open[c.generation], c)
	if len(d.open[c.generation]) == 0 {
		delete(d.open, c.generation)
	}
}

// closeGeneration closes the connections of one life of an instance, except
// those that became tunnels.
func (d *dialer) closeGeneration(g generation) {
	d.mu.Lock()
	conns := make([]*upstreamConn, 0, len(d.open[g]))
	for c := range d.open[g] {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// halfCloser is what *net.TCPConn and *tls.Conn have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// upstreamConn is a connection to a sandbox as the transport sees it: it tells
// whether anything was sent on it, and leaves failures to its reading side.
type upstreamConn struct {
	halfCloser
	dialer     *dialer
	generation generation
	writes     atomic.Uint64
	closeOnce  sync.Once
}

// Write fails only on a connection that is closed on this side. A sandbox that
// refuses an upload answers early and closes; the transport would give the
// answer up for the failed write that follows. The reading side finds that
// answer, or the same failure, and then closes.
//
// An attempt is counted before it is made and only taken back when the kernel
// took nothing; a TLS record may have gone out in part.
func (c *upstreamConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	n, err := c.halfCloser.Write(p)
	if _, plain := c.halfCloser.(*net.TCPConn); err != nil && n == 0 && plain {
		c.writes.Add(^uint64(0))
	}
	if errors.Is(err, net.ErrClosed) {
		return n, err
	}
	return len(p), nil
}

// detach hands the bare connection to a tunnel: it reports failed writes, and
// closeGeneration leaves it alone.
func (c *upstreamConn) detach() halfCloser {
	c.closeOnce.Do(func() { c.dialer.unregister(c) })
	return c.halfCloser
}

// Close unregisters the connection too.
func (c *upstreamConn) Close() error {
	c.closeOnce.Do(func() { c.dialer.unregister(c) })
	return c.halfCloser.Close()
}

// exchangeKey is the context key of an [Exchange]. Only the dialer needs it:
// the transport between forwarder and dialer passes nothing else through.
type exchangeKey struct{}

func withExchange(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *Exchange {
	return ctx.Value(exchangeKey{}).(*Exchange)
}
