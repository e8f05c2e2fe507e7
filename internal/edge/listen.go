package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listen opens a listener. key is what the operator would change.
func listen(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is taken by another program; stop that, or choose another port", key, address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: may not listen on %s; run as root, grant CAP_NET_BIND_SERVICE, or choose a port above 1023", key, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: %s is not an address of this machine; write one that is, or only the port", key, address)
	}
	return nil, fmt.Errorf("%s: listen on %s: %w", key, address, err)
}
