package pve_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func TestTheAddressIsThatOfTheFirstNetworkCard(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{}) // whose guests also have lo, docker0 and fe80::
		if in := b.start("a"); in.Address != "10.77.0.200" {
			t.Errorf("got %q, want 10.77.0.200", in.Address)
		}
	})
}

func TestAFixedAddressNeedsNoAgent(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]pvesim.Guest{
		"ipconfig0":              {Kind: pvesim.QEMU, Name: "pvevm-a", Config: map[string]string{"ipconfig0": "ip=10.9.8.7/24,gw=10.9.8.1"}},
		"ipconfig0 with DHCP v4": {Kind: pvesim.QEMU, Name: "pvevm-a", Config: map[string]string{"ipconfig0": "ip=dhcp,ip6=fd00::9/64"}},
		"net0 of a container":    {Kind: pvesim.LXC, Name: "pvelxc-a", Config: map[string]string{"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=10.9.8.7/24,type=veth"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, g.Kind, setup{})
			g.VMID, g.Status, g.Agent = 200, "running", pvesim.AgentDead
			add(t, b.sim, g)
			want := "10.9.8.7"
			if strings.Contains(name, "v4") {
				want = "fd00::9"
			}
			if in := b.wantState(sandbox.ID("200."+g.Name), sandbox.Running); in.Address != want {
				t.Errorf("got %q (%s), want %s", in.Address, in.Reason, want)
			}
			list, err := b.List(t.Context())
			if err != nil || len(list) != 1 || list[0].Address != want {
				t.Errorf("listed %+v, %v", list, err)
			}
		})
	}
}

// TestALyingGuestIsNotBelieved: it claims the metadata service's address.
func TestALyingGuestIsNotBelieved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{client: pve.Config{AddressTimeout: 20 * time.Millisecond}})
		in := b.start("a")
		b.change(in.ID, func(g *pvesim.Guest) { g.Agent = pvesim.AgentLies })
		b.change(in.ID, func(g *pvesim.Guest) { g.Status = "stopped" })
		b.wantState(in.ID, sandbox.Stopped)
		got, err := b.Resume(t.Context(), in.ID)
		if err != nil || got.State != sandbox.Running || got.Address != "" || !strings.Contains(got.Reason, "refused") {
			t.Errorf("got %+v, %v; want it running, without address, and the reason", got, err)
		}
		if got := b.wantState(in.ID, sandbox.Running); got.Address != "" {
			t.Errorf("Get believes %q", got.Address)
		}
	})
}

func TestAnAddressOutsideTheRuleIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{client: pve.Config{
			AddressTimeout: 20 * time.Millisecond,
			Addresses:      sandbox.AddressRule{Allow: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}},
		}})
		_, err := b.Start(t.Context(), b.request("a"))
		b.wantKind(err, sandbox.KindRefused)
		b.wantMade(0)
	})
}

// TestADeadAgentDoesNotHideAKnownAddress: it survives hibernation, but not a
// cold start, where DHCP may give another one.
func TestADeadAgentDoesNotHideAKnownAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{client: pve.Config{AddressTimeout: 20 * time.Millisecond}, sim: pvesim.Config{LockTimeout: 10 * time.Millisecond}})
	in := b.start("a")
	b.change(in.ID, func(g *pvesim.Guest) { g.Agent = pvesim.AgentDead })
	if got := b.wantState(in.ID, sandbox.Running); got.Address != in.Address {
		t.Errorf("running: got %q (%s), want %s", got.Address, got.Reason, in.Address)
	}
	if err := b.Pause(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	calls := b.sim.Calls()["GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces"]
	if got, err := b.Resume(t.Context(), in.ID); err != nil || got.Address != in.Address {
		t.Errorf("resumed: got %+v, %v; want %s", got, err, in.Address)
	}
	if got := b.sim.Calls()["GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces"]; got != calls {
		t.Error("a wake with a known address asked the agent")
	}
	if err := b.Stop(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	got, err := b.Resume(t.Context(), in.ID)
	if err != nil || got.State != sandbox.Running || got.Address != "" || !strings.Contains(got.Reason, "agent") {
		t.Errorf("cold: got %+v, %v; want it running, without address, and the reason", got, err)
	}
	if _, err := got.Upstream(39378); sandbox.KindOf(err) != sandbox.KindNotFound {
		t.Errorf("got %v, want %s", err, sandbox.KindNotFound)
	}
}

func TestAStartWithoutAgentIsInvalidAndLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{bare: true})
	add(t, b.sim, pvesim.Guest{VMID: vmTemplate, Kind: pvesim.QEMU, Name: "t", Template: true, Agent: pvesim.AgentOff})
	_, err := b.Start(t.Context(), b.request("a"))
	b.wantKind(err, sandbox.KindInvalid)
	if _, ok := errors.AsType[*sandbox.Leftover](err); ok {
		t.Error("something was left")
	}
	b.wantMade(0)
}
