package reconciler_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/reconciler"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func Example() {
	provider := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-lxc"})
	provider.Put(sandbox.Instance{ID: "104", Slug: "demo", Address: "10.0.0.5"})
	ctx, cancel := context.WithCancel(context.Background())
	r := reconciler.New(reconciler.Deps{
		Catalog:   memory.New(memory.Config{}),
		Providers: []reconciler.Provider{provider},
		Log:       slog.New(slog.DiscardHandler),
		Tell: func(e reconciler.Event) {
			fmt.Println(e.Kind, e.Slug, "at", e.Provider, e.ID)
			cancel()
		},
	}, reconciler.Config{}, prometheus.NewRegistry())
	fmt.Println(r.Run(ctx))
	// Output:
	// adopted demo at pve-lxc 104
	// <nil>
}
