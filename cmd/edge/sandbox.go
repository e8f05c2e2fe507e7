package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/adminapi"
)

// sandboxCommand is what the commands below `edge sandbox` share.
type sandboxCommand struct {
	connection
	output
	wait bool
}

func newSandbox() *cobra.Command {
	s := &sandboxCommand{}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "List, start, pause and delete sandboxes",
		Long: `List, start, pause and delete sandboxes through the admin port of a running
edge. $EDGE_ADMIN_TOKEN holds its token, where it has one.`,
		Example: `  edge sandbox list
  edge sandbox start demo --workload dev --ttl 8h
  edge sandbox pause demo`,
	}
	s.connection.flags(cmd)
	s.output.flags(cmd)
	cmd.PersistentFlags().BoolVar(&s.wait, "wait", false, "wait until the sandbox is in no passing state")
	cmd.AddCommand(s.list(), s.get(), s.start(), s.pause(),
		s.simple("resume", "Wake a sandbox", (*adminapi.Client).Resume),
		s.simple("stop", "End a sandbox's processes and keep its disk", (*adminapi.Client).Stop),
		s.remove())
	return cmd
}

func (s *sandboxCommand) list() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the sandboxes that the edge knows",
		Example: `  edge sandbox list -o json`,
		Args:    cobra.NoArgs,
		PreRunE: s.check,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			all, err := c.List(cmd.Context())
			if err != nil {
				return err
			}
			return s.show(cmd, adminapi.Sandboxes{Sandboxes: all}, all...)
		}),
	}
}

func (s *sandboxCommand) get() *cobra.Command {
	return s.one("get SLUG", "Show one sandbox", `  edge sandbox get demo -o json`, func(ctx context.Context, c *adminapi.Client, slug string) (adminapi.Sandbox, error) {
		return c.Get(ctx, slug)
	})
}

func (s *sandboxCommand) start() *cobra.Command {
	var req adminapi.StartRequest
	var ttl time.Duration
	var cold bool
	cmd := &cobra.Command{
		Use:   "start [SLUG]",
		Short: "Start a sandbox: a new one, or one that sleeps",
		Long: `Start a sandbox. Without SLUG, or when no sandbox has it, a new one is made. One
that sleeps is woken; with --cold its saved memory is given up and it boots.`,
		Example: `  edge sandbox start
  edge sandbox start demo --workload long-running --ram
  edge sandbox start demo --cold`,
		Args:    cobra.MaximumNArgs(1),
		PreRunE: s.check,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				req.Slug = args[0]
			}
			if ttl < 0 || ttl%time.Second != 0 {
				return fmt.Errorf("--ttl %v is not a whole number of seconds", ttl)
			}
			req.TTL = int64(ttl / time.Second)
			box, err := startOrBoot(cmd.Context(), c, req, cold)
			return s.done(cmd, c, box, err)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Preset, "preset", "", "template, snapshot or image of a new sandbox")
	f.StringVar(&req.WorkloadType, "workload", "", "workload type of a new sandbox, such as dev or long-running")
	f.StringVar(&req.PreferredProvider, "provider", "", "provider to ask first for a new sandbox")
	f.BoolVar(&req.RequiresRAMSnapshot, "ram", false, "make a new sandbox only where a pause keeps its RAM")
	f.DurationVar(&ttl, "ttl", 0, "time after its last use at which a new sandbox pauses, such as 8h")
	f.BoolVar(&cold, "cold", false, "boot a sandbox that sleeps, giving its saved memory up")
	return cmd
}

// startOrBoot makes a sandbox, or starts the one that has the slug.
func startOrBoot(ctx context.Context, c *adminapi.Client, req adminapi.StartRequest, cold bool) (adminapi.Sandbox, error) {
	if req.Slug != "" {
		_, err := c.Get(ctx, req.Slug)
		if err == nil {
			return c.Boot(ctx, req.Slug, cold)
		}
		// A provider that can't be asked may have it. Then a start there fails,
		// and one elsewhere is what fall-back means.
		p, ok := errors.AsType[*adminapi.Problem](err)
		if cold || !ok || p.Status != http.StatusNotFound && p.Status != http.StatusGone && p.Status != http.StatusServiceUnavailable {
			return adminapi.Sandbox{}, err
		}
	}
	return c.Start(ctx, req)
}

func (s *sandboxCommand) pause() *cobra.Command {
	var force bool
	cmd := s.one("pause SLUG", "Put a sandbox to sleep", `  edge sandbox pause demo
  edge sandbox pause demo --force`, func(ctx context.Context, c *adminapi.Client, slug string) (adminapi.Sandbox, error) {
		return c.Pause(ctx, slug, force)
	})
	cmd.Flags().BoolVar(&force, "force", false, "pause although the RAM can't be kept")
	return cmd
}

func (s *sandboxCommand) simple(name, short string, do func(*adminapi.Client, context.Context, string) (adminapi.Sandbox, error)) *cobra.Command {
	return s.one(name+" SLUG", short, "  edge sandbox "+name+" demo", func(ctx context.Context, c *adminapi.Client, slug string) (adminapi.Sandbox, error) {
		return do(c, ctx, slug)
	})
}

func (s *sandboxCommand) remove() *cobra.Command {
	return &cobra.Command{
		Use:     "delete SLUG",
		Short:   "Delete a sandbox with its disk",
		Example: `  edge sandbox delete demo`,
		Args:    oneSlug,
		PreRunE: s.check,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			if err := c.Delete(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The sandbox %s is deleted.\n", args[0])
			return err
		}),
	}
}

// one makes a command on one sandbox.
func (s *sandboxCommand) one(use, short, example string, do func(context.Context, *adminapi.Client, string) (adminapi.Sandbox, error)) *cobra.Command {
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		Args:    oneSlug,
		PreRunE: s.check,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			box, err := do(cmd.Context(), c, args[0])
			return s.done(cmd, c, box, err)
		}),
	}
}

// oneSlug wants exactly one argument.
func oneSlug(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one SLUG is needed; there are %d arguments", len(args))
	}
	return nil
}

// done shows the sandbox that an operation returned, once it is settled where
// that was asked for.
func (s *sandboxCommand) done(cmd *cobra.Command, c *adminapi.Client, box adminapi.Sandbox, err error) error {
	if err == nil && s.wait {
		box, err = settle(cmd.Context(), c, box)
	}
	if err != nil {
		return err
	}
	return s.show(cmd, box, box)
}

// show prints v, or the sandboxes as a table.
func (s *sandboxCommand) show(cmd *cobra.Command, v any, boxes ...adminapi.Sandbox) error {
	rows := make([][]string, len(boxes))
	for i, b := range boxes {
		ram := "kept"
		if !b.RAMPreserved {
			ram = "lost"
		}
		rows[i] = []string{b.Slug, b.Provider, b.ID, b.State, b.PausedBy, ram, b.WorkloadType, ago(b.CreatedAt), ago(b.LastActiveAt)}
	}
	return s.print(cmd.OutOrStdout(), v, []string{"slug", "provider", "id", "state", "paused by", "ram", "workload", "age", "used"}, rows)
}
