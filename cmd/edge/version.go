package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/edge"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: `  edge version`,
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			b := edge.BuildInfo()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "edge %s\ncommit %s\n%s\n", b.Version, b.Commit, b.Go)
			return err
		}),
	}
}
