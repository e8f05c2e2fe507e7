package main

import (
	"os"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/demo"
)

func newDemo() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the edge with small sandboxes of its own",
		Long: `Run the edge in front of two sandboxes that are child processes of this program.
Nothing needs to be installed or configured: browsers find every name below
.localhost on this machine.`,
		Example: `  edge demo
  edge demo --listen 127.0.0.1:8081 --admin 127.0.0.1:9091`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			o.Out, o.Log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return demo.Run(cmd.Context(), o)
		}),
	}
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8080", "address for browsers")
	cmd.Flags().StringVar(&o.Admin, "admin", "127.0.0.1:9090", "address of the admin port")
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
			return demo.RunSandbox(cmd.Context(), args[0], os.Stdin, os.Stdout)
		}),
	}
}
