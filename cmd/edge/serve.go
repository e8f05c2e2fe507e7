package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/edge"
)

func newServe() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the edge",
		Long: `Run the edge in the foreground, with its log on standard error.

SIGTERM and SIGINT drain: requests in flight finish, WebSockets are closed with
a close frame, and the process ends within ten seconds. A second signal ends it
at once.`,
		Example: `  edge serve --config /etc/edge/edge.yaml
  EDGE_DOMAINS=cmux.localhost edge serve`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, os.Getenv)
			if err != nil {
				return err
			}
			// A lost terminal, or a supervisor that asks for a reload, is no
			// reason to cut everybody off.
			signal.Ignore(syscall.SIGHUP)
			e, err := edge.New(cmd.Context(), c, newLogger(c.Log))
			if err != nil {
				return err
			}
			return e.Run(cmd.Context())
		}),
	}
	configFlag(cmd, &path)
	return cmd
}

// newLogger makes the process's logger.
func newLogger(c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" || c.Format == "auto" && isTerminal(os.Stderr) {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
