package sandboxtest_test

import (
	"context"
	"fmt"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func ExampleNewFake() {
	f := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-vm"})
	f.Fail(sandboxtest.OpStart, sandbox.KindQuota, 1)
	for range 2 {
		in, err := f.Start(context.Background(), sandbox.StartRequest{Slug: "demo", Key: "request 1"})
		fmt.Println(in.State, err)
	}
	fmt.Println(f.Calls(sandboxtest.OpStart), "calls")
	// Output:
	// unknown start pve-vm: quota exceeded: scripted
	// running <nil>
	// 2 calls
}
