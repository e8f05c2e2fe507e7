package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/edge"
)

// domain lies below .localhost, which browsers hold for this machine and for
// secure (W3C Secure Contexts, section 3.1).
const domain = "cmux.localhost"

// names are the sandboxes; ports are those on which each of them answers.
var (
	names = []string{"demo", "other"}
	ports = []uint16{39378, 3000}
)

// Options are what a visitor can choose.
type Options struct {
	// Listen and Admin are the edge's addresses, as host:port.
	Listen, Admin string
	// Out gets the links, Log the edge's warnings.
	Out, Log io.Writer
}

// Run shows the demo until ctx ends.
func Run(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	children := make([]*child, len(names))
	defer func() {
		for _, c := range children {
			if c != nil {
				c.stop()
			}
		}
	}()
	for i, name := range names {
		var err error
		if children[i], err = startChild(name, o.Log); err != nil {
			return fmt.Errorf("start the sandbox %s: %w", name, err)
		}
	}

	c := config.Default()
	c.Domains = []string{domain}
	c.Listen.HTTP, c.Listen.Admin = o.Listen, o.Admin
	c.Providers.Static = &config.Static{Instances: instances(children)}
	e, err := edge.New(ctx, &c, slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	printLinks(o.Out, e.Addr(), e.AdminAddr())

	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		defer stop()
		return e.Run(ctx)
	})
	for _, c := range children {
		running.Go(func() error {
			select {
			case <-c.ended:
				return fmt.Errorf("the sandbox %s ended: %w", c.name, errors.Join(errEnded, c.err))
			case <-ctx.Done():
				return nil
			}
		})
	}
	return running.Wait()
}

var errEnded = errors.New("nobody asked it to")

func instances(children []*child) []config.StaticInstance {
	list := make([]config.StaticInstance, len(children))
	for i, c := range children {
		list[i] = config.StaticInstance{Slug: c.name, Ports: make(map[uint16]string, len(ports))}
		for _, port := range ports {
			list[i].Ports[port] = c.address
		}
	}
	return list
}

func printLinks(out io.Writer, public, admin net.Addr) {
	port := public.(*net.TCPAddr).Port
	fmt.Fprintf(out, "The edge is running. Open one of these in a browser:\n\n")
	for _, name := range names {
		for _, p := range ports {
			fmt.Fprintf(out, "  http://port-%d-%s.%s:%d/\n", p, name, domain, port)
		}
	}
	if admin != nil {
		fmt.Fprintf(out, "\nMetrics are at http://%s/metrics.", admin)
	}
	fmt.Fprintf(out, " Ctrl-C ends everything.\n")
}
