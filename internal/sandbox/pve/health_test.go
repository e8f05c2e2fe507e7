package pve_test

import (
	"slices"
	"strings"
	"testing"

	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func TestHealthNamesThePrivilegesThatAreMissing(t *testing.T) {
	t.Parallel()
	all := []string{"VM.Audit", "VM.PowerMgmt", "VM.Config.Disk", "VM.GuestAgent.Audit", "VM.Monitor", "VM.Clone", "VM.Allocate", "SDN.Use", "Datastore.AllocateSpace"}
	for _, c := range []struct {
		kind     pvesim.Kind
		version  string
		lacks    string
		want     string
		needless bool
	}{
		{pvesim.QEMU, "9.2.3", "VM.Audit", "VM.Audit", false},
		{pvesim.QEMU, "9.2.3", "VM.PowerMgmt", "VM.PowerMgmt", false},
		{pvesim.QEMU, "9.2.3", "VM.Config.Disk", "VM.Config.Disk", false},
		{pvesim.QEMU, "9.2.3", "VM.GuestAgent.Audit", "VM.GuestAgent.Audit or VM.GuestAgent.Unrestricted", false},
		{pvesim.QEMU, "9.2.3", "VM.Monitor", "", true},
		{pvesim.QEMU, "8.4.5", "VM.Monitor", "VM.Monitor", false},
		{pvesim.QEMU, "8.4.5", "VM.GuestAgent.Audit", "", true},
		{pvesim.QEMU, "9.2.3", "Datastore.AllocateSpace", "Datastore.AllocateSpace", false},
		{pvesim.LXC, "9.2.3", "VM.Clone", "VM.Clone", false},
		{pvesim.LXC, "9.2.3", "VM.Allocate", "VM.Allocate", false},
		{pvesim.LXC, "9.2.3", "SDN.Use", "SDN.Use", false},
		{pvesim.LXC, "9.2.3", "VM.GuestAgent.Audit", "", true},
		{pvesim.LXC, "9.2.3", "VM.Config.Disk", "", true},
	} {
		t.Run(string(c.kind)+" "+c.version+" without "+c.lacks, func(t *testing.T) {
			t.Parallel()
			held := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return p == c.lacks })
			b := newBench(t, c.kind, setup{sim: pvesim.Config{Version: c.version, Privileges: map[string][]string{"/": held}}})
			h := b.Health(t.Context())
			if h.OK != c.needless || c.want != "" && h.Reason != "the token lacks "+c.want {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestHealthWithoutTemplatesNeedsLess(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.LXC, setup{bare: true, guests: pve.Guests{Templates: map[string]int{}}, sim: pvesim.Config{Privileges: map[string][]string{"/vms": {"VM.Audit", "VM.PowerMgmt"}}}})
	if h := b.Health(t.Context()); !h.OK {
		t.Errorf("got %+v", h)
	}
}

func TestHealthSaysWhichTemplateIsMissing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{bare: true})
		if h := b.Health(t.Context()); h.OK || !strings.Contains(h.Reason, "(default)") {
			t.Errorf("got %+v", h)
		}
	})
}

func TestHealthChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		b.Health(t.Context())
		for name := range b.sim.Calls() {
			if !strings.HasPrefix(name, "GET ") {
				t.Errorf("%s was asked", name)
			}
		}
	})
}

func TestHealthSaysThatAConfiguredNodeIsNotThere(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{client: pve.Config{Nodes: []string{"pve", "typo"}}})
	h := b.Health(t.Context())
	if !h.OK || !h.Nodes["pve"].OK || h.Nodes["typo"].OK || h.Nodes["typo"].Reason == "" {
		t.Errorf("got %+v", h)
	}
}
