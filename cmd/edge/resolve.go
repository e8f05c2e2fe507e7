package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/resolve"
)

func newResolve() *cobra.Command {
	var path string
	var offline bool
	var at connection
	var out output
	cmd := &cobra.Command{
		Use:   "resolve HOST",
		Short: "Explain how a host name is read",
		Long: `Explain how a host name is read and where it would go: which sandbox and port it
asks for, who knows that sandbox, and what a request would get now. The running
edge is asked; with --offline the name is read only, by the domains of the
configuration. Exits 1 when a request would not be forwarded.`,
		Example: `  edge resolve port-39378-demo.cmux.sh
  EDGE_DOMAINS=cmux.sh edge resolve --offline cmux-demo-8080.cmux.sh`,
		Args:    oneHost,
		PreRunE: at.check,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if !offline {
				return explainOnline(cmd, &at, &out, args[0])
			}
			c, err := config.Load(path, os.Getenv)
			if err != nil {
				return err
			}
			return explain(cmd, resolve.NewGrammar(c.Domains, c.Forms.Freestyle), args[0])
		}),
	}
	configFlag(cmd, &path)
	at.flags(cmd)
	out.flags(cmd)
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

// explainOnline prints what the running edge says of host.
func explainOnline(cmd *cobra.Command, at *connection, out *output, host string) error {
	c, err := at.client()
	if err != nil {
		return err
	}
	r, err := c.Resolve(cmd.Context(), host)
	if err != nil {
		return err
	}
	if *out == "json" {
		if err := out.print(cmd.OutOrStdout(), r, nil, nil); err != nil {
			return err
		}
	} else if err := printResolution(cmd, r); err != nil {
		return err
	}
	if r.Status >= http.StatusBadRequest {
		return fmt.Errorf("a request would get %d: %s", r.Status, r.Outcome)
	}
	return nil
}

// printResolution prints how a name is read, and every look at its sandbox.
func printResolution(cmd *cobra.Command, r adminapi.Resolution) error {
	if err := printFields(cmd, [][2]string{
		{"host", r.Host},
		{"domain", r.Domain},
		{"form", r.Form},
		{"sandbox", r.Sandbox},
		{"port", portText(r.Port)},
		{"scope", r.Scope},
		{"workspace", r.Workspace},
	}); err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, s := range r.Steps {
		mark := " "
		if s.Decides {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %s\t%s\t%d ms old\ttook %.1f ms\t%s\n", mark, s.Source, s.Decision, s.AgeMS, s.TookMS, s.Error)
	}
	if r.Status < http.StatusBadRequest {
		fmt.Fprintf(w, "outcome\t%s\n", r.Outcome)
	}
	return w.Flush()
}

// printFields prints the fields that have a value.
func printFields(cmd *cobra.Command, fields [][2]string) error {
	out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, line := range fields {
		if line[1] != "" {
			fmt.Fprintf(out, "%s\t%s\n", line[0], line[1])
		}
	}
	return out.Flush()
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
	return printFields(cmd, [][2]string{
		{"host", route.Host},
		{"domain", route.Domain},
		{"form", route.Form.String()},
		{"sandbox", route.Slug},
		{"port", portText(route.Port)},
		{"scope", route.Scope},
		{"workspace", route.Workspace},
	})
}

func portText(port uint16) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprint(port)
}
