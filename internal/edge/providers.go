package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/docker"
	"cmux.sh/edge/internal/sandbox/morph"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/static"
)

// providers are the configured sources of sandboxes, and what must be closed
// when they are no longer used.
type providers struct {
	list    []sandbox.Provider
	closers []io.Closer
	// lacking names the key that keeps a provider from making sandboxes.
	lacking map[string]string
	// apis are addresses that no sandbox may have.
	apis []netip.AddrPort
	// roots verify service addresses besides the system's authorities.
	roots *x509.CertPool
}

// closing is a Close that can't fail.
type closing func()

func (c closing) Close() error {
	c()
	return nil
}

// close closes what the providers hold, in the reverse order.
func (p *providers) close() error {
	var errs []error
	for _, c := range slices.Backward(p.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// newProviders makes the configured providers. It calls none of them. rule is
// what sandboxes' addresses are held to.
func newProviders(ctx context.Context, c config.Providers, rule sandbox.AddressRule, log *slog.Logger) (_ *providers, err error) {
	p := &providers{lacking: make(map[string]string)}
	defer func() {
		if err != nil {
			_ = p.close() // the error that led here is the one to tell
		}
	}()
	if c.Static != nil {
		if err := p.addStatic(c.Static); err != nil {
			return nil, err
		}
	}
	if c.PVE != nil {
		if err := p.addPVE(ctx, c.PVE, rule); err != nil {
			return nil, err
		}
	}
	if c.Morph != nil {
		if err := p.addMorph(c.Morph, log); err != nil {
			return nil, err
		}
	}
	if c.Docker != nil {
		if err := p.addDocker(c.Docker, log); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *providers) addStatic(c *config.Static) error {
	list := make([]static.Instance, len(c.Instances))
	for i, in := range c.Instances {
		list[i] = static.Instance{Slug: in.Slug, Address: in.Address, Ports: in.Ports}
	}
	provider, err := static.New(list)
	if err != nil {
		return err
	}
	p.list = append(p.list, provider)
	return nil
}

func (p *providers) addPVE(ctx context.Context, c *config.PVE, rule sandbox.AddressRule) error {
	ca, err := readPEM("providers.pve.ca_file", c.CAFile)
	if err != nil {
		return err
	}
	nodes := c.Nodes
	if c.Node != "" {
		nodes = []string{c.Node}
	}
	client, err := pve.Connect(pve.Config{
		URL: c.URL, Token: pve.Secret(c.Token.Reveal()), CA: ca, Fingerprint: c.Fingerprint, Nodes: nodes, Addresses: rule,
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, closing(client.Close))
	p.apis = append(p.apis, addresses(ctx, c.URL)...)
	add := func(key string, g pve.Guests, make func(*pve.Client, pve.Guests) (*pve.Provider, error)) error {
		provider, err := make(client, g)
		if err != nil {
			return err
		}
		if len(g.Templates) == 0 {
			p.lacking[provider.Name()] = key
		}
		p.list = append(p.list, provider)
		return nil
	}
	if c.VM.Enabled {
		if err := add("providers.pve.vm.templates", guests(c.VM), pve.NewVM); err != nil {
			return err
		}
	}
	if c.LXC.Enabled {
		// The two sections have the same keys, with other defaults.
		return add("providers.pve.lxc.templates", guests(config.PVEVM(c.LXC)), pve.NewLXC)
	}
	return nil
}

func guests(c config.PVEVM) pve.Guests {
	return pve.Guests{Templates: c.Templates, Pool: c.Pool, StartLimitPerNode: c.StartLimitPerNode}
}

func (p *providers) addMorph(c *config.Morph, log *slog.Logger) error {
	ca, err := readPEM("providers.morph.ca_file", c.CAFile)
	if err != nil {
		return err
	}
	if ca != nil {
		p.roots = x509.NewCertPool()
		if !p.roots.AppendCertsFromPEM(ca) {
			return fmt.Errorf("providers.morph.ca_file: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	provider, err := morph.New(log, morph.Config{
		URL: c.URL, APIKey: c.APIKey.Reveal, RootCAs: p.roots, HTTPSuffix: c.HTTPSuffix,
		DisableWakeOnHTTP: c.DisableWakeOnHTTP, Snapshots: c.Snapshots,
	})
	if err != nil {
		return err
	}
	p.list, p.closers = append(p.list, provider), append(p.closers, provider)
	if len(c.Snapshots) == 0 {
		p.lacking[morph.Name] = "providers.morph.snapshots"
	}
	return nil
}

func (p *providers) addDocker(c *config.Docker, log *slog.Logger) error {
	provider, err := docker.New(log, docker.Config{Host: c.Host, Images: c.Images})
	if err != nil {
		return err
	}
	p.list, p.closers = append(p.list, provider), append(p.closers, provider)
	if len(c.Images) == 0 {
		p.lacking[docker.Name] = "providers.docker.images"
	}
	return nil
}

// readPEM reads the file that key names, nil for none.
func readPEM(key, file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return pem, nil
}

// addresses are where a URL leads now; none when its name can't be looked up.
func addresses(ctx context.Context, text string) []netip.AddrPort {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	port := 443
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil
		}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil
	}
	list := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		list[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port)) //nolint:gosec // a port, checked when the configuration was read
	}
	return list
}
