package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// network holds the loopback addresses that stand for addresses of guests.
// Nothing else is there, so that their ports can be the real ones.
var network = netip.MustParsePrefix("127.77.0.0/16")

// maxAddresses is how many addresses are tried: other demos have theirs.
const maxAddresses = 254

// listenAlone opens ports on an address of its own, and says which that is.
func listenAlone(ctx context.Context) (address string, listeners []net.Listener, err error) {
	ip := network.Addr()
	for range maxAddresses {
		ip = ip.Next()
		listeners, err = listen(ctx, ip, ports)
		if err == nil {
			return ip.String(), listeners, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("no sandbox can have an address of its own: a program that listens on all addresses may have one of its ports: %w", err)
}

// listenAnywhere opens a port of the system's choice for each of ports.
func listenAnywhere(ctx context.Context) ([]net.Listener, error) {
	return listen(ctx, netip.AddrFrom4([4]byte{127, 0, 0, 1}), make([]uint16, len(ports)))
}

func listen(ctx context.Context, ip netip.Addr, ports []uint16) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, port := range ports {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(ip, port).String())
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // nothing was accepted from it here
	}
}
