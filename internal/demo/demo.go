package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/edge"
)

// domain lies below .localhost, which browsers hold for this machine and for
// secure (W3C Secure Contexts, section 3.1).
const domain = "cmux.localhost"

// ports are those on which each sandbox answers.
var ports = []uint16{39378, 3000}

// Providers are the values of [Options].Provider.
var Providers = []string{"static", "pve", "morph"}

// Options are what a visitor can choose.
type Options struct {
	// Provider says where the sandboxes come from; it is one of [Providers].
	Provider string
	// Listen and Admin are the edge's addresses, as host:port.
	Listen, Admin string
	// Program is how the visitor calls this program, for commands to copy.
	Program string
	// Out gets the links, Log the edge's warnings.
	Out, Log io.Writer
}

// source is where the sandboxes of a demo come from.
type source struct {
	// configure points an edge at it.
	configure func(*config.Config)
	// slugs are the sandboxes. The edge is asked for those of start first, the
	// others are there.
	slugs []string
	start []adminapi.StartRequest
	// try are commands for a visitor, and what they show.
	try [][2]string
	// broken delivers the end of a sandbox that nobody asked for; nil never does.
	broken <-chan error
	// close ends everything, the sandboxes as well.
	close func()
}

// open makes the source of a provider.
func open(ctx context.Context, provider string, log io.Writer) (*source, error) {
	switch provider {
	case "static":
		return openStatic(ctx, log)
	case "pve":
		return openPVE(log) //nolint:contextcheck // a simulator ends when it is closed
	case "morph":
		return openMorph(log) //nolint:contextcheck // the same
	}
	return nil, fmt.Errorf("the demo has no provider %q", provider)
}

// Run shows the demo until ctx ends.
func Run(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := open(ctx, o.Provider, o.Log)
	if err != nil {
		return err
	}
	defer s.close()

	c := config.Default()
	c.Domains = []string{domain}
	c.Listen.HTTP, c.Listen.Admin = o.Listen, o.Admin
	s.configure(&c)
	e, err := edge.New(ctx, &c, slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		defer stop()
		return e.Run(ctx)
	})
	running.Go(func() error {
		if err := startSandboxes(ctx, e.AdminAddr(), s.start); err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() == nil {
			printLinks(o, s, e.Addr(), e.AdminAddr())
		}
		return nil
	})
	running.Go(func() error {
		select {
		case err := <-s.broken:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return running.Wait()
}

// startSandboxes asks an edge for sandboxes as its users do.
func startSandboxes(ctx context.Context, admin net.Addr, wanted []adminapi.StartRequest) error {
	if len(wanted) == 0 {
		return nil
	}
	// It has no token, and whoever can reach it can start processes here.
	if tcp, ok := admin.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return errors.New("sandboxes are started through the admin port, which has no token: give --admin a loopback address")
	}
	client := adminapi.NewClient(&url.URL{Scheme: "http", Host: admin.String()}, "")
	starting, ctx := errgroup.WithContext(ctx)
	for _, w := range wanted {
		starting.Go(func() error {
			if _, err := client.Start(ctx, w); err != nil {
				return fmt.Errorf("start the sandbox %s: %w", w.Slug, err)
			}
			return nil
		})
	}
	return starting.Wait()
}

func printLinks(o Options, s *source, public, admin net.Addr) {
	fmt.Fprintf(o.Out, "The edge is running. Open one of these in a browser:\n\n")
	port := public.(*net.TCPAddr).Port
	for _, slug := range s.slugs {
		for _, p := range ports {
			fmt.Fprintf(o.Out, "  http://port-%d-%s.%s:%d/\n", p, slug, domain, port)
		}
	}
	if len(s.try) > 0 {
		fmt.Fprintf(o.Out, "\nAnd try these in another terminal:\n\n")
		width := len(slices.MaxFunc(s.try, func(a, b [2]string) int { return len(a[0]) - len(b[0]) })[0])
		for _, command := range s.try {
			fmt.Fprintf(o.Out, "  %s %-*s --admin http://%s   # %s\n", o.Program, width, command[0], admin, command[1])
		}
	}
	if admin != nil {
		fmt.Fprintf(o.Out, "\nMetrics are at http://%s/metrics.", admin)
	}
	fmt.Fprintf(o.Out, " Ctrl-C ends everything.\n")
}
