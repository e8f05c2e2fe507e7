package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/demo"
)

func newDemo() *cobra.Command {
	o := demo.Options{Program: os.Args[0]}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the edge with small sandboxes of its own",
		Long: `Run the edge in front of two sandboxes that are child processes of this program.
Nothing needs to be installed or configured: browsers find every name below
.localhost on this machine.

With --provider pve or morph the sandboxes are made through a simulated Proxmox
VE cluster or Morph Cloud account, and can be paused, resumed, started and
deleted like real ones.`,
		Example: `  edge demo
  edge demo --provider pve
  edge demo --listen 127.0.0.1:8081 --admin 127.0.0.1:9091`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(demo.Providers, o.Provider) {
				return fmt.Errorf("--provider %s: write one of %s", o.Provider, strings.Join(demo.Providers, ", "))
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			o.Out, o.Log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return demo.Run(cmd.Context(), o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.Provider, "provider", demo.Providers[0], "where the sandboxes come from: "+strings.Join(demo.Providers, ", "))
	_ = cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(demo.Providers, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "address for browsers")
	f.StringVar(&o.Admin, "admin", "127.0.0.1:9090", "address of the admin port")
	return cmd
}

// newDemoSandbox is what `edge demo` runs for each sandbox.
func newDemoSandbox() *cobra.Command {
	return &cobra.Command{
		Use:    demo.SandboxCommand + " NAME",
		Short:  "One sandbox of 'edge demo'",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return demo.RunSandbox(cmd.Context(), args[0], os.Stdin)
		}),
	}
}
