// Command waltrigger runs beside a database, tails its write-ahead log and fires
// triggers: it sends templated payloads to webhooks and message brokers when rows are
// saved or deleted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "dev"

func main() {
	// The first signal stops in order; the second ends at once, and still loses nothing:
	// what was not acknowledged is read again.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		if exit := (exitError{}); errors.As(err, &exit) {
			os.Exit(exit.code)
		}
		fmt.Fprintln(os.Stderr, "waltrigger:", err)
		os.Exit(1)
	}
}

// exitError ends the program with a code, everything having been said.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "waltrigger",
		Short:         "Fire webhooks and messages from a database's write-ahead log",
		Long:          "waltrigger runs beside an unmodified PostgreSQL, MySQL or MariaDB, tails its log and\nfires triggers: it sends templated payloads to webhooks and message brokers when\nrows are saved or deleted.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var file string
	root.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration `file` (default ./waltrigger.yaml, then /etc/waltrigger/waltrigger.yaml)")
	root.AddCommand(runCommand(&file), checkCommand(&file), sourceCommand(&file), deliveriesCommand(&file), backfillCommand(&file), destinationsCommand(&file), configCommand(&file), renderCommand(), importDjangoCommand(&file), versionCommand())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "waltrigger", version)
			return err
		},
	}
}
