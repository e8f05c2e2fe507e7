package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/config"
)

func newValidate() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration",
		Long: `Check a configuration, the environment included, and report every fault with
its file, line and column. Exits 1 when there is any.`,
		Example: `  edge validate --config edge.yaml`,
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if _, err := config.Load(path, os.Getenv); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The configuration is valid.")
			return nil
		}),
	}
	configFlag(cmd, &path)
	return cmd
}
