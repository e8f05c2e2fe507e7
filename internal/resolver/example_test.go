package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/resolver"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func Example() {
	provider := sandboxtest.NewFake(sandboxtest.FakeConfig{Name: "pve-lxc"})
	provider.Put(sandbox.Instance{ID: "104", Slug: "demo", Address: "10.0.0.5"})
	r, err := resolver.New(resolver.Deps{
		Catalog:   memory.New(memory.Config{}),
		Providers: []resolver.Provider{provider},
		Log:       slog.New(slog.DiscardHandler),
	}, resolver.Config{}, prometheus.NewRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()

	ctx := context.Background()
	rec, err := r.Resolve(ctx, "demo")
	fmt.Println(rec.Provider, rec.ID, rec.State, rec.Address, err)

	_, err = r.Resolve(ctx, "nobody")
	_, gone := errors.AsType[*resolver.Gone](err)
	fmt.Println(err, sandbox.KindOf(err) == sandbox.KindNotFound, gone)

	for _, step := range r.Explain(ctx, "nobody") {
		fmt.Println(step.Source, "-", step.Decision)
	}
	// Output:
	// pve-lxc 104 running 10.0.0.5 <nil>
	// resolve nobody: not found: there is no such sandbox true false
	// local - remembered as unknown
	// memory - not in the catalogue
	// pve-lxc - does not know it
}
