package pve_test

import (
	"context"
	"fmt"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func Example() {
	sim, err := pvesim.New(pvesim.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = sim.Close() }()
	_ = sim.Add(pvesim.Guest{VMID: 9000, Kind: pvesim.QEMU, Name: "template", Template: true})

	client, err := pve.Connect(pve.Config{URL: sim.URL(), Token: pvesim.Token, Fingerprint: sim.Fingerprint()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	vms, err := pve.NewVM(client, pve.Guests{Templates: map[string]int{"default": 9000}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	in, err := vms.Start(ctx, sandbox.StartRequest{Slug: "pvevm-1a2b3c4d", Key: "request 1"})
	fmt.Println(in.ID, in.State, in.Address, err)
	fmt.Println(vms.Pause(ctx, in.ID))
	in, err = vms.Get(ctx, in.ID)
	fmt.Println(in.ID, in.State, err)
	// Output:
	// 200.pvevm-1a2b3c4d running 10.77.0.200 <nil>
	// <nil>
	// 200.pvevm-1a2b3c4d paused <nil>
}
