package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/adminapi"
)

// defaultAdmin is where an edge with the default configuration has its admin
// port.
const defaultAdmin = "http://127.0.0.1:9090"

// connection is how a command finds the admin port.
type connection struct{ admin string }

// flags adds --admin to a command and to those below it.
func (c *connection) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&c.admin, "admin", cmp.Or(os.Getenv("EDGE_ADMIN_URL"), defaultAdmin), "URL of the admin port ($EDGE_ADMIN_URL)")
}

// base is the URL of the admin port.
func (c *connection) base() (*url.URL, error) {
	base, err := url.Parse(c.admin)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of an admin port; write one such as %s", c.admin, defaultAdmin)
	}
	return base, nil
}

// check is a PreRunE: a URL that can't be read is a mistake in the command
// line.
func (c *connection) check(*cobra.Command, []string) error {
	_, err := c.base()
	return err
}

// client makes a client; the token is in $EDGE_ADMIN_TOKEN.
func (c *connection) client() (*adminapi.Client, error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	return adminapi.NewClient(base, os.Getenv("EDGE_ADMIN_TOKEN")), nil
}

// output is how a command prints.
type output string

// flags adds -o to a command and to those below it.
func (o *output) flags(cmd *cobra.Command) {
	*o = "table"
	cmd.PersistentFlags().VarP(o, "output", "o", "json or table")
}

// String implements pflag.Value.
func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if s != "json" && s != "table" {
		return errors.New("write json or table")
	}
	*o = output(s)
	return nil
}

// print writes v as JSON, or as the table that rows are.
func (o *output) print(w io.Writer, v any, head []string, rows [][]string) error {
	if *o == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, strings.ToUpper(strings.Join(head, "\t")))
	for _, row := range rows {
		for i := range row {
			row[i] = cmp.Or(row[i], "-")
		}
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// ago is how long a moment lies back, in one unit.
func ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	switch d := time.Since(*t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// settle waits until a sandbox is in no state that passes by itself.
func settle(ctx context.Context, c *adminapi.Client, s adminapi.Sandbox) (adminapi.Sandbox, error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		switch s.State {
		case "starting", "pausing", "resuming", "stopping":
		default:
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-tick.C:
		}
		var err error
		if s, err = c.Get(ctx, s.Slug); err != nil {
			return s, err
		}
	}
}
