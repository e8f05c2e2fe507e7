package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is below the interval of every supervisor's health checks.
const healthTimeout = 3 * time.Second

func newHealthcheck() *cobra.Command {
	var admin string
	var base *url.URL
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Tell whether the local edge is ready",
		Long:  `Ask the admin port of an edge whether it is ready. Exits 0 when it is.`,
		Example: `  edge healthcheck
  edge healthcheck --admin http://127.0.0.1:9091`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) (err error) {
			base, err = adminURL(admin)
			return err
		},
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return healthcheck(cmd.Context(), cmd.OutOrStdout(), base)
		}),
	}
	cmd.Flags().StringVar(&admin, "admin", cmp.Or(os.Getenv("EDGE_ADMIN_URL"), "http://127.0.0.1:9090"), "URL of the admin port ($EDGE_ADMIN_URL)")
	return cmd
}

// adminURL reads the URL of an admin port.
func adminURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of an admin port; write one such as http://127.0.0.1:9090", text)
	}
	return base, nil
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
