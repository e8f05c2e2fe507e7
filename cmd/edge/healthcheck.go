package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is below the interval of every supervisor's health checks.
const healthTimeout = 3 * time.Second

func newHealthcheck() *cobra.Command {
	var at connection
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Tell whether the local edge is ready",
		Long:  `Ask the admin port of an edge whether it is ready. Exits 0 when it is.`,
		Example: `  edge healthcheck
  edge healthcheck --admin http://127.0.0.1:9091`,
		Args:    cobra.NoArgs,
		PreRunE: at.check,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			base, err := at.base()
			if err != nil {
				return err
			}
			return healthcheck(cmd.Context(), cmd.OutOrStdout(), base)
		}),
	}
	at.flags(cmd)
	return cmd
}

func healthcheck(ctx context.Context, out io.Writer, base *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("readyz").String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no edge answers: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	_, err = fmt.Fprintln(out, answer)
	return err
}
