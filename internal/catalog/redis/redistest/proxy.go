package redistest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a bad network in front of a server. It begins as a good one.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	conns   map[net.Conn]bool // whether it is frozen
	latency time.Duration
	cut     bool
	stuck   bool
	closed  bool
}

// NewProxy starts a proxy in front of an address.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, conns: make(map[net.Conn]bool)}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(func() { p.closed = true })
		p.drop()
		p.running.Wait()
	})
	return p
}

// URL is the proxy for redis.Parse.
func (p *Proxy) URL() string { return "redis://" + p.Addr }

// Latency makes everything late by d, in both directions.
func (p *Proxy) Latency(d time.Duration) { p.set(func() { p.latency = d }) }

// Cut breaks every connection, and new ones as soon as they are made.
func (p *Proxy) Cut() {
	p.set(func() { p.cut = true })
	p.drop()
}

// HalfOpen lets every connection stand, accepts new ones, and delivers nothing.
func (p *Proxy) HalfOpen() { p.set(func() { p.stuck = true }) }

// Freeze lets the connections that there are stand and never delivers anything
// over them again. New ones are good.
func (p *Proxy) Freeze() {
	p.set(func() {
		for c := range p.conns {
			p.conns[c] = true
		}
	})
}

// Heal makes the network a good one again.
func (p *Proxy) Heal() { p.set(func() { p.cut, p.stuck, p.latency = false, false, 0 }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		p.conns[c] = false // whoever waits finds it closed
	}
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil || !p.keep(client, server) {
			client.Close()
			if err == nil {
				server.Close()
			}
			continue
		}
		p.running.Go(func() { p.carry(server, client) })
		p.running.Go(func() { p.carry(client, server) })
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		return false
	}
	for _, c := range conns {
		p.conns[c] = false
	}
	return true
}

// carry copies one direction, and ends both with it.
func (p *Proxy) carry(to, from net.Conn) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.wait(from)
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait is the way from one end to the other.
func (p *Proxy) wait(from net.Conn) {
	p.mu.Lock()
	latency := p.latency
	p.mu.Unlock()
	if latency > 0 {
		<-time.After(latency)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.stuck || p.conns[from]) && !p.closed {
		p.changed.Wait()
	}
}
