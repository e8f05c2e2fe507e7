package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/adminapi"
)

func newProviders() *cobra.Command {
	var at connection
	var out output
	cmd := &cobra.Command{
		Use:   "providers",
		Short: "Show health, capabilities and shares of the providers",
		Example: `  edge providers
  edge providers -o json`,
		Args:    cobra.NoArgs,
		PreRunE: at.check,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			all, err := c.Providers(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([][]string, len(all))
			for i, p := range all {
				rows[i] = providerRow(p)
			}
			return out.print(cmd.OutOrStdout(), adminapi.Providers{Providers: all},
				[]string{"provider", "health", "role", "rollout", "ram", "start", "resume", "price", "sandboxes"}, rows)
		}),
	}
	at.flags(cmd)
	out.flags(cmd)
	return cmd
}

func providerRow(p adminapi.Provider) []string {
	health := "up"
	if !p.Healthy {
		health = "down: " + p.Reason
	}
	var roles []string
	if p.Primary {
		roles = append(roles, "primary")
	}
	if p.Fallback > 0 {
		roles = append(roles, fmt.Sprintf("fallback %d", p.Fallback))
	}
	rollout := ""
	switch {
	case p.RolloutStopped != "":
		rollout = fmt.Sprintf("%d %% (stopped: %s)", p.RolloutPercent, p.RolloutStopped)
	case p.RolloutPercent > 0:
		rollout = fmt.Sprintf("%d %%", p.RolloutPercent)
	}
	ram := "lost"
	if p.Capabilities.RAMSnapshot {
		ram = "kept"
	}
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(p.Sandboxes)) {
		counts = append(counts, fmt.Sprintf("%d %s", p.Sandboxes[state], state))
	}
	return []string{p.Name, health, strings.Join(roles, ", "), rollout, ram, p.Capabilities.StartTime, p.Capabilities.ResumeTime, p.Capabilities.Price, strings.Join(counts, ", ")}
}

func newEvents() *cobra.Command {
	var at connection
	var out output
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follow what happens to sandboxes",
		Long:  `Follow what happens to sandboxes and providers, from now on, until Ctrl-C.`,
		Example: `  edge events
  edge events -o json`,
		Args:    cobra.NoArgs,
		PreRunE: at.check,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			err = c.Events(cmd.Context(), func(e adminapi.Event) error {
				if out == "json" {
					return json.NewEncoder(w).Encode(e)
				}
				parts := []string{e.Time.Local().Format(time.TimeOnly), e.Kind}
				for _, part := range []string{e.Slug, e.Provider, e.Detail, e.Error} {
					if part != "" {
						parts = append(parts, part)
					}
				}
				_, err := fmt.Fprintln(w, strings.Join(parts, "  "))
				return err
			})
			if errors.Is(err, context.Canceled) {
				err = nil // it was told to stop
			}
			return err
		}),
	}
	at.flags(cmd)
	out.flags(cmd)
	return cmd
}
