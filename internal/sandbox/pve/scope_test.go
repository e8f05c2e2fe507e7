package pve_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func TestOnlyOursAreListed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{guests: pve.Guests{Pool: "edge"}})
		other := map[pvesim.Kind]pvesim.Kind{pvesim.QEMU: pvesim.LXC, pvesim.LXC: pvesim.QEMU}[kind]
		for _, g := range []pvesim.Guest{
			{VMID: 200, Kind: kind, Name: b.slug("a")},
			{VMID: 201, Kind: kind, Name: "anything", Pool: "edge"},
			{VMID: 202, Kind: kind, Name: "cmux-202"},
			{VMID: 203, Kind: kind, Name: "cmux-204"},
			{VMID: 205, Kind: kind, Name: "database", Pool: "production"},
			{VMID: 206, Kind: kind, Name: "database"},
			{VMID: 207, Kind: other, Name: b.slug("b"), Pool: "edge"},
			{VMID: 150, Kind: kind, Name: b.slug("base"), Pool: "edge"},
			{VMID: 208, Kind: kind, Name: b.slug("template"), Pool: "edge", Template: true},
		} {
			add(t, b.sim, g)
		}
		list, err := b.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, in := range list {
			got = append(got, string(in.ID))
			if in.Marked {
				t.Errorf("%s is marked, though the edge didn't make it", in.ID)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"200." + b.slug("a"), "201.anything", "202.cmux-202"}, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		for _, id := range []sandbox.ID{"206.database", "205.database", "203.cmux-204", "999.nobody", "nonsense", "", ".", "200.", "0200.a"} {
			_, err := b.Get(t.Context(), id)
			b.wantKind(err, sandbox.KindNotFound)
			b.wantKind(b.Stop(t.Context(), id), sandbox.KindNotFound)
		}
		_, err = b.Find(t.Context(), "database")
		b.wantKind(err, sandbox.KindNotFound)
	})
}

func TestTemplatesAndReservedVMIDsAreNeverTouched(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{guests: pve.Guests{Pool: "edge"}})
		add(t, b.sim, pvesim.Guest{VMID: 150, Kind: kind, Name: "base", Pool: "edge", Status: "running"})
		add(t, b.sim, pvesim.Guest{VMID: 300, Kind: kind, Name: "template", Pool: "edge", Template: true})
		for _, id := range []sandbox.ID{"150.base", "300.template"} {
			_, err := b.Get(t.Context(), id)
			b.wantKind(err, sandbox.KindNotFound)
			_, err = b.Resume(t.Context(), id)
			b.wantKind(err, sandbox.KindRefused)
			b.wantKind(b.Pause(t.Context(), id), sandbox.KindRefused)
			b.wantKind(b.Stop(t.Context(), id), sandbox.KindRefused)
			b.wantKind(b.Delete(t.Context(), id), sandbox.KindRefused)
		}
		for name, calls := range b.sim.Calls() {
			if name[:4] != "GET " && calls > 0 {
				t.Errorf("%s was asked", name)
			}
		}
	})
}

func TestAProtectedGuestIsNeitherDeletedNorStopped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("a"), Protected: true, Status: "running"})
		id := sandbox.ID("200." + b.slug("a"))
		b.wantKind(b.Delete(t.Context(), id), sandbox.KindRefused)
		b.wantState(id, sandbox.Running)
	})
}

// TestAReusedVMIDIsAnotherInstance: deleting what was remembered spares it.
func TestAReusedVMIDIsAnotherInstance(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		b.sim.Remove(200)
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("b"), Status: "running"})
		_, err := b.Get(t.Context(), in.ID)
		b.wantKind(err, sandbox.KindNotFound)
		b.wantKind(b.Stop(t.Context(), in.ID), sandbox.KindNotFound)
		if err := b.Delete(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
		b.wantMade(1)
		if got := b.wantState(sandbox.ID("200."+b.slug("b")), sandbox.Running); got.Generation <= in.Generation {
			t.Errorf("generation: got %d, want more than %d", got.Generation, in.Generation)
		}
	})
}

// TestALostPrivilegeIsNoEmptyCluster: Proxmox leaves out what the token may
// not see, and a caller would take every sandbox for deleted.
func TestALostPrivilegeIsNoEmptyCluster(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{Privileges: map[string][]string{"/": {"Sys.Audit"}}}})
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("a"), Status: "running"})
		_, err := b.Get(t.Context(), sandbox.ID("200."+b.slug("a")))
		b.wantKind(err, sandbox.KindPermission)
		_, err = b.Find(t.Context(), b.slug("a"))
		b.wantKind(err, sandbox.KindPermission)
		_, err = b.List(t.Context())
		b.wantKind(err, sandbox.KindPermission)
		b.wantKind(b.Delete(t.Context(), sandbox.ID("200."+b.slug("a"))), sandbox.KindPermission)
	})
}

// TestAGuestWithoutANameIsNotListed: it has no slug to be asked for by.
func TestAGuestWithoutANameIsNotListed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{guests: pve.Guests{Pool: "edge"}})
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Pool: "edge"})
		if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
}
