// Command edge is a wildcard reverse proxy in front of cloud sandboxes, with
// the provider manager that starts, wakes and suspends them built in.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed = 1 // what was asked for failed
	exitUsage  = 2 // it could not be understood
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends a drain that takes too long
	// net/http prints to the standard logger what sandboxes send out of turn,
	// cookies and all. What matters is logged by the edge itself.
	log.SetOutput(io.Discard)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot() //nolint:contextcheck // what a provider runs in the background ends with its Close, not with a context
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if failed, ok := errors.AsType[*failedError](err); ok {
		fmt.Fprintln(stderr, failed.err)
		return exitFailed
	}
	fmt.Fprintf(stderr, "edge: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
	return exitUsage
}

// failedError is the failure of a command that was understood.
type failedError struct{ err error }

func (e *failedError) Error() string { return e.err.Error() }

// action makes what a command does into cobra's form; its errors are failures,
// while cobra's own are mistakes in the command line.
func action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := do(cmd, args); err != nil {
			return &failedError{err}
		}
		return nil
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "edge",
		Short: "A wildcard reverse proxy in front of cloud sandboxes",
		Long: `edge routes port-<port>-<sandbox>.<domain> to a port of a sandbox.

Begin with 'edge demo', which needs nothing installed. For the real thing write
a configuration, check it with 'edge validate', and run 'edge serve'.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServe(), newDemo(), newDemoSandbox(), newValidate(), newResolve(), newSandbox(), newProviders(), newEvents(), newHealthcheck(), newVersion())
	return root
}

// configFlag adds --config to a command.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "configuration file (default: edge.yaml, then /etc/edge/edge.yaml)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // the flag is there
}
