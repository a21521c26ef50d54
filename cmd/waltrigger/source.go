package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/waltrigger/waltrigger/pkg/daemon"
)

func sourceCommand(file *string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "source", Short: "See and decide how sources go on (while the daemon is stopped)",
		Long: "source takes the steps that only a person may decide on. The daemon must be stopped,\nevery instance of it.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	step := func(use, short, long string, do func(daemon.Operator, context.Context, string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " NAME", Short: short, Long: long, Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				o, err := operator(c, *file)
				if err != nil {
					return err
				}
				return do(o, c.Context(), args[0])
			},
		}
	}
	list := &cobra.Command{
		Use: "list", Short: "List the sources, how far they were read and where their servers stand", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := operator(c, *file)
			if err != nil {
				return err
			}
			return o.List(c.Context())
		},
	}
	adopt := step("adopt", "Go on from where an existing slot stands",
		"adopt lets this store go on from the position that the slot's reader before\nacknowledged, for a slot that this store has never read (store_unknown_slot).\nMySQL has no slots, and nothing to adopt.",
		daemon.Operator.Adopt)
	var acceptGap, fill bool
	resync := step("resync", "Go on from now; needs --accept-gap or --backfill",
		"resync lets reading go on from now, for a source whose position is lost\n(resync_required), and makes slot and publication anew. What was committed in\nbetween is not sent: the gap is printed. With --backfill the rows that the tables\nhave by then are sent, for all triggers that are active, once the daemon runs.",
		func(o daemon.Operator, ctx context.Context, name string) error {
			if acceptGap == fill {
				return errors.New("resync skips what was committed since the source was last read: say so with --accept-gap, or have the tables' rows sent with --backfill")
			}
			return o.Resync(ctx, name, fill)
		})
	resync.Flags().BoolVar(&acceptGap, "accept-gap", false, "what was committed in between is not sent")
	resync.Flags().BoolVar(&fill, "backfill", false, "nor is that, but then the rows of the tables as they are")
	drop := step("drop", "Drop what was made in the database, and forget the source",
		"drop removes from the database what waltrigger made there, of PostgreSQL the slot\nand the publications (the second is PUBLICATION_inserts), so that nothing holds\nback its log, and forgets how far it was read.",
		daemon.Operator.Drop)
	cmd.AddCommand(list, adopt, resync, drop)
	return cmd
}

func operator(c *cobra.Command, file string) (daemon.Operator, error) {
	log, err := newLogger(c.ErrOrStderr(), "info", "text")
	if err != nil {
		return daemon.Operator{}, err
	}
	cfg, err := load(file, c.ErrOrStderr())
	return daemon.Operator{Config: cfg, Out: c.OutOrStdout(), Log: log}, err
}
