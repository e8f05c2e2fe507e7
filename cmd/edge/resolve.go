package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/resolve"
)

func newResolve() *cobra.Command {
	var path string
	var offline bool
	cmd := &cobra.Command{
		Use:   "resolve HOST",
		Short: "Explain how a host name is read",
		Long: `Explain how a host name is read: which sandbox and port it asks for, or why it is
refused. With --offline, which is needed, nothing but the configuration is
looked at. Exits 1 when the edge would refuse the name.`,
		Example: `  edge resolve --offline port-39378-demo.cmux.sh
  EDGE_DOMAINS=cmux.sh edge resolve --offline cmux-demo-8080.cmux.sh`,
		Args: oneHost,
		PreRunE: func(*cobra.Command, []string) error {
			if !offline {
				return errors.New("--offline is needed")
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(path, os.Getenv)
			if err != nil {
				return err
			}
			return explain(cmd, resolve.NewGrammar(c.Domains, c.Forms.Freestyle), args[0])
		}),
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&offline, "offline", false, "read the name only, without asking a running edge")
	return cmd
}

// oneHost wants exactly one argument.
func oneHost(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one HOST is needed, such as port-39378-demo.cmux.sh; there are %d arguments", len(args))
	}
	return nil
}

// explain prints what host means.
func explain(cmd *cobra.Command, g *resolve.Grammar, host string) error {
	route, err := g.Parse(host)
	if err != nil {
		status := 400
		if refused, ok := errors.AsType[*resolve.HostError](err); ok && refused.Foreign() {
			status = 421
		}
		return fmt.Errorf("%q is refused with status %d: %w", host, status, err)
	}
	out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"host", route.Host},
		{"domain", route.Domain},
		{"form", route.Form.String()},
		{"sandbox", route.Slug},
		{"port", portText(route.Port)},
		{"scope", route.Scope},
		{"workspace", route.Workspace},
	} {
		if line[1] != "" {
			fmt.Fprintf(out, "%s\t%s\n", line[0], line[1])
		}
	}
	return out.Flush()
}

func portText(port uint16) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprint(port)
}
