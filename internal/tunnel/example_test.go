package tunnel_test

import (
	"context"
	"fmt"
	"io"

	"cmux.sh/edge/internal/testnet"
	"cmux.sh/edge/internal/tunnel"
)

func ExampleRegistry_Serve() {
	browser, client := testnet.Pipe() // what a handler hijacked
	upstream, sandbox := testnet.Pipe()

	var tunnels tunnel.Registry
	served := make(chan struct{})
	go func() {
		defer close(served)
		tunnels.Serve(context.Background(), &tunnel.Tunnel{Client: client, Upstream: upstream})
	}()

	_, _ = io.WriteString(browser, "hello")
	_ = browser.CloseWrite()
	request, _ := io.ReadAll(sandbox)
	_, _ = io.WriteString(sandbox, "welcome")
	_ = sandbox.Close()
	answer, _ := io.ReadAll(browser)
	<-served
	fmt.Printf("%s, %s\n", request, answer)
	// Output: hello, welcome
}
