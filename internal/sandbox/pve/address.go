package pve

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// iface is a network interface as the guest agent or the container's host
// describes it. The words for the address family differ between them, and are
// not needed.
type iface struct {
	Name      string `json:"name"`
	MAC       string `json:"hardware-address"`
	Addresses []struct {
		IP string `json:"ip-address"`
	} `json:"ip-addresses"`
}

// address is where a guest can be dialled: what its configuration fixes, else
// what it claims.
func (p *Provider) address(ctx context.Context, g *guest) (string, error) {
	if fixed := fixedAddress(g); fixed.IsValid() {
		return p.allowed(fixed)
	}
	list, err := p.kind.interfaces(ctx, p.client, p.path(g.node, g.vmid))
	if err != nil {
		return "", err
	}
	return choose(list, g.net0, p.allowed)
}

// choose finds the address of the interface with net0's hardware address, of
// version 4 where there is one. A guest may claim any, the metadata service's
// for one, so that only those which are allowed are believed.
func choose(list []iface, net0 string, allowed func(netip.Addr) (string, error)) (string, error) {
	want, found := hardware(net0), ""
	var refused error
	for _, i := range list {
		if want == "" || !strings.EqualFold(i.MAC, want) {
			continue
		}
		for _, a := range i.Addresses {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || ip.Is6() && ip.IsLinkLocalUnicast() {
				continue // every interface has one of the latter
			}
			text, err := allowed(ip)
			switch {
			case err != nil:
				refused = err
			case found == "" || ip.Is4() && strings.Contains(found, ":"):
				found = text
			}
		}
	}
	switch {
	case found != "":
		return found, nil
	case refused != nil:
		return "", refused
	}
	return "", &Failure{Text: "its first network card has no address yet"}
}

func (p *Provider) allowed(ip netip.Addr) (string, error) {
	ip = ip.Unmap().WithZone("")
	if err := p.client.cfg.Addresses.Check(netip.AddrPortFrom(ip, 0), false); err != nil {
		return "", err
	}
	return ip.String(), nil
}

// fixedAddress is the one in cloud-init's ipconfig0 or a container's net0.
func fixedAddress(g *guest) netip.Addr {
	for _, config := range []string{g.ipconfig0, g.net0} {
		for _, key := range []string{"ip", "ip6"} {
			if prefix, err := netip.ParsePrefix(option(config, key)); err == nil {
				return prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// option is a value of a comma-separated property string.
func option(config, key string) string {
	for part := range strings.SplitSeq(config, ",") {
		if name, v, ok := strings.Cut(part, "="); ok && strings.TrimSpace(name) == key {
			return v
		}
	}
	return ""
}

// hardware is the hardware address in a net0: hwaddr= of a container, the
// model's value of a VM ("virtio=BC:24:…").
func hardware(net0 string) string {
	for part := range strings.SplitSeq(net0, ",") {
		if _, v, _ := strings.Cut(part, "="); strings.Count(v, ":") == 5 && len(v) == 17 {
			return v
		}
	}
	return ""
}

// awaitAddress asks until a guest tells its address. Before DHCP has answered
// it may have none, or a link-local one.
func (p *Provider) awaitAddress(ctx context.Context, g *guest) (string, error) {
	begun, missed := time.Now(), 0
	for {
		address, err := p.address(ctx, g)
		if err == nil {
			p.memory.settle(g, address)
			return address, nil
		}
		f := failure(err)
		// An API that answers nothing at all will not tell an address either.
		if missed++; f == nil || f.Status != 0 {
			missed = 0
		}
		final := gaveUp(err) || missed == maxMissed || f != nil && (f.kind() == sandbox.KindInvalid || f.kind() == sandbox.KindPermission || f.missing())
		if final || time.Since(begun) > p.client.cfg.AddressTimeout {
			return "", err
		}
		if err := p.client.pause(ctx); err != nil {
			return "", err
		}
	}
}

// locate fills in the address of a running instance. That a guest doesn't
// tell it is no error, but a reason.
func (p *Provider) locate(ctx context.Context, g *guest, in sandbox.Instance) (sandbox.Instance, error) {
	if !g.alive || in.State != sandbox.Running {
		in.Address = p.resting(g)
		return in, nil
	}
	address, err := p.address(ctx, g)
	if err == nil {
		p.memory.settle(g, address)
	}
	return p.addressed(g, in, address, err)
}

// resting is the address known without asking.
func (p *Provider) resting(g *guest) string {
	if fixed := fixedAddress(g); fixed.IsValid() {
		if text, err := p.allowed(fixed); err == nil {
			return text
		}
		return ""
	}
	return p.memory.address(g)
}

// addressed is an instance with the address that was found, or, when the
// guest didn't answer, with the one it had earlier in this run.
func (p *Provider) addressed(g *guest, in sandbox.Instance, address string, err error) (sandbox.Instance, error) {
	in.Address = address
	if err == nil {
		return in, nil
	}
	if gaveUp(err) {
		return sandbox.Instance{}, err
	}
	if failure(err) != nil { // it said nothing, rather than something refused
		in.Address = p.memory.address(g)
	}
	if in.Address == "" && in.Reason == "" {
		in.Reason = "no address: " + err.Error()
	}
	return in, nil
}
